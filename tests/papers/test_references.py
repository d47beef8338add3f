"""What was published of rows outside the paper, and which runs it can be held against."""

import pytest

from repro.papers import paper, references, shelf
from repro.papers.catalogue import BUILT_IN
from repro.papers.config import BUDGETS, RECIPES, EpisodeSpec, RunConfig
from repro.papers.reported import Reported


def published(method: str, k_shot: int) -> Reported:
    """What its own paper has of a row that Ravi & Larochelle's table does not have."""
    found = shelf.elsewhere(paper.PACK.table(), method, k_shot)
    assert found is not None
    return found[0]


def reasons(method: str, k_shot: int, n_query: int = 15) -> list[str]:
    ours = references.settings(method, k_shot)
    ours["n_query"] = n_query
    found = shelf.elsewhere(paper.PACK.table(), method, k_shot)
    assert found is not None
    return references.other_protocol(found[1], ours)


@pytest.mark.parametrize(
    ("method", "printed"),
    [
        ("proto_net", ["49.42 ± 0.78", "68.20 ± 0.66"]),
        ("proto_net_wide", ["49.42 ± 0.78", "68.20 ± 0.66"]),
        ("maml", ["48.70 ± 1.84", "63.11 ± 0.92"]),
        ("fomaml", ["48.07 ± 1.75", "63.15 ± 0.91"]),
    ],
)
def test_published_numbers_are_those_of_the_publications(method: str, printed: list[str]) -> None:
    found = [published(method, k_shot) for k_shot in paper.SHOTS]
    assert [f"{100 * r.mean:.2f} ± {100 * r.half_width:.2f}" for r in found] == printed


def test_every_published_number_is_of_a_row_outside_the_paper_and_has_source_and_protocol() -> None:
    found = [
        shelf.elsewhere(paper.PACK.table(), row.name, k_shot)
        for row in BUILT_IN.values()
        for k_shot in paper.SHOTS
        if not row.in_paper
    ]
    known = [one for one in found if one is not None]
    assert len(known) == 8
    assert all("Table" in reported.source and protocol for reported, protocol in known)


def test_a_run_of_another_protocol_is_told_in_which_fact() -> None:
    assert reasons("proto_net", 1) == ["classes of training episodes: 5, published with 30"]
    assert reasons("proto_net", 5) == ["classes of training episodes: 5, published with 20"]
    assert reasons("proto_net_wide", 1) == reasons("proto_net_wide", 5) == []
    for method in ("maml", "fomaml"):
        # Both protocols are transductive; the number of queries in the batch differs.
        assert BUILT_IN[method].transductive
        assert reasons(method, 1) == ["queries a class at test: 15, published with 1"]
        assert reasons(method, 5, n_query=5) == []


def test_settings_are_in_the_digests_of_new_rows_and_in_none_of_the_papers() -> None:
    for row in BUILT_IN.values():
        for k_shot in paper.SHOTS:
            found = references.settings(row.name, k_shot)
            assert bool(found) != row.in_paper
            config = RunConfig(
                "glyphs", "0" * 64, row.name, EpisodeSpec(k_shot=k_shot), RECIPES["authors-code"],
                BUDGETS["smoke"], 0, "fp32",
            )  # fmt: skip
            training = config.training()
            assert training is not None
            own = references.settings(training.training, training.k_shot)
            assert config.content().get("settings", {}) == found
            assert training.content().get("settings", {}) == own
            assert not own or own == found


def test_the_intervals_of_maml_are_those_of_as_many_queries_as_support_images() -> None:
    """The binomial part alone of 15 queries a class would make them far narrower than published."""
    for k_shot in paper.SHOTS:
        reported = published("maml", k_shot)
        sd = reported.half_width * 600**0.5 / paper.Z_95
        binomial = (reported.mean * (1 - reported.mean) / (5 * k_shot)) ** 0.5
        assert 1 < sd / binomial < 1.3
