"""A data set of another package: installed by pip, found by its entry point, run like any other."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import repro
from repro.data import preparing
from repro.data.dataset import Selection
from repro.system import storage
from repro.system.errors import DataError
from tests.installing import install

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plug-in"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(EXAMPLE, tmp_path_factory.mktemp("plug-in"))


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    def call(*words: str, site: Path = installed) -> subprocess.CompletedProcess[str]:
        home = str(Path(repro.__file__).parents[1])
        paths = {"PYTHONPATH": os.pathsep.join([str(site), home])}
        return subprocess.run(
            [sys.executable, "-m", "repro", *words], capture_output=True, text=True, cwd=tmp_path,
            env={**os.environ, **paths, "REPRO_CACHE": str(tmp_path / "cache")}, check=False,
        )  # fmt: skip

    return call


def test_the_example_has_fewer_than_forty_lines() -> None:
    lines = [path.read_text().splitlines() for path in EXAMPLE.iterdir() if path.is_file()]
    assert sum(map(len, lines)) < 40


def test_the_manual_shows_the_example() -> None:
    page = (EXAMPLE.parents[1] / "docs" / "data.md").read_text()
    for name in ("stripes.py", "pyproject.toml"):
        assert (EXAMPLE / name).read_text() in page


def test_an_installed_data_set_is_listed_prepared_and_run(run: Run, tmp_path: Path) -> None:
    assert "stripes: not prepared yet" in run("data", "list").stdout
    done = run(
        "evaluate", "nearest_neighbor", "--dataset", "stripes", "--image-size", "20", "--budget",
        "smoke,n_test_episode=4", "--recipe", "authors-code,neighbor_features=pixels",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "runs/stripes").rglob("record.json")
    accuracy = storage.read_json(record)["accuracy"]
    assert len(accuracy) == 4
    assert min(accuracy) > 0.3  # near stripes are near in angle
    assert "500 images of 20 px" in run("data", "list").stdout
    refused = run("data", "prepare", "stripes", "--split", "0.5/0.2/0.3")
    assert refused.returncode == 2
    assert "--split does not apply to stripes, which has only --image-size" in refused.stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("import numpy", "import nowhere.numpy", "cannot be loaded (No module named 'nowhere')"),
        ("build_pack(self.name", "build_pack('glyphs'", "it is a pack of glyphs"),
        *(
            pytest.param(old, new, said, marks=pytest.mark.slow)
            for old, new, said in (
                ('name = "stripes"', 'name = "lines"', "not a data set: it calls itself 'lines'"),
                ("accepts =", "takes =", "is not a data set: it has no accepts"),
                ("return build_pack", "build_pack", "prepared no usable pack"),
                ("(25,) * len", "(1,) * len", "every class needs at least 16 images"),
            )
        ),
    ],
)
def test_a_broken_data_set_is_one_sentence_and_others_still_work(
    run: Run, installed: Path, tmp_path: Path, old: str, new: str, said: str
) -> None:
    site = tmp_path / "site"
    shutil.copytree(installed, site, ignore=shutil.ignore_patterns("__pycache__"))
    source = (site / "stripes.py").read_text()
    assert old in source
    (site / "stripes.py").write_text(source.replace(old, new))
    failed = run("episodes", "write", "stripes", "--output", "x", site=site)
    assert failed.returncode == 1
    assert said in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert run("data", "list", site=site).returncode == 0


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("import sys; sys.exit(0)", "prepare raised SystemExit: 0"),
        ("import os; os._exit(0)", "its process ended with exit code 0 before it was done"),
        ("import os; os.kill(os.getpid(), 9)", "its process was ended by SIGKILL"),
        ("raise GeneratorExit", "prepare raised GeneratorExit"),
    ],
)
def test_a_data_set_that_ends_its_process_is_an_error_that_names_it(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, said: str
) -> None:
    site = ending(installed, tmp_path, end)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=re.escape(said)):
        preparing.prepare("stripes", None)
    assert not list((tmp_path / "packs").glob("stripes-*"))


@pytest.mark.slow
def test_prepare_and_reproduce_fail_where_a_data_set_exits_with_0(
    run: Run, installed: Path, tmp_path: Path
) -> None:
    site = ending(installed, tmp_path, "import os; os._exit(0)")
    for words in (
        ("data", "prepare", "stripes"),
        ("reproduce", "--dataset", "stripes", "--methods", "nearest_neighbor", "--budget", "smoke"),
    ):
        failed = run(*words, site=site)
        assert failed.returncode == 1, failed.stderr
        assert failed.stderr.startswith("error: the data set stripes: its process ended")


def ending(installed: Path, tmp_path: Path, end: str) -> Path:
    """Install the example again, with a ``prepare`` that ends otherwise."""
    site = tmp_path / "site"
    shutil.copytree(installed, site, ignore=shutil.ignore_patterns("__pycache__"))
    source = (site / "stripes.py").read_text()
    (site / "stripes.py").write_text(source.replace("return build_pack", f"{end}; build_pack"))
    return site


def test_the_code_of_a_data_set_changes_nothing_in_the_process_that_asks(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(installed)
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path))
    pack = preparing.prepare("stripes", None, selection=Selection(image_size=20))
    assert pack.parent == tmp_path / "packs"
    assert "stripes" not in sys.modules


@pytest.mark.slow
def test_an_installed_data_set_with_a_built_in_name_is_named_and_not_used(
    run: Run, installed: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    shutil.copytree(installed, site)
    (entries,) = site.glob("*.dist-info/entry_points.txt")
    entries.write_text(entries.read_text().replace("stripes =", "glyphs ="))
    said = "the installed data set glyphs (stripes:Stripes) is not used"
    assert said in run("data", "list", site=site).stdout
    done = run("data", "prepare", "glyphs", site=site)
    assert done.returncode == 0
    assert said in done.stderr
