"""The compiled kernels: made once, and every way they cannot be had ends on torch's path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from repro.cli.main import cli
from repro.learner.kernels import library
from repro.system.errors import KernelError

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc) here")
USED = "from repro.learner.kernels.library import used; print(used().split()[0])"


def ask(cache: Path, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "REPRO_CACHE": str(cache), "REPRO_KERNELS": "auto", **variables}
    return subprocess.Popen(
        [sys.executable, "-c", USED], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def compiler(folder: Path, script: str) -> str:
    program = folder / "compiler"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


@needs_cc
def test_two_processes_that_start_at_once_compile_once(tmp_path: Path) -> None:
    counting = compiler(tmp_path, f'[ "$1" = --version ] || echo x >> {tmp_path}/n; exec cc "$@"')
    both = [ask(tmp_path / "cache", CC=counting) for _ in range(2)]
    assert [process.communicate() for process in both] == [("native\n", "")] * 2
    assert (tmp_path / "n").read_text() == "x\n"


@needs_cc
@pytest.mark.parametrize("damage", ["truncated", "another processor's", "without its digest"])
def test_a_library_that_is_not_whole_is_never_loaded(tmp_path: Path, damage: str) -> None:
    library.load(tmp_path)
    (path,) = tmp_path.glob("*.so")
    content, seal = path.read_bytes(), path.with_suffix(".sha256")
    if damage != "without its digest":
        path.unlink()  # this process runs the library: its own file stays as it is
    if damage == "truncated":
        path.write_bytes(content[:5000])
    elif damage == "another processor's":
        path.write_bytes(content.replace(b"block_forward", b"block_Forward"))
    else:
        seal.unlink()
    assert library.load(tmp_path)
    assert path.read_bytes() == content
    assert seal.exists()


@needs_cc
def test_a_damaged_library_that_cannot_be_made_again_leaves_torch(tmp_path: Path) -> None:
    once = compiler(tmp_path, f'[ "$1" = --version ] || mkdir {tmp_path}/done || exit 1; cc "$@"')
    assert ask(tmp_path, CC=once).communicate() == ("native\n", "")
    (path,) = (tmp_path / "kernels").glob("*.so")
    path.write_bytes(path.read_bytes()[:5000])
    out, err = ask(tmp_path, CC=once).communicate()
    assert out == "torch\n"
    assert err.count("\n") == 1
    assert "torch's are used" in err


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (None, "there is no C compiler"),
        ("echo 'cannot compile this' >&2; exit 1", "cannot compile this"),
        ('[ "$1" = --version ] || exit 3', "exit status 3"),
        ('[ "$1" = --version ] || exit 0', "cannot be loaded"),
    ],
)
def test_a_compiler_that_fails_leaves_torch_with_one_sentence(
    tmp_path: Path, script: str | None, told: str
) -> None:
    program = "/no/such/compiler" if script is None else compiler(tmp_path, script)
    process = ask(tmp_path / "cache", CC=program)
    out, err = process.communicate()
    assert (out, process.returncode) == ("torch\n", 0)
    assert err.count("\n") == 1
    assert "torch's are used" in err
    assert told in err
    assert not list((tmp_path / "cache").rglob(".*.so.*"))


@needs_cc
def test_a_cache_that_cannot_be_written_leaves_torch(tmp_path: Path) -> None:
    (tmp_path / "kernels").write_text("a file where the folder should be")
    out, err = ask(tmp_path).communicate()
    assert out == "torch\n"
    assert err.count("\n") == 1
    assert "cannot be written" in err


def test_native_kernels_that_are_asked_for_are_an_error_where_they_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", "/no/such/compiler")
    monkeypatch.setenv("REPRO_KERNELS", "native")
    with pytest.raises(KernelError, match="there is no C compiler"):
        library.library()
    monkeypatch.setenv("REPRO_KERNELS", "nativ")
    with pytest.raises(KernelError, match="auto, torch, native"):
        library.library()


def test_importing_the_kernels_compiles_nothing(tmp_path: Path) -> None:
    code = "import repro.learner.kernels.block, repro.learner.conv4, repro.methods.registry"
    environment = {**os.environ, "REPRO_CACHE": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("choice", ["auto", "torch"])
def test_doctor_says_which_kernels_a_run_takes(
    choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPRO_KERNELS", choice)
    told = CliRunner().invoke(cli, ["doctor"]).output
    assert f"kernels: {library.used()}\n" in told


@needs_cc
def test_a_source_that_is_not_the_compiled_one_has_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.load(tmp_path)
    monkeypatch.setattr(library, "_processor", lambda: "another processor")
    library.load(tmp_path)
    assert len(list(tmp_path.glob("*.so"))) == 2
