"""Scores, context and the two updates of a step against plain loops, in float64."""

import copy
import math

import pytest
import torch
from torch import Tensor

from repro.episodes import EpisodeSampler
from repro.learner.conv4 import Conv4
from repro.learner.full_context import FullContext
from repro.methods.matching_net import MatchingNet, MatchingNetFCE, draw_dropout, matching_scores
from repro.papers.config import EpisodeSpec, Recipe
from repro.system.seeding import Stream, rng
from tests.methods.random_images import ROWS, Exact, conv4_layers, images, setting

D = 6


def normal(*shape: int) -> Tensor:
    n = math.prod(shape)
    return torch.from_numpy(rng(n, Stream.LEARNER_INIT).uniform(n, -1, 1)).view(shape)


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
    w_ih, w_hh, bias = parts
    enter, keep, candidate, leave = (w_ih @ x + w_hh @ h + bias).chunk(4)
    c = keep.sigmoid() * c + enter.sigmoid() * candidate.tanh()
    return leave.sigmoid() * c.tanh(), c


def plain_context(
    weights: dict[str, Tensor], g_prime: Tensor, f_prime: Tensor, read: str, backward: str
) -> tuple[Tensor, Tensor]:
    """Support and query embeddings by loops over the equations; each LSTM has one bias."""

    def parts(prefix: str, suffix: str) -> list[Tensor]:
        return [weights[f"{prefix}.{k}{suffix}"] for k in ("weight_ih", "weight_hh", "bias_ih")]

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
    g = torch.stack([g_prime[i] + ahead[i] + behind[i] for i in range(len(g_prime))])
    queries = []
    for query in f_prime:
        h = c = torch.zeros(D, dtype=torch.float64)
        r = g.sum(0) / len(g)
        for _ in range(3):
            out, c = lstm_step(torch.cat([query, r]), h, c, parts("attention", ""))
            h = query + out
            weight = torch.ones(len(g), dtype=torch.float64)
            if read == "softmax":
                weight = torch.stack([(h @ x).exp() for x in g])
                weight = weight / weight.sum()
            r = (weight[:, None] * g).sum(0)
        queries.append(h)
    return g, torch.stack(queries)


@pytest.mark.parametrize(("read", "backward"), [("softmax", "aligned"), ("sum", "reversed")])
def test_full_context_its_gradients_and_their_norm_equal_a_plain_loop(
    read: str, backward: str
) -> None:
    recipe = Recipe(
        fce_read=read,  # type: ignore[arg-type]
        fce_backward=backward,  # type: ignore[arg-type]
        fce_init="inv-sqrt-hidden",
    )
    context = FullContext(D, recipe, rng(0, Stream.CONTEXT_INIT)).double()
    g_prime, f_prime = normal(5, D), normal(3, D)
    weights = {
        name: value.detach().clone().requires_grad_()
        for name, value in context.named_parameters()
        if "bias_hh" not in name
    }
    g, expected = plain_context(weights, g_prime, f_prime, read, backward)
    support = context.support(g_prime)
    actual = context.query(f_prime, support)
    torch.testing.assert_close(support, g, rtol=0, atol=1e-12)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)

    torch.autograd.backward(expected.square().sum())
    torch.autograd.backward(actual.square().sum())
    trained = {name: p for name, p in context.named_parameters() if p.requires_grad}
    assert trained.keys() == weights.keys()
    for name, parameter in trained.items():
        torch.testing.assert_close(parameter.grad, weights[name].grad, rtol=0, atol=1e-10)
    found = torch.nn.utils.clip_grad_norm_(context.attention.parameters(), 0.25)
    squares = [w.grad.square().sum() for k, w in weights.items() if k.startswith("attention")]  # type: ignore[union-attr]
    assert float(found) == pytest.approx(math.sqrt(sum(map(float, squares))), abs=1e-10)


def test_the_full_context_network_trains_one_bias_vector_for_each_lstm() -> None:
    method = MatchingNetFCE(setting(5, Recipe(fce_init="inv-sqrt-hidden")))
    assert method.context is not None
    assert sum("bias" in name for name in method.state() if name.startswith("context.")) == 3
    before = method.context.attention.bias_ih.detach().clone()
    method.train_step(images(method.setting), 0)
    moved = (method.context.attention.bias_ih.detach() - before).abs()
    assert 0 < float(moved.max()) <= 1.001e-4  # Adam's first step is the learning rate
    assert not method.context.attention.bias_hh.any()


def test_the_authors_full_context_starts_as_the_plain_network() -> None:
    context = FullContext(D, Recipe(), rng(0, Stream.CONTEXT_INIT)).double()
    g = normal(5, D)
    assert torch.equal(context.support(g), g)
    assert torch.equal(context.query(normal(3, D), g), normal(3, D))


