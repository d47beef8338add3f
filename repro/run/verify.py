"""Test a recorded checkpoint again and compare it episode by episode."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load
from torch import Tensor

from repro import records
from repro.data.pack import open_pack
from repro.data.preparing import pack_of, prepare, prepare_test
from repro.episodes import episodes_digest
from repro.methods.own_code import with_code
from repro.papers.budgets import GridPoint
from repro.run.context import RunContext
from repro.run.evaluation import accuracies, evaluate
from repro.run.provenance import provenance
from repro.run.setup import cell_run
from repro.system import storage
from repro.system.errors import RecordError, UsageError
from repro.system.interrupts import StopRequest
from repro.system.progress import Reporter
from repro.system.seeding import Stream, rng

# On other software or hardware the last bits differ: a query near a decision may change sides.
EPISODE_TOLERANCE = 5 / 75  # of an episode's queries
MEAN_TOLERANCE = 0.005  # a shift of the mean that is rounding
Z_MEAN = 3.29  # two-sided, 1 in 1,000


@dataclass(frozen=True)
class Verdict:
    """Of a verification: accuracies are fractions."""

    n_episode: int
    n_differing: int
    mean_difference: float
    limit: float
    same_place: bool
    ok: bool

    def sentence(self, path: Path | str) -> str:
        """For people."""
        where = (
            "the same software and hardware" if self.same_place else "other software or hardware"
        )
        return (
            f"{path}: {'ok' if self.ok else 'FAILED'}: {self.n_differing} of {self.n_episode} "
            f"episodes differ, the mean by {100 * self.mean_difference:+.2f} points (allowed: "
            f"{100 * self.limit:.2f}), on {where}"
        )


def _parameters(path: Path, content: bytes) -> dict[str, Tensor]:
    try:
        return load(content)
    except Exception as error:  # safetensors raises its own and several built-in types
        raise RecordError(f"{path} is not a safetensors file ({error})") from error


def packs_for(
    record: records.Record, root: Path | None = None, test_root: Path | None = None
) -> tuple[Path, Path | None]:
    """The packs of a record's training and, where that is another data set, of its test.

    Args:
        root, test_root: where the images are; without, the packs with the record's digests.
    """
    config = record.config
    same = pack_of(record.dataset, str(config.get("data_digest")))
    pack = same if same and root is None else prepare(record.dataset, root)
    if not config.get("test_dataset"):
        return pack, None
    same = pack_of(record.tested_on, record.tested_images)
    if same and test_root is None:
        return pack, same
    return pack, prepare_test(record.tested_on, test_root, open_pack(pack, "train").image_size)


def verify(
    path: Path,
    pack: Path,
    reporter: Reporter,
    stop: StopRequest,
    n_episode: int | None = None,
    files: Sequence[str] = (),
    test_pack: Path | None = None,
) -> Verdict:
    """Evaluate a record's parameters again, on all or ``n_episode`` seeded episodes.

    Exact on the same software, device and threads; elsewhere an episode may differ by
    EPISODE_TOLERANCE and the mean by :func:`allowed_mean`.

    Args:
        files: ``path/to/file.py:Class`` of methods that the record's may be among.
        test_pack: of the data set of the test, where it is another than the training's.
    Raises:
        RecordError: the record, its parameters, data or episodes are not what it says.
        MethodError: a method of someone's own is not here, or has another source.
        UsageError: ``n_episode`` is below 1.
    """
    if n_episode is not None and n_episode < 1:
        raise UsageError(
            f"a record is verified on at least one episode, not on {n_episode}; give n_episode "
            "from 1, or leave it out for all"
        )
    record = records.read_record(path)
    records.check_revision(record)
    config = records.config_of(record)
    if config.digest != record.digests.get("config"):
        raise RecordError(f"{path}: the config does not have the digest that the record names")
    if config.own is not None:
        config = replace(config, own=with_code(config.own, files))
    wanted = [(pack, config.data_digest)]
    wanted += [(test_pack, config.test_data_digest or "")] if test_pack else []
    for folder, digest in wanted:
        if (pixels := open_pack(folder, config.split).digest) != digest:
            raise RecordError(
                f"{path} was made on other images (pack {digest[:8]}, here {pixels[:8]}); prepare "
                "the same copy of the data"
            )
    context = RunContext(path, pack, record.threads, "cpu", test_pack=test_pack)
    run = cell_run(config, context)
    torch.set_num_threads(record.threads)
    state, model = None, path / records.MODEL
    if run.training is not None:
        if not model.exists():
            raise RecordError(f"{model} is missing: this record was published without parameters")
        content = storage.read_bytes(model, limit=2**31)
        if hashlib.sha256(content).hexdigest() != record.digests.get("model"):
            raise RecordError(f"{model} is damaged: it does not have the digest in the record")
        state = _parameters(model, content)
    method = run.method(state, model)
    if config.grid:
        try:
            chosen = (record.selection or {})["chosen"]
            method.choose(GridPoint(float(chosen["lr"]), float(chosen["decay"])), final=True)
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(f"{path}: damaged selection (field {error})") from error
    episodes = run.episodes
    if episodes_digest(episodes) != record.digests.get("episodes"):
        raise RecordError(f"{path}: the episodes drawn now are not the recorded ones")
    places = np.arange(len(episodes))
    if n_episode is not None:
        places = np.sort(rng(0, Stream.VERIFY).permutation(len(episodes))[:n_episode])
    sample = [episodes[i] for i in places]
    found = evaluate(method, sample, run.images(config.split), reporter, f"verify {path}", stop)
    difference = accuracies(found, sample) - record.accuracy[places]
    here = provenance("cpu", record.threads, "")
    same = record.place == (here["versions"], here["device"], here["threads"])
    n_query = config.spec.n_way * config.spec.n_query
    per_episode = 0.0 if same else EPISODE_TOLERANCE
    limit = 0.0 if same else allowed_mean(difference, n_query)
    worst, mean = float(abs(difference).max()), float(difference.mean())
    ok = worst <= per_episode + 1e-9 and abs(mean) <= limit + 1e-9
    return Verdict(len(sample), int((difference != 0).sum()), mean, limit, same, ok)


def allowed_mean(difference: npt.NDArray[np.float64], n_query: int) -> float:
    """How far the mean over these episodes may be from 0, for a true shift up to MEAN_TOLERANCE.

    The mean of few episodes moves by chance, too: by its standard error. That is of the
    differences found, and at least that of one query in each episode, since few episodes may all
    be alike by chance.

    Args:
        difference: accuracy now minus accuracy recorded, ``[n_episode]``, fractions.
        n_query: queries of an episode.
    """
    n = len(difference)
    spread = float(difference.std(ddof=1)) if n > 1 else 0.0
    return float(MEAN_TOLERANCE + Z_MEAN * max(spread, 1 / n_query) / n**0.5)
