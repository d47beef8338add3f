"""Scores, attention and both LSTM directions against plain loops, in float64."""

import math

import pytest
import torch
from torch import Tensor

from repro.config import Recipe
from repro.context import FullContext
from repro.methods.matching_net import dropout_mask, matching_scores
from repro.seeding import Stream, words

D = 6


def normal(*shape: int) -> Tensor:
    n = math.prod(shape)
    return torch.from_numpy(words(n, Stream.LEARNER_INIT).uniform(n, -1, 1)).view(shape)


@pytest.mark.parametrize("kind", ["sum", "softmax"])
def test_scores_equal_a_plain_loop(kind: str) -> None:
    similarity, labels = normal(7, 10), torch.tensor([3, 1, 0, 2, 4, 4, 1, 2, 3, 0])
    actual = matching_scores(similarity, labels, 5, kind)
    for q in range(7):
        row = similarity[q].tolist()
        total = sum(math.exp(s) for s in row)
        for label in range(5):
            mine = [s for s, owner in zip(row, labels.tolist(), strict=True) if owner == label]
            expected = sum(mine) if kind == "sum" else math.log(sum(map(math.exp, mine)) / total)
            assert float(actual[q, label]) == pytest.approx(expected, abs=1e-12)


def lstm_step(x: Tensor, h: Tensor, c: Tensor, parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    w_ih, w_hh, b_ih, b_hh = parts
    enter, keep, candidate, leave = (w_ih @ x + b_ih + w_hh @ h + b_hh).chunk(4)
    c = keep.sigmoid() * c + enter.sigmoid() * candidate.tanh()
    return leave.sigmoid() * c.tanh(), c


@pytest.mark.parametrize(("read", "backward"), [("softmax", "aligned"), ("sum", "reversed")])
def test_full_context_equals_a_plain_loop(read: str, backward: str) -> None:
    recipe = Recipe(
        fce_read=read,  # type: ignore[arg-type]
        fce_backward=backward,  # type: ignore[arg-type]
        fce_init="inv-sqrt-hidden",
    )
    context = FullContext(D, recipe, words(0, Stream.CONTEXT_INIT)).double()
    g_prime, f_prime = normal(5, D), normal(3, D)
    weights = {name: value.detach() for name, value in context.named_parameters()}

    def parts(prefix: str, suffix: str) -> list[Tensor]:
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return [weights[f"{prefix}.{kind}{suffix}"] for kind in kinds]

    def run(sequence: list[Tensor], chosen: list[Tensor]) -> list[Tensor]:
        h = c = torch.zeros(D, dtype=torch.float64)
        out = []
        for x in sequence:
            h, c = lstm_step(x, h, c, chosen)
            out.append(h)
        return out

    ahead = run(list(g_prime), parts("bidirectional", "_l0"))
    behind = run(list(g_prime.flip(0)), parts("bidirectional", "_l0_reverse"))
    if backward == "aligned":
        behind = behind[::-1]
    g = torch.stack([g_prime[i] + ahead[i] + behind[i] for i in range(5)])
    with torch.no_grad():
        torch.testing.assert_close(context.support(g_prime), g, rtol=0, atol=1e-12)
        actual = context.query(f_prime, g)
    for q in range(3):
        h = c = torch.zeros(D, dtype=torch.float64)
        r = sum(g) / 5
        for _ in range(3):
            out, c = lstm_step(torch.cat([f_prime[q], r]), h, c, parts("attention", ""))
            h = f_prime[q] + out
            weight = [math.exp(float(h @ x)) for x in g] if read == "softmax" else [1.0] * 5
            total = sum(weight) if read == "softmax" else 1.0
            r = sum(w / total * x for w, x in zip(weight, g, strict=True))
        torch.testing.assert_close(actual[q], h, rtol=0, atol=1e-12)


def test_the_authors_full_context_starts_as_the_plain_network() -> None:
    context = FullContext(D, Recipe(), words(0, Stream.CONTEXT_INIT)).double()
    g = normal(5, D)
    assert torch.equal(context.support(g), g)
    assert torch.equal(context.query(normal(3, D), g), normal(3, D))


def test_dropout_keeps_nine_tenths_and_the_mean() -> None:
    mask = dropout_mask(torch.Size([100, 10, 20, 20]), words(0, Stream.DROPOUT))
    assert set(mask.unique().tolist()) == {0.0, mask.max().item()}
    assert float(mask.mean()) == pytest.approx(1, abs=2e-3)


def test_a_double_adam_step_on_shared_weights_is_twice_the_learning_rate() -> None:
    shared = normal(8).requires_grad_()
    entries = [torch.optim.Adam([shared], lr=1e-4) for _ in "fg"]
    single = normal(8).requires_grad_()
    double = torch.optim.Adam([single], lr=2e-4)
    for _ in range(20):
        shared.grad = torch.sin(shared.detach() * 3)
        single.grad = torch.sin(single.detach() * 3)
        for entry in entries:
            entry.step()
        double.step()
    torch.testing.assert_close(shared, single, rtol=0, atol=1e-12)
