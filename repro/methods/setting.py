"""What a method is built from: image size, classes, shot, recipe, device."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch

from repro.papers import paper
from repro.papers.config import Recipe

EMBED_BUFFER_BYTES = 32 * 2**20  # larger buffers go back to the kernel after every layer


@dataclass(frozen=True)
class Setting:
    """What a method is built from.

    Attributes:
        n_class: classes of the meta-train split. k_shot: the shot it is (or was) trained for; 0
            where training has no episodes. n_way, n_query: of the episodes of its own training; a
            test's may have another size, which is in the episode itself.
        n_step: steps of its whole training, for schedules; 0 where nothing is trained.
        precision: ``fp32`` or ``bf16`` (autocast of the learner only).
    """

    image_size: int
    n_class: int
    n_way: int
    k_shot: int
    recipe: Recipe
    seed: int
    precision: str = "fp32"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    n_step: int = 0
    n_query: int = paper.N_QUERY

    def autocast(self) -> AbstractContextManager[None]:
        """bf16 for the learner's convolutions where the run's precision says so."""
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )
