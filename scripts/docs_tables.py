"""Writes the tables of README.md, results/README.md and docs/ that are made from code and records.

Each stands between a comment with its command and the comment ``end``:

    <!-- repro table --dataset mini-imagenet --from results --format markdown -->
    …
    <!-- end -->

`python scripts/docs_tables.py` writes them anew; with ``--check`` it names the pages whose tables
are not what the commands print and exits with 1.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import click
from click.testing import CliRunner

import repro
from repro.analysis.statistics.intervals import mean_interval
from repro.analysis.text import percent_interval
from repro.cli.main import cli
from repro.papers.budgets import BUDGETS, Budget
from repro.papers.heads import HEADS
from repro.papers.recipes import PRESETS, RECIPES, Recipe

ROOT = Path(__file__).resolve().parents[1]
_TABLE = re.compile(r"(<!-- ([^\n]*?) -->\n)(?:(?!<!--).)*?(<!-- end -->)", re.DOTALL)


def shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def switches() -> str:
    """Each switch with its possible values and its value in every preset."""
    hints = get_type_hints(Recipe)
    lines = [
        f"| switch | values | {' | '.join(PRESETS)} |",
        "|" + " --- |" * (2 + len(PRESETS)),
    ]
    for field in dataclasses.fields(Recipe):
        if field.name == "name":
            continue
        hint = hints[field.name]
        values = get_args(hint) or {bool: ("true", "false"), int: ("a whole number",)}.get(
            hint, ("a number",)
        )
        cells = (shown(getattr(RECIPES[name], field.name)) for name in PRESETS)
        lines.append(f"| `{field.name}` | {', '.join(map(str, values))} | {' | '.join(cells)} |")
    return "\n".join(lines)


def budgets() -> str:
    """Each field of a budget and its value in every preset."""
    lines = [f"| field | {' | '.join(BUDGETS)} |", "| --- |" + " ---: |" * len(BUDGETS)]
    for field in dataclasses.fields(Budget):
        if field.name in ("name", "own"):
            continue
        cells = (getattr(preset, field.name) for preset in BUDGETS.values())
        texts = (f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells)
        lines.append(f"| `{field.name}` | {' | '.join(texts)} |")
    return "\n".join(lines)


SHORT = ("Model", "Shot", "reported", "measured", "seeds", "difference", "verdict")


def _brief(cell: str) -> str:
    """A verdict without its sentence: of one seed with the bound of the spread of seeds."""
    word, _, rest = cell.partition(" (")
    bound = re.search(r"spread less than ([\d.]+) points", rest)
    return f"{word} (one seed; SD < {bound[1]})" if bound else word


def shortened(table: str) -> str:
    """The paper's rows of a Markdown table: columns :data:`SHORT`, verdicts in a word."""
    lines = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.split("\n")]
    columns = [lines[0].index(name) for name in SHORT]
    kept = [
        [_brief(line[i]) if i < len(line) else "" for i in columns]
        for line in lines
        if "(not in the paper)" not in line[0]
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in kept)


def heads() -> str:
    """Each head with its source."""
    lines = ["| `--methods` | title | transductive | source |", "| --- | --- | --- | --- |"]
    for head in HEADS.values():
        told = "yes" if head.transductive else "no"
        lines.append(f"| `{head.name}` | {head.title} | {told} | {head.source} |")
    return "\n".join(lines)


_PLACES = ("--dataset", "--data", "--runs", "--log-file", "--budget", "--threads", "--precision")


def _as_typed(command: str) -> str:
    """A record's command without what all have in common and what belongs to one machine."""
    words = iter(shlex.split(command))
    kept = []
    for word in words:
        if word in _PLACES:
            next(words)
        elif word != "--force":
            kept.append(word)
    return " ".join(kept).replace(" --seed 0", "")


def runs(dataset: str = "mini-imagenet") -> str:
    """Each record of a data set: what was trained and tested, how long it took, on what."""
    header = ("row", "shot", "seed", "measured", "steps", "training, h", "testing, min",
              "tested on", "command")  # fmt: skip
    lines = [f"| {' | '.join(header)} |", f"| --- |{' ---: |' * 6} --- | --- |"]
    for record in repro.results("results", dataset=dataset):
        row = record.title + (f", **{record.apart}**" if record.apart else "")
        hours, minutes = record.training.get("wall_s", 0) / 3600, record.wall_s / 60
        measured = percent_interval(mean_interval(record.accuracy))
        steps = f"{record.n_step:,}"
        if record.unfinished:
            steps += f" of {record.training['n_step']:,}"
        processor = record.device.replace("(R)", "").partition(" (")[0].removesuffix(" Processor")
        cells = (row, record.k_shot, record.seed, measured, steps, f"{hours:.1f}", f"{minutes:.1f}",
                 processor, f"`{_as_typed(record.command)}`")  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


_MAKERS = {"switches": switches, "budgets": budgets, "heads": heads, "runs": runs}


def made(command: str) -> str:
    """What stands below the comment with this command.

    ``| rows`` keeps title and rows only, ``| short`` the rows and columns of :func:`shortened`,
    ``| holds`` how many of the differences hold.
    """
    if command in _MAKERS:
        return _MAKERS[command]()
    command, _, part = command.partition(" | ")
    result = CliRunner().invoke(cli, shlex.split(command)[1:])
    if result.exit_code:
        raise click.ClickException(f"{command}: {result.output.strip()}")
    text = result.stdout.strip()
    if part == "short":
        return shortened(text.split("\n\n")[1])
    if part == "holds":
        return next(note for note in text.split("\n\n") if "excludes 0 in" in note)
    return "\n\n".join(text.split("\n\n")[:2]) if part == "rows" else text


def pages() -> Iterator[Path]:
    """README, the log of the runs and the pages of the manual."""
    yield from (ROOT / "README.md", ROOT / "results/README.md")
    yield from sorted((ROOT / "docs").glob("*.md"))


def renewed(text: str) -> str:
    """A page with its tables made anew."""
    return _TABLE.sub(lambda found: f"{found[1]}{made(found[2])}\n{found[3]}", text)


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 1 where a table is out of date.")
def main(check: bool) -> None:
    """Make the tables of README.md, results/README.md and docs/ anew."""
    os.chdir(ROOT)
    changed = [page for page in pages() if renewed(page.read_text()) != page.read_text()]
    for page in changed:
        click.echo(f"{page.relative_to(ROOT)}: {'out of date' if check else 'written'}")
        if not check:
            page.write_text(renewed(page.read_text()))
    raise SystemExit(1 if check and changed else 0)


if __name__ == "__main__":
    main()
