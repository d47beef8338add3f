"""A record is refused only where the arithmetic of its own row moved."""

import dataclasses
import shutil
from pathlib import Path

import pytest

import repro
from repro import records
from repro.analysis.selection import select_records
from repro.analysis.table.check import pinned
from repro.papers import catalogue as rows
from repro.papers import method_names
from repro.records import publishing
from repro.run.verify import verify
from repro.system.errors import RecordError
from tests.analysis.analysis_doubles import record
from tests.papers.test_config import run_config

RESULTS = Path(repro.__file__).parents[1] / "results"
PUBLISHED = [r for name in ("glyphs", "mini-imagenet") for r in records.read_records(RESULTS, name)]


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if fine-tune's arithmetic had moved."""
    row = dataclasses.replace(rows.BUILT_IN["finetune"], revision=2)
    monkeypatch.setitem(rows.BUILT_IN, "finetune", row)


@pytest.mark.usefixtures("moved")
def test_only_the_row_that_moved_has_other_digests() -> None:
    config = run_config(method="finetune")
    assert config.content()["numerics_revision"] == 2
    training = config.training()
    assert training is not None and training.content()["numerics_revision"] == 1  # shared
    assert run_config(method="nearest_neighbor").content()["numerics_revision"] == 1


@pytest.mark.usefixtures("moved")
def test_only_records_of_the_row_that_moved_are_refused() -> None:
    old = record("finetune", numerics_revision=1)
    other, new = record("meta_lstm"), record("finetune")
    records.check_revision(other)
    records.check_revision(new)
    with pytest.raises(RecordError, match="of numerics revision 1, this code's finetune is of 2"):
        records.check_revision(old)
    assert select_records([old, other], None) == [other]
    assert len(select_records([new, other], None)) == 2
    lines, ok = pinned([new, other], [old, other])
    assert not ok
    assert [("revision 1" in line, "ok" in line) for line in lines] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.usefixtures("moved")
def test_a_published_record_of_a_row_that_moved_is_neither_verified_nor_published(
    tmp_path: Path,
) -> None:
    old = next(r for r in PUBLISHED if r.method == "finetune" and r.dataset == "glyphs")
    shutil.copytree(old.path, tmp_path / "runs" / old.path.relative_to(RESULTS))
    with pytest.raises(RecordError, match="numerics revision 1"):
        publishing.publish(tmp_path / "runs", tmp_path / "results", "glyphs")
    assert not (tmp_path / "results").exists()
    reporter, stop = None, None
    with pytest.raises(RecordError, match="numerics revision 1"):
        verify(old.path, tmp_path, reporter, stop)  # type: ignore[arg-type]


def test_the_two_matching_rows_and_their_trainings_are_of_revision_2_and_no_other() -> None:
    for name, row in rows.BUILT_IN.items():
        config = run_config(method=name)
        expected = 2 if name in ("matching_net", "matching_net_fce") else 1
        assert config.content()["numerics_revision"] == expected, name
        training = config.training()
        assert training is not None
        own = training.content()["numerics_revision"]
        assert own == (1 if row.training == method_names.PRETRAIN else expected), name


def test_published_records_of_rows_that_did_not_move_have_the_digests_of_this_code() -> None:
    current = [r for r in PUBLISHED if not records.other_revision(r)]
    assert {r.method for r in current} >= {"finetune", "nearest_neighbor", "meta_lstm"}
    for published in current:
        config = records.config_of(published)
        assert config.digest == published.digests["config"], published.path
        training = config.training()
        if training is not None:
            assert training.digest == published.training["digest"], published.path
