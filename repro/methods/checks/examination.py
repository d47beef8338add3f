"""One method under examination: what it is built from, and what it touches when it is called."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from repro.data.pack import ImageSplit
from repro.episodes import Episode, EpisodeSampler
from repro.methods.base import StepResult
from repro.methods.checks.probes import Generators, part_of
from repro.methods.checks.watch import changed, opened, settings
from repro.methods.registry import build
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers.config import EpisodeSpec, Recipe
from repro.papers.method_spec import MethodSpec

N_TRAIN_CLASS, N_WAY, N_QUERY = 12, 5, 8
N_STEP = 2  # training steps before the questions
SHOT = 5


class Examination:
    """One row that is examined: built, trained and asked, with all that it touches watched.

    Args:
        train, test: splits that the episodes are drawn from.
        folder: for the files that they are mapped from.
        at_import, changed: files that were opened, and settings of torch that were changed, when
            the class was loaded.
    """

    def __init__(
        self, row: MethodSpec, train: ImageSplit, test: ImageSplit, folder: Path,
        at_import: Sequence[Path] = (), changed: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.row = row
        self.began = time.time()
        self.train = part_of(train, N_TRAIN_CLASS, folder)
        self.test = part_of(test, len(test.class_ids), folder)
        self.setting = self._setting(SHOT)
        spec = EpisodeSpec(N_WAY, SHOT, N_QUERY)
        self.episodes = EpisodeSampler(self.test.class_rows, "test", spec, 0).first(4)
        self.trained: dict[str, Tensor] | None = None
        self.moved: dict[str, list[str]] = {}  # where a global generator was read
        self.opened: list[tuple[str, Path]] = [("its module", path) for path in at_import]
        self.changed = [f"{told} in its module" for told in changed]

    def _setting(self, k_shot: int) -> Setting:
        if self.row.training is not None and self.row.train_shot != "task":
            k_shot = 0 if self.row.train_shot == "none" else SHOT
        image_size = self.train.image_size
        n_step = dict(self.row.n_step).get("quick", 100) if self.row.training else 0
        return Setting(
            image_size, len(self.train.class_ids), N_WAY, k_shot, Recipe(), seed=0, n_step=n_step
        )

    def _watched(self, where: str, call: Callable[[], Any]) -> Any:
        generators, before = Generators(), settings()
        with opened() as files:
            found = call()
        self.opened += [(where, path) for path in files]
        self.changed += [f"{told} in {where}" for told in changed(before)]
        for name in generators.drawn():
            self.moved.setdefault(name, []).append(where)
        return found

    def fresh(self, load: bool = True) -> Any:
        """A new instance, with the trained state if there is one."""
        method = self._watched("__init__", lambda: build(self.row, self.setting))
        if load:
            self.load(method)
        return method

    def load(self, method: Any) -> None:
        """Give an instance the trained state, if there is one, and what it asks to see."""
        if self.trained is not None:
            self._load(method, self.trained)
        if self.row.source is not None and self.row.training != self.row.name:
            self._watched("fit", lambda: method.fit(self.images(self.train)))

    def _load(self, method: Any, state: dict[str, Tensor]) -> None:
        given = {name: value.clone() for name, value in state.items()}
        self._watched("load_state", lambda: method.load_state(given))

    def images(self, split: ImageSplit | None = None) -> SplitImages:
        """The images of a split, with nothing embedded yet; by default those of the tests."""
        return SplitImages(self.test if split is None else split, self.setting)

    def predict(self, method: Any, episode: Episode, images: SplitImages | None = None) -> Tensor:
        """Predictions, with the global generators watched."""
        images = images or self.images()
        found: Tensor = self._watched("predict", lambda: method.predict(episode, images))
        return found

    def step(self, method: Any, step: int) -> StepResult:
        """A training step, with the global generators watched."""
        images = self.images(self.train)
        found: StepResult = self._watched("train_step", lambda: method.train_step(images, step))
        return found
