"""What a user's mistake gets: one sentence, the right exit code, no traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from repro.cli.main import cli


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def invoke(*words: str) -> Result:
    result = CliRunner().invoke(cli, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("reprodce",), 2, "did you mean 'reproduce'"),
        (("reproduce", "--dataset", "glyph"), 2, "did you mean 'glyphs'"),
        (("reproduce", "--recipe", "papr"), 2, "did you mean 'paper'"),
        (("reproduce", "--budget", "huge"), 2, "unknown budget"),
        (("reproduce", "--shots", "one"), 2, "whole numbers"),
        (("reproduce", "--dataset", "mini-imagenet", "--data", "gone"), 1, "nothing is at gone"),
        (("reproduce", "--dataset", "mini-imagenet"), 1, "--data PATH"),
        (("data", "check", "gone"), 1, "nothing is at gone"),
        (("data", "fetch", "glyphs"), 2, "unknown dataset that can be fetched"),
        (("reproduce", "--dataset", "folder"), 1, "--data PATH"),
        (("reproduce", "--dataset", "folder", "--data", "gone"), 1, "no folder gone"),
        (("reproduce", "--dataset", "cifarfs"), 2, "did you mean 'cifar-fs'"),
        (("train", "meta_lstm", "--image-size", "64"), 2, "--image-size does not apply to glyphs"),
        (("evaluate", "finetune", "--split-seed", "-1"), 2, "is not in the range"),
        (("table", "--dataset", "glyphs"), 1, "no records of glyphs"),
        (("check", "--pinned"), 1, "--pinned needs published records"),
        (("plot-gates",), 1, "no records"),
        (("publish",), 1, "no finished runs"),
        (("restore",), 1, "no unfinished trainings"),
        (("verify", "gone"), 1, "no record.json in or under gone"),
        (("reproduce", "--seeds", "0"), 2, "0 is not in the range x>=1"),
        (("reproduce", "--jobs", "many"), 2, "whole numbers"),
        (("train", "meta_lstm", "--k-shot", "0"), 2, "0 is not in the range x>=1"),
        (("train", "meta_lstm", "--threads", "0"), 2, "0 is not in the range x>=1"),
        (("evaluate", "meta_lstm", "--unfinished", "--budget", "smoke"), 1, "no checkpoint"),
        (("train", "meta_lstm", "--log-file", "."), 2, "is a directory"),
        (("train", "meta_lstm", "--device", "tpu"), 2, "'tpu' is not one of"),
        (("train", "meta_lstm", "--jobs", "2"), 2, "No such option"),
        (("episodes", "write", "glyphs", "--n", "0", "--output", "x"), 2, "not in the range"),
        (("episodes", "write", "glyphs", "--seed", "-5", "--output", "x"), 2, "not in the range"),
    ],
)
def test_a_mistake_gets_one_sentence_and_its_exit_code(
    words: tuple[str, ...], code: int, said: str
) -> None:
    result = invoke(*words)
    assert result.exit_code == code, result.output
    assert said in result.output
    assert "Traceback" not in result.output
    assert not list(Path().rglob("record.json"))


@pytest.mark.parametrize(
    "words", [(), ("data",), ("episodes",), ("train",), ("evaluate",), ("reproduce",), ("table",),
              ("check",), ("publish",), ("restore",), ("verify",), ("plot-gates",),
              ("plot-curves",), ("plot-distributions",), ("plot-differences",), ("doctor",),
              ("data", "prepare"), ("data", "fetch")],
)  # fmt: skip
def test_help_fits_a_screen_and_has_an_example(words: tuple[str, ...]) -> None:
    result = invoke(*words, "--help")
    assert result.exit_code == 0
    longer = {("reproduce",): 60, ("evaluate",): 52}  # an option each for what can be asked for
    assert len(result.output.splitlines()) <= longer.get(words, 42)
    assert "Example: repro" in result.output


def _start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "repro", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path.cwd(),
    )  # fmt: skip


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_stopped_run_saves_its_checkpoint_and_says_so(
    number: signal.Signals, code: int, jobs: str
) -> None:
    with _start(
        "reproduce", "--methods", "nearest_neighbor", "--shots", "1,5", "--jobs", jobs,
        "--budget", "smoke,pretrain=100000",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("train pretrain"):
                break
        process.send_signal(number)
        said = process.stdout.read()
    assert process.wait(60) == code, said
    assert "run the same command to continue" in said
    assert "Traceback" not in said
    assert len(list(Path().rglob("checkpoint-*.safetensors"))) == 1
    assert not list(Path().rglob("record.json"))


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_second_ctrl_c_stops_at_once(jobs: str) -> None:
    # Validation on 30,000 episodes: no safe point comes by itself.
    budget = "smoke,pretrain=100000,validate_every=1,n_validation_episode=30000"
    with _start(
        "reproduce", "--methods", "nearest_neighbor", "--shots", "1,5", "--jobs", jobs,
        "--budget", budget,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 60
        while not list(Path().rglob("metrics.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stdout is not None
        assert "stopped at once" in process.stdout.read()


HANG_UP = """
import os, pty, signal, sys, time
pid, terminal = pty.fork()
if pid == 0:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
    os.execv(sys.executable, [sys.executable, "-m", "repro", *sys.argv[2:]])
print(pid, flush=True)
for _ in range(600):
    time.sleep(0.1)
    if os.path.exists(sys.argv[1]):
        break
os.close(terminal)
"""


@pytest.mark.parametrize("log", [True, False])
def test_a_terminal_that_goes_away_ends_only_runs_without_a_log(log: bool) -> None:
    runs = Path("runs")
    words = ["train", "nearest_neighbor", "--budget", "smoke,pretrain=100000"]
    words += ["--log-file", "train.log"] if log else []
    done = subprocess.run(
        [sys.executable, "-c", HANG_UP, str(runs), *words], stdout=subprocess.PIPE, text=True,
        check=True,
    )  # fmt: skip
    pid = int(done.stdout)
    try:
        time.sleep(3)
        assert _alive(pid) == log
        if log:
            deadline = time.monotonic() + 60
            written = Path("train.log")
            while "train pretrain" not in written.read_text() and time.monotonic() < deadline:
                time.sleep(0.2)
            os.kill(pid, signal.SIGTERM)
            while _alive(pid) and time.monotonic() < deadline:
                time.sleep(0.2)
            assert "run the same command to continue" in written.read_text()
    finally:  # a test that fails leaves no training behind
        if _alive(pid):
            os.kill(pid, signal.SIGKILL)


def _alive(pid: int) -> bool:
    """Whether a process that is not our child runs (a zombie that waits for init does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_folder_that_cannot_be_written_is_one_sentence() -> None:
    Path("runs").write_text("a file, not a folder")
    result = invoke("evaluate", "nearest_neighbor", "--recipe",
                    "authors-code,neighbor_features=pixels", "--budget", "smoke")  # fmt: skip
    assert result.exit_code == 1
    assert "Not a directory" in result.output
