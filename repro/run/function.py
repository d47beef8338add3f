"""A user's own model on the fixed episodes, called from Python: its answers become a record."""

from __future__ import annotations

import contextlib
import datetime
import functools
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repro import records
from repro.analysis.results import Results
from repro.data.pack import open_pack
from repro.episodes.images import Episodes, image_batch
from repro.episodes.sampler import Episode
from repro.methods.description import describe
from repro.methods.guard import guarded
from repro.methods.live_code import code_digest
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers.config import RunConfig
from repro.papers.method_spec import SESSION, Source
from repro.run import answers
from repro.run.evaluation import evaluate as predictions_of
from repro.run.provenance import provenance
from repro.system import given
from repro.system.errors import MethodError, UsageError
from repro.system.interrupts import stop_requests
from repro.system.progress import ConsoleReporter, Reporter, Silent
from repro.system.seeding import Stream, rng

# (support images [n_way * k_shot, 3, height, width] in [0, 1], support labels [n_way * k_shot],
#  query images [n_way * n_query, 3, height, width]) -> scores [n_way * n_query, n_way], the larger
#  the better, or labels [n_way * n_query]; tensors or arrays
Function = Callable[[Tensor, Tensor, Tensor], Any]
NOT_WRITTEN = Path("not written")  # in place of the folder of a record that stays in memory


class FunctionMethod:
    """A function as a method; it gets images in [0, 1], not those of a recipe."""

    training = None
    function: Function

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def predict(self, episode: Episode, images: SplitImages) -> Tensor:
        """Scores ``[n_way * n_query, n_way]``.

        The function sees the queries in a random order of the episode: the order in which they are
        drawn, class by class, would tell their labels.
        """
        split, device = images.split, self.setting.device
        order = rng(episode.seed, Stream.QUERY_ORDER, episode.index).permutation(len(episode.query))
        with torch.no_grad():
            answer = self.function(
                image_batch(split, episode.support).to(device),
                torch.from_numpy(episode.support_labels).to(device),
                image_batch(split, episode.query[order]).to(device),
            )
        scores = _scores(answer, len(order), len(episode.class_indices), self.function)
        found = torch.empty_like(scores)
        found[torch.from_numpy(order).to(scores.device)] = scores
        return found


def _scores(answer: Any, n_query: int, n_way: int, function: Function) -> Tensor:
    """What a function gave, as float scores ``[n_query, n_way]`` with the largest where it was.

    Raises:
        MethodError: neither scores nor labels of all queries.
    """
    if isinstance(answer, np.ndarray):
        answer = np.ascontiguousarray(answer)  # torch takes no negative strides
    found = torch.as_tensor(answer) if isinstance(answer, np.ndarray | list | tuple) else answer
    if isinstance(found, Tensor) and found.is_complex():
        raise MethodError(f"{_named(function)} gave complex numbers; expected are real scores")
    if isinstance(found, Tensor) and found.shape == (n_query,) and not found.is_floating_point():
        found = found.long()  # torch does not compare unsigned numbers
        if not bool(((found >= 0) & (found < n_way)).all()):
            raise MethodError(f"{_named(function)} gave labels outside 0 to {n_way - 1}")
        return torch.nn.functional.one_hot(found, n_way).float()
    if not isinstance(found, Tensor) or found.shape != (n_query, n_way):
        shape = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else (
            f"a {type(answer).__name__}"
        )  # fmt: skip
        raise MethodError(
            f"{_named(function)} gave {shape}; expected are scores of shape ({n_query}, {n_way}) "
            f"or whole labels of shape ({n_query},)"
        )
    # The largest score wins, however close the next: no number is rounded to another's.
    if not found.is_floating_point():
        largest = torch.from_numpy(found.cpu().numpy().argmax(1))
        return torch.nn.functional.one_hot(largest, n_way).float()
    return found if found.dtype == torch.float64 else found.float()


