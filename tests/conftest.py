"""Shared by all tests: a cache of their own, one thread, and a tiny data set."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from repro.data.pack import Pixels
from repro.data.pack_builder import SplitPlan, build_pack
from repro.papers.config import BUDGETS, Budget
from repro.system.seeding import Stream, rng

TINY = Budget("smoke-custom", 6, 4, 3, "small", 4, 6, 5, 3, 4, 5)
assert TINY.name not in BUDGETS


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("REPRO_CACHE", str(folder))
        yield folder


def tiny_plans() -> dict[str, SplitPlan]:
    """Three splits of classes that differ in colour and pattern, 25 images of 16 px each."""

    def plan(first: int, n_class: int) -> SplitPlan:
        def fill(array: Pixels) -> None:
            for place in range(n_class):
                drawn = rng(first + place, Stream.GLYPHS)
                pattern = drawn.uniform(16 * 16 * 3, 40, 215).reshape(16, 16, 3)
                noise = drawn.uniform(25 * 16 * 16 * 3, -90, 90).reshape(25, 16, 16, 3)
                array[25 * place : 25 * (place + 1)] = np.clip(pattern + noise, 0, 255)

        return SplitPlan(tuple(f"c{first + i}" for i in range(n_class)), (25,) * n_class, fill)

    return {"train": plan(0, 8), "val": plan(8, 5), "test": plan(13, 6)}


@pytest.fixture(scope="session")
def tiny_pack(cache: Path) -> Path:
    return build_pack("tiny", 16, tiny_plans(), "made up")
