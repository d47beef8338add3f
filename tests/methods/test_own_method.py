"""A method of another package: installed by pip, then run through every command."""

import json
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner, Result

from repro import records
from repro.analysis.table import table1
from repro.cli.main import cli
from repro.system.progress import ConsoleReporter
from tests.analysis.analysis_doubles import reseal
from tests.installing import install

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "own-method"
N_STEP = 300  # enough for a stop that is asked for at the first report
BUDGET = ("--budget", "smoke,n_test_episode=8,n_validation_episode=3,validate_every=100,"
          f"pretrain=3,class_means={N_STEP}")  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(EXAMPLE, tmp_path_factory.mktemp("own-method"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One folder for all that follows, in which the commands are run."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("os.cpu_count", lambda: 1)  # one thread is enough, here and beside others
        yield folder


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(site)
    yield
    sys.modules.pop("class_means", None)


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def test_the_example_has_at_most_forty_lines() -> None:
    assert len((EXAMPLE / "class_means.py").read_text().splitlines()) <= 40


def test_the_manual_shows_the_example() -> None:
    page = (EXAMPLE.parents[1] / "docs" / "method.md").read_text()
    assert (EXAMPLE / "class_means.py").read_text() in page
    entry = (EXAMPLE / "pyproject.toml").read_text().splitlines()[5:7]
    assert "\n".join(entry) in page
    assert "code is run with your rights" in " ".join(page.split())


@pytest.mark.usefixtures("installed")
def test_an_installed_method_is_listed_and_keeps_to_the_protocol() -> None:
    listed = run("method", "list").stdout
    assert "class_means: Class means, not in the paper, from class_means:ClassMeans" in listed
    assert "repro-class-means 1.0" in listed
    assert "meta_lstm: Meta-Learner LSTM, built in" in listed
    checked = run("method", "check", "class_means").stdout
    assert checked.count("\nok ") == 16
    assert "FAILED" not in checked


@pytest.fixture(scope="module")
def recorded(site: Path, home: Path) -> Path:
    """The runs of the method and a baseline; the method's 5-shot training was stopped once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)

        def stopped(self: ConsoleReporter, task: str, *words: Any) -> None:
            if task.startswith("train class_means"):
                signal.raise_signal(signal.SIGINT)

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(ConsoleReporter, "report", stopped)
            cut = run("train", "class_means", "--k-shot", "5", *BUDGET, code=130)
        assert "stopped; finished cells and checkpoints are saved" in cut.output
        assert "error" not in cut.output
        assert "class_means" not in sys.modules  # its code runs elsewhere
        again = run("train", "class_means", "--k-shot", "5", *BUDGET)
        assert "continuing from step " in again.output
        run("reproduce", "--methods", "nearest_neighbor,class_means", "--jobs", "1", *BUDGET)
        run("evaluate", "class_means", "--k-shot", "5", *BUDGET, "--runs", "whole")
    sys.modules.pop("class_means", None)
    return home / "runs"


def test_an_interrupted_training_ends_with_the_same_bits(recorded: Path) -> None:
    found = [
        next(root.glob("glyphs/class_means/5-shot/*/*/")) for root in (recorded, Path("whole"))
    ]
    cut, whole = map(records.read_record, found)
    assert cut.digests == whole.digests
    np.testing.assert_array_equal(cut.accuracy, whole.accuracy)
    for name in ("metrics.jsonl", "predictions.npy", "model.safetensors"):
        assert (found[0] / name).read_bytes() == (found[1] / name).read_bytes(), name


def test_a_record_says_where_the_method_is_from_and_nothing_of_this_machine(
    recorded: Path, site: Path
) -> None:
    (path,) = recorded.glob("glyphs/class_means/1-shot/*/*/record.json")
    content = json.loads(path.read_text())
    source = content["config"]["row"]["source"]
    assert source["target"] == "class_means:ClassMeans"
    assert source["package"] == "repro-class-means 1.0"
    assert str(site.parent) not in path.read_text()


def test_every_format_of_the_table_has_the_row(recorded: Path) -> None:
    """Without the package, as on a machine that never had it."""
    assert recorded.exists()
    text = run("table").stdout
    assert "Class means (not in the paper)" in text
    told = "Not in the paper, so with neither a reported number nor a verdict: Class means ("
    assert f"{told}class_means:ClassMeans of repro-class-means 1.0" in " ".join(text.split())
    listed = json.loads(run("table", "--format", "json").stdout)
    schema = json.loads((Path(table1.__file__).parent / "table.schema.json").read_text())
    jsonschema.validate(listed, schema)
    row = listed[-1]
    assert (row["method"], row["title"], row["in_paper"]) == ("class_means", "Class means", False)
    assert (row["reported_mean"], row["verdict"], row["n_step"]) == (None, "", N_STEP)
    assert (
        "| Class means (not in the paper) | 5-shot |  | "
        in run("table", "--format", "markdown").stdout
    )
    assert run("table", "--format", "csv").stdout.count("class_means,Class means,False") == 2
    latex = run("table", "--format", "latex").stdout
    assert r"\multicolumn{5}{l}{not in the paper} \\" in latex
    assert "Class means &  & $" in latex


def test_comparisons_checks_report_and_figures_have_the_row(recorded: Path) -> None:
    assert "nearest_neighbor − class_means" in run("compare").stdout
    assert (
        "class_means − nearest_neighbor" in run("compare", "class_means", "nearest_neighbor").stdout
    )
    assert (
        "did you mean 'class_means'"
        in run("compare", "class_mean", "nearest_neighbor", code=2).stderr
    )
    assert "Class means" not in run("power", "--dataset", "glyphs").stdout
    assert "Class means               5-shot  measured" in run("check").stdout
    run("report", "--output", "report.html")
    page = Path("report.html").read_text()
    assert 'data-cell="class_means-5"' in page
    for command, name in (("plot-table", "table1"), ("plot-curves", "training_curves")):
        run(command, "--output", "drawn")
        assert (Path("drawn") / f"{name}.png").stat().st_size > 10_000


def test_a_record_is_verified_with_the_package_and_published_without(
    recorded: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = recorded.glob("glyphs/class_means/5-shot/*/*/record.json")
    refused = run("verify", str(path.parent), code=1).stderr
    assert "class_means:ClassMeans of repro-class-means 1.0" in refused
    assert "is not here; install repro-class-means 1.0" in refused
    for record in recorded.rglob("record.json"):
        reseal(record.parent, dirty=False)  # whatever is not committed here
    run("publish")
    assert list(Path("results").rglob("class_means/5-shot/*/*/record.json"))
    monkeypatch.syspath_prepend(site)
    assert "ok: 0 of 8 episodes differ" in run("verify", str(path.parent)).stdout
    sys.modules.pop("class_means", None)
    other = site.parent / "changed"
    shutil.copytree(site, other, ignore=shutil.ignore_patterns("__pycache__"))
    source = (other / "class_means.py").read_text()
    (other / "class_means.py").write_text(source.replace("lr=1e-3", "lr=2e-3"))
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(site)])
    monkeypatch.syspath_prepend(other)
    assert "with that source" in run("verify", str(path.parent), code=1).stderr
    sys.modules.pop("class_means", None)


def test_a_file_is_a_method_too_in_workers_of_their_own(home: Path) -> None:
    """Side by side in processes, with steps set, and verified by its file."""
    own = f"{EXAMPLE / 'class_means.py'}:ClassMeans"
    run("reproduce", "--methods", "class_means", "--method", own, "--runs", "files", "--budget",
        "smoke,n_test_episode=5,n_validation_episode=3,class_means=2", "--shots", "5",
        "--jobs", "2")  # fmt: skip
    found = list((home / "files").rglob("record.json"))
    assert len(found) == 1
    text = found[0].read_text()
    assert str(EXAMPLE) not in text
    assert '"target": "class_means.py:ClassMeans"' in text
    refused = run("verify", str(found[0].parent), code=1).stderr
    assert "name its file with --method path/to/class_means.py:ClassMeans" in refused
    assert "ok: 0 of 5" in run("verify", str(found[0].parent), "--method", own).stdout