def evaluate(
    function: Function,
    episodes: Episodes,
    *,
    name: str | None = None,
    title: str | None = None,
    runs: str | Path = "runs",
    transductive: bool = False,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> Results:
    """Test any callable on fixed episodes; on those of meta-test it writes a record.

    The record is that of a row of one's own: it is in the table, is compared in pairs, and its
    folder is below ``runs`` as that of every cell. Its source digest is of the function, of what
    that uses, and of the parameters of the models among it, so a model that was trained further is
    another record. The same function with the same answers leaves its record as it is. On ``val``
    and ``train`` nothing is written: choose there.

    The function runs in this process, without gradients, and sees the queries in a random order.

    Args:
        function: called with support images (float32 ``[n_way * k_shot, 3, height, width]`` in
            [0, 1]), their labels (int64 ``[n_way * k_shot]``) and query images; it gives scores
            ``[n_query, n_way]`` of all queries, the larger the better, or labels ``[n_query]``.
        episodes: from :func:`repro.episodes`.
        name: of the row: small letters, digits and _; by default the function's own. title: for
            people.
        transductive: whether an answer depends on the other queries; the table says so.
        seed: of the training that made the model, for several of them; the episodes stay the same.
        device: where the tensors that the function gets are: ``cpu``, ``cuda`` or ``auto``.
    Returns:
        The one record; ``.accuracy`` is ``[1, n_episode]``, fractions.
    Raises:
        MethodError: the function failed or gave something else; nothing is written.
        UsageError: a name that no row can have, or an impossible choice.
        StorageError: no record can be written.

    >>> import repro, tempfile, torch
    >>> def nearest_pixels(support, labels, query):
    ...     return labels[torch.cdist(query.flatten(1), support.flatten(1)).argmin(1)]
    >>> episodes = repro.episodes("glyphs", k_shot=5, n_episode=20)
    >>> runs = tempfile.mkdtemp()
    >>> repro.evaluate(nearest_pixels, episodes, runs=runs, progress=False)
    data set  method          shot  seed        recipe        budget  episodes    accuracy %
    glyphs    nearest_pixels     5     0  authors-code  paper-custom        20  37.40 ± 3.35
    """
    answers.check_episodes(episodes)
    device, folder = _device(device), given.local_folder(runs)
    method, config = _described(function, episodes, name, title, transductive, seed)
    setting = Setting(
        image_size=episodes.split.image_size,
        n_class=len(open_pack(episodes.pack, "train").class_ids),
        n_way=episodes.spec.n_way,
        k_shot=episodes.spec.k_shot,
        recipe=config.recipe,
        seed=config.seed,
        device=torch.device(device),
    )
    guard, images = guarded(config.row, method, setting), SplitImages(episodes.split, setting)
    if episodes.split.split == "test":
        answers.make(folder)  # before the episodes, which may take hours
    task = f"{config.method} {config.spec.k_shot}-shot: {episodes.split.split}"
    started, began = datetime.datetime.now(datetime.UTC), time.monotonic()
    with contextlib.ExitStack() as stack:
        reporter: Reporter = stack.enter_context(ConsoleReporter()) if progress else Silent()
        stop = stack.enter_context(stop_requests())
        predictions = predictions_of(guard, episodes.rows, images, reporter, task, stop)
    made = {
        **provenance(device, torch.get_num_threads(), f"repro.evaluate({config.method})"),
        "started_at": started.isoformat(timespec="seconds"),
        "wall_s": round(time.monotonic() - began, 3),
    }
    content = answers.content_of(config, episodes, predictions, made)
    if episodes.split.split != "test":
        return Results([_in_memory(config, content, episodes.split.split)])
    return Results([answers.keep(folder, config, content, predictions)])


def _device(asked: Any) -> str:
    """``cpu`` or ``cuda`` of this machine, or one of several such as ``cuda:1``.

    Raises:
        UsageError: an unknown device, or one that is not here.
    """
    n_gpu, name = torch.cuda.device_count(), str(asked)
    if name == "auto":
        return "cuda" if n_gpu else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d{1,4})?", name):
        raise UsageError(f"device is auto, cpu or cuda, not {asked!r}")
    if name != "cpu" and int(name.partition(":")[2] or 0) >= n_gpu:
        raise UsageError(f"device {name}: torch finds no such GPU here; use cpu or auto")
    return name


def _described(
    function: Function, episodes: Episodes, name: str | None, title: str | None,
    transductive: bool, seed: int,
) -> tuple[type, RunConfig]:  # fmt: skip
    """The function as a method's class, and the config of its cell."""
    if not callable(function):
        raise UsageError(f"expected is a function or a model, not a {type(function).__name__}")
    named = given.text("name", name or _row_name(function))
    source = Source(f"{_module(function)}:{_named(function)}", SESSION, code_digest(function))
    about = {"name": named, "function": staticmethod(function), "transductive": transductive,
             "switches": ()}  # fmt: skip
    if title is not None:
        about["title"] = given.text("title", title)
    method = type(named, (FunctionMethod,), about)
    return method, answers.config_of(describe(method, source, None), episodes, seed)


def _row_name(function: Function) -> str:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", _named(function)).lower()
    found = re.sub(r"\W+", "_", snake).strip("_")
    if isinstance(function, functools.partial) or "lambda" in found:
        raise UsageError("this function has no name of its own; give one with name=")
    return found


def _named(function: Function) -> str:
    found = getattr(function, "__name__", type(function).__name__)
    return str(found)


def _module(function: Function) -> str:
    return str(getattr(function, "__module__", None) or type(function).__module__)


def _in_memory(config: RunConfig, content: dict[str, Any], split: str) -> records.Record:
    """A record that is not of meta-test, so it is nowhere but here."""
    folder = records.cell_folder(NOT_WRITTEN / split, config)
    kept = {**content, "config": {**content["config"], "split": split}}
    kept["accuracy"] = np.asarray(content["accuracy"], dtype=np.float64)
    known = {name: kept[name] for name in kept.keys() & records.Record.__dataclass_fields__.keys()}
    return records.Record(path=folder, **known)
