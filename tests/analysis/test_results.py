"""Results: what is chosen, what the DataFrames hold, and what is refused."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import repro
from repro.system.errors import RecordError, UsageError
from tests.analysis.analysis_doubles import record, spread

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def published() -> Iterator[repro.Results]:
    yield repro.results(ROOT / "results")


def test_a_filter_keeps_the_records_with_all_values_and_no_other(published: repro.Results) -> None:
    found = published.filter(dataset="glyphs", method=["finetune", "meta_lstm"], k_shot=5, seed=0)
    wanted = [r for r in published if r.dataset == "glyphs" and r.k_shot == 5
              and r.method in ("finetune", "meta_lstm")]  # fmt: skip
    assert list(found) == wanted
    assert {r.budget_name for r in found} == {"smoke", "quick"}
    assert len(found.filter(budget="quick", recipe="authors-code")) == 2
    assert not published.filter(method="nobody")


def test_a_method_and_shot_name_their_records_and_a_near_miss_is_suggested(
    published: repro.Results,
) -> None:
    assert list(published["finetune", 1]) == list(published.filter(method="finetune", k_shot=1))
    with pytest.raises(UsageError, match="did you mean 'meta_lstm'"):
        published["meta_lstn", 5]
    with pytest.raises(UsageError, match=r"no records at 3-shot \(there are: \[1, 5\]\)"):
        published["finetune", 3]


def test_frames_hold_the_accuracies_of_the_records(published: repro.Results) -> None:
    glyphs = published.filter(dataset="glyphs")
    frame, episodes = glyphs.to_frame(), glyphs.to_frame(episodes=True)
    assert len(frame) == len(glyphs)
    assert len(episodes) == sum(r.n_episode for r in glyphs)
    keys = ["dataset", "method", "k_shot", "seed", "recipe", "budget"]
    means = episodes.groupby(keys).accuracy.mean()
    for shown, row in zip(glyphs, frame.itertuples(), strict=True):
        assert row.accuracy == pytest.approx(shown.accuracy.mean(), abs=1e-12)
        half = 1.96 * shown.accuracy.std(ddof=1) / np.sqrt(shown.n_episode)
        assert row.half_width == pytest.approx(half, abs=1e-12)
        assert means[tuple(getattr(row, key) for key in keys)] == pytest.approx(row.accuracy)
    assert glyphs.filter(method="nobody").to_frame().empty
    assert glyphs.filter(method="nobody").to_frame(episodes=True).empty


def test_every_column_of_the_frame_is_documented(published: repro.Results) -> None:
    told = repro.Results.to_frame.__doc__ or ""
    columns = {*published.to_frame().columns, *published.to_frame(episodes=True).columns}
    assert not [name for name in columns if f"``{name}``" not in told]


def test_accuracies_of_other_episodes_are_not_stacked(published: repro.Results) -> None:
    with pytest.raises(RecordError, match="different episodes"):
        _ = published["finetune"].accuracy


def test_joined_results_hold_each_record_once(published: repro.Results) -> None:
    assert list(published + published.filter(k_shot=5)) == list(published)


def test_the_table_is_that_of_the_command(
    published: repro.Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from repro.cli.main import cli

    monkeypatch.chdir(ROOT)
    words = ["table", "--dataset", "mini-imagenet", "--from", "results"]
    assert CliRunner().invoke(cli, words).output == f"{repro.table1(published, 'mini-imagenet')}\n"
    words = ["check", "--dataset", "mini-imagenet", "--from", "results"]
    assert CliRunner().invoke(cli, words).output == f"{repro.check(published, 'mini-imagenet')}\n"


def test_comparisons_are_those_of_the_command(
    published: repro.Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from repro.cli.main import cli

    monkeypatch.chdir(ROOT)
    words = ["compare", "--dataset", "mini-imagenet", "--from", "results", "--format", "json"]
    mini = published.filter(dataset="mini-imagenet")
    assert CliRunner().invoke(cli, words).output == repro.compare(mini).format("json")
    alone = mini.filter(seed=0)
    pair = repro.compare(alone["meta_lstm", 5], alone["finetune", 5])[0]
    other = repro.compare(alone["finetune", 5][0], alone["meta_lstm", 5][0])[0]
    assert pair.interval.mean == -other.interval.mean


def test_a_page_of_a_notebook_shows_titles_and_no_markup_of_a_record(
    published: repro.Results,
) -> None:
    table = repro.table1(published, "mini-imagenet")
    page = table._repr_html_()
    assert page.count("<tr>") == 1 + len(table.lines)
    assert "Meta-Learner LSTM" in page
    assert "±" in page
    from repro.analysis.results import html_table

    assert "<script>" not in html_table([("a",), ("<script>",)], (), ["<b>"])


def test_milestones_are_compared_where_they_are_filtered_for() -> None:
    training = {"n_step": 50_000, "reached_step": 40_000}
    results = repro.Results(
        record(
            seed=seed, path=Path(f"{seed}-{at}"), accuracy=spread(mean), training=training,
            config={"at_step": at} if at else {},
        )
        for seed in (1, 2)
        for at, mean in ((None, 0.57), (40_000, 0.585))
    )  # fmt: skip
    assert [r.seed for r in results.filter(at_step=40_000)] == [1, 2]
    (pair,) = repro.compare(results.filter(at_step=40_000), results)
    assert pair.first.seeds == pair.second.seeds == (1, 2)
    assert pair.interval.mean == pytest.approx(0.015)


def test_what_cannot_be_shown_is_refused_in_a_sentence(
    published: repro.Results, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="name the data set, one of glyphs, mini-imagenet"):
        repro.table1(published)
    with pytest.raises(UsageError, match="did you mean 'glyphs'"):
        repro.table1(published, "glyph")
    with pytest.raises(RecordError, match="no record of glyphs has recipe port"):
        repro.table1(published, "glyphs", recipe="port")
    with pytest.raises(RecordError, match="give two or more"):
        repro.compare(published["finetune", 5])
    with pytest.raises(RecordError, match="have different images"):
        repro.compare(
            published.filter(dataset="glyphs")["finetune", 5],
            published.filter(dataset="mini-imagenet")["finetune", 5],
        )
    with pytest.raises(RecordError, match=r"no records under .*; run `repro reproduce`"):
        repro.results(tmp_path)
    with pytest.raises(RecordError, match="is not a folder"):
        repro.results(tmp_path / "nowhere")