def test_dropout_keeps_nine_tenths_and_the_mean() -> None:
    mask = draw_dropout(torch.Size([100, 10, 20, 20]), rng(0, Stream.DROPOUT)).mask()
    assert set(mask.unique().tolist()) == {0.0, mask.max().item()}
    assert float(mask.mean()) == pytest.approx(1, abs=2e-3)


def plain_embedding(layers: torch.nn.ModuleList, batch: Tensor, masks: list[Tensor]) -> Tensor:
    for block, mask in enumerate(masks):
        for layer in list(layers)[4 * block : 4 * block + 4]:
            batch = layer(batch)
        batch = batch * mask
    return batch.flatten(1)


def adam_by_hand(gradient: Tensor, moments: list[Tensor], step: int) -> Tensor:
    """The update of Kingma & Ba 2015, Algorithm 1; ``moments`` are brought up to date."""
    moments[0] = 0.9 * moments[0] + 0.1 * gradient
    moments[1] = 0.999 * moments[1] + 0.001 * gradient**2
    corrected = moments[0] / (1 - 0.9**step), moments[1] / (1 - 0.999**step)
    return -1e-4 * corrected[0] / (corrected[1].sqrt() + 1e-8)


@pytest.mark.parametrize("full_context", [False, True])
@pytest.mark.parametrize("double_step", [True, False])
def test_a_training_step_is_one_update_by_each_paths_own_gradient(
    double_step: bool, full_context: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against two copies of the network, two backward passes and moments kept by hand."""
    first = Conv4.initial
    monkeypatch.setattr(Conv4, "initial", lambda *args: first(*args).double())
    made = setting(5, Recipe(matching_double_step=double_step))
    method, pixels = MatchingNet(made, full_context), images(made, Exact)
    if method.context is not None:
        method.context.double()
    context = copy.deepcopy(method.context)

    flat = method.params["f"].detach().clone()
    networks = {name: torch.nn.ModuleList(conv4_layers()).double() for name in "fg"}
    of = {name: list(network.parameters()) for name, network in networks.items()}
    moments = {name: [torch.zeros_like(flat), torch.zeros_like(flat)] for name in "fg"}
    sampler = EpisodeSampler(ROWS, "train", EpisodeSpec(5, 5), 0)
    for step in range(3):
        for parameters in of.values():
            torch.nn.utils.vector_to_parameters(flat, parameters)
        drawn, stream = sampler[step], rng(0, Stream.DROPOUT, step)
        sides = [int(made.image_size) >> block for block in (1, 2, 3, 4)]
        embedded = {}
        for name, rows in (("g", drawn.support), ("f", drawn.query)):
            shapes = [torch.Size([len(rows), 64, side, side]) for side in sides]
            masks = [draw_dropout(shape, stream).mask().double() for shape in shapes]
            embedded[name] = plain_embedding(networks[name], pixels.gather(rows), masks)
        gradients = {}
        for name, other in (("f", "g"), ("g", "f")):
            inputs = {name: embedded[name], other: embedded[other].detach()}
            support, query = inputs["g"], inputs["f"]
            if context is not None:
                support = context.support(support)
                query = context.query(query, support)
            scores = torch.zeros(len(query), 5, dtype=torch.float64)
            for i, label in enumerate(drawn.support_labels):
                cosine = torch.cosine_similarity(query, support[i][None], dim=1)
                scores[:, label] = scores[:, label] + cosine
            target = torch.from_numpy(drawn.query_labels)
            loss = torch.nn.functional.cross_entropy(scores, target)
            found = torch.autograd.grad(loss, of[name], retain_graph=True)
            gradients[name] = torch.cat([part.flatten() for part in found])
        if double_step:
            # Both gradients are of the weights before either update.
            updates = [adam_by_hand(gradients[name], moments[name], step + 1) for name in "fg"]
        else:
            updates = [adam_by_hand(sum(gradients.values()), moments["f"], step + 1)]  # type: ignore[arg-type]
        flat = flat + sum(updates)
        method.train_step(pixels, step)
        if context is not None:
            context.load_state_dict(method.context.state_dict())  # type: ignore[union-attr]
        for params in method.params.values():
            torch.testing.assert_close(params.detach(), flat, rtol=0, atol=1e-10)
    # The two paths disagree, so this could not come out with one gradient for both.
    assert float(torch.cosine_similarity(gradients["f"], gradients["g"], dim=0)) < 0.9


@pytest.mark.parametrize("kind", [MatchingNet, MatchingNetFCE])
def test_both_optimisers_are_saved_and_loaded(kind: type[MatchingNet]) -> None:
    made = setting(5)
    pixels = images(made)
    whole, resumed = kind(made), kind(made)
    whole.train_step(pixels, 0)
    state = {name: value.clone() for name, value in whole.state().items()}
    assert not torch.equal(state["adam.params.exp_avg"], state["adam.g.params.exp_avg"])
    resumed.load_state(state)
    for method in (whole, resumed):
        method.train_step(pixels, 1)
    expected, actual = whole.state(), resumed.state()
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name
