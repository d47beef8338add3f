"""Commands that compute: reproduce, train, evaluate and verify. torch is imported when they run."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from repro import records
from repro.analysis.apart import select_apart
from repro.analysis.table import table1
from repro.cli.config_file import ConfigCommand
from repro.cli.features import frozen_options
from repro.cli.figures import DRAWS, draw_table
from repro.cli.options import FolderOrUrl, engine_options, paper_option
from repro.cli.work import (
    at_step_option,
    k_shot_option,
    kernels_option,
    method_option,
    rows_named,
    run_cells,
    run_options,
    test_options,
    threads_option,
)
from repro.engines.frozen import Frozen
from repro.engines.planning import RunOptions, numbers
from repro.papers import shelf
from repro.papers.method_spec import MethodSpec
from repro.papers.pack import Paper, Table
from repro.system.allocator import keep_large_buffers
from repro.system.errors import RecordError, UsageError


def _asked_for(name: str) -> bool:
    """Whether an option was named, on the command line or in a file of options."""
    source = click.get_current_context().get_parameter_source(name)
    return source not in (ParameterSource.DEFAULT, None)


@click.command(cls=ConfigCommand)
@click.option(
    "--methods",
    default="paper",
    show_default=True,
    help="paper, all, or a list.",
)
@click.option("--shots", help="Support images per class.  [default: paper's]")
@paper_option
@frozen_options
@engine_options
@test_options
@run_options
def reproduce(
    methods: str, shots: str | None, of: Paper, files: tuple[str, ...], frozen: Frozen,
    **options: Any,
) -> None:  # fmt: skip
    """Train and test every cell, then show table, figures and verdicts.
    Finished cells are not run again; interrupted ones continue. Shots below 5 are trained for as
    long as 1-shot, others as 5-shot.

    Example: repro reproduce --dataset mini-imagenet --data PATH --budget smoke
    """
    dataset, runs = options["dataset"], options["runs"]
    table_of = of.table(dataset)
    frozen, words = frozen.with_heads(
        [word.strip() for word in methods.split(",")], _asked_for("methods")
    )
    rows = _rows(words, of, table_of, files)
    asked = list(table_of.shots) if shots is None else numbers(shots, "--shots")
    pack, cells = run_cells(rows, asked, RunOptions(**options, frozen=frozen))
    name = dataset = dataset.partition("@")[0]
    if dataset != "glyphs":  # there may be records of other images under this name
        dataset = f"{dataset}@{pack.name.rpartition('-')[2]}"
    # Those planned, by their digests: a name of a budget or data set may stand for others, too.
    planned = [records.read_record(records.cell_folder(runs, cell)) for cell in cells]
    first = [record for record in planned if record.seed == options["seed"]]
    trainings = {record.training.get("digest") for record in planned}
    beside = [
        record
        for record in select_apart(records.read_records(runs, name), planned, None)
        if record.training.get("digest") in trainings
    ]
    click.echo(table1.build(planned, dataset, apart=beside, of=table_of).format("text"))
    figures = ["plot-table", "plot-distributions"]
    if any(cell.training() for cell in cells):
        figures.insert(0, "plot-curves")
    if "meta_lstm" in [row.name for row in rows]:
        figures.insert(0, "plot-gates")
    if len({cell.method for cell in cells}) > 1:
        figures.append("plot-differences")
    for figure in figures:
        folder = runs / dataset / "figures"
        if figure == "plot-table":
            paths = draw_table(planned, dataset, folder, table_of)
        else:
            paths = DRAWS[figure](first, dataset, folder)
        for path in paths:
            click.echo(str(path))


def _rows(
    words: list[str], of: Paper, table_of: Table, files: tuple[str, ...]
) -> list[MethodSpec]:  # fmt: skip
    """The rows asked for, ``paper`` being those of the paper's table that have a method."""
    mine = list(table_of.methods)
    if "paper" in words and not mine:
        raise UsageError(
            f"no row of {table_of.heading} has a method that can be run here; name some with "
            "--methods"
        )
    asked = [name for word in words for name in (mine if word == "paper" else [word])]
    try:
        return rows_named(asked, files)
    except UsageError as error:
        if of.key in shelf.BUILT_IN or "unknown method" not in str(error):
            raise
        raise UsageError(
            f"{error}; a method that the paper {of.key} names and that is not installed is given "
            "with --method FILE.py:CLASS"
        ) from error


