"""Twenty classes of striped squares: a data set of one's own for repro."""

import numpy as np

from repro import SplitPlan, build_pack

SPLITS = {"train": range(0, 10), "val": range(10, 15), "test": range(15, 20)}


class Stripes:
    name = "stripes"
    wanted = ""  # what --data is to name; nothing here
    accepts = ("image_size",)  # of --split, --split-seed, --split-file and --image-size

    def prepare(self, root, selection, progress):
        size = selection.image_size or 16

        def plan(angles):
            def fill(images):  # uint8 [n_image, size, size, 3], class after class
                y, x = np.mgrid[:size, :size]
                for place in range(len(images)):
                    angle = np.pi * (angles[place // 25] + place % 25 / 60) / 20
                    waves = np.sin(x * np.cos(angle) + y * np.sin(angle))
                    images[place] = (127 + 120 * waves)[..., None]

            return SplitPlan(tuple(f"{a}/20 pi" for a in angles), (25,) * len(angles), fill)

        plans = {split: plan(angles) for split, angles in SPLITS.items()}
        return build_pack(self.name, size, plans, "made up")
