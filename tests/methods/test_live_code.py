"""The digest of code of a session: the same for the same, another for what matters."""

import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from repro.methods.live_code import code_digest


def made(source: str, **given: Any) -> Any:
    """What a cell of a notebook defines as ``f``."""
    scope = {"__name__": "__main__", **given}
    exec(compile(source, "<cell>", "exec"), scope)
    return scope["f"]


def test_the_same_code_has_the_same_digest_and_other_code_another() -> None:
    first = made("def f(x): return x + a", a=1)
    assert code_digest(first) == code_digest(made("def f(x): return x + a", a=1))
    assert code_digest(first) != code_digest(made("def f(x): return x - a", a=1))
    assert code_digest(first) != code_digest(made("def f(x): return x + a", a=2))
    assert code_digest(first) != code_digest(made("def f(x, b=1): return x + a", a=1))


def test_what_a_function_uses_counts_however_deep() -> None:
    source = "def g(x): return x * {}\ndef f(x): return [g(y) for y in x]"
    digests = {code_digest(made(source.format(n))) for n in (1, 2, 1)}
    assert len(digests) == 2
    array = "def f(x): return [w @ y for y in x]"
    assert code_digest(made(array, w=np.ones(2))) != code_digest(made(array, w=np.zeros(2)))


def test_what_a_function_does_not_use_does_not_count() -> None:
    source = "def f(x): return x"
    assert code_digest(made(source, other=1)) == code_digest(made(source, other=2))


def test_the_parameters_of_a_model_count_wherever_it_is() -> None:
    net = nn.Linear(2, 2)

    def used(x: torch.Tensor) -> Any:
        return net(x)

    callables: list[Callable[..., Any]] = [net, used, net.forward, functools.partial(used)]
    before = [code_digest(each) for each in callables]
    assert before == [code_digest(each) for each in callables]
    with torch.no_grad():
        net.weight.add_(1)
    assert not {*before} & {code_digest(each) for each in callables}


class Scaled(nn.Module):
    """A model whose answer depends on what is no parameter."""

    def __init__(self, scale: float, shift: float = 0.0) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("shift", torch.full((2,), shift), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


def test_the_plain_attributes_and_buffers_of_a_model_count_in_its_parts_too() -> None:
    models = [Scaled(1.0), Scaled(50.0), Scaled(1.0, 2.0)]
    assert code_digest(Scaled(1.0)) == code_digest(Scaled(1.0))
    assert len({code_digest(m) for m in models}) == 3
    assert len({code_digest(nn.Sequential(nn.ReLU(), m)) for m in models}) == 3


def test_what_is_used_of_a_module_of_ones_own_counts_and_nothing_else_of_it() -> None:
    def module(**content: Any) -> types.ModuleType:
        found = types.ModuleType("helper_of_a_test")
        found.__dict__.update(content)
        return found

    source = "def f(x): return helper.scale(x)"

    def digest(scale: str, other: int = 0, inner: int = 0) -> str:
        tools = module(rate=inner)
        made_here = {"__name__": "helper_of_a_test", "tools": tools}
        exec(compile(f"def scale(x): return {scale}", "<helper>", "exec"), made_here)
        return code_digest(made(source, helper=module(scale=made_here["scale"], other=other)))

    assert digest("x * 2") == digest("x * 2", other=1)
    assert digest("x * 2") != digest("-x")
    assert digest("x * tools.rate") != digest("x * tools.rate", inner=1)


def test_a_class_counts_with_its_methods_values_and_bases() -> None:
    source = (
        "class B:\n    rate = {rate}\n    def g(self): return {g}\n"
        "class f(B):\n    n_step = {{'smoke': {n}}}\n    def predict(self): return {p}\n"
    )
    values = [dict(rate=1, g=1, n=1, p=1)]
    values += [{**values[0], key: 2} for key in values[0]]
    digests = [code_digest(made(source.format(**each))) for each in values]
    assert len({*digests}) == 5
    assert code_digest(made(source.format(**values[0]))) == digests[0]


def test_what_refers_to_itself_has_a_digest() -> None:
    source = "def f(n): return n and f(n - 1)"
    assert code_digest(made(source)) == code_digest(made(source))
