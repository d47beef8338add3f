"""A training step as one CUDA graph: the host starts one launch instead of some thousand."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

N_WARM_UP = 3  # calls before a capture, as torch's own notes on graphs ask for


class Replay:
    """A function of tensors whose shapes never change, and of a state that it updates in place.

    The inputs are copied into tensors of its own, and ``function`` sees only those. On a GPU its
    kernels are captured at the first call and replayed at every one; elsewhere it is called, so
    that the same logic runs, and is tested, without an accelerator.

    Args:
        function: may neither read values back to the host nor copy from it.
        state: the tensors that it updates, by name. They are put back after the warm-up; those
            that the first call creates (an optimizer's moments) start at zero.
    """

    def __init__(
        self,
        function: Callable[..., tuple[Tensor, ...]],
        state: Callable[[], dict[str, Tensor]],
    ) -> None:
        self._function, self._state = function, state
        self._inputs: list[Tensor] = []
        self._outputs: tuple[Tensor, ...] = ()
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The function's outputs; on a GPU they are overwritten by the next call.

        Raises:
            ValueError: the inputs have other shapes than at the first call.
        """
        if not self._inputs:
            self._inputs = [torch.empty_like(value) for value in inputs]
        for mine, value in zip(self._inputs, inputs, strict=True):
            if mine.shape != value.shape:
                raise ValueError(
                    f"a replayed function takes one shape: {tuple(mine.shape)} at first, now "
                    f"{tuple(value.shape)}"
                )
            mine.copy_(value)
        if inputs[0].device.type != "cuda":
            return self._function(*self._inputs)
        if self._graph is None:
            self._capture(inputs[0].device)
        assert self._graph is not None
        self._graph.replay()
        return self._outputs

    def warm_up(self) -> None:
        """Call the function on the inputs as they are, then put the state back."""
        before = {name: value.detach().clone() for name, value in self._state().items()}
        for _ in range(N_WARM_UP):
            self._function(*self._inputs)
        _put_back(self._state(), before)

    def _capture(self, device: torch.device) -> None:
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            self.warm_up()
        torch.cuda.current_stream(device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._outputs = self._function(*self._inputs)
        self._graph = graph


def _put_back(now: dict[str, Tensor], before: dict[str, Tensor]) -> None:
    """Give tensors their earlier values in place; new ones become zero."""
    with torch.no_grad():
        for name, value in now.items():
            if name in before:
                value.copy_(before[name])
            else:
                value.zero_()
