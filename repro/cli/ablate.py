"""``repro ablate``: change one switch of a recipe at a time and show its effect."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repro import records
from repro.analysis.ablation.formats import FORMATS
from repro.cli.chosen import FIGURES, RESULTS
from repro.cli.options import paper_option
from repro.cli.work import at_step_option, k_shot_option, rows_named, run_cells, run_options
from repro.engines.planning import RunOptions
from repro.papers.pack import Paper
from repro.records import publishing
from repro.system.errors import RecordError, UsageError

if TYPE_CHECKING:
    from repro.analysis.ablation.effects import Ablation
    from repro.engines.local import Failure
    from repro.papers.config import RunConfig
    from repro.papers.method_spec import MethodSpec
    from repro.papers.switches import Switch
    from repro.run.context import RunContext
    from repro.system.interrupts import StopRequest
    from repro.system.progress import Reporter


@click.command()
@click.option(
    "--method", default="meta_lstm", show_default=True, help="Name of a method, or FILE.py:CLASS."
)
@k_shot_option
@click.option("--switches", default="all", show_default=True, metavar="LIST",
              help="Switches to change: all, no-training (those that need no new "
                   "training) or a list such as gates,theta_0=random.")  # fmt: skip
@paper_option
@functools.partial(run_options, recipe="--base", files=False, shape=False)
@click.option("--episodes", type=click.IntRange(min=2),
              help="Meta-validation episodes; by default the budget's test episodes.")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1),
              help="Threads of each job.")  # fmt: skip
@click.option(
    "--unfinished", is_flag=True, help="Test unfinished trainings at their newest checkpoint."
)
@at_step_option
@click.option("--final", metavar="SWITCH=VALUE",
              help="Also test the base and this one change on meta-test.")  # fmt: skip
@click.option("--show", is_flag=True, help="Run nothing; show the results of an earlier ablation.")
@click.option("--from", "source", type=click.Choice(["runs", "results"]), default="runs",
              show_default=True, help="Records that --show reads.")  # fmt: skip
@click.option("--publish", is_flag=True, help="Copy the ablation to results/.")
@click.option("--format", "style", default="text", show_default=True, type=click.Choice(FORMATS))
def ablate(
    method: str, k_shot: int, switches: str, episodes: int | None, unfinished: bool,
    final: str | None, show: bool, source: str, publish: bool, style: str, of: Paper,
    **options: Any,
) -> None:  # fmt: skip
    """Change one switch of a recipe at a time, and compare each change with the unchanged recipe.

    All runs share seeds, initial values and episodes, and are compared on meta-validation.
    Meta-test is used only with --final, for one change. --base may be a recipe of the --paper.

    Example: repro ablate --switches gates,theta_0 --seeds 3 --budget smoke
    """
    from repro.papers import config
    from repro.papers import switches as switching

    base, runs = options["recipe"], options["runs"]
    recipe, budget = config.recipe(base), config.budget(options["budget"])
    (row,) = rows_named([method], (), only=True)
    if show:
        if final:
            raise UsageError("--show runs nothing and --final tests on meta-test; give one of them")
        root = runs if source == "runs" else RESULTS

        def named(record: records.Record) -> bool:
            same = (record.method, record.k_shot, record.budget_name)
            mine = same == (row.name, k_shot, budget.name)
            return mine and records.config_of(record).recipe == recipe

        found = _found(root, options["dataset"], named)
        if not found:
            raise RecordError(
                f"no ablation of {row.name} {k_shot}-shot with base {recipe.name} and budget "
                f"{budget.name} on {options['dataset']} under {root}; published ones are shown "
                "with --from results, --dataset and --budget; else run it without --show first"
            )
        for ablation in found:
            _tell(ablation, source, runs, style, publish)
        return
    wanted = switching.parse(switches, base, row, k_shot, budget)
    only_shared = switches == switching.NO_TRAINING
    chosen = None
    if final:
        if "=" not in final:
            raise UsageError(f"--final is one SWITCH=VALUE, not {final!r}")
        (chosen, *more) = switching.parse(final, base, row, k_shot, budget)
        if more:
            raise UsageError(f"--final is one choice, not {1 + len(more)}: {final!r}")
        wanted += [chosen] if chosen not in wanted else []
    bases, tested = _run(wanted, chosen, row, k_shot, episodes, unfinished, only_shared, options)
    digests = {base.digest for base in bases}
    for ablation in _found(
        runs, options["dataset"], lambda record: record.digests.get("config") in digests
    ):
        _tell(ablation, "runs", runs, style, publish)
    if tested and chosen:
        _tell_final(tested, chosen.text, runs, style)


def _found(root: Path, dataset: str, of: Callable[[records.Record], bool]) -> list[Ablation]:
    from repro.analysis.ablation.effects import ablations
    from repro.records.variants import read_validation

    return ablations(read_validation(root, dataset.partition("@")[0]), of)


def _run(
    wanted: list[Switch], chosen: Switch | None, row: MethodSpec, k_shot: int,
    n_episode: int | None, unfinished: bool, only_shared: bool, options: dict[str, Any],
) -> tuple[list[RunConfig], list[tuple[RunConfig, RunConfig]]]:  # fmt: skip
    """Run what is missing; the base's cells, and base and final choice where tested."""
    bases: list[RunConfig] = []
    tested: list[tuple[RunConfig, RunConfig]] = []

    def work(
        cells: list[RunConfig], context: RunContext, jobs: int, reporter: Reporter,
        stop: StopRequest, command: str,
    ) -> list[Failure]:  # fmt: skip
        from repro.engines import ablation
        from repro.engines.local import needed

        base, budget = options["recipe"], cells[0].budget
        n = n_episode or budget.n_test_episode
        bases.extend(replace(c, budget=replace(budget, n_test_episode=n)) for c in cells)
        pairs = ablation.planned(bases, base, wanted, only_shared)
        if options["session"] is not None:
            every = [cell for _, cell in pairs]
            options["session"].need(needed(every, context.runs, context.force))
        if unfinished:
            pairs = ablation.testable(pairs, context, reporter, stop)
        failures = ablation.run(pairs, context, jobs, reporter, stop, command)
        if chosen and not failures:
            finals, failures = ablation.run_final(
                chosen, [ablation.on_test(cell, budget) for cell in bases], base, context, jobs,
                reporter, stop, command,
            )  # fmt: skip
            tested.extend(finals)
        return failures

    n_task = options["seeds"] * (1 + len(wanted))
    asked = RunOptions(**options, unfinished=unfinished, split="val")
    run_cells([row], [k_shot], asked, work, n_task)
    return bases, tested


def _tell(found: Ablation, source: str, runs: Path, style: str, publish: bool) -> None:
    """Table and forest plot of one ablation; paths go to the error stream."""
    from repro.analysis.ablation import forest
    from repro.analysis.ablation import formats as ablation_formats

    click.echo(ablation_formats.format_ablation(found, style), nl=False)
    figures = runs / found.dataset / "figures" if source == "runs" else FIGURES / found.dataset
    written = forest.plot_forest(found, figures) if found.effects else []
    if publish and source == "runs":
        paths = {record.path for record in found.records}
        written += publishing.publish(
            runs, RESULTS, found.dataset, wanted=lambda r: r.path in paths, split="val"
        )
    for path in written:
        click.echo(str(path), err=True)


def _tell_final(
    cells: list[tuple[RunConfig, RunConfig]], label: str, runs: Path, style: str
) -> None:
    """The final choice against the base on meta-test."""
    from repro.analysis.compare.formats import format_pairs
    from repro.analysis.compare.pairs import all_pairs
    from repro.analysis.compare.sides import Side

    base, chosen = (
        tuple(records.read_record(records.cell_folder(runs, pair[side])) for pair in cells)
        for side in (0, 1)
    )
    pairs = all_pairs([[Side(f"{label}", chosen), Side("base", base)]])
    if style != "json":
        click.echo("\nOn meta-test, the base and the one final choice:")
    click.echo(format_pairs(pairs, style), nl=False)
