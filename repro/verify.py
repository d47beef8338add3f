"""Test a recorded checkpoint again and compare it episode by episode."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load

from repro import records, storage
from repro.cells import Place, build_row, test_episodes
from repro.checkpoints import load_into
from repro.data.images import open_pack
from repro.episodes import episodes_digest
from repro.errors import RecordError
from repro.evaluation import accuracies, evaluate
from repro.interrupts import StopRequest
from repro.methods.base import SplitImages
from repro.methods.finetune import Finetune
from repro.methods.registry import with_code
from repro.progress import Reporter
from repro.provenance import provenance
from repro.seeding import Stream, words

# On other software or hardware the last bits differ: a query near a decision may change sides.
EPISODE_TOLERANCE = 5 / 75  # of an episode's queries
MEAN_TOLERANCE = 0.005


@dataclass(frozen=True)
class Verdict:
    """Of a verification: accuracies are fractions."""

    n_episode: int
    n_differing: int
    mean_difference: float
    same_place: bool
    ok: bool

    def sentence(self, path: Path | str) -> str:
        """For people."""
        where = (
            "the same software and hardware" if self.same_place else "other software or hardware"
        )
        return (
            f"{path}: {'ok' if self.ok else 'FAILED'}: {self.n_differing} of {self.n_episode} "
            f"episodes differ, the mean by {100 * self.mean_difference:+.2f} points, on {where}"
        )


def verify(
    path: Path,
    pack: Path,
    reporter: Reporter,
    stop: StopRequest,
    n_episode: int | None = None,
    files: Sequence[str] = (),
) -> Verdict:
    """Evaluate a record's parameters again, on all or ``n_episode`` seeded episodes.

    Exact on the same software, device and threads; elsewhere within the tolerances above.

    Args:
        files: ``path/to/file.py:Class`` of methods that the record's may be among.
    Raises:
        RecordError: the record, its parameters, data or episodes are not what it says.
        MethodError: a method of someone's own is not here, or has another source.
    """
    record = records.read_record(path)
    records.check_revision(record)
    config = records.config_of(record)
    if config.digest != record.digests.get("config"):
        raise RecordError(f"{path}: the config does not have the digest that the record names")
    if config.own is not None:
        config = replace(config, own=with_code(config.own, files))
    test = open_pack(pack, "test")
    if test.digest != config.data_digest:
        raise RecordError(
            f"{path} was made on other images (pack {config.data_digest[:8]}, here "
            f"{test.digest[:8]}); prepare the same copy of the data"
        )
    place = Place(path, pack, record.threads, "cpu")
    torch.set_num_threads(record.threads)
    method, setting = build_row(config, place)
    if config.training() is not None:
        model = path / records.MODEL
        if not model.exists():
            raise RecordError(f"{model} is missing: this record was published without parameters")
        content = storage.read_bytes(model, limit=2**31)
        if hashlib.sha256(content).hexdigest() != record.digests.get("model"):
            raise RecordError(f"{model} is damaged: it does not have the digest in the record")
        try:
            state = load(content)
        except Exception as error:  # safetensors raises its own and several built-in types
            raise RecordError(f"{model} is not a safetensors file ({error})") from error
        load_into(method, state, model, config.own is not None)
    if isinstance(method, Finetune):
        try:
            chosen = (record.selection or {})["chosen"]
            method.choice, method.head_index = (float(chosen["lr"]), float(chosen["decay"])), 1
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(f"{path}: damaged selection (field {error})") from error
    episodes = test_episodes(config, test)
    if episodes_digest(episodes) != record.digests.get("episodes"):
        raise RecordError(f"{path}: the episodes drawn now are not the recorded ones")
    places = np.arange(len(episodes))
    if n_episode is not None:
        places = np.sort(words(0, Stream.VERIFY).permutation(len(episodes))[:n_episode])
    sample = [episodes[i] for i in places]
    found = evaluate(method, sample, SplitImages(test, setting), reporter, f"verify {path}", stop)
    difference = accuracies(found, sample) - record.accuracy[places]
    here = provenance("cpu", record.threads, "")
    same = record.place == (here["versions"], here["device"], here["threads"])
    limit = (0.0, 0.0) if same else (EPISODE_TOLERANCE, MEAN_TOLERANCE)
    worst, mean = float(abs(difference).max()), float(difference.mean())
    ok = worst <= limit[0] + 1e-9 and abs(mean) <= limit[1] + 1e-9
    return Verdict(len(sample), int((difference != 0).sum()), mean, same, ok)
