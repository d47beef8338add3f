"""Features from a backbone of your own, for `repro embed features.npz`: the images in order."""

import sys

import numpy as np

from repro.data.preparing import load_split


def backbone(images):  # uint8 [n, height, width, 3] -> float [n, n_feature]; put yours here
    return images.mean((1, 2)) / 255


dataset = sys.argv[1] if len(sys.argv) > 1 else "glyphs"
arrays = {}
for name in ("train", "val", "test"):
    split = load_split(dataset, None, name)
    parts = [split.images[i : i + 256] for i in range(0, len(split.images), 256)]
    arrays[name] = np.concatenate([backbone(part) for part in parts])
np.savez("features.npz", digest=split.digest, **arrays)
