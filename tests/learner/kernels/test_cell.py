"""The native cell against the plain one: float64 and every gradient, float32, the same bits."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
import torch

from repro.learner.fused_cell import Tape
from repro.learner.kernels.cell import NativeTape, fits
from repro.learner.meta_learner import MetaParams, inner_loop, replay_backward
from repro.papers.config import Recipe
from repro.system.seeding import Stream, rng
from tests.learner.test_meta_learner import N, quadratic, theta

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc) here")
SIZES = [5] * 6


@pytest.fixture(autouse=True)
def _native(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REPRO_KERNELS", "native")
    yield
    torch.set_num_threads(1)


def random_meta(recipe: Recipe, dtype: torch.dtype = torch.float64) -> MetaParams:
    """Of the published size, with entries large enough for every gate to move."""
    made = torch.Generator().manual_seed(1)
    like = MetaParams.initial(rng(0, Stream.META_LEARNER_INIT), recipe)
    return MetaParams(
        *(0.4 * torch.randn(part.shape, generator=made, dtype=dtype) for part in like)
    )


def loop(
    tape: NativeTape | Tape, meta: MetaParams, start: torch.Tensor, recipe: Recipe
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    with torch.no_grad():
        tape.start(start)
        for index, size in enumerate(SIZES):
            loss, gradient = quadratic(tape.learner_params(index), index)
            tape.step(meta, index, gradient / size, loss.reshape(1), recipe)
        upstream = torch.linspace(-1, 1, len(start), dtype=start.dtype)
        found, of_start = tape.backward(meta, upstream, recipe)
    return tape.learner_params(len(SIZES)).clone(), [*found, of_start.clone()]


@pytest.mark.parametrize("recurrence", ["logit", "gate"])
def test_the_native_cell_equals_the_plain_one(recurrence: str) -> None:
    recipe = Recipe(gate_recurrence=recurrence)  # type: ignore[arg-type]
    meta = random_meta(recipe)
    assert fits(meta, recipe)
    params, gradients = loop(NativeTape(N, len(SIZES), meta), meta, theta(), recipe)
    with torch.no_grad():
        plain = inner_loop(meta, theta(), quadratic, SIZES, recipe)
    torch.testing.assert_close(params, plain.learner_params, rtol=0, atol=1e-12)
    upstream = torch.linspace(-1, 1, N, dtype=torch.float64)
    expected, of_theta_0 = replay_backward(meta, theta(), plain, upstream, recipe)
    for mine, reference in zip(gradients, [*expected, of_theta_0], strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-10, atol=1e-12)


def test_in_float32_it_is_as_close_to_float64_as_the_fused_one() -> None:
    recipe, n = Recipe(), 1000
    meta = random_meta(recipe)
    start = torch.linspace(-2, 2, n, dtype=torch.float64)
    exact_params, exact = loop(Tape(n, len(SIZES), meta), meta, start, recipe)
    small = MetaParams(*(part.float() for part in meta))
    errors = []
    for tape in (NativeTape(n, len(SIZES), small), Tape(n, len(SIZES), small)):
        params, found = loop(tape, small, start.float(), recipe)
        torch.testing.assert_close(params.double(), exact_params, rtol=1e-4, atol=1e-5)
        errors.append(
            max(((a - b).norm() / b.norm()).item() for a, b in zip(found, exact, strict=True))
        )
    assert errors[0] < 2 * errors[1] + 1e-6
    assert errors[0] < 1e-4


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_threads_give_the_same_bits(threads: int) -> None:
    torch.set_num_threads(threads)
    recipe = Recipe()
    meta = random_meta(recipe, torch.float32)
    start = torch.linspace(-2, 2, 999)
    first, second = (loop(NativeTape(999, len(SIZES), meta), meta, start, recipe) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))


def test_constant_gates_and_other_sizes_have_no_kernel() -> None:
    meta = random_meta(Recipe())
    assert not fits(meta, Recipe(gates="constant"))
    meta.lstm_weight = meta.lstm_weight[:32, :12]
    assert not fits(meta, Recipe())


def test_gates_that_saturate_are_those_of_float64() -> None:
    recipe, n = Recipe(), 1000
    meta = MetaParams(*(30 * part for part in random_meta(recipe)))
    start = torch.linspace(-2, 2, n, dtype=torch.float64)
    exact, of_exact = loop(Tape(n, len(SIZES), meta), meta, start, recipe)
    small = MetaParams(*(part.float() for part in meta))
    params, gradients = loop(NativeTape(n, len(SIZES), small), small, start.float(), recipe)
    by_torch = loop(Tape(n, len(SIZES), small), small, start.float(), recipe)[0]
    error, of_torch = (params - exact).abs().max(), (by_torch - exact).abs().max()
    assert error < 3 * of_torch + 1e-5
    assert all(part.isfinite().all() for part in (*gradients, *of_exact))


def test_a_value_that_is_no_number_stays_one_and_at_its_place() -> None:
    recipe, n = Recipe(), 100
    meta = MetaParams(*(part.float() for part in random_meta(recipe)))
    bad, found = torch.tensor(37), {}
    for value in (0.1, float("nan"), float("inf")):
        tape, gradient = NativeTape(n, 1, meta), torch.full((n,), 0.1)
        gradient[bad] = value
        tape.start(torch.ones(n))
        tape.step(meta, 0, gradient, torch.ones(1), recipe)
        found[value] = tape.learner_params(1).clone()
    elsewhere = torch.arange(n) != bad
    for value, params in found.items():
        assert params[bad].isfinite() == (value == 0.1)
        assert torch.equal(params[elsewhere], found[0.1][elsewhere])
