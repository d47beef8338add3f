"""The cells on real clusters of several Ray nodes: the table is that of the local engine.

The nodes have a cache of their own, without the data, and share nothing with the driver. Workers
save often, so that something has come back before a node or the driver is killed.
"""

import dataclasses
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from repro import records
from repro.engines.local import run as run_locally
from repro.engines.ray import engine as ray_engine
from repro.engines.ray.cluster import ClusterError, RayOptions
from repro.engines.ray.cluster import cluster as connected
from repro.papers import config, paper
from repro.papers.config import RunConfig
from repro.run.cell import plan
from repro.run.context import Pace, RunContext
from repro.system.errors import Interrupted, UsageError
from repro.system.interrupts import StopRequest, stop_requests
from repro.system.progress import Silent, Tally
from tests.conftest import TINY
from tests.run.test_kills import assert_same

pytestmark = [
    pytest.mark.ray,
    # Ray leaves sockets, pipes and processes to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
# So long that a fast worker does not end it before the driver hears of a signal.
LONG = dataclasses.replace(TINY, meta_lstm_5shot=200, validate_every=400)
WAIT_S = 120.0


class Listening(Silent):
    """Keeps what was said and the last counts."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.tallies: list[Tally] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def tally(self, tally: Tally) -> None:
        self.tallies.append(tally)


class Nodes:
    """A cluster on the loopback address: a head without processors, where the driver is."""

    def __init__(self, cache: Path) -> None:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        from ray.cluster_utils import Cluster

        self.cluster = Cluster()
        self.head = self.cluster.add_node(num_cpus=0, include_dashboard=False)
        self.cache = cache
        self.workers: list[Any] = []

    @property
    def options(self) -> RayOptions:
        return RayOptions(self.cluster.address)

    def add(self) -> None:
        variables = {"REPRO_CACHE": str(self.cache)}
        self.workers.append(self.cluster.add_node(num_cpus=1, env_vars=variables))

    def kill_the_busy_one(self) -> None:
        """The node on which a job runs: below its raylet is a process named after the job."""
        for node in self.workers:
            below = descendants(node.all_processes["raylet"][0].process.pid)
            if any(b"ray::work" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in below):
                self.workers.remove(node)
                self.cluster.remove_node(node, allow_graceful=False)
                return
        raise AssertionError("no node has a job")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    started = Nodes(tmp_path_factory.mktemp("node-cache"))
    started.add()
    yield started
    started.cluster.shutdown()


def long_cells(pack: Path) -> list[RunConfig]:
    return cells_of(pack, ["meta_lstm"], (5,), LONG)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, tiny_pack: Path) -> Path:
    """What the local engine gives for the long training."""
    runs = tmp_path_factory.mktemp("local")
    locally(long_cells(tiny_pack), runs, tiny_pack)
    return runs


def cells_of(pack: Path, methods: list[str], shots: tuple[int, ...], budget: config.Budget,
             seeds: tuple[int, ...] = (0,)) -> list[RunConfig]:  # fmt: skip
    recipe = config.recipe("authors-code")
    return plan("tiny", pack, methods, shots, seeds, recipe, budget, "fp32", "cpu")


def locally(cells: list[RunConfig], runs: Path, pack: Path) -> None:
    assert (
        run_locally(cells, RunContext(runs, pack, 1, "cpu"), 1, Silent(), StopRequest(), "repro")
        == []
    )


def on_ray(
    cells: list[RunConfig], runs: Path, pack: Path, options: RayOptions,
    reporter: Silent | None = None, stop: StopRequest | None = None,
) -> None:  # fmt: skip
    context = RunContext(runs, pack, 1, "cpu", pace=Pace(0.2, 0.0, 0.0))
    failures = ray_engine.run(
        cells,
        context,
        options,
        reporter or Silent(),
        stop if stop is not None else StopRequest(),
        "repro",
        part_episodes=3,
    )
    assert failures == []


def step_of(runs: Path) -> int:
    """The last training step that has come back."""
    found = [int(path.stem.split("-")[1]) for path in runs.rglob("checkpoint-*.json")]
    return max(found, default=0)


def wait_for_step(runs: Path, step: int) -> None:
    end = time.monotonic() + WAIT_S
    while step_of(runs) < step:
        assert time.monotonic() < end, "no checkpoint came back"
        time.sleep(0.02)


def test_every_row_is_the_same_as_on_the_local_engine(
    nodes: Nodes, tmp_path: Path, tiny_pack: Path
) -> None:
    cells = cells_of(tiny_pack, list(paper.METHODS), (1, 5), TINY)
    listening = Listening()
    on_ray(cells, tmp_path / "ray", tiny_pack, nodes.options, listening)
    locally(cells, tmp_path / "local", tiny_pack)
    for cell in cells:
        assert_same(cell, tmp_path / "local", tmp_path / "ray")
    last = listening.tallies[-1]
    assert (last.running, last.waiting, last.done, last.failed) == (0, 0, len(cells), 0)
    # The pack came over the wire, once, into the cache of the nodes.
    assert [path.name for path in (nodes.cache / "packs").glob("[!.]*")] == [tiny_pack.name]
    again = Listening()
    on_ray(cells, tmp_path / "ray", tiny_pack, nodes.options, again)
    assert again.said == ["all cells are finished; --force runs them again"]


def test_a_node_killed_in_the_middle_of_a_training_loses_nothing_that_was_saved(
    nodes: Nodes, tmp_path: Path, tiny_pack: Path, expected: Path
) -> None:
    (cell,) = cells = long_cells(tiny_pack)
    listening, killed_at = Listening(), list[int]()

    def kill() -> None:
        wait_for_step(tmp_path, 1)
        killed_at.append(step_of(tmp_path))
        nodes.kill_the_busy_one()

    nodes.add()
    killer = threading.Thread(target=kill)
    killer.start()
    on_ray(cells, tmp_path, tiny_pack, nodes.options, listening)
    killer.join()
    assert killed_at[0] < LONG.meta_lstm_5shot
    assert any("its worker died" in said for said in listening.said)
    resumed = [re.search(r"continuing from step (\d+) of", said) for said in listening.said]
    assert [int(found[1]) >= killed_at[0] for found in resumed if found] == [True]
    assert_same(cell, expected, tmp_path)


def drive(cells: list[RunConfig], runs: Path, pack: Path, options: RayOptions) -> None:
    """A driver in a process of its own."""
    with stop_requests() as stop:
        try:
            on_ray(cells, runs, pack, options, stop=stop)
        except Interrupted as error:
            os._exit(error.exit_code)


def test_a_driver_that_is_killed_and_then_stopped_goes_on_from_what_had_come_back(
    nodes: Nodes, tmp_path: Path, tiny_pack: Path, expected: Path
) -> None:
    (cell,) = cells = long_cells(tiny_pack)
    arguments = (cells, tmp_path, tiny_pack, nodes.options)
    kept = 0
    for number, exit_code in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        driver = multiprocessing.get_context("spawn").Process(target=drive, args=arguments)
        driver.start()
        wait_for_step(tmp_path, kept + 1)
        assert driver.pid
        os.kill(driver.pid, number)
        driver.join()
        assert driver.exitcode == exit_code
        before, kept = kept, step_of(tmp_path)
        assert before < kept < LONG.meta_lstm_5shot
    listening = Listening()
    on_ray(*arguments, listening)
    assert any(f"continuing from step {kept} of" in said for said in listening.said)
    assert_same(cell, expected, tmp_path)


def test_a_cell_that_fits_no_node_and_a_driver_elsewhere_are_refused(
    nodes: Nodes, tmp_path: Path, tiny_pack: Path
) -> None:
    cells = cells_of(tiny_pack, ["nearest_neighbor"], (5,), TINY)
    for options, message in (
        (RayOptions(nodes.options.address, 64), r"no node .* 64 CPUs .*the largest: 1 CPUs"),
        (RayOptions(nodes.options.address, 1, 1), "no node .* 1 GPUs"),
        (RayOptions("ray://127.0.0.1:10001"), "has to be on a node of the cluster"),
    ):
        with pytest.raises(UsageError, match=message):
            on_ray(cells, tmp_path, tiny_pack, options)


def test_a_cluster_that_is_not_there_is_named_at_once() -> None:
    for address in ("127.0.0.1:9", "127.0.0.1", "127.0.0.1:99999"):
        refused = pytest.raises(ClusterError, match=f"no Ray cluster at --address {address}")
        with refused, connected(RayOptions(address)):
            raise AssertionError


def test_a_cell_that_fails_is_named_and_the_others_go_on(
    nodes: Nodes, tmp_path: Path, tiny_pack: Path
) -> None:
    good, other = cells_of(tiny_pack, ["nearest_neighbor"], (1, 5), TINY)
    bad = dataclasses.replace(other, method="finetune")
    damaged = records.cell_folder(tmp_path, bad) / "selection.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    context, listening = RunContext(tmp_path, tiny_pack, 1, "cpu"), Listening()
    failures = ray_engine.run(
        [good, bad, other], context, nodes.options, listening, StopRequest(), "repro"
    )
    assert [(f.task, f.exit_code) for f in failures] == [("finetune 5-shot seed 0", 1)]
    assert "selection.json" in failures[0].message
    for cell in (good, other):
        assert records.finished(records.cell_folder(tmp_path, cell), cell)


def listening_addresses(pids: set[int]) -> set[str]:
    """Hexadecimal addresses of the TCP sockets on which the processes listen (Linux)."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(os.readlink(link))
            except OSError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in inodes:
                found.add(words[1].partition(":")[0])
    return found


def descendants(pid: int) -> set[int]:
    children = Path(f"/proc/{pid}/task").glob("*/children")
    own = {int(word) for path in children for word in path.read_text().split()}
    return {pid}.union(*(descendants(child) for child in own))


def alone(pipe: Any) -> None:
    with connected(RayOptions()) as ray:
        assert ray.get(ray.remote(lambda: 1).remote()) == 1
        pipe.send(listening_addresses(descendants(os.getpid())))


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads /proc")
def test_a_cluster_of_our_own_listens_on_the_loopback_address_only() -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=alone, args=(there,))
    process.start()
    assert here.poll(WAIT_S)
    addresses = here.recv()
    process.join()
    assert process.exitcode == 0
    assert {address[-8:] for address in addresses} == {"0100007F"}
