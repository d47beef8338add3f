"""Records that were moved, edited, linked or made up, in every reader and in publishing."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from repro import records
from repro.analysis import reference_curves
from repro.analysis.selection import select_records
from repro.analysis.table import table1
from repro.cli.main import cli
from repro.engines.ray import transfer
from repro.methods import own_code
from repro.papers import config
from repro.papers.method_names import check_name
from repro.records import Record, checkpoints, publishing
from repro.records import files as record_files
from repro.records.remote.lease import Holder, Lease
from repro.records.remote.mirror import Mirror
from repro.records.remote.refusals import shown
from repro.records.remote.store import Store
from repro.run import evaluation, provenance
from repro.run.cell import RunContext, plan, run_cell
from repro.system import names, storage
from repro.system.errors import MethodError, RecordError, StorageError, UsageError, text_of
from repro.system.interrupts import StopRequest
from repro.system.locks import try_lock
from repro.system.progress import Silent
from tests.analysis.analysis_doubles import record, reseal
from tests.conftest import TINY

RECIPE = "authors-code,neighbor_features=pixels"


@pytest.fixture
def made(tmp_path: Path, tiny_pack: Path) -> Record:
    """A cell that needs no training, of clean code, below ``runs``."""
    recipe = config.recipe(RECIPE)
    (cell,) = plan("tiny", tiny_pack, ["nearest_neighbor"], [1], [0], recipe, TINY, "fp32", "cpu")
    place = RunContext(tmp_path / "runs", tiny_pack, 1, "cpu")
    found = run_cell(cell, place, Silent(), StopRequest(), "repro test")
    reseal(found.path, dirty=False)
    return records.read_record(found.path)


def publish(root: Path, **options: Any) -> list[Path]:
    return publishing.publish(root / "runs", root / "results", "tiny", **options)


@pytest.mark.parametrize("name", ["/etc/x", "//etc/x", "a//b", "../x", "a/../../x", ".", "", "a/",
                                  "a\\b", "a\x1b[31m", "x" * 300])  # fmt: skip
def test_a_name_that_leaves_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="is not a path below"):
        names.below(tmp_path, name)
    with pytest.raises(RecordError, match="cannot be the name of a folder"):
        names.part(name)


def test_a_key_of_a_bucket_that_leaves_the_mirror_is_refused(tmp_path: Path) -> None:
    import fsspec

    victim = tmp_path / "victim"
    victim.write_text("mine")
    memory = fsspec.filesystem("memory")
    key = f"/hostile/runs//{victim}"
    memory.store.clear()
    store = Store("memory://hostile/runs")
    memory.pipe_file("/hostile/runs/tiny/a/record.json", b"{}")
    assert set(store.listing()) == {"tiny/a/record.json"}
    memory.store[key] = memory.store["/hostile/runs/tiny/a/record.json"]
    with pytest.raises(StorageError, match="absolute or has an empty"):
        Mirror(store).pull(lambda _: True)
    memory.store.clear()
    assert victim.read_text() == "mine"


def test_a_moved_record_is_not_believed(tmp_path: Path, made: Record) -> None:
    (tmp_path / "runs/tiny").rename(tmp_path / "runs/mini-imagenet")
    said = r"is the record of tiny/nearest_neighbor/1-shot/seed-0/.*; move its folder back"
    with pytest.raises(RecordError, match=said):
        records.read_records(tmp_path / "runs", "mini-imagenet")
    for command in ("table", "check", "report", "publish"):
        words = [command, "--runs", str(tmp_path / "runs"), "--dataset", "mini-imagenet"]
        found = CliRunner().invoke(cli, words)
        assert found.exit_code == 1
        assert "is the record of tiny/" in found.output


@pytest.mark.parametrize("field", ["dataset", "recipe_name", "budget_name"])
@pytest.mark.parametrize("value", ["../../out", "/out", "a/b", "x\x1b[31m"])
def test_names_in_a_record_that_are_no_folders_are_refused(
    field: str, value: str, tmp_path: Path, made: Record
) -> None:
    changed = {**made.config, field: value}
    if field != "dataset":
        part = field.removesuffix("_name")
        changed[part] = {**made.config[part], "name": value}
    reseal(made.path, config=changed)
    with pytest.raises(RecordError, match=r"record.json"):
        publish(tmp_path)
    assert not (tmp_path / "results").exists()
    cell = records.config_of(made)
    recipe = dataclasses.replace(cell.recipe, name="../../../out")
    with pytest.raises(RecordError, match="cannot be the name of a folder"):
        records.cell_folder(tmp_path, dataclasses.replace(cell, recipe=recipe))


def test_a_link_is_neither_published_nor_followed_out(tmp_path: Path, made: Record) -> None:
    secret = tmp_path / "secret"
    content = (made.path / "predictions.npy").read_bytes()
    secret.write_bytes(content)
    (made.path / "predictions.npy").unlink()
    (made.path / "predictions.npy").symlink_to(secret)
    with pytest.raises(RecordError, match=r"predictions.npy is a symbolic link"):
        publish(tmp_path)
    (made.path / "predictions.npy").unlink()
    (made.path / "predictions.npy").write_bytes(content)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results").mkdir(exist_ok=True)
    (tmp_path / "results/tiny").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RecordError, match=r"leaves .* by a symbolic link"):
        publish(tmp_path)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_accuracies_are_those_of_the_predictions(tmp_path: Path, made: Record) -> None:
    reseal(made.path, accuracy=[0.8] * made.n_episode)
    with pytest.raises(RecordError, match=r"accuracies are not those of its predictions.npy"):
        records.read_record(made.path)


def test_damaged_predictions_and_models_are_not_published(tmp_path: Path, made: Record) -> None:
    path = made.path / "predictions.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\x01")
    with pytest.raises(RecordError, match=r"predictions.npy does not have the predictions"):
        publish(tmp_path)
    path.write_bytes(whole)
    (made.path / "model.safetensors").write_bytes(b"foreign")
    with pytest.raises(RecordError, match=r"model.safetensors does not have the digest"):
        publish(tmp_path)
    (made.path / "metrics.jsonl").write_bytes(b"")
    (made.path / "model.safetensors").unlink()
    with pytest.raises(RecordError, match=r"metrics.jsonl: its record is old"):
        publish(tmp_path)
    assert not (tmp_path / "results").exists()


def test_a_publication_killed_anywhere_leaves_no_record_with_foreign_files(
    tmp_path: Path, made: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    (target,) = publish(tmp_path)
    before = records.read_record(target)
    predictions = record_files.read_predictions(made).copy()
    predictions[:, 0] = 1 - predictions[:, 0].clip(0, 1)
    content = json.loads((made.path / "record.json").read_text())
    labels = np.repeat(np.arange(5), 15)
    content["accuracy"] = (predictions == labels).mean(1).tolist()
    content["started_at"] = "2027-01-01T00:00:00+00:00"
    records.write_record(made.path, content, predictions)
    replace, seen = Path.replace, 0

    class Killed(BaseException):
        pass

    for stop_at in range(10):
        left = stop_at

        def killing(path: Path, other: Path) -> Any:
            nonlocal left
            if target in (path.parent, Path(other).parent):
                left -= 1
                if left < 0:
                    raise Killed
            return replace(path, other)

        monkeypatch.setattr(Path, "replace", killing)
        try:
            publish(tmp_path)
            break
        except Killed:
            seen += 1
        finally:
            monkeypatch.setattr(Path, "replace", replace)
        if (target / "record.json").exists():
            records.read_record(target)  # never with another one's predictions
    assert seen >= 2
    after = records.read_record(target)
    assert after.accuracy.tolist() == content["accuracy"]
    assert [test["started_at"] for test in after.earlier_tests] == [before.started_at]
    assert sorted(path.name for path in target.iterdir()) == ["predictions.npy", "record.json"]


def test_temporary_files_of_a_killed_publication_are_swept(tmp_path: Path, made: Record) -> None:
    (target,) = publish(tmp_path)
    left = target / ".record.json.0a1b2c3d.part"
    left.write_text("half")
    (target / ".editor").write_text("somebody's")
    publish(tmp_path)
    assert not left.exists()
    assert (target / ".editor").exists()


def test_cells_to_publish_are_named(tmp_path: Path, tiny_pack: Path, made: Record) -> None:
    recipe = config.recipe(RECIPE)
    cells = plan("tiny", tiny_pack, ["nearest_neighbor"], [5], [0], recipe, TINY, "fp32", "cpu")
    place = RunContext(tmp_path / "runs", tiny_pack, 1, "cpu")
    other = run_cell(cells[0], place, Silent(), StopRequest(), "repro test")
    reseal(other.path, dirty=True)
    common = ["--dataset", "tiny", "--runs", str(tmp_path / "runs"), "--output",
              str(tmp_path / "results")]  # fmt: skip
    run = CliRunner()
    assert run.invoke(cli, ["publish", *common]).exit_code == 1
    found = run.invoke(cli, ["publish", "nearest_neighbor@k_shot=7", *common])
    assert "no finished run of tiny" in found.output
    for text in ("nearest_neighbor@k_shot=1", str(made.path)):
        found = run.invoke(cli, ["publish", text, *common])
        assert found.exit_code == 0, found.output
        assert found.output.split() == [str(made.folder(tmp_path / "results"))]


def as_before(folder: Path) -> None:
    """Make a record one of the schema that had neither seal nor digests of files."""
    content = json.loads((folder / "record.json").read_text())
    del content["seal"], content["files"]
    content["schema"] = 2
    (folder / "record.json").write_text(json.dumps(content))


def test_a_record_from_before_the_seal_is_shown_and_published_only_when_asked_to(
    tmp_path: Path, made: Record
) -> None:
    (made.path / "metrics.jsonl").write_text("")
    as_before(made.path)
    older = records.read_record(made.path)
    assert (older.sealed, older.when, older.digests) == (False, 0.0, made.digests)
    newer = dataclasses.replace(made, path=Path("other"))
    assert select_records([older, newer], None) == [newer]
    with pytest.raises(RecordError, match="its record is old and holds no digest"):
        record_files.read_beside(older, "metrics.jsonl")
    with pytest.raises(RecordError, match="add --unsealed"):
        publish(tmp_path)
    (target,) = publish(tmp_path, unsealed=True)
    kept = records.read_record(target)
    assert kept.sealed
    assert (target / "record.json").read_bytes() == (made.path / "record.json").read_bytes()
    assert record_files.read_beside(kept, "metrics.jsonl") == b""
    path = target / "record.json"
    path.write_text(path.read_text().replace('"dirty": false', '"dirty": true '))
    with pytest.raises(RecordError, match="the content was changed"):
        records.read_record(target)


def test_published_records_are_those_of_before_byte_for_byte_and_sealed() -> None:
    home = Path(__file__).parents[2] / "results"
    found = [r for name in ("glyphs", "mini-imagenet") for r in records.read_records(home, name)]
    assert len(found) >= 20
    assert all(record.sealed for record in found)
    for one in found:
        for name in one.files:
            if name != "record.json":
                record_files.read_beside(one, name)


@pytest.mark.parametrize("name", ["record.json", "predictions.npy"])
def test_a_pipe_or_device_for_a_record_is_refused_at_once(
    name: str, tmp_path: Path, made: Record
) -> None:
    (made.path / name).unlink()
    os.mkfifo(made.path / name)
    with pytest.raises(RecordError, match=r"it is a (pipe|device), not a file"):
        records.read_records(tmp_path / "runs", "tiny")
    (made.path / name).unlink()
    (made.path / name).symlink_to("/dev/zero")
    with pytest.raises(RecordError, match=r"it is a (pipe|device), not a file"):
        records.read_records(tmp_path / "runs", "tiny")


@pytest.fixture
def at_once() -> Iterator[None]:
    """Fail a test that waits for somebody to write to a pipe."""

    def late(*_: object) -> None:
        raise TimeoutError("it waits for a writer")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("at_once")
def test_pipes_for_the_files_of_a_training_or_a_test_are_never_waited_for(tmp_path: Path) -> None:
    checkpoints.write(tmp_path, 1, {"w": torch.zeros(1)}, {}, "c")
    (header,) = tmp_path.glob("*.json")
    for path in (header.with_suffix(".safetensors"), header, tmp_path / "metrics.jsonl"):
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    with pytest.raises(RecordError, match="it is a pipe, not a file"):
        checkpoints.latest(tmp_path, "c")
    with pytest.raises(RecordError, match="it is a pipe, not a file"):
        checkpoints.parse_json_lines(tmp_path / "metrics.jsonl")
    with pytest.raises(RecordError, match="it is a pipe, not a file"):
        reference_curves.Training(tmp_path, {}, (5,)).curve(5)
    with pytest.raises(OSError, match="it is a pipe, not a file"):
        transfer.training_files(tmp_path, tmp_path)
    os.mkfifo(tmp_path / "test.partial")
    assert evaluation.Partial(tmp_path / "test.partial", "d").load(5).shape == (0, 5)
    os.mkfifo(tmp_path / "mine.py")
    with pytest.raises(MethodError, match="it is a pipe, not a file"):
        own_code.from_file(f"{tmp_path / 'mine.py'}:Mine")


def test_hidden_files_of_others_in_a_cell_stay(tmp_path: Path, made: Record) -> None:
    (made.path / ".ipynb_checkpoints").mkdir()
    copy = made.path.parent / ".ipynb_checkpoints/record.json"
    copy.parent.mkdir()
    copy.write_text("{}")
    (made.path / ".notes").write_text("mine")
    (made.path / ".record.json.00000000.part").write_text("half")
    lock = try_lock(made.path)
    assert lock is not None
    lock.release()
    assert (made.path / ".ipynb_checkpoints").is_dir()
    assert (made.path / ".notes").read_text() == "mine"
    assert not (made.path / ".record.json.00000000.part").exists()
    assert len(records.read_records(tmp_path / "runs", "tiny")) == 1


def test_a_command_with_bytes_that_are_no_text_can_be_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["repro", "reproduce", "--data", os.fsdecode(b"v\xf6gel"), "\x1b[31m",
             "--runs=ftp://me:p@ss@host/x"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", words)
    line = provenance.command_line()
    assert line.isprintable()
    assert "ss@" not in line and line.endswith("--runs=ftp://host/x")
    line.encode()


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("ftp://user:p@ss@host/x", "ftp://host/x"),
        ("ftp://user:p/a@ss@host/x", "ftp://host/x"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("http://host:8080/a@b", "http://host:8080/a@b"),
        ("s3://key:secret@bucket/x", "s3://bucket/x"),
    ],
)
def test_no_part_of_a_password_is_shown(url: str, safe: str) -> None:
    assert shown(url) == safe


@pytest.mark.parametrize(
    "change",
    [
        {"lifetime_s": 1e308}, {"lifetime_s": "Infinity"}, {"renewed": 1e308}, {"since": -1e308},
        {"renewed": 32_000_000_000.0}, {"user": "\x1b]0;x\x07"}, {"pid": 10**40}, {"ended": "no"},
    ],
)  # fmt: skip
def test_a_lease_with_impossible_fields_is_not_believed(change: dict[str, Any]) -> None:
    import fsspec

    now = 1_800_000_000.0
    holder = Holder("a", "b", 1, "m", "t", now, now, 120.0)
    memory = fsspec.filesystem("memory")
    content = {**dataclasses.asdict(holder), **change}
    memory.pipe_file("/leases/driver.json", json.dumps(content).encode())
    store = Store("memory://leases")
    with pytest.raises(StorageError, match=r"driver.json is not a lease of this program"):
        Lease(store, "other", lambda: now + 1).take(False)
    memory.store.clear()


@pytest.mark.parametrize("content", [b"5", b"\xff\xfe", b"[" * 100_000, b'{"user": NaN}', b""])
def test_a_lease_that_is_none_is_told(content: bytes) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe_file("/leases/driver.json", content)
    with pytest.raises(StorageError, match=r"driver.json is not a lease of this program"):
        Lease(Store("memory://leases"), "other").take(False)
    memory.store.clear()


def test_a_foreign_row_may_not_have_the_title_of_one_that_is_built_in() -> None:
    for title in ("Meta-Learner LSTM", " meta-learner  lstm", "Ｍeta-Learner LSTM", "MAML",
                  "Меta-Learner LSТM", "Meta‐Learner LSTM", "First-0rder MAM1", "ᎷᎪᎷᏞ",
                  "Mátching Network"):  # fmt: skip
        with pytest.raises(UsageError, match="looks like that of"):
            check_name("mine", title)
    for title in ("Meta-Learner LSTM, mine", "日本語法", "Мой метод", "Ours (λ)", "MAML++"):
        check_name("mine", title)


def test_a_spreadsheet_computes_nothing_from_a_title() -> None:
    row = {"title": "=cmd()|calc!A1", "source": None, "transductive": False}
    own = record("own", config={"row": row}, accuracy=np.full(60, 0.5))
    lines = table1.build([own], "mini-imagenet").format("csv").splitlines()
    rows = [line for line in lines if "cmd()" in line]
    assert rows and all(",'=cmd()|calc!A1," in line for line in rows)


@pytest.mark.parametrize("place", ["gone", "memory://nothing/runs"])
def test_a_place_that_was_named_and_holds_nothing_is_not_replaced_by_results(place: str) -> None:
    found = CliRunner().invoke(cli, ["table", "--runs", place, "--dataset", "mini-imagenet"])
    assert found.exit_code == 1
    assert "no records of mini-imagenet under" in found.output
    assert "Table 1" not in found.output


@pytest.mark.parametrize("encoding", ["latin-1", "cp437", "ascii"])
def test_a_terminal_that_is_not_utf_8_gets_the_table(encoding: str) -> None:
    home = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "repro", "table", "--dataset", "mini-imagenet"],
        cwd=home, env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert b"Meta-Learner LSTM" in done.stdout
    assert b"1.96 s/" in done.stdout


def test_an_exception_that_cannot_be_told_is_told() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("in str")

    assert text_of(Mute()) == "its __str__ raised RuntimeError"
    assert text_of(ValueError("a\x1b[31mb\nmore")) == "a\\x1b[31mb"


def test_files_have_the_rights_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        storage.write_text(tmp_path / "x", "x")
        checkpoints.write_tensors(tmp_path / "y", {"a": torch.zeros(1)})
    finally:
        os.umask(before)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in "xy"} == {0o664}
