"""Installs an example as a user would, for tests of plug-ins."""

import shutil
import subprocess
import sys
from pathlib import Path


def install(example: Path, folder: Path) -> Path:
    """A folder into which pip installed the example, from a copy of its sources."""
    shutil.copytree(example, folder / "source")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--disable-pip-version-check", "--target", folder / "site",
         folder / "source"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "site"
