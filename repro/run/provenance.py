"""The provenance of a run: versions, processor, threads, commit and command."""

from __future__ import annotations

import base64
import functools
import importlib.metadata
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from repro import __version__
from repro.learner.kernels.library import used
from repro.records.remote.refusals import shown as url_shown
from repro.system import storage

DISTRIBUTION = "repro-fewshot"


def provenance(
    device: str, threads: int, command: str, state: tuple[str, bool] | None = None
) -> dict[str, Any]:
    """Versions (the kernels' too), device, threads, commit and command of a run.

    Args:
        state: as :func:`git_state` gave it elsewhere: a worker may be no checkout.
    """
    commit, dirty = state or git_state()
    name = torch.cuda.get_device_name() if device != "cpu" else processor()
    return {
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "kernels": used(device),
        },
        "device": name,
        "threads": threads,
        "commit": commit,
        "dirty": dirty,
        "repro": {"version": __version__, "source": source_digest()},
        "command": command,
    }


def node() -> str:
    """The machine's name."""
    return platform.node() or "without a name"


@functools.cache
def processor() -> str:
    """Model name with the vector units that decide which kernels run."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
    units = [u for u in ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
             if u in found.get("flags", "").split()]  # fmt: skip
    return f"{found.get('model name', platform.machine())} ({', '.join(units) or 'no AVX2'})"


def command_line() -> str:
    """The command as typed, of absolute paths only the last part: records are for others too."""

    def shown(word: str) -> str:
        if "://" in word:
            return url_shown(word)
        option, equals, value = word.rpartition("=")
        parts = (Path(part).name if Path(part).is_absolute() else part for part in value.split(","))
        return option + equals + ",".join(parts)

    line = shlex.join(["repro", *map(shown, sys.argv[1:])])
    # A name may hold what no text does (bytes that are not UTF-8) and what no terminal should get.
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def git_state() -> tuple[str, bool]:
    """Commit of the code, and whether the code differs from it.

    Outside a checkout of this package, the installed version, and whether its files are still
    those that were installed.
    """
    return code_state(Path(__file__).parents[1])


@functools.cache
def source_digest() -> str:
    """Of the package's Python files: the code that runs, wherever it was got from."""
    return storage.code_digest(Path(__file__).parents[1], (".py", ".c", ".h"))


@functools.cache  # of the code that runs: what is edited meanwhile does not
def code_state(home: Path) -> tuple[str, bool]:
    """:func:`git_state` of the package in a folder. git is asked only where it tracks it."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(home), *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "--", str(home / "__init__.py"))
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", str(home)))
    except (OSError, subprocess.CalledProcessError):
        return _installed(home)


def _installed(home: Path) -> tuple[str, bool]:
    """The version that was installed, and whether a Python file differs from what pip wrote."""
    try:
        files = importlib.metadata.distribution(DISTRIBUTION).files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    wanted = {
        Path(str(file.locate())).resolve(): file.hash.value
        for file in files
        if file.hash is not None and file.hash.mode == "sha256" and file.suffix == ".py"
    }
    here = {path.resolve() for path in home.rglob("*.py")}
    found = {
        path: base64.urlsafe_b64encode(bytes.fromhex(storage.file_digest(path)))
        .decode()
        .rstrip("=")
        for path in here
    }
    same = bool(here) and all(wanted.get(path) == found[path] for path in here)
    return f"version {__version__}" if same else "unknown", not same
