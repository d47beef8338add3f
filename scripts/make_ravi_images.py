"""Write ravi_images.npz: which images of ILSVRC-2012 are mini-ImageNet, and their marks.

Run with a folder that holds the published copy as train.zip, val.zip and test.zip (file names as
in Ravi's csv files). What is written are ranks, bits of comparisons and mean colours, no
image.
"""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath

import numpy as np

from repro.data.files.opening import open_source
from repro.data.mini_imagenet import colours, marks
from repro.data.mini_imagenet import dataset as mini_imagenet

N_REFERENCE = 2  # images of each class whose marks are kept
N_RANK = 1300  # images of the largest class of ILSVRC-2012

ranks: dict[str, dict[int, str]] = {}
with open_source(Path(sys.argv[1])) as source:
    for name in source.names:
        path = PurePosixPath(name)
        if path.suffix == ".jpg":
            ranks.setdefault(path.stem[:9], {})[int(path.stem[-5:])] = name
    class_ids = sorted(ranks)
    bits = np.zeros((len(class_ids), N_RANK), dtype=bool)
    kept = np.zeros((len(class_ids), N_REFERENCE, len(marks.VARIANTS), marks.N_BYTE), np.uint8)
    means = np.zeros((len(class_ids), 3), np.float32)
    for row, class_id in enumerate(class_ids):
        content = ((source.read(name), name) for name in ranks[class_id].values())
        images = [mini_imagenet.decode_sized(*item)[0] for item in content]
        means[row] = np.mean([colours.mean(image) for image in images], axis=0)
        bits[row, np.array(sorted(ranks[class_id])) - 1] = True
        for place, rank in enumerate(sorted(ranks[class_id])[:N_REFERENCE]):
            name = ranks[class_id][rank]
            kept[row, place] = marks.variants(
                mini_imagenet.decode_sized(source.read(name), name)[0]
            )
np.savez_compressed(
    Path(__file__).parents[1] / "repro" / "data" / "mini_imagenet" / "ravi_images.npz",
    class_ids=np.array(class_ids),
    ranks=np.packbits(bits, axis=1),
    marks=kept,
    colours=means,
)
