"""Options of ``repro reproduce`` from a file: what is taken, what wins, what is refused."""

import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from repro.cli.config_file import COMMAND_LINE_ONLY, _by_key, read
from repro.cli.main import cli
from repro.cli.run import reproduce
from repro.records import read_records

TINY = "smoke,n_test_episode=4,n_validation_episode=2,validate_every=2,pretrain=2"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    return tmp_path


def run(*words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(cli, ["reproduce", *words])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


def written(text: str) -> str:
    Path("run.toml").write_text(text, encoding="utf-8")
    return "run.toml"


def values(*words: str) -> dict[str, Any]:
    """What the command would be called with."""
    with reproduce.make_context("reproduce", list(words)) as ctx:
        return ctx.params


def test_a_file_and_the_same_words_run_the_same_cell(home: Path) -> None:
    path = written(f'budget = "{TINY}"\nmethods = ["nearest_neighbor"]\nshots = [1]\nseed = 3\n')
    run("--config", path, "--runs", "ours")
    run("--budget", TINY, "--methods", "nearest_neighbor", "--shots", "1", "--seed", "3",
        "--runs", "theirs")  # fmt: skip
    ours, theirs = (read_records(home / name, "glyphs") for name in ("ours", "theirs"))
    assert [r.digests for r in ours] == [r.digests for r in theirs]
    assert [r.seed for r in ours] == [3]


def test_every_option_has_a_key_and_the_values_of_words() -> None:
    texts = {
        "dataset": '"folder"', "data": '"a b"', "budget": '"smoke"', "recipe": '"port"',
        "seed": "2", "seeds": "3", "precision": '"fp32"', "device": '"cpu"', "jobs": "4",
        "kernels": '"torch"', "debug": "false", "milestones": "[5, 10]", "force": "true",
        "runs": '"r"', "take-over": "true", "split": '"1/1/1"', "split-seed": "1",
        "split-file": '"s.csv"', "image-size": "32", "methods": '["paper", "maml"]',
        "shots": "[1, 5]", "engine": '"local"', "cpus-per-cell": "2", "gpus-per-cell": "0.5",
        "log-file": '"run.log"', "paper": '"snell2017"', "features": '["a", "b=c.npz"]',
        "backbone": '["pixels"]', "weights": '"w.pth"', "input-size": "32", "n-way": "20",
        "n-query": "5", "test-dataset": '"folder"', "test-data": '"birds"',
    }  # fmt: skip
    assert {*texts, *COMMAND_LINE_ONLY, "slurm"} == set(_by_key(reproduce))
    text = "\n".join(f"{key} = {value}" for key, value in texts.items() if key != "log-file")
    words = []
    for key, value in tomllib.loads(text).items():
        if value is not False:
            joined = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            words += [f"--{key}"] if value is True else [f"--{key}", joined]
    assert values("--config", written(text)) == values(*words)


def test_what_slurm_is_asked_for_is_a_table(home: Path) -> None:
    path = written('seed = 1\n[slurm]\npartition = "gpu"\ntime = 600\n')
    words = ("--seed", "1", "--slurm", "partition=gpu", "--slurm", "time=600")
    assert values("--config", path) == values(*words)
    run(*words, "--save-config", "saved.toml")
    assert values("--config", "saved.toml") == values(*words)


def test_the_command_line_wins() -> None:
    path = written("seed = 2\nforce = true\nshots = [1]\n")
    found = values("--seed", "7", "--config", path)
    assert (found["seed"], found["force"], found["shots"]) == (7, True, "1")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('shotz = "1"', "unknown option 'shotz'; did you mean 'shots'?"),
        ("config = 'a'", "unknown option 'config'"),
        ("force = 1", "force is true or false, not 1"),
        ("dataset = true", "dataset is text or a number, not True"),
        ('dataset = ["a"]', "dataset is text or a number"),
        ("seed = {a = 1}", "seed is text or a number"),
        ('slurm = ["time=5"]', "slurm is a table of text and whole numbers"),
        ("[slurm]\ntime = 5\n", "--slurm KEY=VALUE is for --engine slurm only"),
        ('seed = "x"', "Invalid value for '--seed'"),
        ("=", "is not TOML"),
        ('method = "a.py:B"', "method belongs on the command line"),
        ('address = "host:1"', "address belongs on the command line"),
        ('methods = ["paper", "a.py:B"]', "give --methods on the command line"),
    ],
)
def test_a_mistake_in_a_file_gets_one_sentence(text: str, sentence: str, home: Path) -> None:
    assert sentence in run("--config", written(text), code=2).output
    assert sorted(p.name for p in home.iterdir()) == ["run.toml"]


def test_a_file_that_is_not_there_or_no_text_is_named(home: Path) -> None:
    assert "cannot be read" in run("--config", "no.toml", code=2).output
    (home / "run.toml").write_bytes(b"\xff\xfe")
    assert "is not TOML" in run("--config", "run.toml", code=2).output


def test_what_is_saved_is_read_as_the_same_call(home: Path) -> None:
    words = ["--budget", TINY, "--shots", "1", "--split", 'a"b\\ü\n', "--force", "--seed", "4"]
    told = run(*words, "--save-config", "run.toml").output
    assert "nothing was run" in told
    assert sorted(p.name for p in home.iterdir()) == ["run.toml"]
    assert values("--config", "run.toml") == values(*words)
    run("--config", "run.toml", "--seed", "5", "--save-config", "other.toml")
    assert read(Path("other.toml"), reproduce) == {
        **read(Path("run.toml"), reproduce),
        "seed": "5",
    }


def test_code_of_files_stays_on_the_command_line_that_is_told() -> None:
    told = run("--methods", "paper,a.py:B", "--method", "c.py:D", "--save-config", "run.toml")
    again = "repro reproduce --config run.toml --methods paper,a.py:B --method c.py:D"
    assert again in told.output.replace("cli reproduce", "repro reproduce")
    assert "a.py" not in Path("run.toml").read_text()


def test_a_file_that_is_there_is_left_as_it_is() -> None:
    written("seed = 1\n")
    assert "exists already" in run("--save-config", "run.toml", code=2).output
    assert Path("run.toml").read_text() == "seed = 1\n"


def test_a_wrong_value_is_not_saved() -> None:
    run("--seed", "x", "--save-config", "run.toml", code=2)
    assert not Path("run.toml").exists()


def test_the_example_of_the_manual_is_read() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/config-files.md").read_text()
    text = page.partition("```toml\n")[2].partition("```")[0]
    assert len(read(Path(written(text)), reproduce)) == text.count("=")
    assert isinstance(reproduce, click.Command)
