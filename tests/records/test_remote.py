"""Runs on shared storage: one driver, whole objects, kills, take-overs, and what goes wrong."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import random
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

import repro
from repro import records
from repro.cli.main import cli
from repro.engines.local import needed, run
from repro.records import checkpoints
from repro.records.remote import lease, refusals, session, store
from repro.records.remote.lease import Lease, Lost
from repro.records.remote.mirror import Mirror, place_of
from repro.records.remote.store import Changed, Store
from repro.run.cell import run_cell
from repro.run.context import Pace, RunContext
from repro.run.provenance import command_line
from repro.system.errors import Interrupted, StorageError
from repro.system.interrupts import StopRequest
from repro.system.progress import Silent
from tests.records.remote_server import BUCKET, serving
from tests.run.test_kills import tiny_cells

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["repro.run.cell", "s3fs", "tests.records.test_remote"])
TINY_BUDGET = "smoke,pretrain=3,n_test_episode=4,n_validation_episode=2"


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, serving() as settings:
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.setattr(store, "WAIT_S", 0.01)
        yield


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["s3", "memory"])
def url(request: pytest.FixtureRequest) -> str:
    return f"{request.param}://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture
def s3() -> str:
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


def on_machine(patch: pytest.MonkeyPatch, name: str, url: str) -> Mirror:
    """The mirror of a machine with a cache of its own (and the packs of the others)."""
    packs = Path(os.environ["REPRO_CACHE"]) / "packs"
    cache = Path(name).absolute()
    cache.mkdir(exist_ok=True)
    if packs.exists() and not (cache / "packs").exists():
        (cache / "packs").symlink_to(packs)
    patch.setenv("REPRO_CACHE", str(cache))
    return Mirror(Store(url))


def always() -> None:
    """The driver asks whether it still is; here it is."""


def everything(_: str) -> bool:
    return True


def write(mirror: Mirror, **files: str) -> None:
    for name, content in files.items():
        path = mirror.folder / "d/cell" / name.replace("_", ".").replace("X", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def invoke(*words: str) -> Result:
    result = CliRunner().invoke(cli, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_a_write_on_a_condition_that_does_not_hold_is_refused(url: str) -> None:
    objects = Store(url)
    first = objects.put("a/b", b"one", None)
    with pytest.raises(Changed):
        objects.put("a/b", b"two", None)
    second = objects.put("a/b", b"two", first)
    with pytest.raises(Changed):
        objects.put("a/b", b"three", first)
    with pytest.raises(Changed):
        objects.put("a/c", b"three", first)
    assert objects.read("a/b") == (b"two", second)
    assert {name: found.size for name, found in objects.listing().items()} == {"a/b": 3}
    objects.delete(["a/b", "a/b"])
    assert objects.listing() == {}
    assert objects.read("a/b") is None


def test_large_objects_are_streamed_both_ways(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LARGE", 1000)
    monkeypatch.setattr("repro.records.remote.mirror.LARGE", 1000)
    here, there = on_machine(monkeypatch, "one", s3), None
    write(here, big_bin="0123456789" * 500, small_bin="x")
    assert here.push(always) == 2
    there = on_machine(monkeypatch, "two", s3)
    there.pull(everything)
    assert (there.folder / "d/cell/big.bin").read_text() == "0123456789" * 500
    write(there, big_bin="9876543210" * 500)
    assert there.push(always) == 1
    here.pull(everything)
    assert (here.folder / "d/cell/big.bin").read_text() == "9876543210" * 500


def test_only_what_changed_moves_and_a_wiped_cache_removes_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = on_machine(monkeypatch, "one", url)
    write(here, a_json="1", b_npy="2")
    assert (here.push(always), here.push(always)) == (2, 0)
    write(here, a_json="one")
    (here.folder / "d/cell/b.npy").unlink()
    assert here.push(always) == 1
    assert set(here.store.listing()) == {"d/cell/a.json"}
    (here.folder / "d/cell/a.json").unlink()  # by hand, between two runs
    again = Mirror(Store(url))
    assert again.pull(everything) == []
    assert (again.folder / "d/cell/a.json").read_text() == "one"
    assert again.push(always) == 0


def test_a_push_that_breaks_off_anywhere_leaves_nothing_that_points_at_what_is_not_there(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every number of writes before the network goes: a header never without its tensors."""
    names = [
        "checkpoint-1.json", "checkpoint-1.safetensors", "metrics.jsonl", "predictions.npy",
        "record.json",
    ]  # fmt: skip
    honest = Store.put
    for allowed in range(len(names)):
        here = on_machine(monkeypatch, f"m{allowed}", f"{url}-{allowed}")
        (here.folder / "d").mkdir()
        for name in names:
            (here.folder / "d" / name).write_text(name)
        left = [allowed]

        def put(self: Store, *words: Any, left: list[int] = left) -> str:
            left[0] -= 1
            if left[0] < 0:
                raise StorageError("the network is gone")
            return honest(self, *words)

        monkeypatch.setattr(Store, "put", put)
        with pytest.raises(StorageError, match="network is gone"):
            here.push(always)
        monkeypatch.setattr(Store, "put", honest)
        sent = sorted(records.write_order(name) for name in here.store.listing())
        assert len(sent) == allowed
        waiting = sorted(
            records.write_order(name) for name in names if f"d/{name}" not in here.store.listing()
        )
        assert not sent or max(sent) <= min(waiting)
        # The next run, with what is known from disk alone, sends the rest and only that.
        assert Mirror(Store(here.store.url)).push(always) == len(names) - allowed


