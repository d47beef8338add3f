"""Effects of an ablation against independent computations; table, plot and summary of them."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from click.testing import CliRunner

from repro import records
from repro.analysis.ablation.effects import Ablation, ablations, of_presets
from repro.analysis.ablation.forest import plot_forest
from repro.analysis.ablation.formats import format_ablation, notes
from repro.analysis.report import page as report
from repro.analysis.table.formats import WIDTH
from repro.cli.main import cli
from repro.papers.catalogue import numerics_revision
from repro.papers.config import BUDGETS, EpisodeSpec, Recipe, RunConfig, recipe
from repro.records import Record
from repro.records.variants import read_validation, read_variants
from repro.system import storage
from repro.system.errors import RecordError
from repro.system.seeding import Stream, rng
from tests.analysis.analysis_doubles import reseal, with_predictions
from tests.analysis.report.test_report import Reader

N, BLOCK = 60, 3
Values = Any


def drawn(label: str, seed: int, shift: float = 0.0) -> Values:
    """Accuracies of 75 queries: episodes and seeds differ, and both are the same for all labels."""
    episode = rng(1, Stream.GLYPHS).uniform(N, -0.15, 0.15)
    of_seed = float(rng(2, Stream.GLYPHS, seed).uniform(1, -0.05, 0.05)[0])
    own = rng(3 + sum(map(ord, label)), Stream.GLYPHS, seed).uniform(N, -0.1, 0.1)
    return np.round((0.55 + shift + of_seed + episode + own) * 75) / 75


def write(root: Path, label: str, seed: int, accuracy: Values, **changes: Any) -> Record:
    """A record of a cell on meta-validation whose recipe changes one switch."""
    text = "authors-code" if label == "base" else f"authors-code,{label}"
    budget = dataclasses.replace(BUDGETS["smoke"], n_test_episode=N)
    config = RunConfig(
        "made-up", "d" * 64, "meta_lstm", EpisodeSpec(k_shot=5), recipe(text), budget, seed,
        "fp32", episode_seed=1, split="val",
    )  # fmt: skip
    training = config.training()
    assert training is not None
    content: dict[str, Any] = {
        "config": {**config.describe(), "n_test_class": 5 * BLOCK + 1},
        "digests": {
            "config": config.digest, "data": "d" * 64, "episodes": "e" * 64, "model": "",
            "checkpoint": storage.digest([label, seed]), **changes.pop("digests", {}),
        },
        "accuracy": accuracy.tolist(),
        "training": {"n_step": 250, "reached_step": 250, "digest": training.digest,
                     **changes.pop("training", {})},
        "selection": None, "earlier_tests": [],
        "numerics_revision": numerics_revision("meta_lstm"), "versions": {}, "device": "cpu",
        "threads": 1, "commit": "c", "dirty": False, "command": "repro ablate",
        "started_at": "2025-01-01T00:00:00+00:00", "wall_s": 1.0, **changes,
    }  # fmt: skip
    folder = records.cell_folder(root, config)
    correct = np.round(accuracy * 75).astype(int)[:, None] > np.arange(75)
    labels = np.repeat(np.arange(5, dtype=np.uint8), 15)
    records.write_record(folder, content, np.where(correct, labels, (labels + 1) % 5))
    return records.read_record(folder)


def write_variant(folder: Path, label: str, seed: int, accuracy: Values) -> Path:
    """The file of a variant as earlier versions wrote it."""
    budget = BUDGETS["smoke"].describe() | {"n_test_episode": 600}
    kept = {k: v for k, v in vars(Recipe()).items() if k != "name"}
    name, equals, value = label.partition("=")
    content: dict[str, Any] = {
        "schema": 2, "label": label,
        "config": {
            "dataset": "made-up", "data_digest": "d" * 64, "method": "meta_lstm", "k_shot": 5,
            "n_way": 5, "n_query": 15, "seed": seed, "precision": "fp32", "split": "val",
            "recipe": {**kept, **({name: value} if equals else {})}, "training": "t" * 64,
            "n_episode": len(accuracy), "episode_seed": 1, "episode_classes": "permutation",
            "numerics_revision": numerics_revision("meta_lstm"), "base_recipe": vars(Recipe()),
            "base_name": "authors-code", "budget": budget, "budget_name": "smoke",
            "n_class": 16, "block": BLOCK,
        },
        "digests": {"data": "d" * 64, "episodes": "e" * 64, "checkpoint": "", "record": ""},
        "accuracy": accuracy.tolist(),
        "training": {"n_step": 250, "reached_step": 250, "retrained": label != "base"},
        "numerics_revision": numerics_revision("meta_lstm"), "versions": {}, "device": "cpu",
        "threads": 1, "commit": "c", "dirty": False, "command": "repro ablate",
        "started_at": "2025-01-01T00:00:00+00:00", "wall_s": 1.0,
    }  # fmt: skip
    path = folder / label / f"seed-{seed}" / "variant.json"
    storage.write_json(path, content)
    reseal(path.parent, path.name)
    return path


def made_up(root: Path, seeds: tuple[int, ...] = (0, 1, 2)) -> Path:
    for seed in seeds:
        write(root, "base", seed, drawn("base", seed))
        write(root, "query_batch_norm=query", seed, drawn("q", seed, 0.02))
        write(root, "gates=constant", seed, drawn("g", seed, -0.09))
        write(root, "theta_0=random", seed, drawn("t", seed))
    return root


def shown(root: Path) -> Ablation:
    (found,) = of_presets(read_validation(root, "made-up"))
    return found


def found(root: Path, seeds: tuple[int, ...] = (0, 1, 2)) -> Ablation:
    return shown(made_up(root, seeds))


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
    none = {"n_step": 0, "reached_step": 0, "digest": ""}
    for seed in range(3):
        for label in ("base", "query_batch_norm=query"):
            write(tmp_path, label, seed, drawn(label, seed), training=none)
    result = shown(tmp_path)
    assert (result.seed_sd, result.seed_df) == (None, 0)
    (line,) = [x for x in format_ablation(result, "text").splitlines() if "query_batch" in x]
    assert line.endswith("  none")


def test_a_switch_is_compared_under_the_seeds_that_the_base_has_too(tmp_path: Path) -> None:
    made_up(tmp_path, (0, 1))
    write(tmp_path, "passes_5shot=5", 1, drawn("p", 1))
    write(tmp_path, "passes_5shot=5", 7, drawn("p", 7))
    write(tmp_path, "gate_recurrence=gate", 9, drawn("r", 9))
    by_label = {effect.label: effect for effect in shown(tmp_path).effects}
    assert by_label["passes_5shot=5"].seeds == (1,)
    assert by_label["passes_5shot=5"].covers == "episodes"
    assert "gate_recurrence=gate" not in by_label


@pytest.mark.parametrize(
    "changes",
    [
        {"digests": {"episodes": "0" * 64}},
        {"digests": {"data": "0" * 64}},
        {"numerics_revision": 0},
    ],
)
def test_records_of_other_images_episodes_or_code_are_no_part_of_it(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    made_up(tmp_path, (0,))
    write(tmp_path, "passes_5shot=5", 0, drawn("p", 0), **changes)
    assert "passes_5shot=5" not in {effect.label for effect in shown(tmp_path).effects}
    write(tmp_path, "passes_5shot=5", 0, drawn("p", 0))
    assert "passes_5shot=5" in {effect.label for effect in shown(tmp_path).effects}


def test_a_recipe_that_changes_two_switches_is_no_effect_of_one(tmp_path: Path) -> None:
    made_up(tmp_path, (0,))
    write(tmp_path, "gates=constant,theta_0=random", 0, drawn("b", 0))
    assert len(shown(tmp_path).effects) == 3
    name = "authors-code-custom"
    every = ablations(read_validation(tmp_path, "made-up"), lambda r: r.recipe_name == name)
    by_base = {frozenset(effect.label for effect in a.effects) for a in every}
    # Of the base that has one of the two changed, the other one is a switch.
    assert frozenset({"gates=learned", "theta_0=random"}) in by_base


def test_ablations_of_earlier_versions_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "made-up/ablation/meta_lstm-5-shot/authors-code-smoke-0123abcd"
    for seed in (0, 1):
        write_variant(folder, "base", seed, drawn("base", seed))
        write_variant(folder, "gates=constant", seed, drawn("g", seed, -0.09))
    old = shown(tmp_path)
    new = found(tmp_path / "new", (0, 1))
    (same,) = [effect for effect in new.effects if effect.label == "gates=constant"]
    (effect,) = old.effects
    assert dataclasses.replace(effect, p_holm=same.p_holm) == same
    assert (old.block, old.base_by_seed) == (new.block, new.base_by_seed)


def test_the_published_ablation_gives_the_published_effects() -> None:
    results = Path(__file__).parents[3] / "results"
    (path,) = results.glob("mini-imagenet/ablation/*/*/ablation.json")
    published = storage.read_json(path)
    (old,) = of_presets(read_variants(results, "mini-imagenet"))
    again = json.loads(format_ablation(old, "json"))
    effects = {effect["label"]: effect for effect in published.pop("effects")}
    assert {effect["label"]: effect for effect in again.pop("effects")} == effects
    assert again == published


def test_a_moved_variant_of_an_earlier_version_is_not_believed(tmp_path: Path) -> None:
    folder = tmp_path / "made-up/ablation/meta_lstm-5-shot/authors-code-smoke-0123abcd"
    path = write_variant(folder, "gates=constant", 0, drawn("g", 0))
    (folder / "gates=constant").rename(folder / "theta_0=moved")
    with pytest.raises(RecordError, match=r"is the record of made-up meta_lstm-5-shot gates"):
        read_variants(tmp_path, "made-up")
    (folder / "theta_0=moved").rename(folder / "gates=constant")
    content = storage.read_json(path)
    content["accuracy"][0] = 1.0 - content["accuracy"][0]
    storage.write_json(path, content)
    with pytest.raises(RecordError, match=r"variant\.json.*the content was changed"):
        read_variants(tmp_path, "made-up")
    write_variant(folder, "gates=constant", 0, drawn("g", 0))
    (tmp_path / "made-up").rename(tmp_path / "mini-imagenet")
    with pytest.raises(RecordError, match="is the record of made-up"):
        read_variants(tmp_path, "mini-imagenet")


def test_the_table_tells_effects_in_points_and_what_was_not_finished(tmp_path: Path) -> None:
    made_up(tmp_path)
    for seed in range(3):
        write(tmp_path, "theta_0=random", seed, drawn("t", seed), training={"reached_step": 100})
    result = shown(tmp_path)
    text, markdown = (format_ablation(result, style) for style in ("text", "markdown"))
    for effect in result.effects:
        told = f"{100 * effect.effect:+.2f} ± {100 * (effect.half_width or 0):.2f}"
        assert told in text
        assert told in markdown
    (line,) = [line for line in text.splitlines() if "theta_0=random" in line]
    assert line.endswith("its own, 100 of 250 steps")
    (line,) = [line for line in text.splitlines() if "query_batch_norm" in line]
    assert line.endswith("the base's")
    assert json.loads(format_ablation(result, "json"))["effects"][0]["covers"] == (
        "episodes and seeds"
    )
    assert max(len(line) for line in text.splitlines()) <= WIDTH


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
    made_up(Path("runs"))
    words_ = ["ablate", "--show", "--dataset", "made-up", "--budget", "smoke"]
    result = CliRunner().invoke(cli, [*words_, "--format", "json", "--publish"])
    assert result.exit_code == 0, result.output
    assert {e["label"] for e in json.loads(result.stdout)["effects"]} == {
        "query_batch_norm=query", "gates=constant", "theta_0=random",
    }  # fmt: skip
    name = "ablation-meta_lstm-5-shot-authors-code-smoke"
    assert (Path("runs/made-up/figures") / f"{name}.svg").exists()
    published = CliRunner().invoke(cli, [*words_, "--from", "results", "--format", "json"])
    assert published.stdout == result.stdout
    assert (Path("figures/made-up") / f"{name}.png").read_bytes() == (
        Path("runs/made-up/figures") / f"{name}.png"
    ).read_bytes()


def test_the_report_shows_the_same_effects_as_the_table(tmp_path: Path) -> None:
    several, one = (found(tmp_path / str(len(seeds)), seeds) for seeds in ((0, 1, 2), (0,)))
    tested = [with_predictions(tmp_path / "records")]
    page = report.render(tested, "glyphs", ablations=[several, one])
    Reader(page)  # balanced
    section = page[page.index('aria-labelledby="ablation"') :]
    section = section[: section.index("</section>")]
    for effect in (*several.effects, *one.effects):
        shown = f"{100 * effect.effect:+.2f} ± {100 * (effect.half_width or 0):.2f}"
        assert f">{shown}</text>" in section
        assert f'<td class="number">{shown}</td>' in section
    assert section.count(">base, another seed</text>") == 1
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
