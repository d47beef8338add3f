"""What the check of a method counts as its own: no file of this package's cache, no set rate."""

import time
from pathlib import Path

import pytest
import torch

from repro.learner.kernels import library
from repro.methods.checks import watch
from repro.methods.optimizers import Optimizer


def test_compiled_kernels_are_no_file_of_a_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path))
    kernel, own = library.folder() / "a.so", tmp_path / "weights.bin"
    kernel.parent.mkdir(parents=True)
    for path in (kernel, own):
        path.write_bytes(b"x")
    assert watch.foreign([kernel, own], [], time.time() + 60) == [own]


def test_the_learning_rate_given_to_an_optimizer_of_this_package_is_no_hidden_number() -> None:
    class Method:
        def __init__(self, lr: float, count: int) -> None:
            weights = {"w": torch.zeros(2)}
            self.optimizer = Optimizer(weights, lambda params: torch.optim.SGD(params, lr=0.1))
            weights["w"].grad = torch.ones(2)
            self.optimizer.step(lr=lr)
            self.count = count

    assert watch.hidden_numbers(Method(0.1, 1), Method(0.2, 1)) == []
    assert watch.hidden_numbers(Method(0.1, 1), Method(0.2, 2)) == ["count (1 and 2)"]
