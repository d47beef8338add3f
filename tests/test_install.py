"""The wheel, installed into a fresh environment, works where no checkout is."""

import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.installing import pip

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
TINY = (
    "smoke,n_test_episode=8,n_validation_episode=2,n_grid_episode=2,finetune_grid=small,"
    "validate_every=2,pretrain=2,matching_net=2,matching_net_fce=2,meta_lstm_1shot=2,"
    "meta_lstm_5shot=2"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources, so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "repro", folder / "source/repro",
                    ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    pip("wheel", "--wheel-dir", folder, folder / "source")
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command ``repro`` of an environment with the wheel and the packages that are here.

    A ``.pth`` file names the packages of the running environment: torch is not installed twice,
    and an editable install among them is not followed.
    """
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip("install", wheel, python=folder / "bin" / "python")
    assert (site / "repro" / "cli.py").exists() or (site / "repro" / "cli").is_dir()
    return folder / "bin" / "repro"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home") / "an empty folder, ein Verzeichnis für 少数ショット"
    folder.mkdir()
    return folder


def run(command: Path, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [command, *words], capture_output=True, text=True, cwd=home, check=False,
        env={**kept, "REPRO_CACHE": str(home / "cache"), "COLUMNS": "120", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_the_wheel_is_named_for_the_index_and_holds_its_own_code(wheel: Path, fresh: Path) -> None:
    assert wheel.name.startswith("repro_fewshot-")
    asked = "import repro; print(repro.__file__)"
    found = subprocess.run([fresh.with_name("python"), "-I", "-c", asked], capture_output=True,
                           text=True, check=True)  # fmt: skip
    assert Path(found.stdout).is_relative_to(fresh.parents[1])


def test_the_main_job_runs_from_the_wheel_alone(fresh: Path, home: Path) -> None:
    done = run(fresh, home, "reproduce", "--shots", "1", "--budget", TINY, "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert "Meta-Learner LSTM" in done.stdout
    assert len(list((home / "runs/glyphs").rglob("record.json"))) == 5
    assert (home / "runs/glyphs/figures/table1.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "words",
    [
        ("table",), ("check",), ("compare", "finetune", "nearest_neighbor"), ("data", "list"),
        ("episodes", "verify", "glyphs"), ("report", "--output", "the report.html"),
        ("plot-gates",), ("power", "finetune", "nearest_neighbor"), ("method", "list"), ("doctor",),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_every_reading_command_works_from_the_wheel_alone(
    fresh: Path, home: Path, words: tuple[str, ...]
) -> None:
    done = run(fresh, home, *words)
    assert done.returncode == 0, done.stderr


def test_without_a_checkout_one_sentence_says_where_the_published_records_are(
    fresh: Path, home: Path
) -> None:
    for words in (("table", "--dataset", "mini-imagenet"), ("table", "--from", "results"),
                  ("check", "--pinned")):  # fmt: skip
        refused = run(fresh, home, *words)
        assert refused.returncode == 1, refused.stdout
        assert "published records lie in the folder results of a checkout" in refused.stderr
        assert refused.stderr.count("\n") == 1
    published = str(ROOT / "results")
    shown = run(fresh, home, "table", "--dataset", "mini-imagenet", "--runs", published)
    assert "60.60 ± 0.71" in shown.stdout, shown.stderr
