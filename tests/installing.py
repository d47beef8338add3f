"""Installs an example or the package as a user would, without the network."""

import shutil
import subprocess
import sys
from pathlib import Path


def pip(command: str, *words: str | Path, python: str | Path = sys.executable) -> None:
    """Runs ``pip COMMAND`` for an interpreter, with the packages that are here."""
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, command, "--quiet", "--no-deps",
         "--no-build-isolation", "--no-index", "--disable-pip-version-check", *words],
        check=True, capture_output=True,
    )  # fmt: skip


def install(example: Path, folder: Path) -> Path:
    """A folder into which pip installed the example, from a copy of its sources."""
    shutil.copytree(example, folder / "source")
    pip("install", "--target", folder / "site", folder / "source")
    return folder / "site"
