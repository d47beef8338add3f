"""The values of a cell and of a table; :mod:`.table1` builds them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from repro.analysis.statistics.intervals import Interval
from repro.analysis.statistics.seeds import Estimate
from repro.analysis.statistics.strays import strays
from repro.analysis.table.verdicts import Verdict
from repro.papers.method_names import is_outside
from repro.papers.pack import Table
from repro.papers.reported import Reported
from repro.records.task import PAPERS, Task

SCHEMA = 2  # of the JSON and CSV
NOT_RUN, NOT_IMPORTED = "not run", "not imported"
NOT_IN_PAPER = "not in the paper"


@dataclass(frozen=True)
class Rerun:
    """A public re-run of a cell, and what was measured held against it."""

    published: Reported
    judged: Verdict


@dataclass(frozen=True)
class Cell:
    """One method at one shot. Intervals are fractions; what was not run is None or empty."""

    method: str
    k_shot: int
    reported: Reported | None  # of the row's own authors where the paper has no such row
    n_episode: int | None = None
    n_step: int | None = None  # training steps
    budget: str | None = None
    seeds: tuple[int, ...] = ()
    estimate: Estimate | None = None
    judged: Verdict | None = None  # against the paper
    reruns: tuple[Rerun, ...] = ()
    episode_sd: float | None = None  # between episodes of one seed, as the paper's interval has it
    class_half_width: float | None = None  # of the 95% interval over the choice of test classes
    seed_means: tuple[float, ...] = ()  # mean accuracy of each of the seeds
    title: str = ""  # the row's name, in the paper where that has it
    in_paper: bool = False
    apart: str = ""  # transductive, milestone: why it is not the row's own number
    steps: str = ""  # n_step for people, of a milestone with those of the whole training
    further: tuple[Cell, ...] = ()  # tests of the cell's training that are apart from it
    same_images: bool = True  # as what is reported; else there is no difference to speak of
    progress: str = ""  # steps made of those planned, where the training has not ended
    task: Task = PAPERS
    images: str = ""  # digest of those that it was trained on

    @property
    def outside(self) -> bool:
        """Whether its predictions were made elsewhere and imported."""
        return is_outside(self.method)

    @property
    def measured(self) -> Interval | None:
        return self.estimate.interval if self.estimate else None

    @property
    def difference(self) -> Interval | None:
        """Measured - reported."""
        return self.judged.difference if self.judged and self.same_images else None

    @property
    def verdict(self) -> str:
        """Empty for what was run and nobody published."""
        if self.judged:
            return self.judged.label
        if self.estimate is not None:
            return ""
        return NOT_IMPORTED if is_outside(self.method) else NOT_RUN

    @property
    def told(self) -> str:
        """The verdict with what it rests on."""
        return self.judged.told if self.judged else self.verdict

    @property
    def reason(self) -> str:
        """Why the cell is not comparable, else empty."""
        return self.judged.reason if self.judged else ""

    def content(self) -> dict[str, Any]:
        """The cell as JSON (``table.schema.json``); accuracies are fractions, unknown is null."""
        found, judged = self.estimate, self.judged
        return {
            "schema": SCHEMA,
            "method": self.method,
            "title": self.title,
            "in_paper": self.in_paper,
            "outside": self.outside,
            "k_shot": self.k_shot,
            "n_way": self.task.n_way,
            "n_query": self.task.n_query,
            "test_dataset": self.task.test_dataset,
            "reported_mean": self.reported.mean if self.reported else None,
            "reported_half_width": _finite(self.reported, "half_width"),
            "reported_source": self.reported.source if self.reported else None,
            "measured_mean": _finite(self.measured, "mean"),
            "measured_half_width": _finite(self.measured, "half_width"),
            "measured_half_width_classes": self.class_half_width,
            "difference_mean": _finite(self.difference, "mean"),
            "difference_half_width": _finite(self.difference, "half_width"),
            "n_episode": self.n_episode,
            "n_step": self.n_step,
            "budget": self.budget,
            "apart": self.apart,
            "further": [cell.content() for cell in self.further],
            "seed": min(self.seeds) if self.seeds else None,
            "verdict": self.verdict,
            "reason": self.reason,
            "seeds": list(self.seeds),
            "seed_means": list(self.seed_means),
            "stray_seeds": [self.seeds[i] for i in strays(self.seed_means)],
            "covers": found.covers if found else None,
            "margin": judged.margin if judged else None,
            "smallest_margin": _finite(judged, "smallest_margin") if self.difference else None,
            "p": judged.p if judged and self.difference else None,
            "p_holm": judged.p_holm if judged else None,
            "holds_to_seed_sd": judged.holds_to_seed_sd if judged else None,
            "bootstrap": list(found.bootstrap) if found and found.bootstrap else None,
            "reruns": [
                {
                    "source": rerun.published.source,
                    "mean": rerun.published.mean,
                    "half_width": _finite(rerun.published, "half_width"),
                    "difference_mean": rerun.judged.difference.mean,
                    "difference_half_width": _finite(rerun.judged.difference, "half_width"),
                    "smallest_margin": _finite(rerun.judged, "smallest_margin"),
                    "verdict": rerun.judged.label,
                    "reason": rerun.judged.reason,
                    "holds_to_seed_sd": rerun.judged.holds_to_seed_sd,
                }
                for rerun in self.reruns
            ],
        }


def _finite(found: Interval | Reported | Verdict | None, field: str) -> float | None:
    value = math.inf if found is None else float(getattr(found, field))
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class TableContent:
    """What a table shows: the rows of the paper's table in its order, then other rows.

    Attributes:
        of: the table of the paper.
    """

    title: str
    cells: tuple[Cell, ...]
    notes: tuple[str, ...]
    of: Table
    task: Task = PAPERS

    @property
    def lines(self) -> tuple[Cell, ...]:
        """Each cell, and after it the tests that are apart from it."""
        return tuple(line for cell in self.cells for line in (cell, *cell.further))

    @property
    def methods(self) -> tuple[str, ...]:
        """The rows, each once."""
        return tuple(dict.fromkeys(cell.method for cell in self.cells))

    @property
    def shots(self) -> tuple[int, ...]:
        """The paper's and those that were run, in order."""
        return tuple(sorted({cell.k_shot for cell in self.cells}))

    @property
    def row_titles(self) -> tuple[str, ...]:
        """Names of :attr:`methods`."""
        titles = {cell.method: cell.title for cell in self.cells}
        return tuple(titles[method] for method in self.methods)
