"""Archives that are not read are told what they are, and to be unpacked."""

import io
import struct
import zipfile
from pathlib import Path

import pytest

from repro.data.files.opening import open_source
from repro.data.mini_imagenet.check import examine
from repro.system.errors import DataError
from tests.data.mini_imagenet.layout_copies import SMALL, jpeg


def zipped() -> bytearray:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/n00000001/a.jpg", jpeg(1))
    return bytearray(buffer.getvalue())


def patched(flag: int | None = None, method: int | None = None, disk: int | None = None) -> bytes:
    """The zip with other fields in the headers of its file and at its end."""
    content = zipped()
    central, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    for value, places in ((flag, (6, central + 8)), (method, (8, central + 10)),
                          (disk, (end + 4,))):  # fmt: skip
        for place in places if value is not None else ():
            content[place : place + 2] = struct.pack("<H", value or 0)
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("mini.zip", patched(flag=1), "protected by a password"),
        ("mini.zip", patched(method=9), "compressed by Deflate64"),
        ("mini.zip", patched(method=12), r"compressed by another method \(number 12\)"),
        ("mini.zip", patched(disk=1), "several parts"),
        ("mini.zip", b"PK\x07\x08" + bytes(zipped()), "several parts"),
        ("mini.zip.001", bytes(zipped())[:300], "several parts"),
        ("mini.z01", bytes(600), "several parts"),
        ("mini.tar.gz.aa", b"\x1f\x8b" + bytes(600), "several parts"),
        ("mini.zip", b"7z\xbc\xaf\x27\x1c" + bytes(600), "a 7z archive"),
        ("mini.rar", b"Rar!\x1a\x07\x01\x00" + bytes(600), "a RAR archive"),
        ("mini.tar.zst", b"\x28\xb5\x2f\xfd" + bytes(600), "Zstandard"),
    ],
)
def test_archives_that_are_not_read_are_told_what_they_are(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for place in (tmp_path / name, folder / name):
        place.write_bytes(content)
    for root in (tmp_path / name, folder):
        report = "\n".join(examine(root, target=SMALL).lines())
        assert "unpack it with the program that made it and give the folder" in report
        assert "get it again" not in report
    with pytest.raises(DataError, match=rf"{name} is .*{said}"):
        open_source(tmp_path / name).read(name)