def test_a_header_waits_for_its_tensors_when_they_are_pruned_during_a_push(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = on_machine(monkeypatch, "one", url)
    folder = here.folder / "d"
    folder.mkdir()
    for name in ("checkpoint-1.safetensors", "checkpoint-1.json"):
        (folder / name).write_text(name)
    (folder / "a.bin").write_text("sent first")

    def prune() -> None:  # while the first object is sent, the training goes on
        for name in ("checkpoint-1.safetensors", "checkpoint-1.json"):
            (folder / name).unlink(missing_ok=True)

    monkeypatch.setattr("repro.records.remote.mirror.SENDERS", 1)
    here.push(prune)
    assert set(here.store.listing()) == {"d/a.bin"}


def test_where_both_sides_changed_the_remote_folder_is_used_whole(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = on_machine(monkeypatch, "one", url)
    write(here, metrics_jsonl="1\n")
    here.push(always)
    there = on_machine(monkeypatch, "two", url)
    there.pull(everything)
    write(there, metrics_jsonl="1\n2\n")
    there.push(always)
    write(here, metrics_jsonl="1\n2\n3\n", checkpointX3_json="of a run that nobody saw")
    (said,) = here.pull(everything)
    assert "changed here and by another driver" in said
    assert {p.name: p.read_text() for p in (here.folder / "d/cell").iterdir()} == {
        "metrics.jsonl": "1\n2\n"
    }


def test_what_was_written_but_not_noted_before_a_kill_is_no_conflict(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = on_machine(monkeypatch, "one", url)
    write(here, a_json="1")
    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "_note", lambda *_: None)
        here.push(always)
    again = Mirror(Store(url))
    write(again, b_json="2")
    assert again.pull(everything) == []
    assert again.push(always) == 1
    assert set(again.store.listing()) == {"d/cell/a.json", "d/cell/b.json"}


def test_an_answer_that_got_lost_does_not_stop_the_driver(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, honest, lost = on_machine(monkeypatch, "one", url), Store._put, []
    mine = Lease(here.store, here.name)
    mine.take(False)

    def once(self: Store, name: str, *words: Any) -> str:
        written = honest(self, name, *words)
        if name not in lost:
            lost.append(name)
            raise ConnectionResetError("the answer did not come")
        return written

    monkeypatch.setattr(Store, "_put", once)
    write(here, a_json="1")
    assert here.push(mine.renew) == 1
    assert set(lost) == {lease.NAME, "d/cell/a.json"}
    assert here.push(mine.renew) == 0


def test_a_second_driver_is_refused_until_the_first_is_silent_or_known_to_be_dead(
    url: str,
) -> None:
    now = [1_800_000_000.0]

    def driver(mirror: str) -> Lease:
        return Lease(Store(url), mirror, lambda: now[0])

    first, second = driver("one"), driver("two")
    assert first.take(False) == ""
    now[0] += 30
    with pytest.raises(StorageError) as refused:
        second.take(False)
    who = f"{first.mine.user}@{first.mine.host} (process {os.getpid()})"
    assert f"written by {who} since 2027-01-15 08:00:00 UTC, last heard 30 s ago" in str(
        refused.value
    )
    now[0] += 60
    first.renew()
    now[0] += lease.LIFETIME_S - 1
    with pytest.raises(StorageError, match="--take-over"):
        second.take(False)
    now[0] += 2
    assert "silent for 121 s" in second.take(False)
    with pytest.raises(Lost, match=r"was taken over by .* since"):
        first.renew()
    third = driver("three")
    assert "as asked for" in third.take(True)
    assert "ended without releasing the lease" in driver("three").take(False)
    fourth = driver("four")
    fourth.take(True)
    fourth.end()
    assert second.take(False) == ""


def test_a_lease_that_is_nonsense_is_named(url: str) -> None:
    Store(url).put(lease.NAME, b"[]", None)
    with pytest.raises(StorageError, match=r"driver.json is not a lease"):
        Lease(Store(url), "one").take(False)


def test_a_driver_that_was_taken_over_stops_at_its_next_write(
    s3: str, monkeypatch: pytest.MonkeyPatch, tiny_pack: Path
) -> None:
    monkeypatch.setattr(session, "PUSH_S", 0.01)
    monkeypatch.setattr(session, "RENEW_S", 0.1)
    (cell,) = tiny_cells(tiny_pack, ["nearest_neighbor"], (5,))
    endless = dataclasses.replace(cell, budget=dataclasses.replace(cell.budget, pretrain=10**6))
    other = Lease(Store(s3), "another machine")

    class TakesOver(Silent):
        def report(self, task: str, done: int, total: int, note: str = "", *_: object) -> None:
            if done == 3:
                other.take(True)

    with (
        pytest.raises(Lost, match=r"was taken over by .*kept on this machine only"),
        session.drive(s3, False, print) as driving,
    ):
        stop = StopRequest()
        driving.stops(stop)
        run(
            [endless],
            RunContext(driving.folder, tiny_pack, 1, "cpu"),
            1,
            TakesOver(),
            stop,
            "repro",
        )
    assert list(driving.folder.rglob("checkpoint-*.json"))
    assert not [name for name in Store(s3).listing() if "checkpoint-" in name]
    other.renew()  # the new driver was not disturbed


def test_a_whole_reproduction_is_there_for_another_machine(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # of several busy ones, one is the fastest
    words = ("--runs", s3, "--dataset", "glyphs")
    cell = ("--methods", "nearest_neighbor", "--shots", "1", "--jobs", "1",
            "--budget", TINY_BUDGET)  # fmt: skip
    done = invoke("reproduce", *cell, *words)
    assert done.exit_code == 0, done.output
    objects = set(Store(s3).listing())
    assert {name.rpartition("/")[2] for name in objects} >= {
        "record.json", "predictions.npy", "model.safetensors", "checkpoint-0000003.json",
        "table1.png", lease.NAME,
    }  # fmt: skip
    assert not [name for name in objects if "/." in name]

    fresh = on_machine(monkeypatch, "fresh", s3)
    shown = invoke("table", *words)
    assert shown.exit_code == 0, shown.output
    assert shown.output in done.output
    here = {path.name for path in fresh.folder.rglob("*") if path.is_file()}
    assert here == {"record.json", "predictions.npy", "metrics.jsonl"}
    (record,) = repro.results(s3)
    assert record.method == "nearest_neighbor"
    figure = invoke("plot-curves", *words)
    assert figure.output.split() == [f"runs/glyphs/figures/training_curves.{e}" for e in
                                     ("png", "svg")]  # fmt: skip
    assert set(Store(s3).listing()) == objects
    again = invoke("reproduce", *cell, *words)
    assert "all cells are finished" in again.output
    assert not list(fresh.folder.rglob("checkpoint-*"))  # what is finished needs none
    assert invoke("verify", s3, "--n", "1").exit_code == 0

    Lease(Store(s3), "another machine").take(False)
    second = invoke("train", "meta_lstm", *words)
    assert second.exit_code == 1
    assert "is being written by" in second.output
    assert "--take-over" in second.output


class Slow(Silent):
    """Leaves time for a kill between two steps."""

    def report(self, task: str, done: int, total: int, note: str = "", *_: object) -> None:
        time.sleep(0.1)


def drive_cells(
    cells: list[Any], url: str, pack: Path, cache: str, environment: dict[str, str]
) -> None:
    """In a process of its own: a checkpoint at every step, sent as soon as it is seen."""
    import torch

    os.environ.update(environment, REPRO_CACHE=cache)
    torch.set_num_threads(1)
    session.PUSH_S = 0.02
    with session.drive(url, True, print) as driving:
        driving.need(needed(cells, driving.folder, False))
        place = RunContext(driving.folder, pack, 1, "cpu", pace=Pace(0.0, 0.0, 0.0))
        run(cells, place, 1, Slow(), StopRequest(), "repro test")


def test_a_killed_driver_is_gone_on_with_elsewhere_from_its_last_sent_checkpoint(
    s3: str, monkeypatch: pytest.MonkeyPatch, tiny_pack: Path, tmp_path: Path
) -> None:
    (cell,) = tiny_cells(tiny_pack, ["nearest_neighbor"], (5,))
    longer = dataclasses.replace(cell.budget, pretrain=16, validate_every=16)
    cell = dataclasses.replace(cell, budget=longer)
    training = cell.training()
    assert training is not None
    context = RunContext(tmp_path / "whole", tiny_pack, 1, "cpu")
    whole = run_cell(cell, context, Silent(), StopRequest(), "repro test")
    here = on_machine(monkeypatch, "killed", s3)
    process = CONTEXT.Process(
        target=drive_cells,
        args=([cell], s3, tiny_pack, str(tmp_path / "killed"), dict(os.environ)),
    )
    process.start()
    deadline = time.monotonic() + 60
    while process.is_alive() and time.monotonic() < deadline:
        if any(name.endswith(".json") and "checkpoint-" in name for name in Store(s3).listing()):
            break
        time.sleep(0.02)
    time.sleep(random.Random(s3).uniform(0.1, 0.5))
    process.kill()
    process.join()
    assert process.exitcode == -9, "it ended before it was killed"
    folder = records.training_folder(here.folder, training).relative_to(here.folder)
    sent = [n for n in Store(s3).listing() if n.startswith(f"{folder}/checkpoint-")]
    assert not list(here.folder.rglob("record.json"))
    steps = {int(Path(name).stem.rpartition("-")[2]) for name in sent if name.endswith(".json")}
    local = {int(p.stem.rpartition("-")[2]) for p in here.folder.rglob("checkpoint-*.json")}

    there = on_machine(monkeypatch, "elsewhere", s3)
    with pytest.raises(StorageError, match="being written by"), session.drive(s3, False, print):
        pass
    said: list[str] = []

    class Listening(Silent):
        def say(self, message: str) -> None:
            said.append(message)

    with session.drive(s3, True, said.append) as driving:
        driving.need(needed([cell], driving.folder, False))
        found, passed = checkpoints.latest(there.folder / folder, training.digest)
        assert found is not None
        assert passed == []
        assert found.step == max(steps)
        place = RunContext(driving.folder, tiny_pack, 1, "cpu")
        assert run([cell], place, 1, Listening(), StopRequest(), "repro test") == []
    assert any(f"continuing from step {found.step} of 16" in line for line in said), said
    assert found.step >= max(local) - 3  # a step takes 0.1 s here, a look for files 0.02 s
    record = records.read_record(records.cell_folder(there.folder, cell))
    assert record.digests == whole.digests
    np.testing.assert_array_equal(record.accuracy, whole.accuracy)
    for name in ("metrics.jsonl", "predictions.npy", "model.safetensors"):
        assert (record.path / name).read_bytes() == (whole.path / name).read_bytes(), name
    assert not [name for name in Store(s3).listing() if name.endswith(".partial")]


def test_a_network_that_goes_away_costs_nothing_but_the_sending(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "PUSH_S", 0.01)
    monkeypatch.setattr(session, "LAST_S", 0.0)
    honest, said = Store._put, []

    def gone(self: Store, *_: Any) -> str:
        raise ConnectionError("no route to host")

    with (
        pytest.raises(StorageError) as told,
        session.drive(s3, False, said.append) as driving,
    ):
        monkeypatch.setattr(Store, "_put", gone)
        write(driving.mirror, record_json="{}")
        while not said:
            time.sleep(0.01)
    assert "cannot be reached (ConnectionError: no route to host)" in said[0]
    assert "the run continues here, and its files are uploaded later" in said[0]
    assert f"kept in {driving.folder} and is uploaded by the next run" in str(told.value)
    monkeypatch.setattr(Store, "_put", honest)
    with session.drive(s3, False, said.append):  # its lease did not end, but it is this machine's
        pass
    assert "of this machine ended without releasing the lease" in said[-1]
    assert Store(s3).read("d/cell/record.json") is not None


def test_an_interrupted_run_sends_its_state_before_it_ends(s3: str) -> None:
    with (
        pytest.raises(Interrupted, match="stopped"),
        session.drive(s3, False, print) as driving,
    ):
        write(driving.mirror, checkpointX1_json="{}")
        raise Interrupted("stopped")
    assert json.loads(Store(s3).read(lease.NAME)[0])["ended"] is True  # type: ignore[index]
    assert Store(s3).read("d/cell/checkpoint-1.json") is not None


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ("s3://no-such-bucket/x", "there is no bucket no-such-bucket"),
        ("s4://bucket/x", "not a kind of storage that fsspec knows"),
        ("gs://bucket/x", "needs another package"),
    ],
)
@pytest.mark.parametrize("command", [("table",), ("train", "meta_lstm")])
def test_a_url_that_leads_nowhere_is_one_sentence(
    runs: str, said: str, command: tuple[str, ...]
) -> None:
    result = invoke(*command, "--runs", runs)
    assert result.exit_code in (1, 2)
    assert said in result.output
    assert len(result.output.strip().splitlines()) == 1, result.output


def test_missing_package_credentials_and_server_are_one_sentence_each(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> str:
        result = invoke("table", "--runs", s3)
        assert result.exit_code in (1, 2)
        assert len(result.output.strip().splitlines()) == 1, result.output
        return result.output

    systems = fsspec.get_filesystem_class("s3")
    try:
        with monkeypatch.context() as patch:
            systems.clear_instance_cache()
            patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
            assert "cannot be reached" in told()
            systems.clear_instance_cache()
            patch.delenv("AWS_ACCESS_KEY_ID")
            patch.delenv("AWS_SECRET_ACCESS_KEY")
            assert "no credentials for s3://" in told()
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "s3fs", None)
            patch.delitem(sys.modules["fsspec.registry"]._registry, "s3")
            assert "pip install 'repro-fewshot[s3]'" in told()
    finally:
        systems.clear_instance_cache()


def test_a_message_names_the_url_and_not_the_cache(s3: str) -> None:
    result = invoke("table", "--runs", s3)
    assert result.exit_code == 1
    assert f"no records of glyphs under {s3};" in result.output


def test_a_file_url_is_a_folder_and_a_password_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = invoke("table", "--runs", f"file://{tmp_path}/away")
    assert f"no records of glyphs under {tmp_path}/away" in result.output
    secret = "sftp://me:secret@host/runs"
    assert refusals.shown(secret) == "sftp://host/runs"
    assert "secret" not in str(place_of(secret))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["repro", "table", "--runs", secret, f"--output={tmp_path}/x"])
        assert command_line() == "repro table --runs sftp://host/runs --output=x"
    assert not place_of(f"file://{tmp_path}/away").exists()
