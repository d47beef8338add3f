"""The fused cell against the plain one, in float64: forward and every gradient."""

import pytest
import torch

from repro.learner.fused_cell import Tape
from repro.learner.meta_learner import inner_loop, replay_backward
from repro.papers.config import Recipe
from tests.learner.test_meta_learner import N, quadratic, random_meta, theta

SIZES = [5] * 6


@pytest.mark.parametrize(
    ("recurrence", "block", "hidden"),
    [(r, b, 20) for r in ("logit", "gate") for b in (8, 37, 64)] + [("logit", 8, 1)],
)
def test_the_fused_cell_equals_the_plain_one(recurrence: str, block: int, hidden: int) -> None:
    recipe = Recipe(gate_recurrence=recurrence, hidden_size=hidden)  # type: ignore[arg-type]
    meta = random_meta(recipe)
    upstream = torch.linspace(-1, 1, N, dtype=torch.float64)
    with torch.no_grad():
        plain = inner_loop(meta, theta(), quadratic, SIZES, recipe)
        tape = Tape(N, len(SIZES), meta, block)
        tape.start(theta())
        for index, size in enumerate(SIZES):
            loss, gradient = quadratic(tape.learner_params(index), index)
            tape.step(meta, index, gradient / size, loss.reshape(1), recipe)
        actual, of_start = tape.backward(meta, upstream, recipe)
    torch.testing.assert_close(
        tape.learner_params(len(SIZES)), plain.learner_params, rtol=0, atol=1e-12
    )
    expected, of_theta_0 = replay_backward(meta, theta(), plain, upstream, recipe)
    for mine, reference in zip([*actual, of_start], [*expected, of_theta_0], strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-10, atol=1e-12)
