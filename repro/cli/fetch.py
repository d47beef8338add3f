"""The command that downloads a data set."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from repro.system.errors import Interrupted, UsageError, unknown

FETCHED = ("mini-imagenet",)


@click.command("fetch")
@click.argument("dataset")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the download; by default it has the name of the data set.",
)
@click.option(
    "--accept-terms", is_flag=True, help="Accept ImageNet's terms of use without being asked."
)
@click.option("--mirror", "chosen", help="Use only the mirror with this name.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=60.0,
              show_default=True, help="Seconds to wait for an answer.")  # fmt: skip
def fetch_data(
    dataset: str, output: Path | None, accept_terms: bool, chosen: str | None, timeout_s: float
) -> None:
    """Download mini-ImageNet from public mirrors and verify each file.

    The mirrors are tried in turn. Run the same command again to continue an
    interrupted download.

    Example: repro data fetch mini-imagenet
    """
    from repro.data.files.download import Patience
    from repro.data.mini_imagenet import mirrors
    from repro.system.progress import ConsoleReporter

    if dataset not in FETCHED:
        raise unknown("dataset that can be fetched", dataset, FETCHED)
    named = {mirror.name: mirror for mirror in mirrors.MIRRORS}
    if chosen is not None and chosen not in named:
        raise unknown("mirror", chosen, named)
    click.echo(mirrors.TERMS)
    if not accept_terms:
        if not sys.stdin.isatty():
            raise UsageError("these terms must be accepted; read them and add --accept-terms")
        click.confirm("Do you agree?", abort=True)
    tried = mirrors.MIRRORS if chosen is None else (named[chosen],)
    folder = output or Path(dataset)
    with ConsoleReporter() as reporter:
        seen: dict[str, int] = {}

        def show(name: str, done: int, total: int) -> None:
            mebibytes = done // 2**20
            if seen.get(name) != mebibytes or done == total:
                seen[name] = mebibytes
                reporter.report(f"fetch {name}", mebibytes, max(total, done + 1) // 2**20, "MiB")

        try:
            place = mirrors.fetch(folder, tried, show, reporter.say, Patience(timeout_s))
        except KeyboardInterrupt:
            raise Interrupted(
                f"stopped; what was downloaded is kept under {folder}; run the same command "
                f"to continue"
            ) from None
    click.echo(f"{place} is complete; `repro data prepare {dataset} --data {place}` packs it")
