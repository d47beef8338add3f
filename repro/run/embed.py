"""Embedding: the images of a pack through a backbone, once, in parts that survive a kill."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from repro.data.features import store
from repro.data.pack import SPLITS, open_pack
from repro.learner.backbones import Backbone, Embed, find
from repro.methods.nearest_neighbor import NearestNeighbor
from repro.papers.config import RunConfig
from repro.papers.method_names import PRETRAIN
from repro.run.cell import trained_for
from repro.run.context import RunContext
from repro.run.setup import cell_run
from repro.system import storage
from repro.system.errors import DataError, Interrupted
from repro.system.interrupts import StopRequest
from repro.system.locks import locked
from repro.system.progress import Reporter

PART = 960  # images of a file
BATCH = 32  # images in one pass


def backbone_of(
    word: str,
    weights: Path | None,
    input_size: int | None,
    config: RunConfig,
    context: RunContext,
    reporter: Reporter,
    stop: StopRequest,
) -> Backbone:
    """A backbone by its word; ``pretrain`` is trained first where it is not yet.

    Args:
        config: a cell of the pre-training, for its dataset, recipe, budget and seed.
    Raises:
        UsageError, DataError: as :func:`repro.learner.backbones.find`.
    """
    if word != PRETRAIN:
        return find(word, weights, input_size)
    run = cell_run(config, context)
    trained = trained_for(run, reporter, stop)
    assert trained is not None
    told = f"pretrain, {config.recipe.name}, {config.budget.name}, {config.precision}"
    identity = {"backbone": word, "checkpoint": trained.digest, "config": config.digest}

    def build(device: str) -> Embed:
        method = NearestNeighbor(run.setting)
        method.load_state(trained.state)
        view = run.images("test")  # images of every split are prepared as those of a test

        def embed(images: np.ndarray) -> torch.Tensor:
            pixels = torch.from_numpy(images).to(run.setting.device)
            return method.embed(view.normalise(pixels)).float()

        return embed

    return Backbone(told, identity, build)


def embed_pack(
    name: str,
    backbone: Backbone,
    context: RunContext,
    reporter: Reporter,
    stop: StopRequest,
) -> store.FeatureSet:
    """The features of all images of a pack; those made before are used.

    Raises:
        Interrupted: a stop was asked for; finished parts are kept.
        DataError: a feature is NaN or infinite. StorageError: the cache cannot be written.
    """
    store.check_name(name)
    pack = context.pack
    splits = {split: open_pack(pack, split) for split in SPLITS}
    digest = splits["test"].digest
    request = storage.digest({**backbone.identity, "data": digest})
    done = store.of_request(pack, request, name)
    if done is not None:
        return done
    torch.set_num_threads(context.threads)
    parts = store.home(pack) / f"parts-{request[:16]}"
    parts.mkdir(parents=True, exist_ok=True)
    with locked(parts, f"embed {name}", reporter, stop):
        done = store.of_request(pack, request, name)  # another process may have made them meanwhile
        if done is not None:
            return done
        embed: Embed | None = None
        total = sum(len(images.images) for images in splits.values())
        n_done = 0
        for split, images in splits.items():
            for first in range(0, len(images.images), PART):
                path = parts / f"{split}-{first:08d}.npy"
                part = images.images[first : first + PART]
                if not path.exists():
                    if stop:
                        raise Interrupted(
                            f"embed {name}: stopped at image {n_done:,} of {total:,}; run the same "
                            "command to continue",
                            stop.exit_code,
                        )
                    embed = embed or backbone.build(context.device)
                    _write(path, embed, part, f"{backbone.told}: {split}", first)
                n_done += len(part)
                reporter.report(f"embed {name}", n_done, total, backbone.told)
        found = store.save(
            pack, digest, name, backbone.told, request,
            ((split, _joined(parts, split, len(splits[split].images))) for split in SPLITS),
        )  # fmt: skip
        for path in parts.glob("*.npy"):  # the lock's file stays: another process may wait for it
            path.unlink(missing_ok=True)
    return found


def _write(path: Path, embed: Embed, images: np.ndarray, where: str, first: int) -> None:
    """Embed a part and write it whole."""
    batches = [np.array(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
    found = torch.cat([embed(batch).cpu() for batch in batches]).numpy()
    bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(bad):
        raise DataError(
            f"{where}: the features of image {first + bad[0]} are NaN or infinite; the weights are "
            "damaged or of another network"
        )
    buffer = io.BytesIO()
    np.save(buffer, found, allow_pickle=False)
    storage.write_bytes(path, buffer.getvalue())


def _joined(parts: Path, split: str, n_image: int) -> store.Array:
    """The features of a split.

    Raises:
        DataError: they are not of as many images as it has.
    """
    arrays = [np.load(path, allow_pickle=False) for path in sorted(parts.glob(f"{split}-*.npy"))]
    if (found := sum(map(len, arrays))) != n_image:
        raise DataError(
            f"{parts} has the features of {found:,} of {n_image:,} {split} images; delete it and "
            "embed again"
        )
    return np.concatenate(arrays)
