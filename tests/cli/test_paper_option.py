"""``--paper``: every command that reads a table reads that of the paper named."""

import html
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from repro import check, reproduce, results, table1
from repro.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
READ = ["--from", "results", "--dataset", "mini-imagenet"]


def run(*words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(cli, list(words))
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


@pytest.fixture(autouse=True)
def checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_table_and_check_hold_records_against_the_paper_named() -> None:
    shown = run("table", *READ, "--paper", "finn2017").stdout
    assert shown.startswith("Table 1 of Finn et al. 2017, MAML on mini-imagenet")
    assert "meta-learner LSTM" in shown and "63.11 ± 0.92" in shown
    told = run("check", *READ, "--paper", "snell2017").stdout
    assert "Prototypical Networks     5-shot  not run, reported 68.20 ± 0.66" in told
    # Held against the numbers of the row that Snell et al. copied, not of the one they name.
    finetune = results("results", dataset="mini-imagenet")["finetune", 1].accuracy.mean()
    assert f"Baseline Nearest Neighbors 1-shot  measured {100 * finetune:.2f}" in told
    assert "Not in the paper" not in run("table", *READ, "--paper", "ravi2017", "--format",
                                         "json").stdout  # fmt: skip


def test_a_row_that_the_paper_lacks_is_held_against_its_own_paper() -> None:
    listed = json.loads(run("table", *READ, "--paper", "snell2017", "--format", "json").stdout)
    (found,) = (c for c in listed if (c["method"], c["k_shot"]) == ("nearest_neighbor", 5))
    assert not found["in_paper"]
    assert found["reported_source"] == "Ravi & Larochelle 2017, Table 1"
    assert found["reported_mean"] == 0.5104


def test_the_default_is_the_first_paper() -> None:
    assert run("table", *READ).stdout == run("table", *READ, "--paper", "ravi2017").stdout


def test_report_and_power_name_the_paper(tmp_path: Path) -> None:
    for style, file in (("html", "r.html"), ("mlrc", "r.md")):
        path = str(tmp_path / file)
        run("report", *READ, "--paper", "snell2017", "--format", style, "--output", path)
        page = html.unescape(Path(path).read_text())
        assert "Snell, Swersky" in page and "Prototypical Networks for Few-shot Learning" in page
        assert "Ravi & Larochelle, " not in page and "the paper's Table 2" in page
    told = run("power", *READ, "--paper", "snell2017").stdout
    (line,) = [line for line in told.splitlines() if "Prototypical Networks 1-shot" in line]
    assert line.split()[3:5] == ["600", "9.7*"]


def test_python_takes_the_same_names() -> None:
    published = results("results", dataset="mini-imagenet")
    assert table1(published, paper="finn2017").title.startswith("Table 1 of Finn et al. 2017")
    assert any("matching nets" in line for line in check(published, paper="finn2017").lines)


def test_a_wrong_paper_is_one_sentence() -> None:
    for command in ("table", "check", "power", "report", "reproduce", "ablate"):
        done = run(command, "--paper", "fin2017", code=2)
        assert "did you mean 'finn2017'?" in done.stderr and done.stderr.count("\n") == 1


def test_a_method_that_only_a_file_has_is_asked_for(tmp_path: Path) -> None:
    done = run("reproduce", "--paper", "examples/own-paper", "--runs", str(tmp_path), code=2)
    assert "names and that is not installed is given with --method FILE.py:CLASS" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_table_without_a_method_cannot_be_reproduced(tmp_path: Path) -> None:
    text = Path("examples/own-paper/paper.toml").read_text()
    for method in ("nearest_neighbor", "class_means"):
        text = text.replace(f'method = "{method}"', 'why = "nobody has it"')
    (tmp_path / "paper.toml").write_text(text)
    done = run("reproduce", "--paper", str(tmp_path), "--runs", str(tmp_path / "runs"), code=2)
    assert "no row of Table 3 of Nobody & Noone 2026 has a method" in done.stderr


def test_reproduce_in_python_runs_the_rows_of_the_paper(tmp_path: Path) -> None:
    text = Path("examples/own-paper/paper.toml").read_text()
    file = tmp_path / "paper.toml"
    file.write_text(text.replace('method = "class_means"', 'why = "nobody has it"'))
    budget = "smoke,n_test_episode=2,n_validation_episode=2,pretrain=2,validate_every=2"
    runs = {"runs": tmp_path / "runs", "progress": False}
    made = reproduce("glyphs", budget, paper=str(file), **runs)  # type: ignore[arg-type]
    assert [(r.method, r.k_shot) for r in made] == [("nearest_neighbor", k) for k in (1, 5)]
    assert "Table 3 of Nobody & Noone 2026" in table1(made, paper=str(file)).title
