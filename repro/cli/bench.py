"""``repro bench``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from repro.cli.work import kernels_option
from repro.learner.kernels import library
from repro.system.errors import unknown


@click.command()
@click.option("--quick", is_flag=True, help="Fewer repetitions; less than 90 s on two cores.")
@click.option("--json", "as_list", is_flag=True, help="Print JSON.")
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    help="Floating-point precision: auto, fp32, bf16 or both.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Number of threads; by default all.")
@click.option(
    "--rows", "chosen", help="Measure only these rows, for instance pretrain_step,gather_100."
)
@click.option(
    "--image-size",
    type=click.IntRange(min=16),
    default=84,
    show_default=True,
    help="Height and width of the random images, px.",
)
@click.option("--dataset", help="Use images of this data set instead of random ones.")
@click.option(
    "--data", "root", type=click.Path(path_type=Path), help="Folder or archive with the images."
)
@kernels_option
def bench(
    quick: bool, as_list: bool, precision: str, threads: int | None, chosen: str | None,
    image_size: int, dataset: str | None, root: Path | None,
) -> None:  # fmt: skip
    """Measure the fast code paths against plain PyTorch.

    Each time is for one unit of work; memory is the peak of a separate process. Run nothing else
    at the same time.

    Example: repro bench --quick
    """
    from repro.bench import measure as benchmark
    from repro.data.pack import open_pack
    from repro.data.preparing import prepare
    from repro.run.cell import resolve_precision
    from repro.run.provenance import processor
    from repro.system.progress import ConsoleReporter

    works = tuple(chosen.split(",")) if chosen else tuple(benchmark.WORK)
    for work in works:
        if work not in benchmark.WORK:
            raise unknown("row", work, benchmark.WORK)
    pack = None
    if dataset is not None:
        pack = prepare(dataset, root)
        image_size = open_pack(pack, "train").image_size
    precisions = (
        ("fp32", "bf16")
        if precision == "both"
        else (resolve_precision(precision, image_size, "cpu"),)
    )
    library.settle()
    rows = []
    with ConsoleReporter() as reporter, benchmark.Bench() as measuring:
        machine = measuring.machine(threads or os.cpu_count() or 1)
        total = sum(1 if work == "gather_100" else len(precisions) for work in works)
        for row in measuring.rows(machine, works, precisions, image_size, quick, pack):
            rows.append(row)
            note = f"{row.name}: {row.seconds:.3g} s, {row.ratio:.1f} times the plain path"
            reporter.report("bench", len(rows), total, note)
    shown = (
        benchmark.as_json(rows) if as_list else benchmark.as_markdown(rows, machine, processor())
    )
    click.echo(shown)
