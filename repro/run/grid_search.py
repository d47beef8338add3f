"""One point of a method's grid, chosen on meta-validation; resumes at the next episode."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from repro.episodes import Episode
from repro.methods.base import Searching
from repro.methods.split_images import SplitImages
from repro.papers.budgets import GridPoint
from repro.run.context import Pace
from repro.run.evaluation import Partial, accuracies, evaluate
from repro.system import storage
from repro.system.errors import RecordError
from repro.system.interrupts import StopRequest
from repro.system.progress import Quiet, Reporter

SELECTION = "selection.json"
GRID_PARTIAL = "grid.partial"


def choose(
    method: Searching,
    points: Sequence[GridPoint],
    episodes: Sequence[Episode],
    images: SplitImages,
    folder: Path,
    searched: dict[str, str],
    reporter: Reporter,
    task: str,
    stop: StopRequest,
    pace: Pace,
    force: bool = False,
) -> dict[str, Any]:
    """Give ``method`` the point with the best mean accuracy; all are returned for the record.

    Args:
        searched: digests of config and checkpoint, which an interrupted search must share.
        force: leave out what an interrupted search found.
    Raises:
        RecordError: what it left in ``folder`` is damaged. Interrupted: a stop was asked for.
    """
    path, unfinished = folder / SELECTION, folder / GRID_PARTIAL
    if force:
        unfinished.unlink(missing_ok=True)
    done = [] if force else tried_before(path, searched["checkpoint"], points)
    began, spent = time.monotonic(), spent_before(path) if done else 0.0
    for number in range(len(done), len(points)):
        method.choose(points[number], final=False)
        lr, decay = points[number]
        digest = storage.digest({**searched, "lr": lr, "decay": decay})
        partial = Partial(unfinished, digest, pace)
        predictions = evaluate(method, episodes, images, Quiet(reporter), task, stop, partial)
        mean = float(accuracies(predictions, episodes).mean())
        done.append({"lr": lr, "decay": decay, "accuracy": mean})
        wall_s = spent + partial.spent + time.monotonic() - began
        write_tried(path, searched["checkpoint"], done, wall_s)
        spent += partial.spent
        partial.discard()
        note = f"lr {lr:g}, decay {decay:g}: {mean:.1%}"
        reporter.report(task, number + 1, len(points), note, "grid")
    best = max(range(len(points)), key=lambda number: done[number]["accuracy"])
    method.choose(points[best], final=True)
    return {"n_episode": len(episodes), "grid": done, "chosen": done[best]}


def write_tried(
    path: Path, checkpoint: str, done: Sequence[dict[str, Any]], wall_s: float = 0.0
) -> None:
    """Keep the grid points tried so far, and the seconds they took, for a search that goes on."""
    content = {"checkpoint": checkpoint, "grid": list(done), "wall_s": round(wall_s, 3)}
    storage.write_json(path, content)


def spent_before(path: Path) -> float:
    """Seconds that the grid points in a file took; 0 where it does not say."""
    wall_s = storage.read_json(path).get("wall_s", 0.0) if path.exists() else 0.0
    return float(wall_s) if isinstance(wall_s, (int, float)) and 0 <= wall_s < 1e9 else 0.0


def tried_before(path: Path, checkpoint: str, points: Sequence[GridPoint]) -> list[dict[str, Any]]:
    """Grid points of an interrupted search with the same checkpoint, in the grid's order.

    Raises:
        RecordError: the file is damaged; it is named.
    """
    if not path.exists():
        return []
    content = storage.read_json(path)
    try:
        if content["checkpoint"] != checkpoint:
            return []
        done = [
            {name: float(point[name]) for name in ("lr", "decay", "accuracy")}
            for point in content["grid"]
        ]
        if [(point["lr"], point["decay"]) for point in done] != list(points[: len(done)]):
            raise ValueError("grid")
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"{path} is damaged (field {error}); delete it and run again") from error
    return done
