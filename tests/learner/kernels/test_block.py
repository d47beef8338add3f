"""The fused block against torch's operations: values, gradients, ties, odd sizes, same bits."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from repro.learner.kernels.block import TYPES, Dropout, batch_norm_pool_relu, reference
from repro.learner.kernels.library import library, load

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc) here")
EPS = 1e-3
SHAPES = [(3, 16, 7, 10), (5, 32, 21, 21), (2, 64, 8, 8), (4, 48, 3, 2)]
Block = Callable[..., Tensor]


@pytest.fixture(autouse=True)
def _native(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REPRO_KERNELS", "native")
    yield
    torch.set_num_threads(1)


def drawn(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> dict[str, Tensor]:
    """Images whose channels have means and spreads of their own, scales of any sign."""
    made = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=made, dtype=torch.float64)

    n, c, h, w = shape
    own = TYPES[dtype][1]
    x = normal(n, c, h, w) * (normal(c, 1, 1).abs() + 0.1) + 3 * normal(c, 1, 1)
    scale = normal(c)
    scale[0] = 0.0
    return {
        "x": x.to(dtype).contiguous(memory_format=torch.channels_last),
        "scale": scale.to(own),
        "shift": normal(c).to(own),
        "of_out": normal(n, c, h // 2, w // 2).to(dtype),
    }


def run(block: Block, given: dict[str, Tensor], statistics: bool = False) -> dict[str, Tensor]:
    """Output, gradients and running statistics of a training pass."""
    x = given["x"].clone(memory_format=torch.preserve_format).requires_grad_()
    scale, shift = (given[name].clone().requires_grad_() for name in ("scale", "shift"))
    mean = torch.linspace(-1, 1, len(scale), dtype=scale.dtype) if statistics else None
    variance = torch.linspace(1, 2, len(scale), dtype=scale.dtype) if statistics else None
    out = block(x, mean, variance, scale, shift, True, 0.3, EPS)
    found = torch.autograd.grad(out, (x, scale, shift), given["of_out"])
    named = dict(zip(("out", "x", "scale", "shift"), (out.detach(), *found), strict=True))
    if mean is not None and variance is not None:
        named |= {"mean": mean, "variance": variance}
    return named


def is_native(out: Tensor) -> bool:
    return type(out.grad_fn).__name__ == "_BlockBackward"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("statistics", [False, True])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_a_training_pass_equals_torchs(
    dtype: torch.dtype, limit: float, statistics: bool, shape: tuple[int, ...]
) -> None:
    given = drawn(shape, dtype)
    native, torchs = run(batch_norm_pool_relu, given, statistics), run(reference, given, statistics)
    for name, expected in torchs.items():
        scale = expected.abs().max().item() + 1
        torch.testing.assert_close(native[name], expected, rtol=0, atol=limit * scale, msg=name)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 2e-5), (torch.bfloat16, 4e-2)]
)
def test_inference_under_running_statistics_equals_torchs(
    dtype: torch.dtype, limit: float, shape: tuple[int, ...]
) -> None:
    given = drawn(shape, dtype)
    mean = given["x"].double().mean((0, 2, 3)).to(given["scale"])
    variance = given["x"].double().var((0, 2, 3)).to(given["scale"])
    words = (given["x"], mean, variance, given["scale"], given["shift"], False, 0.1, EPS)
    with torch.no_grad():
        native, torchs = batch_norm_pool_relu(*words), reference(*words)
    torch.testing.assert_close(native, torchs, rtol=limit, atol=limit)
    assert not torch.equal(mean, torch.zeros_like(mean))


def test_the_gradient_is_that_of_the_function_in_float64() -> None:
    given = drawn((2, 16, 5, 4), torch.float64)
    scale = given["scale"].clone()
    scale[0] = 0.5  # at 0 every value ties

    def block(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        out = batch_norm_pool_relu(x, None, None, scale, shift, True, 0.1, EPS)
        assert is_native(out)
        return out

    inputs = [tensor.requires_grad_() for tensor in (given["x"], scale, given["shift"])]
    assert torch.autograd.gradcheck(block, inputs, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(5, 32, 21, 21), (8, 64, 16, 16)])
def test_bf16_is_closer_to_fp32_than_torchs_own_path(shape: tuple[int, ...]) -> None:
    given = drawn(shape, torch.bfloat16)
    exact = run(reference, {name: tensor.float() for name, tensor in given.items()})
    errors = {}
    for name, block in (("native", batch_norm_pool_relu), ("torch", reference)):
        found = run(block, given)["x"].float()
        errors[name] = ((found - exact["x"]).norm() / exact["x"].norm()).item()
    assert errors["native"] < 5e-3
    assert errors["torch"] > 1e-2


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_a_dropout_in_the_block_is_one_behind_it(
    dtype: torch.dtype, limit: float, shape: tuple[int, ...]
) -> None:
    """Drawn bits are in the order of channels, the images are not. The mask is in float32."""
    given = drawn(shape, dtype)
    n, c, h, w = shape
    made = torch.Generator().manual_seed(7)
    bits = torch.randint(-(2**15), 2**15, (n, c, h // 2, w // 2), generator=made)
    dropout = Dropout(bits.to(torch.int16), 0.7)

    def within(block: Block) -> Block:
        return lambda *words: block(*words, dropout)

    native, torchs = run(within(batch_norm_pool_relu), given), run(within(reference), given)
    assert (native["out"] == 0).float().mean() > 0.4
    for name, expected in torchs.items():
        scale = expected.abs().max().item() + 1
        torch.testing.assert_close(native[name], expected, rtol=0, atol=limit * scale, msg=name)


@pytest.mark.parametrize("value", [1.5, -1.5])
def test_ties_go_to_the_first_in_scan_order_as_in_torch(value: float) -> None:
    """Quarters of few values tie all the time; a scale of 0 makes everything tie."""
    made = torch.Generator().manual_seed(3)
    x = torch.randint(0, 2, (4, 16, 6, 6), generator=made).double()
    given = {
        "x": x.contiguous(memory_format=torch.channels_last),
        "scale": torch.linspace(-1, 1, 16, dtype=torch.float64) * abs(value),
        "shift": torch.full((16,), 2.0, dtype=torch.float64),
        "of_out": torch.randn(4, 16, 3, 3, generator=made, dtype=torch.float64),
    }
    given["scale"][3] = 0.0
    native, torchs = run(batch_norm_pool_relu, given), run(reference, given)
    torch.testing.assert_close(native["x"], torchs["x"], rtol=0, atol=1e-12)


def test_a_relu_at_zero_is_closed() -> None:
    given = drawn((2, 16, 4, 4), torch.float64)
    given["scale"], given["shift"] = torch.zeros(16).double(), torch.zeros(16).double()
    native = run(batch_norm_pool_relu, given)
    assert not native["out"].any()
    assert not native["shift"].any()


@pytest.mark.parametrize("training", [True, False])
def test_a_nan_reaches_what_it_reaches_in_torch(training: bool) -> None:
    given = drawn((2, 16, 4, 4), torch.float32)
    given["x"][0, 5, 1, 2] = float("nan")
    words = (given["x"], torch.zeros(16), torch.ones(16), given["scale"], given["shift"])
    with torch.no_grad():
        native = batch_norm_pool_relu(*words, training, 0.0, EPS)
        torchs = reference(*words, training, 0.0, EPS)
    assert torch.equal(native.isnan(), torchs.isnan())
    assert native.isnan().any()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_runs_with_the_same_threads_give_the_same_bits(threads: int) -> None:
    torch.set_num_threads(threads)
    given = drawn((7, 32, 21, 21), torch.bfloat16)
    first, second = (run(batch_norm_pool_relu, given, statistics=True) for _ in range(2))
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    torch.set_num_threads(1)
    alone = run(batch_norm_pool_relu, given, statistics=True)
    torch.testing.assert_close(first["x"], alone["x"], rtol=1e-2, atol=1e-2)


def test_a_second_derivative_is_torchs() -> None:
    given = drawn((2, 16, 4, 4), torch.float64)
    found = []
    for block in (batch_norm_pool_relu, reference):
        x, scale = given["x"].clone().requires_grad_(), given["scale"].clone().requires_grad_()
        x = x.contiguous(memory_format=torch.channels_last)
        out = block(x, None, None, scale, given["shift"], True, 0.1, EPS)
        of_x, of_scale = torch.autograd.grad(out.square().sum(), (x, scale), create_graph=True)
        (second,) = torch.autograd.grad(of_x.square().sum() + of_scale.square().sum(), scale)
        found.append(second)
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", ["channel order", "15 channels", "half", "one row"])
def test_what_has_no_kernel_takes_torchs_path(case: str) -> None:
    given = drawn((2, 16, 4, 4), torch.float32)
    x, scale, shift = given["x"], given["scale"], given["shift"]
    if case == "channel order":
        x = x.contiguous()
    elif case == "15 channels":
        x = x[:, :15].contiguous(memory_format=torch.channels_last)
        scale, shift = scale[:15].clone(), shift[:15].clone()
    elif case == "half":
        x = x.half()
    else:
        x = x[:, :, :1]
        with pytest.raises(RuntimeError):
            batch_norm_pool_relu(x, None, None, scale, shift, True, 0.1, EPS)
        return
    out = batch_norm_pool_relu(x, None, None, scale.requires_grad_(), shift, True, 0.1, EPS)
    assert not is_native(out)


def test_torch_is_taken_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRO_KERNELS", "torch")
    given = drawn((2, 16, 4, 4), torch.float32)
    scale = given["scale"].requires_grad_()
    assert library() is None
    out = batch_norm_pool_relu(given["x"], None, None, scale, given["shift"], True, 0.1, EPS)
    assert not is_native(out)


def test_the_library_of_this_session_is_in_its_cache(cache: Path) -> None:
    assert load(cache / "kernels")
    assert len(list((cache / "kernels").glob("*.so"))) == 1
