"""Does bf16 training lose anything? Trainings in both precisions, compared in pairs.

The same seeds, initial values and episode streams; tested on the same meta-validation episodes
(meta-test is not touched). Each training goes on from its checkpoint when the script is started
again. Writes one JSON file: accuracy of every training, and bf16 - fp32 per seed.

    python scripts/compare_precision.py --data ~/mini-imagenet --output results/precision.json
"""

from __future__ import annotations

import itertools
from pathlib import Path

import click

from repro.allocator import keep_large_buffers

keep_large_buffers()

import torch  # noqa: E402

from repro import config, storage  # noqa: E402
from repro.analysis.stats import paired_interval  # noqa: E402
from repro.cells import Place, build_row, plan, run_training  # noqa: E402
from repro.data import prepare  # noqa: E402
from repro.data.images import open_pack  # noqa: E402
from repro.episodes import EpisodeSampler  # noqa: E402
from repro.evaluation import accuracies, evaluate  # noqa: E402
from repro.interrupts import stop_requests  # noqa: E402
from repro.methods.base import SplitImages  # noqa: E402
from repro.progress import ConsoleReporter  # noqa: E402
from repro.provenance import provenance  # noqa: E402


@click.command()
@click.option("--dataset", default="mini-imagenet", show_default=True)
@click.option("--data", "root", type=click.Path(path_type=Path))
@click.option("--budget", default="paper,pretrain=1000,meta_lstm_5shot=600", show_default=True)
@click.option("--seeds", default=2, show_default=True)
@click.option("--n-episode", default=600, show_default=True, help="Meta-validation episodes.")
@click.option("--threads", default=1, show_default=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/precision"))
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(
    dataset: str, root: Path | None, budget: str, seeds: int, n_episode: int, threads: int,
    runs: Path, output: Path,
) -> None:  # fmt: skip
    """Compare bf16 with fp32 at equal budget."""
    found: dict[str, list[dict[str, object]]] = {"trainings": [], "differences": []}
    with ConsoleReporter() as reporter, stop_requests() as stop:
        pack = prepare(dataset, root)
        place = Place(runs, pack, threads, "cpu")
        validation = open_pack(pack, "val")
        for method, seed in itertools.product(("nearest_neighbor", "meta_lstm"), range(seeds)):
            values = {}
            for precision in ("bf16", "fp32"):
                (cell,) = plan(
                    dataset, pack, [method], [5], [seed], config.recipe("authors-code"),
                    config.budget(budget), precision, "cpu",
                )  # fmt: skip
                trained = run_training(cell, place, reporter, stop)
                row, setting = build_row(cell, place)
                assert trained is not None
                row.load_state(trained.state)
                episodes = EpisodeSampler(validation.class_rows, "val", cell.spec, 0).first(
                    n_episode
                )
                torch.set_num_threads(threads)
                values[precision] = accuracies(
                    evaluate(
                        row, episodes, SplitImages(validation, setting), reporter,
                        f"{method} seed {seed} {precision}: meta-validation", stop,
                    ),
                    episodes,
                )  # fmt: skip
                found["trainings"].append(
                    {
                        "method": method,
                        "k_shot": 5,
                        "seed": seed,
                        "precision": precision,
                        "n_step": trained.step,
                        "wall_s": round(trained.wall_s, 1),
                        "accuracy": float(values[precision].mean()),
                    }
                )
            difference = paired_interval(values["bf16"], values["fp32"])
            found["differences"].append(
                {
                    "method": method,
                    "seed": seed,
                    "bf16_minus_fp32": difference.mean,
                    "half_width": difference.half_width,
                    "n_episode": n_episode,
                }
            )
            storage.write_json(output, {**found, "split": "val", "budget": budget,
                                        **provenance("cpu", threads, "")})  # fmt: skip


if __name__ == "__main__":
    main()
