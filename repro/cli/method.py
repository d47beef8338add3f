"""``repro method``: which rows there are, and whether a method follows the protocol."""

from __future__ import annotations

import click


@click.group()
def method() -> None:
    """List the rows, and check a method of your own.

    Example: repro method check path/to/file.py:Class
    """


@method.command("list")
def list_methods() -> None:
    """Name the rows, and where each is from; a broken plug-in is told, not hidden.

    Example: repro method list
    """
    from repro.methods.registry import find_apart, hidden, names
    from repro.system.errors import ReproError

    for name in names():
        try:
            row = find_apart(name)
        except ReproError as error:
            click.echo(f"{name}: {error}")
            continue
        where = f"from {row.source.told}" if row.source else "built in"
        paper = "" if row.in_paper else ", not in the paper"
        click.echo(f"{name}: {row.title}{paper}, {where}")
    for sentence in hidden():
        click.echo(sentence)


@method.command("check")
@click.argument("method")
@click.option("--debug", is_flag=True, help="Show tracebacks of the method.")
def check_method(method: str, debug: bool) -> None:
    """Ask METHOD (a row, or FILE.py:CLASS) all that the protocol asks; exit 1 where it fails.

    A few made episodes of the embedded glyphs, on the processor; seconds. The method's code is
    run: check the code of others before.

    Example: repro method check examples/own-method/class_means.py:ClassMeans
    """
    import os
    import sys

    from repro.methods.checks.check import FAILED, examined
    from repro.system import processes

    if debug:
        os.environ["REPRO_DEBUG"] = "1"
    row, findings = processes.call(examined, method, who=f"the method {method}")
    failed = 0
    click.echo(f"{row.name}: {row.title}" + (f", {row.source.told}" if row.source else ""))
    for finding in findings:
        click.echo(f"{finding.verdict:8}{finding.rule}")
        if finding.told:
            click.echo(f"        {finding.told}")
        failed += finding.verdict == FAILED
    if failed:
        click.echo(f"{row.name} breaks {failed} rule{'s' if failed > 1 else ''} of the protocol")
    sys.exit(1 if failed else 0)
