"""The command line: parse, call, print. Commands that compute import torch only when they run."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata
from typing import Any

import click

from repro import __version__
from repro.cli.ablate import ablate
from repro.cli.bench import bench
from repro.cli.compare import compare, power
from repro.cli.data import data, doctor, episodes
from repro.cli.features import embed
from repro.cli.fetch import fetch_data
from repro.cli.figures import (
    plot_cell,
    plot_curves,
    plot_differences,
    plot_distributions,
    plot_gates,
    plot_table,
)
from repro.cli.merge import merge
from repro.cli.method import method
from repro.cli.papers import papers
from repro.cli.predictions import import_
from repro.cli.publish import publish, restore
from repro.cli.report import report
from repro.cli.results import check, table
from repro.cli.run import evaluate, reproduce, train, verify
from repro.system.errors import Interrupted, ReproError, from_os_error, unknown


class Commands(click.Group):
    """Suggests the near miss and turns a ReproError into one sentence and its exit code."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None:
            click.echo(f"error: {unknown('command', args[0], self.commands)}", err=True)
            ctx.exit(2)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise _told(ctx, error) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            raise _told(ctx, error) from error
        except Interrupted as error:
            click.echo(str(error), err=True)
            ctx.exit(error.exit_code)
        except ReproError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            raise  # the reader of a pipe went away: click handles it
        except OSError as error:
            click.echo(f"error: {from_os_error(error)}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("stopped at once; the last checkpoints are kept", err=True)
            ctx.exit(130)


def _told(ctx: click.Context, error: click.ClickException) -> click.exceptions.Exit:
    """Say what click refuses as every other error is said; the exit that goes with it."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return click.exceptions.Exit(error.exit_code)
    where = getattr(error, "ctx", None) or ctx
    if isinstance(error, click.UsageError):
        hint = f"{where.command_path} --help"
        click.echo(f"{where.get_usage()}\nTry '{hint}' for help.\n", err=True)
    click.echo(f"error: {error.format_message()}", err=True)
    return click.exceptions.Exit(error.exit_code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="repro")
def cli() -> None:
    """Train and test few-shot learning methods on fixed episodes, beside a paper's table.

    Example: repro reproduce --dataset glyphs --budget quick
    """


data.add_command(fetch_data)
for command in (
    reproduce,
    train,
    evaluate,
    verify,
    import_,
    embed,
    method,
    papers,
    data,
    episodes,
    doctor,
    bench,
    table,
    compare,
    ablate,
    power,
    check,
    publish,
    restore,
    merge,
    plot_gates,
    plot_curves,
    plot_table,
    plot_cell,
    plot_distributions,
    plot_differences,
    report,
):
    cli.add_command(command)


def main() -> None:
    """The console script."""
    codecs.register_error("repro", _without)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="repro")
    cli(prog_name="repro")


# For terminals and pipes that are not UTF-8; what is not here is told by its number.
_PLAIN = {"±": "+/-", "−": "-", "×": "x", "√": "sqrt", "∞": "inf", "–": "-", "…": "...", "≤": "<="}


def _without(error: UnicodeError) -> tuple[str, int]:
    """Spell what the encoding of a stream does not have."""
    assert isinstance(error, UnicodeEncodeError)
    place = error.start
    character = error.object[place]
    letter = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return _PLAIN.get(character) or letter or ascii(character)[1:-1], place + 1
