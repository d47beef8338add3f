"""A file is whole or absent."""

import errno
import os
import resource
from pathlib import Path

import pytest
import torch

from repro.records import checkpoints
from repro.system import storage
from repro.system.errors import RecordError, StorageError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    storage.write_text(path, "old")
    with pytest.raises(RuntimeError), storage.atomic_file(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_path_without_a_name_is_a_clear_error(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=r"cannot write '.': it is a folder; give a file's name"):
        storage.write_text(Path(path), "new")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    storage.write_text(tmp_path / "file", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        storage.write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_checkpoint_that_the_disk_refuses_is_a_clear_error(tmp_path: Path) -> None:
    checkpoints.write(tmp_path, 1, {"theta": torch.zeros(3)}, {}, "owner")
    before = sorted(tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))  # bytes
    try:
        with pytest.raises(StorageError, match=r"cannot write .*checkpoint-0000002.*too large"):
            checkpoints.write(tmp_path, 2, {"theta": torch.zeros(2**20)}, {}, "owner")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(tmp_path.iterdir()) == before
    found, passed = checkpoints.latest(tmp_path, "owner")
    assert found is not None and found.step == 1 and not passed


def test_json_is_canonical_and_errors_name_the_file(tmp_path: Path) -> None:
    assert storage.digest({"b": 1, "a": [1.5]}) == storage.digest({"a": [1.5], "b": 1})
    assert storage.canonical_json({"b": 1, "a": None}) == '{"a":null,"b":1}'
    with pytest.raises(RecordError, match=r"gone\.json is missing"):
        storage.read_json(tmp_path / "gone.json")
    (tmp_path / "bad.json").write_bytes(b"\xff{")
    with pytest.raises(RecordError, match=r"bad\.json is not readable JSON"):
        storage.read_json(tmp_path / "bad.json")


def test_a_pipe_or_device_under_the_name_of_a_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "record.json")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    for name, what in (("record.json", "a pipe"), ("zero.json", "a device")):
        with pytest.raises(RecordError, match=rf"{name} cannot be read \(it is {what}, not a"):
            storage.read_json(tmp_path / name)
        with pytest.raises(OSError, match=f"it is {what}, not a file"):
            storage.file_digest(tmp_path / name)
