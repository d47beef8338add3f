"""What a grid costs grows with its cells: counted, not timed."""

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from repro import episodes, records
from repro.analysis.selection import select
from repro.analysis.table import table1
from repro.engines import local as engine
from repro.papers import config
from repro.records import record
from repro.run import cell as cells_module
from repro.run.cell import RunContext, plan
from repro.system import storage
from repro.system.interrupts import StopRequest
from repro.system.progress import Silent
from tests.conftest import TINY

PIXELS = "authors-code,neighbor_features=pixels"  # nothing is trained


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    found: Counter[str] = Counter()

    def counted(owner: object, name: str) -> None:
        honest = getattr(owner, name)

        def call(*words: object, **options: object) -> object:
            found[name] += 1
            return honest(*words, **options)

        monkeypatch.setattr(owner, name, call)

    counted(record, "read_record")
    counted(storage, "parse_json")
    counted(cells_module, "open_pack")
    counted(episodes.EpisodeSampler, "__getitem__")
    counted(subprocess, "run")
    return found


def grid(runs: Path, pack: Path, n_seed: int) -> RunContext:
    cells = plan("tiny", pack, ["nearest_neighbor"], [1, 5], range(n_seed), config.recipe(PIXELS),
                 TINY, "fp32", "cpu")  # fmt: skip
    context = RunContext(runs, pack, 1, "cpu")
    assert engine.run(cells, context, 1, Silent(), StopRequest(), "repro test") == []
    return context


def test_a_grid_reads_each_record_once_and_opens_as_many_packs_per_cell(
    tmp_path: Path, tiny_pack: Path, counts: Counter[str]
) -> None:
    grid(tmp_path / "warm", tiny_pack, 1)  # what is kept for the whole process
    seen = {}
    for n_seed in (10, 20):
        counts.clear()
        grid(tmp_path / str(n_seed), tiny_pack, n_seed)
        seen[n_seed] = Counter(counts)
    per_cell = {name: seen[20][name] / 40 for name in ("read_record", "open_pack", "parse_json")}
    for name, count in per_cell.items():
        assert (seen[20][name] - seen[10][name]) / 20 == pytest.approx(count, abs=0.2), name
    assert per_cell["read_record"] <= 1
    assert per_cell["open_pack"] <= 4
    # Episodes and the state of the code are of the process, not of the cell.
    assert seen[20]["__getitem__"] == 0
    assert seen[20]["run"] == 0

    counts.clear()
    grid(tmp_path / "20", tiny_pack, 20)
    assert counts["read_record"] == 40
    assert counts["open_pack"] <= 2  # of each pack once
    counts.clear()
    read = records.read_records(tmp_path / "20", "tiny")
    assert counts["parse_json"] == 40
    table = table1.build(select(read, None).records, "tiny")
    assert "seeds 0 to 19" in table.title
    assert counts["parse_json"] == 40


def test_episodes_that_are_kept_are_those_that_are_drawn() -> None:
    rows = [(100 * i, 100) for i in range(10)]
    sampler = episodes.EpisodeSampler(rows, "test", config.EpisodeSpec(), 3)
    alone = episodes.episodes_digest(sampler[i] for i in range(12))
    assert episodes.episodes_digest(sampler.first(12)) == alone
    assert episodes.episodes_digest(sampler.first(12)) == alone
    assert episodes.episodes_digest(sampler.first(11)) != alone
    for changed in (
        episodes.EpisodeSampler(rows, "val", config.EpisodeSpec(), 3),
        episodes.EpisodeSampler(rows, "test", config.EpisodeSpec(k_shot=5), 3),
        episodes.EpisodeSampler(rows, "test", config.EpisodeSpec(), 4),
        episodes.EpisodeSampler(rows, "test", config.EpisodeSpec(), 3, "independent"),
        episodes.EpisodeSampler(rows[:9], "test", config.EpisodeSpec(), 3),
    ):
        assert episodes.episodes_digest(changed.first(12)) != alone