@click.command()
@click.argument("method")
@k_shot_option
@threads_option
@functools.partial(run_options, one=True)
def train(
    method: str, k_shot: int, threads: int | None, files: tuple[str, ...], **options: Any
) -> None:  # fmt: skip
    """Train METHOD (a name, or FILE.py:CLASS), continuing from its newest checkpoint.

    Example: repro train meta_lstm --k-shot 5 --budget quick,meta_lstm_5shot=3000
    """
    rows = rows_named([method], files, only=True)
    asked = RunOptions(**options, jobs="1", threads=threads, only_training=True)
    run_cells(rows, [k_shot], asked)


@click.command()
@click.argument("method")
@k_shot_option
@click.option(
    "--trained-k-shot",
    type=click.IntRange(min=1),
    help="Shot of the training, if another.",
)
@threads_option
@click.option(
    "--unfinished",
    is_flag=True,
    help="Test an unfinished training as it is.",
)
@at_step_option
@frozen_options
@test_options
@functools.partial(run_options, one=True)
def evaluate(
    method: str, k_shot: int, trained_k_shot: int | None, threads: int | None, unfinished: bool,
    at_step: int | None, files: tuple[str, ...], frozen: Frozen, **options: Any,
) -> None:  # fmt: skip
    """Test METHOD (a name, or FILE.py:CLASS) on the fixed meta-test episodes.

    If its training is not finished, it is finished first.

    Example: repro evaluate meta_lstm --k-shot 1 --trained-k-shot 5
    """
    frozen, words = frozen.with_heads([method], True)
    asked = RunOptions(
        **options, jobs="1", threads=threads, train_k_shot=trained_k_shot, unfinished=unfinished,
        at_step=at_step, frozen=frozen,
    )  # fmt: skip
    _, cells = run_cells(rows_named(words, files, only=True), [k_shot], asked)
    for cell in cells:
        record = records.read_record(records.cell_folder(options["runs"], cell))
        click.echo(table1.result(record))


@click.command()
@click.argument("record", type=FolderOrUrl())
@click.option(
    "--data", "root", type=click.Path(path_type=Path), help="Folder or archive with the images."
)
@click.option(
    "--test-data", "test_root", type=click.Path(path_type=Path),
    help="Folder or archive of the data set that it was tested on, if another.",
)  # fmt: skip
@click.option(
    "--n",
    "n_episode",
    type=click.IntRange(min=1),
    help="Number of episodes to test, drawn with a fixed seed; by default all.",
)
@method_option
@kernels_option
def verify(
    record: Path | str, root: Path | None, test_root: Path | None, n_episode: int | None,
    files: tuple[str, ...],
) -> None:  # fmt: skip
    """Test the parameters of RECORD again and compare the accuracies episode by episode.

    RECORD is the folder of a cell, or a URL. In a folder of several cells, every record that has
    parameters is verified.

    Example: repro verify results/glyphs --n 20
    """
    keep_large_buffers()
    from repro.data.pack import verify_pack
    from repro.records import MODEL, read_record
    from repro.run.verify import packs_for
    from repro.run.verify import verify as run_verify
    from repro.system.interrupts import stop_requests
    from repro.system.processes import call
    from repro.system.progress import ConsoleReporter

    if isinstance(record, str):
        from repro.records.remote import session

        folder = session.read(record, "copy", functools.partial(click.echo, err=True))
    else:
        folder = record
    found = [
        path.parent
        for path in sorted(folder.rglob("record.json"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not found:
        raise RecordError(f"no record.json in or under {record}; give the folder of a cell")
    if len(found) > 1:
        found = [path for path in found if (path / MODEL).exists()]
    failed, verified = False, set[Path]()
    with ConsoleReporter() as reporter, stop_requests() as stop:
        for path in found:
            named = read_record(path)
            pack, test_pack = packs_for(named, root, test_root)
            for used in {pack, test_pack} - {None, *verified}:
                assert used is not None
                verify_pack(used)
                verified.add(used)
            if dict(named.config.get("row") or {}).get("source"):
                work = functools.partial(
                    run_verify, path, pack, n_episode=n_episode, files=files, test_pack=test_pack
                )
                who = f"the method {named.method}"
                verdict = call(work, who=who, reporter=reporter, stop=stop)
            else:
                verdict = run_verify(path, pack, reporter, stop, n_episode, files, test_pack)
            named_apart = f"{path} ({named.apart})" if named.apart else path
            click.echo(verdict.sentence(named_apart))
            failed |= not verdict.ok
    sys.exit(1 if failed else 0)
