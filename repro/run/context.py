"""Where a cell runs and writes, and how often it saves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Pace:
    """How long a run goes on between two writes of its state.

    Attributes:
        checkpoint_s, partial_s: seconds between checkpoints of a training, and between writes of
            a test's predictions.
        cost: at least so many times what the last write took: 100 is below 1% of the time.
    """

    checkpoint_s: float = 60.0
    partial_s: float = 30.0
    cost: float = 100.0


@dataclass(frozen=True)
class RunContext:
    """Where a cell runs and writes; nothing here moves a number but the last bits.

    Attributes:
        test_pack: of the meta-test images, where they are another data set's.
        unfinished: test trainings as far as they got. milestones: steps whose checkpoints
            trainings keep.
        commit: of the code, and whether it differs from it; None: as git says here.
    """

    runs: Path
    pack: Path
    threads: int
    device: str
    force: bool = False
    unfinished: bool = False
    milestones: tuple[int, ...] = ()
    pace: Pace = field(default_factory=Pace)
    commit: tuple[str, bool] | None = None
    test_pack: Path | None = None
