"""Effects of an ablation against independent computations; table, plot and summary of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from click.testing import CliRunner

from repro.analysis.ablation.effects import Ablation, summaries, summarise, write_summary
from repro.analysis.ablation.forest import plot_forest
from repro.analysis.ablation.formats import format_ablation, notes
from repro.analysis.report import page as report
from repro.cli.main import cli
from repro.papers.config import BUDGETS, Recipe
from repro.records import ablation as ablation_records
from repro.records.ablation import VariantRecord
from repro.system import storage
from repro.system.errors import RecordError
from repro.system.seeding import Stream, rng
from tests.analysis.analysis_doubles import full_set
from tests.analysis.report.test_report import Reader

N, BLOCK = 60, 3
Values = Any


def drawn(label: str, seed: int, shift: float = 0.0) -> Values:
    """Accuracies of 75 queries: episodes and seeds differ, and both are the same for all labels."""
    episode = rng(1, Stream.GLYPHS).uniform(N, -0.15, 0.15)
    of_seed = float(rng(2, Stream.GLYPHS, seed).uniform(1, -0.05, 0.05)[0])
    own = rng(3 + sum(map(ord, label)), Stream.GLYPHS, seed).uniform(N, -0.1, 0.1)
    return np.round((0.55 + shift + of_seed + episode + own) * 75) / 75


def write(folder: Path, label: str, seed: int, accuracy: Values, retrained: bool = True,
          **changes: Any) -> VariantRecord:  # fmt: skip
    target = folder / label / f"seed-{seed}"
    digests = {
        "data": "d" * 64,
        "episodes": "e" * 64,
        "checkpoint": storage.digest([label, seed]),  # the last and the best are two
    }
    content: dict[str, Any] = {
        "label": label,
        "config": {
            "dataset": "made-up", "method": "meta_lstm", "k_shot": 5, "seed": seed, "block": BLOCK,
            "n_way": 5, "n_query": 15, "numerics_revision": changes.get("numerics_revision", 1),
            "base_name": "authors-code", "base_recipe": vars(Recipe()), "precision": "fp32",
            "budget": vars(BUDGETS["smoke"]), "budget_name": "smoke",
        },
        "digests": {**digests, **changes.pop("digests", {})},
        "accuracy": accuracy.tolist(),
        "training": {"n_step": 250, "reached_step": 250, "retrained": retrained,
                     "digest": storage.digest([label if retrained else "base", seed]),
                     **changes.pop("training", {})},
        "numerics_revision": 1, "commit": "c", "dirty": False, **changes,
    }  # fmt: skip
    ablation_records.write(target, content)
    return ablation_records.read(target)


def made_up(root: Path, seeds: tuple[int, ...] = (0, 1, 2)) -> Path:
    folder = (
        ablation_records.ablations_folder(root, "made-up", "meta_lstm", 5)
        / "authors-code-smoke-0123abcd"
    )
    for seed in seeds:
        write(folder, "base", seed, drawn("base", seed), retrained=False)
        write(folder, "query_batch_norm=query", seed, drawn("q", seed, 0.02), retrained=False)
        write(folder, "gates=constant", seed, drawn("g", seed, -0.09))
        write(folder, "theta_0=random", seed, drawn("t", seed))
    return folder


def found(root: Path, seeds: tuple[int, ...] = (0, 1, 2)) -> Ablation:
    return summarise(ablation_records.read_all(made_up(root, seeds)))


def test_with_seeds_an_effect_is_the_two_way_layout_of_the_differences(tmp_path: Path) -> None:
    result = found(tmp_path)
    assert [e.label for e in result.effects] == [
        *("query_batch_norm=query", "theta_0=random", "gates=constant")
    ]
    for effect, (name, shift) in zip(
        result.effects, (("q", 0.02), ("t", 0.0), ("g", -0.09)), strict=True
    ):
        difference = np.stack([drawn(name, s, shift) - drawn("base", s) for s in range(3)])
        units = difference.reshape(3, N // BLOCK, BLOCK).mean(2)
        n_seed, n_unit = units.shape
        by_seed, by_unit, mean = units.mean(1), units.mean(0), units.mean()
        square_seed = n_unit * ((by_seed - mean) ** 2).sum() / (n_seed - 1)
        square_unit = n_seed * ((by_unit - mean) ** 2).sum() / (n_unit - 1)
        rest = units - by_seed[:, None] - by_unit + mean
        square_rest = (rest**2).sum() / ((n_seed - 1) * (n_unit - 1))
        parts = np.array([square_seed, square_unit, -square_rest]) / units.size
        frees = np.array([n_seed - 1, n_unit - 1, (n_seed - 1) * (n_unit - 1)])
        variance = max(parts.sum(), np.abs(parts).max())
        df = variance**2 / (parts**2 / frees).sum()
        assert effect.effect == pytest.approx(mean, abs=1e-12)
        expected = scipy.stats.t.ppf(0.975, df) * math.sqrt(variance)
        assert effect.half_width == pytest.approx(expected, rel=1e-9)
        p = 2 * scipy.stats.t.sf(abs(mean) / math.sqrt(variance), df)
        assert effect.p == pytest.approx(p, rel=1e-6)
        assert effect.covers == "episodes and seeds"
        assert effect.effect_by_seed == pytest.approx(difference.mean(1).tolist(), abs=1e-12)


def test_with_one_seed_an_effect_is_a_paired_t_test_over_blocks(tmp_path: Path) -> None:
    result = found(tmp_path, (4,))
    effect = next(e for e in result.effects if e.label == "gates=constant")
    blocks = (drawn("g", 4, -0.09) - drawn("base", 4)).reshape(-1, BLOCK).mean(1)
    test = scipy.stats.ttest_1samp(blocks, 0.0)
    low, high = test.confidence_interval(0.95)
    assert effect.effect == pytest.approx(blocks.mean(), abs=1e-12)
    assert effect.half_width == pytest.approx((high - low) / 2, rel=1e-9)
    assert effect.p == pytest.approx(test.pvalue, rel=1e-6)
    assert (effect.covers, effect.seed_sd, result.between_seeds) == ("episodes", None, None)
    assert any("about these two checkpoints" in note for note in notes(result))
    assert not any("over training seeds" in note for note in notes(result))


def test_p_values_are_adjusted_over_the_switches_shown(tmp_path: Path) -> None:
    effects = sorted(found(tmp_path).effects, key=lambda e: e.p)
    expected, largest = [], 0.0
    for rank, effect in enumerate(effects):
        largest = max(largest, min(1.0, (3 - rank) * effect.p))
        expected.append(largest)
    assert [e.p_holm for e in effects] == pytest.approx(expected)


def test_seed_noise_is_pooled_over_trainings_and_each_counts_once(tmp_path: Path) -> None:
    result = found(tmp_path)
    means = {
        name: [drawn(name, seed, shift).mean() for seed in range(3)]
        for name, shift in (("base", 0.0), ("g", -0.09), ("t", 0.0))
    }  # the transductive test is of the base's trainings
    variance = np.mean([np.var(values, ddof=1) for values in means.values()])
    assert result.seed_sd == pytest.approx(math.sqrt(variance), rel=1e-9)
    assert result.seed_df == 6
    assert result.base_seed_sd == pytest.approx(np.std(means["base"], ddof=1), rel=1e-9)
    spread = scipy.stats.t.ppf(0.975, 6) * math.sqrt(2 * variance)
    assert result.between_seeds == pytest.approx(spread, rel=1e-6)
    assert len(result.seed_pairs) == 3


def test_without_a_training_there_is_no_spread_of_seeds(tmp_path: Path) -> None:
    folder = made_up(tmp_path)
    pooled = summarise(ablation_records.read_all(folder)).seed_sd
    none = {"n_step": 0, "reached_step": 0, "digest": ""}
    for seed in range(3):
        write(folder, "neighbor_features=pixels", seed, drawn("n", 0), retrained=False,
              training=none, digests={"checkpoint": ""})  # fmt: skip
    result = summarise(ablation_records.read_all(folder))
    assert result.seed_sd == pooled
    (line,) = [x for x in format_ablation(result, "text").splitlines() if "pixels" in x]
    assert line.endswith("  none")


def test_a_switch_is_compared_under_the_seeds_that_the_base_has_too(tmp_path: Path) -> None:
    folder = made_up(tmp_path, (0, 1))
    write(folder, "passes_5shot=5", 1, drawn("p", 1))
    write(folder, "passes_5shot=5", 7, drawn("p", 7))
    write(folder, "gate_recurrence=gate", 9, drawn("r", 9))
    result = summarise(ablation_records.read_all(folder))
    by_label = {effect.label: effect for effect in result.effects}
    assert by_label["passes_5shot=5"].seeds == (1,)
    assert by_label["passes_5shot=5"].covers == "episodes"
    assert "gate_recurrence=gate" not in by_label


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"digests": {"episodes": "0" * 64}}, "other episodes"),
        ({"digests": {"data": "0" * 64}}, "other data"),
        ({"numerics_revision": 0}, "numerics revision 0"),
    ],
)
def test_records_that_cannot_be_compared_are_refused(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    folder = made_up(tmp_path, (0,))
    write(folder, "passes_5shot=5", 0, drawn("p", 0), **changes)
    with pytest.raises(RecordError, match=said):
        summarise(ablation_records.read_all(folder))
    with pytest.raises(RecordError, match="no test of the base"):
        summarise([])


def test_what_is_shown_is_computed_from_records_whatever_the_summary_says(tmp_path: Path) -> None:
    folder = made_up(tmp_path)
    result = write_summary(folder)
    path = folder / "ablation.json"
    content = storage.read_json(path)
    assert json.loads(json.dumps(result.content())) == content
    content["effects"][0] |= {"effect": 0.2, "half_width": 0.001}
    path.write_text(json.dumps(content))
    assert summaries(tmp_path, "made-up") == [result]
    path.write_text("5")
    assert summaries(tmp_path, "made-up") == [result]


def test_a_moved_variant_is_not_believed(tmp_path: Path) -> None:
    folder = made_up(tmp_path)
    (folder / "gates=constant").rename(folder / "theta_0=moved")
    with pytest.raises(RecordError, match=r"is the record of gates=constant, seed 0"):
        ablation_records.read_all(folder)
    (folder / "theta_0=moved").rename(folder / "gates=constant")
    (tmp_path / "made-up").rename(tmp_path / "mini-imagenet")
    moved = tmp_path / "mini-imagenet" / folder.relative_to(tmp_path / "made-up")
    with pytest.raises(RecordError, match="of an ablation of made-up"):
        ablation_records.read_all(moved)


def test_the_table_tells_effects_in_points_and_what_was_not_finished(tmp_path: Path) -> None:
    folder = made_up(tmp_path)
    for seed in range(3):
        write(folder, "theta_0=random", seed, drawn("t", seed), training={"reached_step": 100})
    result = summarise(ablation_records.read_all(folder))
    text, markdown = (format_ablation(result, style) for style in ("text", "markdown"))
    for effect in result.effects:
        shown = f"{100 * effect.effect:+.2f} ± {100 * (effect.half_width or 0):.2f}"
        assert shown in text
        assert shown in markdown
    (line,) = [line for line in text.splitlines() if "theta_0=random" in line]
    assert line.endswith("its own, 100 of 250 steps")
    (line,) = [line for line in text.splitlines() if "query_batch_norm" in line]
    assert line.endswith("the base's")
    assert json.loads(format_ablation(result, "json"))["effects"][0]["covers"] == (
        "episodes and seeds"
    )
    assert max(len(line) for line in text.splitlines()) <= 110


def test_the_forest_plot_has_the_same_bytes_twice(tmp_path: Path) -> None:
    for seeds in ((0, 1, 2), (0,)):
        result = found(tmp_path / str(seeds), seeds)
        once = [path.read_bytes() for path in plot_forest(result, tmp_path / "a")]
        again = [path.read_bytes() for path in plot_forest(result, tmp_path / "b")]
        assert once == again
        assert [path.suffix for path in plot_forest(result, tmp_path / "a")] == [".png", ".svg"]


def test_show_rebuilds_table_and_plot_without_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = made_up(Path("runs"))
    words_ = ["ablate", "--show", "--dataset", "made-up", "--budget", "smoke"]
    result = CliRunner().invoke(cli, [*words_, "--publish"])
    assert result.exit_code == 0, result.output
    assert "query_batch_norm=query" in result.stdout
    assert (folder / "ablation.json").exists()
    name = "ablation-meta_lstm-5-shot-authors-code-smoke"
    assert (Path("runs/made-up/figures") / f"{name}.svg").exists()
    published = CliRunner().invoke(cli, [*words_, "--from", "results", "--format", "json"])
    assert json.loads(published.stdout) == storage.read_json(folder / "ablation.json")
    assert (Path("figures/made-up") / f"{name}.png").read_bytes() == (
        Path("runs/made-up/figures") / f"{name}.png"
    ).read_bytes()


def test_the_report_shows_the_same_effects_as_the_table(tmp_path: Path) -> None:
    several, one = (found(tmp_path / str(len(seeds)), seeds) for seeds in ((0, 1, 2), (0,)))
    tested = full_set(tmp_path / "records")
    page = report.render(tested, "glyphs", ablations=[several, one])
    Reader(page)  # balanced
    section = page[page.index('aria-labelledby="ablation"') :]
    section = section[: section.index("</section>")]
    for effect in (*several.effects, *one.effects):
        shown = f"{100 * effect.effect:+.2f} ± {100 * (effect.half_width or 0):.2f}"
        assert f">{shown}</text>" in section
        assert f'<td class="number">{shown}</td>' in section
    assert section.count("base, another seed") == 1
    assert 'href="#ablation"' not in report.render(tested, "glyphs")


@pytest.mark.parametrize(
    ("words_", "code", "said"),
    [
        (("--show",), 1, "no ablation of meta_lstm 5-shot with base authors-code"),
        (("--show", "--final", "gates=constant"), 2, "give one of them"),
        (("--switches", "gate"), 2, "did you mean 'gates'"),
        (("--method", "meta_lst"), 2, "did you mean 'meta_lstm'"),
        (("--base", "papr"), 2, "did you mean 'paper'"),
        (("--final", "gates"), 2, "one SWITCH=VALUE"),
        (("--final", "gates=constant,theta_0=random"), 2, "one choice, not 2"),
        (("--final", "gates=learned"), 2, "has already"),
    ],
)
def test_a_mistake_gets_one_sentence(
    words_: tuple[str, ...], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["ablate", *words_])
    assert result.exit_code == code, result.output
    assert said in result.output
    assert not list(tmp_path.iterdir())
