"""Commands that copy records and checkpoints: publish and restore."""

from __future__ import annotations

from pathlib import Path

import click

from repro import records
from repro.analysis.compare import sides
from repro.cli.chosen import RESULTS
from repro.cli.options import runs_option
from repro.records import published_trainings, publishing
from repro.system.errors import RecordError


@click.command()
@click.argument("cells", nargs=-1)
@click.option("--dataset", default="glyphs", show_default=True, help="Data set.")
@runs_option("copy")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
@click.option("--unsealed", is_flag=True,
              help="Also publish old records, whose digest covers neither commit nor "
                   "curve.")  # fmt: skip
@click.option("--trainings", is_flag=True,
              help="Only the newest checkpoints of unfinished trainings, to continue elsewhere "
                   "with `repro restore`; no test is needed.")  # fmt: skip
def publish(
    cells: tuple[str, ...], dataset: str, runs: Path, output: Path, unsealed: bool, trainings: bool
) -> None:  # fmt: skip
    """Copy finished CELLS with their curves and small checkpoints to results/.

    A cell is the folder of its record, or named as in `repro compare`: a method, or a method with
    fields (meta_lstm@k_shot=5,budget=quick,seed=1). Without CELLS, all are copied.

    Example: repro publish meta_lstm finetune@k_shot=5 --dataset mini-imagenet
    """
    from repro.data.pack import verify_pack
    from repro.data.preparing import pack_of

    if trainings:
        if cells or unsealed:
            raise click.UsageError("--trainings takes neither CELLS nor --unsealed")
        for folder in published_trainings.publish_trainings(runs, output, dataset):
            click.echo(str(folder))
        return
    chosen = [sides.parse(text, records.methods_in(runs)) for text in cells]
    there = records.read_records(runs, dataset)
    for selector in chosen:
        if not any(selector.names(record) for record in there):
            raise RecordError(f"no finished run of {dataset} under {runs} matches {selector.text}")

    def wanted(record: records.Record) -> bool:
        return not chosen or any(selector.names(record) for selector in chosen)

    for digest in {record.digests["data"] for record in filter(wanted, there)}:
        if (pack := pack_of(dataset, digest)) is not None:
            verify_pack(pack)  # not numbers of images that were changed
    for folder in publishing.publish(runs, output, dataset, unsealed=unsealed, wanted=wanted):
        click.echo(str(folder))


@click.command()
@click.option("--dataset", default="glyphs", show_default=True, help="Data set.")
@runs_option("write")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    default=RESULTS,
    show_default=True,
    help="Folder of the published records.",
)
def restore(dataset: str, runs: Path, source: Path) -> None:
    """Copy published trainings to runs/, to continue them or to share them with other methods.

    Example: repro restore --dataset mini-imagenet
    """
    for folder in published_trainings.restore(source, runs, dataset):
        click.echo(str(folder))
