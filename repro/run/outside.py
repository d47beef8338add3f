"""Predictions that were made elsewhere, imported as a record of an outside row."""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from repro.analysis.results import Results
from repro.episodes.images import Episodes
from repro.papers.method_names import OUTSIDE, OUTSIDE_PREFIX, refuse_title
from repro.papers.method_spec import MethodSpec, Source
from repro.run import answers, predictions_file
from repro.run.predictions import Filled, Wanted, from_array
from repro.run.provenance import git_state, source_digest
from repro.system import given
from repro.system.errors import RecordError, UsageError
from repro.system.names import unprintable

MAX_ORIGIN = 200  # characters


def row_of(
    name: str, origin: str = "", transductive: bool = False, row: str | None = None
) -> MethodSpec:
    """The row of imported predictions.

    Args:
        name: for people. row: its name in folders and options, without ``outside_``; by default
            made from ``name``.
        origin: where they are from, in the importer's words.
    Raises:
        UsageError: a name that no row can have, or that looks like a built-in row's.
    """
    for option, text in (("name", name), ("origin", origin), ("row", "" if row is None else row)):
        if unprintable(given.text(option, text)):
            raise UsageError(f"{text[:40]!r} has control characters; leave them out")
    if len(origin) > MAX_ORIGIN:
        raise UsageError(f"the origin has at most {MAX_ORIGIN} characters, not {len(origin)}")
    refuse_title(name)
    if row is None:
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        row = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")
        if not row:
            raise UsageError(f"no row name can be made from {name!r}; give one with --row")
    return MethodSpec(
        name=OUTSIDE_PREFIX + row,
        title=name,
        target=origin,
        training=None,
        switches=(),
        transductive=transductive,
        source=Source(origin, OUTSIDE, ""),
    )


def wanted_of(episodes: Episodes) -> Wanted:
    """What predictions of these episodes have to be of."""
    spec = episodes.spec
    told = (
        f"the {len(episodes):,} {spec.n_way}-way {spec.k_shot}-shot test episodes of "
        f"{episodes.split.dataset}"
    )
    return Wanted(len(episodes), spec.n_way * spec.n_query, spec.n_way, episodes.short_digest, told)


def import_predictions(
    predictions: str | Path | npt.ArrayLike,
    episodes: Episodes,
    name: str,
    *,
    digest: str | None = None,
    columns: Mapping[str, str] | None = None,
    row: str | None = None,
    origin: str = "",
    seed: int = 0,
    transductive: bool = False,
    runs: str | Path = "runs",
    force: bool = False,
    command: str = "repro.import_predictions",
) -> Results:
    """Write a record of predictions that were made elsewhere, as ``repro import``.

    The row is an outside row wherever it is shown: its numbers are counted from the predictions,
    nothing is measured here, and nothing is said of its training.

    Args:
        predictions: a file (``.csv``, ``.jsonl`` or ``.npy``), or an array: labels
            ``[n_episode, n_way * n_query]`` or scores ``[n_episode, n_way * n_query, n_way]``, in
            the order of the export.
        episodes: from :func:`repro.episodes`, of meta-test.
        name: of the row, for people.
        digest: the short digest of the export; may be left out where a file names it.
        columns: of a CSV file, by what they are: ``{"episode": "task"}``.
        row: name in folders and options, without ``outside_``; by default made from ``name``.
        origin: where the predictions are from.
        seed: of their training, where there are several; they are seeds of one row.
        transductive: whether a prediction depends on the other queries.
        force: replace a record of other predictions under this name.
    Returns:
        The one record.
    Raises:
        RecordError: the predictions are of other episodes, not whole, or not in order; nothing is
            written. UsageError: a name that no row can have, or no digest. StorageError: the disk
            refuses.

    >>> import numpy, repro, tempfile
    >>> episodes = repro.episodes("glyphs", k_shot=1, n_episode=20)
    >>> chance = numpy.zeros((20, 75), dtype=int)
    >>> runs, digest = tempfile.mkdtemp(), episodes.short_digest
    >>> made = repro.import_predictions(chance, episodes, "Class 0", digest=digest, runs=runs)
    >>> made[0].title, round(float(made.accuracy.mean()), 3)
    ('Class 0 (outside)', 0.2)
    """
    answers.check_episodes(episodes)
    if episodes.split.split != "test":
        raise UsageError(
            f"predictions are imported of test episodes, not of {episodes.split.split}"
        )
    described, folder = row_of(name, origin, transductive, row), given.local_folder(runs)
    config = answers.config_of(described, episodes, seed, precision="unknown")
    labels = _labels(predictions, wanted_of(episodes), digest, columns)
    commit, dirty = git_state()
    made: dict[str, Any] = {
        "versions": {},
        "device": "elsewhere",
        "threads": 1,
        "commit": commit,
        "dirty": dirty,
        "repro": {"source": source_digest()},
        "command": command,
        "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "wall_s": 0.0,
    }
    content = answers.content_of(config, episodes, labels, made)
    return Results([answers.keep(folder, config, content, labels, force)])


def _labels(
    predictions: str | Path | npt.ArrayLike, wanted: Wanted, digest: str | None,
    columns: Mapping[str, str] | None,
) -> answers.Predictions:  # fmt: skip
    """The checked labels, of episodes that the file or the caller names."""
    is_file = isinstance(predictions, str | Path)
    if digest is not None:
        wanted.check(given.text("digest", digest).strip(), "what is imported")
    if is_file:
        labels, declared = predictions_file.read(Path(str(predictions)), wanted, columns)
    else:
        filled, declared = Filled(wanted, "predictions"), False
        try:
            if isinstance(predictions, torch.Tensor):
                predictions = predictions.detach().cpu()
            array = np.asarray(predictions)
        except (ValueError, TypeError, RuntimeError) as error:
            raise RecordError(f"the predictions are not an array ({error})") from error
        from_array(array, filled)
        labels = filled.whole()
    if digest is None and not declared:
        source = Path(str(predictions)).name if is_file else "the array"
        raise UsageError(
            f"{source} does not say of which episodes it is; give the digest that `repro episodes "
            "export` printed, in a column digest or with --digest"
        )
    return labels
