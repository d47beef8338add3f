"""``repro method``: list the methods, and check that one follows the protocol."""

from __future__ import annotations

import click


@click.group()
def method() -> None:
    """List the methods, and check a method of your own.

    Example: repro method check path/to/file.py:Class
    """


@method.command("list")
def list_methods() -> None:
    """List all methods, where each comes from, and the errors of plug-ins that cannot be loaded.

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
@click.option("--debug", is_flag=True, help="Show the traceback when the method fails.")
def check_method(method: str, debug: bool) -> None:
    """Check that METHOD (a name, or FILE.py:CLASS) follows the protocol; exit with 1 if not.

    The check uses a few episodes of the embedded glyphs and takes seconds on the CPU. It runs the
    method's code: read the code of others first.

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
