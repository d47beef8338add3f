"""Public mirrors of mini-ImageNet, and the files of each.

Every file comes with a checksum: one published with the peers that use the file, or the one that
the keeper's own listing names. A file without one is not fetched.
"""

from __future__ import annotations

import json
import re
import shutil
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.data.files.download import MirrorError, Patience, RemoteFile, download
from repro.system.errors import DataError, StorageError

TERMS_URL = "https://image-net.org/download"
TERMS = f"""\
mini-ImageNet consists of images of ImageNet, which is not free of conditions. In short: it may be
used for non-commercial research and education only; nothing is warranted; you bear the
responsibility for your use of it, copyright of the single images included; and whoever you pass it
on to has to accept the same first. What binds you is the text at {TERMS_URL}."""

_SHARD = re.compile(r"data/((train|val|validation|test)-\d{5}-of-\d{5}(-[0-9a-f]+)?\.parquet)")
_PICKLE = re.compile(r"mini-imagenet-cache-(train|val|validation|test)\.pkl")
_MAX_LISTING = 2**24  # bytes


@dataclass(frozen=True)
class Mirror:
    """A place with a keeper.

    Attributes:
        name: the folder that its files get, too.
        about: who keeps it and what it is, in words.
        files: lists what is there; may ask the keeper.
    """

    name: str
    about: str
    files: Callable[[Patience], list[RemoteFile]]


def _listing(url: str, patience: Patience) -> Any:
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "repro"})
        with urllib.request.urlopen(request, timeout=patience.timeout_s) as response:
            return json.loads(response.read(_MAX_LISTING))
    except (OSError, ValueError) as error:
        raise MirrorError(f"the list of files at {url} cannot be read ({error})") from error


def _whole(found: list[RemoteFile], url: str) -> list[RemoteFile]:
    for split in ("train", "val", "test"):
        if not any(split in file.name for file in found):
            raise MirrorError(f"the list of files at {url} has no file of the {split} split")
    return found


def zenodo(record: str, base: str = "https://zenodo.org") -> Callable[[Patience], list[RemoteFile]]:
    """The pickles of a Zenodo record, with the sizes and MD5s that Zenodo keeps."""

    def files(patience: Patience) -> list[RemoteFile]:
        url = f"{base}/api/records/{record}"
        try:
            found = [
                RemoteFile(
                    str(item["key"]),
                    f"{base}/records/{record}/files/{item['key']}?download=1",
                    _checksum(str(item["checksum"])),
                    int(item["size"]),
                )
                for item in _listing(url, patience)["files"]
                if _PICKLE.fullmatch(str(item["key"]))
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise MirrorError(f"the list of files at {url} lacks {error}") from error
        return _whole(found, url)

    return files


def hugging_face(
    dataset: str, base: str = "https://huggingface.co"
) -> Callable[[Patience], list[RemoteFile]]:
    """The parquet shards of a data set on the hub, with the SHA-256 of the large-file store."""

    def files(patience: Patience) -> list[RemoteFile]:
        url = f"{base}/api/datasets/{dataset}/tree/main/data"
        found = []
        try:
            for item in _listing(url, patience):
                match = _SHARD.fullmatch(str(item["path"]))
                if match:
                    at = urllib.parse.quote(str(item["path"]))
                    found.append(
                        RemoteFile(
                            match[1],
                            f"{base}/datasets/{dataset}/resolve/main/{at}",
                            _checksum(f"sha256:{item['lfs']['oid']}"),
                            int(item["lfs"]["size"]),
                        )
                    )
        except (KeyError, TypeError, ValueError) as error:
            raise MirrorError(f"the list of files at {url} lacks {error}") from error
        return _whole(found, url)

    return files


def _checksum(text: str) -> str:
    if not re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", text):
        raise ValueError(f"a checksum ({text[:80]!r})")
    return text


def _known_archive(_: Patience) -> list[RemoteFile]:
    return [
        RemoteFile(
            "mini-imagenet.tar.gz",
            "https://drive.usercontent.google.com/download?id=16V_ZlkW4SsnNDtnGmaBRq2OoPmUOc5mY"
            "&export=download&confirm=t",
            "sha256:30052347dd33f3ea3ee4a4ad65d72152bf657aac41891299dfa614a3235947ed",
        )
    ]


MIRRORS = (
    Mirror("zenodo", "Zenodo record 7978538, three pickles", zenodo("7978538")),
    Mirror("archive", "mini-imagenet.tar.gz of Ren et al. on Google Drive, 1.1 GB", _known_archive),
    Mirror(
        "hugging-face",
        "GATE-engine/mini_imagenet on Hugging Face, parquet of 3.9 GB",
        hugging_face("GATE-engine/mini_imagenet"),
    ),
)


def fetch(
    folder: Path,
    mirrors: Sequence[Mirror],
    progress: Callable[[str, int, int], None],
    say: Callable[[str], None],
    patience: Patience,
) -> Path:
    """The folder with all files of the first mirror that gives them.

    Args:
        progress: called with a file's name, bytes there and in all (0: unknown).
        say: called with a sentence when a mirror fails.
    Raises:
        DataError: no mirror gave them; each is named with its reason.
        StorageError: the disk is too small or refuses.
    """
    reasons = []
    for mirror in mirrors:
        place = folder / mirror.name
        try:
            files = mirror.files(patience)
            _room(folder, place, files)
            for file in files:

                def show(done: int, total: int, name: str = file.name) -> None:
                    progress(name, done, total)

                download(file, place, show, patience)
            return place
        except MirrorError as error:
            reasons.append(f"{mirror.name}: {error}")
            say(reasons[-1])
    raise DataError(
        f"no mirror gave the files ({'; '.join(reasons)}); run the same command later (what has "
        "arrived is kept), or bring a copy of your own with --data"
    )


def _room(folder: Path, place: Path, files: Sequence[RemoteFile]) -> None:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    there = sum(p.stat().st_size for p in place.glob("*")) if place.exists() else 0
    wanted = sum(file.size or 0 for file in files) - there
    free = shutil.disk_usage(existing).free
    if wanted > free:
        raise StorageError(
            f"the files need {wanted:,} bytes more, but {existing} has {free:,} free; choose "
            "another --output or free some space"
        )
