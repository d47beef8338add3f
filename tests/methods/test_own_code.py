"""One's own code runs in a process of its own: what it changes, and how it ends, stays there."""

import json
import signal
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from repro.cli.main import cli
from repro.methods.guard import explained
from repro.methods.registry import find
from repro.records import read_record
from repro.system import processes
from repro.system.errors import MethodError, UsageError
from repro.system.interrupts import stop_requests
from tests.methods.test_registry import CHANCE

BUDGET = ("--budget", "smoke,n_test_episode=5,n_validation_episode=2,pretrain=2,validate_every=2")
LEAVES = """
import os, signal, sys, torch
torch.backends.mkldnn.enabled = False
torch.set_default_dtype(torch.float64)
import repro.run.evaluation
repro.run.evaluation._labels = lambda found, episode, task: episode.query_labels.astype("uint8")
class Own:
    def __init__(self, setting): torch.set_grad_enabled(False)
    def predict(self, episode, images):
        if episode.index == 3: self.end()
        return torch.full((len(episode.query), 5), 0.2).log()
    def end(self): END
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    return tmp_path


def run(*words: str) -> Result:
    result = CliRunner().invoke(cli, words)
    assert "Traceback" not in result.output
    return result


def reproduced(methods: str, runs: str, jobs: str = "1") -> Result:
    return run("reproduce", "--methods", methods, "--shots", "1", "--jobs", jobs, "--runs", runs,
               *BUDGET)  # fmt: skip


def only(runs: str, method: str) -> Path:
    (found,) = Path(runs).glob(f"glyphs/{method}/1-shot/seed-0/*/record.json")
    return found.parent


def test_a_method_that_changes_torch_and_repro_leaves_the_rows_after_it_alone() -> None:
    Path("own.py").write_text(LEAVES.replace("END", "pass"))
    before = torch.get_default_dtype(), torch.backends.mkldnn.enabled
    assert reproduced("nearest_neighbor", "alone").exit_code == 0
    assert reproduced("own.py:Own,nearest_neighbor", "both").exit_code == 0
    alone, both = (read_record(only(runs, "nearest_neighbor")) for runs in ("alone", "both"))
    assert alone.digests == both.digests
    now = torch.get_default_dtype(), torch.backends.mkldnn.enabled
    assert now == before
    assert read_record(only("both", "own")).accuracy.mean() == 1.0  # it cheats, for itself


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("sys.exit(0)", "raised SystemExit: 0 in predict at episode 3"),
        ("os._exit(0)", "its process ended with exit code 0"),
        ("raise KeyboardInterrupt", "raised KeyboardInterrupt in predict at episode 3"),
        ("raise GeneratorExit", "raised GeneratorExit in predict at episode 3"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "its process was ended by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "its process was ended by SIGKILL"),
    ],
)
def test_a_method_that_ends_its_process_is_named_and_the_next_row_is_run(
    end: str, said: str, jobs: str
) -> None:
    Path("own.py").write_text(LEAVES.replace("END", end))
    Path("next.py").write_text(CHANCE)
    result = reproduced("own.py:Own,next.py:MyChance", "runs", jobs)
    assert result.exit_code == 1
    assert "error: own 1-shot seed 0: " in result.output
    assert said in result.output
    assert "own 1-shot seed 0" in result.output  # method, shot and seed
    assert read_record(only("runs", "my_chance")).n_episode == 5
    assert not list(Path("runs").glob("glyphs/own/*/*/*/record.json"))


@pytest.mark.parametrize("end", ["sys.exit(0)", "os._exit(0)", "raise KeyboardInterrupt"])
def test_a_module_that_ends_the_process_when_it_is_loaded_is_no_success(end: str) -> None:
    Path("own.py").write_text(f"import os, sys\n{end}\n")
    for words in (("reproduce", "--methods"), ("method", "check"), ("train",), ("evaluate",)):
        result = run(*words, "own.py:Own")
        assert result.exit_code == 1, words
        assert "own.py:Own" in result.output


def test_training_and_verifying_run_in_a_process_of_their_own_too() -> None:
    learning = (
        "    def train_step(self, images, step):\n"
        "        from repro.methods.base import StepResult\n"
        "        if step == 1: sys.exit(0)\n"
        "        return StepResult(1.0, 0.2)\n"
        "    def state(self): return {'x': torch.zeros(1)}\n"
        "    def load_state(self, state): pass\n"
    )
    Path("own.py").write_text(LEAVES.replace("END", "pass") + learning)
    dtype = torch.get_default_dtype()
    result = run("train", "own.py:Own", "--k-shot", "1", *BUDGET)
    assert result.exit_code == 1
    assert "train own 1-shot seed 0: the method own raised SystemExit: 0 in train_step" in (
        result.output
    )
    Path("own.py").write_text(LEAVES.replace("END", "pass"))
    assert run("evaluate", "own.py:Own", "--k-shot", "1", *BUDGET).exit_code == 0
    verified = run("verify", str(only("runs", "own")), "--method", "own.py:Own")
    assert "ok: 0 of 5 episodes differ" in verified.output
    assert torch.get_default_dtype() == dtype


def test_untrained_rows_alone_end_with_success_and_show_only_what_was_planned() -> None:
    Path("own.py").write_text(CHANCE)
    result = reproduced("own.py:MyChance", "runs")
    assert result.exit_code == 0, result.output
    assert "20.00" in result.stdout
    more = run("reproduce", "--methods", "own.py:MyChance", "--shots", "1", "--runs", "runs",
               "--budget", "smoke,n_test_episode=7")  # fmt: skip
    assert " 7 " in more.stdout
    again = reproduced("own.py:MyChance", "runs")  # finished, and not the largest
    assert " 5 " in again.stdout and " 7 " not in again.stdout


def test_evaluate_of_a_finished_cell_prints_its_result() -> None:
    Path("own.py").write_text(CHANCE)
    for _ in range(2):
        said = run("evaluate", "own.py:MyChance", "--k-shot", "1", *BUDGET).stdout
        assert "My chance 1-shot, seed 0, budget smoke-custom: 20.00 ± 0.00 % over 5 epis" in said


def test_a_helper_module_and_a_named_file_are_in_the_digest(home: Path) -> None:
    (home / "own.py").write_text(
        "from helper import VALUE\n" + CHANCE.replace("def __init__", "files = ['table.csv']\n"
                                                      "    def __init__")
    )  # fmt: skip
    (home / "table.csv").write_text("1")

    def digest(helper: str, table: str, deeper: str = "x = 1") -> str:
        (home / "helper.py").write_text(f"{helper}\ndef late():\n    import deeper\n")
        (home / "deeper.py").write_text(deeper)
        (home / "table.csv").write_text(table)
        source = processes.call(find, "own.py:MyChance", who="test").source
        assert source is not None
        return source.digest

    first = digest("VALUE = 1", "1")
    others = [digest("VALUE = 2", "1"), digest("VALUE = 1", "2"), digest("VALUE = 1", "1", "x = 2")]
    assert len({first, *others}) == 4
    assert digest("VALUE = 1", "1") == first
    (home / "table.csv").unlink()
    with pytest.raises(MethodError, match=r"names the file table\.csv"):
        processes.call(find, "own.py:MyChance", who="test")


def test_errors_of_the_other_process_keep_their_class_and_code() -> None:
    with pytest.raises(UsageError, match="unknown method 'nobody'"):
        processes.call(find, "nobody", who="test")
    with pytest.raises(MethodError, match="somebody: its process ended with exit code 3"):
        processes.call(_leave, who="somebody")


def _leave() -> None:
    import os

    os._exit(3)


def test_a_method_on_the_shared_features_sees_the_meta_train_images() -> None:
    Path("own.py").write_text(
        "import torch\n"
        "class Centred:\n"
        "    training = 'pretrain'\n"
        "    def __init__(self, setting): self.setting = setting\n"
        "    def load_state(self, state): self.body = state['params']\n"
        "    def fit(self, images):\n"
        "        assert images.split.split == 'train' and self.body is not None\n"
        "        self.n = len(images.split.images)\n"
        "    def predict(self, episode, images):\n"
        "        assert self.n > 100 and self.setting.n_step == 2\n"
        "        return torch.full((len(episode.query), 5), 0.2).log()\n"
    )
    assert run("evaluate", "own.py:Centred", "--k-shot", "1", *BUDGET).exit_code == 0
    verified = run("verify", str(only("runs", "centred")), "--method", "own.py:Centred")
    assert "ok: 0 of 5" in verified.output
    content = json.loads((only("runs", "centred") / "record.json").read_text())
    assert content["repro"]["version"] and len(content["repro"]["source"]) == 64


def test_a_second_ctrl_c_in_a_method_is_the_users_and_not_the_methods() -> None:
    with stop_requests(), pytest.raises(KeyboardInterrupt), explained("own", "predict"):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    said = "own raised KeyboardInterrupt in predict"
    with pytest.raises(MethodError, match=said), explained("own", "predict"):
        raise KeyboardInterrupt
