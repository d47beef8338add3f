"""Optimizers of torch over named tensors, with a state that is tensors only."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Optimizer:
    """An optimizer of torch over named tensors, with a state that is tensors only.

    Args:
        make: the optimizer of a list of tensors, for instance
            ``lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9)``.
    """

    prefix = "optimizer"  # of its entries in the state, which records leave out

    def __init__(
        self, params: dict[str, Tensor], make: Callable[[list[Tensor]], torch.optim.Optimizer]
    ) -> None:
        self.params = params
        for param in params.values():
            param.requires_grad_()
        self.inner = make(list(params.values()))

    def step(self, lr: float | None = None) -> None:
        """Update the parameters in place from their ``grad`` and clear it.

        Args:
            lr: the learning rate from now on; None leaves it. No part of the state.
        """
        if lr is not None:
            for group in self.inner.param_groups:
                group["lr"] = lr
        self.inner.step()
        self.inner.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Parameters and, as ``<prefix>.<name>.<entry>``, what the optimizer keeps of each.

        Raises:
            TypeError: the optimizer keeps something else than tensors (L-BFGS does).
        """
        found = {name: param.detach() for name, param in self.params.items()}
        for name, param in self.params.items():
            for entry, value in self.inner.state[param].items():
                if value is None:  # SGD without momentum
                    continue
                if not isinstance(value, Tensor):
                    raise TypeError(
                        f"{type(self.inner).__name__} keeps {entry}, a {type(value).__name__}; a "
                        "state is tensors only"
                    )
                found[f"{self.prefix}.{name}.{entry}"] = value.detach()
        return found

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what :meth:`state` gave."""
        for name, param in self.params.items():
            with torch.no_grad():
                param.copy_(state[name])
            prefix = f"{self.prefix}.{name}."
            self.inner.state[param] = {
                key.removeprefix(prefix): value.to(param.device, copy=True)
                for key, value in state.items()
                if key.startswith(prefix)
            }


class Adam(Optimizer):
    """torch's Adam over named tensors, with a state that is tensors only.

    It adds ε to the root of the corrected second moment; Torch7's adds it to the root of the
    uncorrected one, so its ε is 1/√(1 - 0.999^t) times as large: 32 times at t = 1. It moves those
    coordinates whose gradient is not far above that ε. In a training of a Matching Network
    on mini-ImageNet 13% of the updates differ by more than 1% of the learning rate in the first
    step, 1% in the tenth and 0.07% in the hundredth; so it is left as torch has it.
    """

    prefix = "adam"

    def __init__(
        self, params: dict[str, Tensor], lr: float, fused: bool = False, prefix: str = "adam"
    ) -> None:
        """
        Args:
            fused: read and write each tensor once a step: for many parameters, other bits.
            prefix: of the names of the moments in the state; it begins with ``adam``.
        """
        self.prefix = prefix
        on_gpu = next(iter(params.values())).device.type == "cuda"
        super().__init__(
            params,
            lambda ps: torch.optim.Adam(ps, lr=lr, capturable=on_gpu, fused=fused or None),
        )


OPTIMIZERS = tuple(f"{kind.prefix}." for kind in (Adam, Optimizer))
