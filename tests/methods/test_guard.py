"""A state is refused in one sentence where safetensors cannot keep it, and only there."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from repro.methods import guard
from repro.methods.guard import Guarded, problem_of_state
from repro.records.checkpoints import write_tensors
from repro.system.errors import MethodError

COMMON = ("float64", "float32", "float16", "bfloat16", "complex64", "bool", "int64", "int32",
          "int16", "int8", "uint8", "uint16")  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("x", torch.eye(2).to_sparse(), "a sparse_coo tensor under 'x'"),
        ("x", torch.empty(2, device="meta"), "a meta tensor under 'x'"),
        ("x", torch.ones(2, dtype=torch.complex128), "a tensor of complex128 under 'x'"),
        ("__metadata__", torch.ones(2), "a tensor under '__metadata__'"),
    ],
)
def test_a_state_that_no_checkpoint_can_hold_is_refused_in_one_sentence(
    name: str, value: Tensor, said: str
) -> None:
    method = SimpleNamespace(state=lambda: {"good": torch.ones(1), name: value})
    with pytest.raises(MethodError) as caught:
        Guarded(SimpleNamespace(name="own"), method).state()  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"the method own gave {said} (a safetensors file cannot hold it) in state; expected are "
        "tensors by name"
    )


def test_every_kind_of_numbers_that_is_accepted_is_read_back(tmp_path: Path) -> None:
    state = {str(kind): torch.zeros(1).expand(3).to(kind) for kind in guard._STORED}
    assert not problem_of_state(state)
    assert {f"torch.{name}" for name in COMMON} <= set(state)
    write_tensors(tmp_path / "x.safetensors", state)
    found = load_file(tmp_path / "x.safetensors")
    assert {name: (value.dtype, value.shape) for name, value in found.items()} == {
        name: (value.dtype, value.shape) for name, value in state.items()
    }
