"""``--engine slurm``: jobs on submitit's own executors, and what a stand-in for sbatch gets."""

import dataclasses
import gc
import re
import stat
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from repro import records
from repro.cli.main import cli
from repro.engines.slurm import engine
from repro.engines.slurm.options import SlurmOptions
from repro.papers import config
from repro.papers.config import RunConfig
from repro.run.cell import plan, run_cell
from repro.run.context import RunContext
from repro.system.errors import Interrupted, UsageError
from repro.system.interrupts import StopRequest
from repro.system.progress import Silent
from tests.conftest import TINY

pytest.importorskip("submitit")
LOCAL = SlurmOptions({"time": 10}, "local")


def cells(pack: Path, methods: str = "nearest_neighbor", recipe: str = "authors-code",
          budget: config.Budget = TINY) -> list[RunConfig]:  # fmt: skip
    return plan("tiny", pack, methods.split(","), (1, 5), [0], config.recipe(recipe), budget,
                "fp32", "cpu")  # fmt: skip


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.mark.slow
def test_jobs_on_this_machine_give_the_records_of_the_local_engine(
    tiny_pack: Path, tmp_path: Path
) -> None:
    here = RunContext(tmp_path / "slurm", tiny_pack, 1, "cpu")
    asked = cells(tiny_pack)[1:]  # a training and a cell
    assert engine.run(asked, here, LOCAL, Silent(), StopRequest(), "repro test") == []
    for cell in asked:
        alone = RunContext(tmp_path / "local", tiny_pack, 1, "cpu")
        expected = run_cell(cell, alone, Silent(), StopRequest(), "repro test")
        found = records.read_record(records.cell_folder(tmp_path / "slurm", cell))
        assert found.digests["record"] == expected.digests["record"]
    # Finished cells are not submitted.
    submitted = sorted((tmp_path / "slurm" / engine.JOBS).iterdir())
    heard = Heard()
    assert engine.run(asked, here, LOCAL, heard, StopRequest(), "repro test") == []
    assert heard.said == ["all cells are finished; --force runs them again"]
    assert sorted((tmp_path / "slurm" / engine.JOBS).iterdir()) == submitted


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_submitits_debug_executor_runs_the_jobs_in_this_process(
    tiny_pack: Path, tmp_path: Path
) -> None:
    here = RunContext(tmp_path, tiny_pack, 1, "cpu")
    asked = cells(tiny_pack, recipe="authors-code,neighbor_features=pixels")
    debug = dataclasses.replace(LOCAL, cluster="debug")
    assert engine.run(asked, here, debug, Silent(), StopRequest(), "repro test") == []
    assert all(records.finished(records.cell_folder(tmp_path, cell), cell) for cell in asked)
    gc.collect()  # submitit leaves the logs open


@pytest.mark.slow
def test_a_failed_job_is_told_in_its_own_words_and_stops_no_other(
    tiny_pack: Path, tmp_path: Path
) -> None:
    one, five = cells(tiny_pack, recipe="authors-code,neighbor_features=pixels")
    here = RunContext(tmp_path, tiny_pack, 1, "cpu")
    folder = records.cell_folder(tmp_path, one)
    folder.parent.mkdir(parents=True)
    folder.write_text("a file in place of the folder")
    (found,) = engine.run([one, five], here, LOCAL, Silent(), StopRequest(), "repro test")
    assert found.task.startswith("nearest_neighbor 1-shot seed 0")
    assert "FileExistsError" in found.message and "\n" not in found.message
    assert records.finished(records.cell_folder(tmp_path, five), five)


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slurm's programs, which keep the scripts that they are given and run nothing."""
    folder = tmp_path / "bin"
    folder.mkdir()
    programs = {
        "sbatch": (
            "import pathlib, shutil, sys\n"
            f"home = pathlib.Path({str(folder)!r})\n"
            "n = 100 + len(list(home.glob('*.sh')))\n"
            "shutil.copy(sys.argv[-1], home / f'{n}.sh')\n"
            "print('Submitted batch job', n)\n"
        ),
        "srun": "",
        "sacct": "",
        "scancel": f"import sys; print(*sys.argv[1:], file=open({str(folder / 'gone')!r}, 'a'))\n",
    }
    for name, body in programs.items():
        (folder / name).write_text(f"#!{sys.executable}\n{body}")
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


