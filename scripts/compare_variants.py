"""Does bf16 training, or do the native kernels, lose anything? Both variants, compared in pairs.

The same seeds, initial values and episode streams; tested on the same meta-validation episodes
(meta-test is not touched). ``--compare kernels-test`` tests one training with both kernels.
Started again, the script goes on: trainings from their checkpoints, tests at the next episode.
Each method is a part of the JSON file of its own; a run replaces the parts of the methods it was
asked for and leaves the others as they are.

    python scripts/compare_variants.py --data ~/mini-imagenet --methods meta_lstm --n-step 300
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from repro.system.allocator import keep_large_buffers

keep_large_buffers()

import torch  # noqa: E402

from repro.analysis.statistics.paired import compare_paired  # noqa: E402
from repro.analysis.statistics.seeds import difference_of_seeds  # noqa: E402
from repro.analysis.table.verdicts import smallest_margin  # noqa: E402
from repro.data.pack import open_pack  # noqa: E402
from repro.data.preparing import prepare  # noqa: E402
from repro.episodes import EpisodeSampler  # noqa: E402
from repro.learner.kernels import library  # noqa: E402
from repro.papers import config  # noqa: E402
from repro.run.cell import plan, run_training  # noqa: E402
from repro.run.context import RunContext  # noqa: E402
from repro.run.evaluation import Partial, accuracies, evaluate  # noqa: E402
from repro.run.provenance import provenance  # noqa: E402
from repro.run.setup import cell_run  # noqa: E402
from repro.system import storage  # noqa: E402
from repro.system.errors import ReproError  # noqa: E402
from repro.system.interrupts import StopRequest, stop_requests  # noqa: E402
from repro.system.progress import ConsoleReporter, Reporter  # noqa: E402

K_SHOT = 5
# What is compared: per variant its name, precision, kernels and the folder of its trainings.
VARIANTS = {
    "precision": (("bf16", "bf16", "auto", ""), ("fp32", "fp32", "auto", "")),
    "kernels": (("native", "auto", "native", "native"), ("torch", "auto", "torch", "torch")),
    "kernels-test": (("native", "auto", "native", ""), ("torch", "auto", "torch", "")),
}
TRAININGS = {"nearest_neighbor": "pretrain", "meta_lstm": "meta_lstm_5shot",
             "matching_net": "matching_net"}  # fmt: skip
N_CURVE_EPISODE = 20  # of the training's own validation, which nothing here is read from

Values = npt.NDArray[np.float64]


def measure(
    cell: config.RunConfig,
    variant: str,
    context: RunContext,
    n_episode: int,
    reporter: Reporter,
    stop: StopRequest,
) -> tuple[Values, dict[str, Any]]:
    """Train and test one cell: accuracies ``[n_episode]`` on meta-validation, and its summary."""
    run = cell_run(cell, context)
    trained = run_training(cell, context, reporter, stop)
    assert trained is not None
    method = run.method(trained.state, run.training_folder)
    validation = run.split("val")
    episodes = EpisodeSampler(validation.class_rows, "val", cell.spec, 0).first(n_episode)
    tested = storage.digest({"config": cell.digest, "checkpoint": trained.digest})
    partial = Partial(run.training_folder / f"validation-{variant}.partial", tested)
    name = f"{cell.method} seed {cell.seed} {variant}: meta-validation"
    torch.set_num_threads(context.threads)
    images = run.images("val")
    found = accuracies(evaluate(method, episodes, images, reporter, name, stop, partial), episodes)
    summary = {
        "method": cell.method,
        "k_shot": K_SHOT,
        "seed": cell.seed,
        "variant": variant,
        "precision": cell.precision,
        "kernels": library.used(),
        "n_step": trained.step,
        "wall_s": round(trained.wall_s, 1),
        "accuracy": float(found.mean()),
    }
    return found, summary


def paired(first: Values, second: Values, block: int) -> dict[str, Any]:
    """First - second of the same episodes, as fractions; about these two checkpoints."""
    found = compare_paired(first, second, block)
    error, df = found.standard_error, found.n_unit - 1
    return {
        "difference": found.interval.mean,
        "half_width": found.interval.half_width,
        "equivalent_within": smallest_margin(found.interval.mean, error, df),
        "p": found.p_t,
        "n_episode": found.n_episode,
        "block": block,
    }


def compared(values: dict[tuple[str, int], Values], block: int) -> dict[str, Any]:
    """First variant - second per seed and over all seeds, beside what another seed does."""
    seeds = sorted({seed for _, seed in values})
    variants = tuple(dict.fromkeys(variant for variant, _ in values))
    first, second = variants
    found: dict[str, Any] = {
        "differences": [
            {"seed": s, **paired(values[first, s], values[second, s], block)} for s in seeds
        ],
        "between_seeds": [
            {"variant": v, "seeds": [a, b], **paired(values[v, a], values[v, b], block)}
            for v in variants
            for a, b in itertools.pairwise(seeds)
        ],
    }
    sides = [np.stack([values[variant, s] for s in seeds]) for variant in variants]
    if len(seeds) == 1:
        return found
    over = difference_of_seeds(sides[0], sides[1], block)
    found["over_seeds_and_episodes"] = {
        "difference": over.interval.mean,
        "half_width": over.interval.half_width,
        "equivalent_within": smallest_margin(over.interval.mean, over.standard_error, over.df),
        "p": over.p,
        "df": over.df,
        "n_seed": len(seeds),
    }
    found["over_episodes"] = paired(sides[0].mean(0), sides[1].mean(0), block)
    return found


@click.command()
@click.option("--compare", type=click.Choice(list(VARIANTS)), default="precision")
@click.option("--dataset", default="mini-imagenet", show_default=True)
@click.option("--data", "root", type=click.Path(path_type=Path))
@click.option(
    "--methods", default="nearest_neighbor,meta_lstm", show_default=True,
    help=f"Some of {', '.join(TRAININGS)}.",
)  # fmt: skip
@click.option("--seeds", default=2, show_default=True, help="Training seeds 0, 1, ...")
@click.option(
    "--n-step", default=600, show_default=True, help="Length of every training; 0: the paper's."
)
@click.option("--n-episode", default=600, show_default=True, help="Meta-validation episodes.")
@click.option("--threads", default=1, show_default=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/precision"))
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("results/precision.json"),
    show_default=True,
)  # fmt: skip
def main(
    compare: str, dataset: str, root: Path | None, methods: str, seeds: int, n_step: int,
    n_episode: int, threads: int, runs: Path, output: Path,
) -> None:  # fmt: skip
    """Compare bf16 with fp32, or the native kernels with torch's, at equal budget."""
    wanted = [name.strip() for name in methods.split(",")]
    for name in wanted:
        if name not in TRAININGS:
            raise click.BadParameter(f"{name}: expected some of {', '.join(TRAININGS)}")
    made = provenance("cpu", threads, "")  # of the code that was loaded, not of what it is later
    with ConsoleReporter() as reporter, stop_requests() as stop:
        pack = prepare(dataset, root)
        for method in wanted:
            shorter = f",{TRAININGS[method]}={n_step},n_validation_episode={N_CURVE_EPISODE}"
            budget = "paper" + (shorter if n_step else "")
            values, trainings = {}, []
            for seed in range(seeds):
                for name, precision, kernels, folder in VARIANTS[compare]:
                    library.choose(kernels)
                    context = RunContext(runs / folder, pack, threads, "cpu")
                    (cell,) = plan(
                        dataset, pack, [method], [K_SHOT], [seed], config.recipe("authors-code"),
                        config.budget(budget), precision, "cpu",
                    )  # fmt: skip
                    found, summary = measure(cell, name, context, n_episode, reporter, stop)
                    values[name, seed] = found
                    trainings.append(summary)
            block = len(open_pack(pack, "val").class_ids) // cell.spec.n_way
            part = {
                "compare": compare,
                "trainings": trainings,
                "dataset": dataset,
                "split": "val",
                "budget": budget,
                **compared(values, block),
                **made,
            }
            # Read again now: another run may have written its part meanwhile.
            parts = storage.read_json(output) if output.exists() else {}
            storage.write_json(output, {**parts, method: part})


if __name__ == "__main__":
    try:
        main()
    except ReproError as error:
        raise SystemExit(f"error: {error}") from None
