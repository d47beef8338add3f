"""What reading may take, measured: hostile files of each kind, in a process that has no torch.

Each case runs in a child of its own, which says how it ended; the system says what it took.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import repro

HOME = str(Path(repro.__file__).parents[1])
# Kind of input to what it may take in memory beside the interpreter, MiB.
BUDGET = {
    "nine-byte pickle": 20,
    "bytes of a number": 20,
    "pickle of empty lists": 300,
    "labels of 2^40": 40,
    "tar with a long name": 40,
    "tar with a long header": 40,
    "tar of empty files": 100,
    "zip of large images": 330,
    "large transparent images": 450,
    "image of two rows": 270,
    "link to a device": 20,
}
_WORK = """
import gzip, io, json, os, pickle, resource, sys, tarfile, zipfile
from pathlib import Path
import numpy as np
from PIL import Image
from repro.data.dataset import Selection
from repro.data.files import opening
from repro.data.mini_imagenet import dataset as mini_imagenet
from repro.data.mini_imagenet.ravi import Target
from repro.data.preparing import prepare
from repro.system.errors import ReproError

os.environ["REPRO_CACHE"] = "cache"

def cifar(content):
    folder = Path("cifar")
    folder.mkdir()
    for part in ("train", "test", "meta"):
        (folder / part).write_bytes(content)
    prepare("cifar-fs", folder)

def labels():
    pixels = np.zeros((3, 3072), np.uint8)
    of = {"data": pixels, "fine_labels": [2**40] * 3, "coarse_labels": [2**40] * 3}
    names = {"fine_label_names": ["a"] * 100, "coarse_label_names": ["b"] * 20}
    cifar(pickle.dumps({**of, **names}, 2))

def tar(kind, n_part):
    member = tarfile.TarInfo("x")
    member.type, member.size = kind, 2**20 * n_part if n_part else 0
    part = gzip.compress(bytes(2**20) if n_part else member.tobuf() * 2000, 1)
    head = gzip.compress(member.tobuf() if n_part else b"")
    Path("x.tar.gz").write_bytes(head + part * (n_part or 200))
    with opening.open_source(Path("x.tar.gz")) as opened:
        print(len(opened.names))

def large_images():
    image = io.BytesIO()
    Image.new("RGB", (2400, 2200)).save(image, "BMP")
    split = {"train": ("n00000001",), "val": ("n00000002",), "test": ("n00000003",)}
    with zipfile.ZipFile("x.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
        for name, (class_id,) in split.items():
            for i in range(6):
                zipped.writestr(f"{name}/{class_id}/{i}.bmp", image.getvalue())
    mini_imagenet.prepare(Path("x.zip"), target=Target(split, 6, {}))

def folder(image, kind="PNG"):
    for c in range(15):
        Path(f"d/c{c:02}").mkdir(parents=True)
        for i in range(20):
            if isinstance(image, str):
                os.symlink(image, f"d/c{c:02}/{i:02}.png")
            elif i == 0 and c < 2:
                image.save(f"d/c{c:02}/00.png", compress_level=1)
            else:
                Image.new("L", (16, 16), 10 * c + i).save(f"d/c{c:02}/{i:02}.png")
    prepare("folder", Path("d"), selection=Selection(split="5/5/5", image_size=16))

CASES = {
    "nine-byte pickle": lambda: cifar(b"\\x80\\x02Nr\\xf0\\xff\\xff\\x0f."),
    "bytes of a number": lambda: cifar(b"cbuiltins\\nbytes\\n(I1500000000\\ntR."),
    "pickle of empty lists": lambda: cifar(b"\\x80\\x04" + b"]\\x94" * 1_200_000 + b"."),
    "labels of 2^40": labels,
    "tar with a long name": lambda: tar(tarfile.GNUTYPE_LONGNAME, 600),
    "tar with a long header": lambda: tar(tarfile.XHDTYPE, 600),
    "tar of empty files": lambda: tar(tarfile.REGTYPE, 0),
    "zip of large images": large_images,
    "large transparent images": lambda: folder(Image.new("RGBA", (4000, 4000))),
    "image of two rows": lambda: folder(Image.new("L", (8_000_000, 2))),
    "link to a device": lambda: folder("/dev/zero"),
}
case = CASES[sys.argv[1]]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    case()
    said = ""
except ReproError as error:
    said = f"{type(error).__name__}: {error}"
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([said, peak / 2**10]))
"""


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))


@pytest.mark.parametrize("kind", BUDGET)
def test_reading_holds_its_budget(kind: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WORK, kind], capture_output=True, text=True, cwd=tmp_path,
        check=False, preexec_fn=_limit, timeout=300, env={**os.environ, "PYTHONPATH": HOME},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, peak = json.loads(done.stdout.splitlines()[-1])
    read = kind in ("zip of large images", "large transparent images", "image of two rows")
    assert said.startswith("" if read else "DataError: "), said
    assert peak < BUDGET[kind], (said, peak)