class StopSoon(Heard):
    """Asks for a stop when the jobs are submitted."""

    def __init__(self, stop: StopRequest) -> None:
        super().__init__()
        self.stop = stop

    def say(self, message: str) -> None:
        super().say(message)
        self.stop.exit_code = 130


def test_a_training_is_a_job_and_its_cells_are_an_array_after_it(
    tiny_pack: Path, tmp_path: Path, sbatch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "END_S", 0.1)
    options = SlurmOptions.parse(["time=90", "partition=gpu", "gpus_per_node=1", "mem=8G"])
    stop = StopRequest()
    heard = StopSoon(stop)
    here = RunContext(tmp_path / "runs", tiny_pack, 1, "cpu")
    asked = cells(tiny_pack, "nearest_neighbor,pretrained_cosine,meta_lstm")
    with pytest.raises(Interrupted, match="run the same command to continue"):
        engine.run(asked, here, options, heard, stop, "repro test")
    scripts = {p.stem: p.read_text() for p in sorted(sbatch.glob("*.sh"))}
    # Three trainings: the shared one and two of the meta-LSTM; then their cells.
    trainings = [n for n, text in scripts.items() if "--dependency" not in text]
    assert trainings == ["100", "101", "102"]
    for text in scripts.values():
        for flag in ("--time=90", "--partition=gpu", "--gpus-per-node=1", "--mem=8G"):
            assert f"#SBATCH {flag}\n" in text
    after = {
        match.group(1): re.findall(r"--array=(\S+?)%", text)
        for text in scripts.values()
        if (match := re.search(r"--dependency=afterok:(\d+)\n", text))
    }
    assert sorted(after) == trainings
    assert sorted(after.values()) == [[], [], ["0-3"]]  # one cell each; four of the shared one
    assert all("--kill-on-invalid-dep=yes" in scripts[n] for n in scripts if n not in trainings)
    gone = (sbatch / "gone").read_text().split()
    assert {word.partition("_")[0] for word in gone} >= set(trainings)
    assert heard.said[0].startswith("submitted 9 jobs (100, 101, 102")


def test_a_training_that_has_ended_is_not_submitted(
    tiny_pack: Path, tmp_path: Path, sbatch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "END_S", 0.1)
    one, five = cells(tiny_pack)
    here = RunContext(tmp_path / "runs", tiny_pack, 1, "cpu")
    run_cell(one, here, Silent(), StopRequest(), "repro test")
    stop = StopRequest()
    with pytest.raises(Interrupted):
        engine.run([one, five], here, SlurmOptions({"time": 5}), StopSoon(stop), stop, "repro test")
    (script,) = sbatch.glob("*.sh")
    assert "--dependency" not in script.read_text() and "--array" not in script.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "needs the time limit of a job in minutes: --slurm time=1440"),
        (("partition",), "--slurm is KEY=VALUE such as partition=gpu, not 'partition'"),
        (("time=5", "partion=gpu"), "did you mean 'partition'"),
        (("time=1:00",), "--slurm time is a whole number from 1, not '1:00'"),
        (("time=5", "partition=a\nrm"), "has letters, digits and"),
        (("time=5", "setup=rm"), "unknown --slurm key 'setup'"),
        (("time=5", "cluster=lokal"), "did you mean 'local'"),
    ],
)
def test_a_wrong_option_is_refused_in_one_sentence(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        SlurmOptions.parse(words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--engine", "slurm", "--slurm", "time=5"), "run it where sbatch and srun are"),
        (("--slurm", "time=5"), "--slurm KEY=VALUE is for --engine slurm only"),
        (("--engine", "slurm", "--slurm", "time=5", "--runs", "memory://x"),
         "needs a folder of runs that all nodes see, not a URL"),
    ],
)  # fmt: skip
def test_what_cannot_be_submitted_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(cli, ["reproduce", "--budget", "smoke", *words])
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.output.split())
