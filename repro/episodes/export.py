"""Episodes as files for people without this package: which images, in which order, which labels."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from repro.data.mini_imagenet import ravi
from repro.data.pack import ImageSplit
from repro.episodes.sampler import Episode, EpisodeSampler, Rows, episodes_digest
from repro.system import storage
from repro.system.errors import UsageError

SCHEMA = 1
FORMATS = (".json", ".csv")
DIGITS = 12  # of each digest in the short one
COLUMNS = ("digest", "episode", "part", "place", "label", "split", "class", "image", "file",
           "row")  # fmt: skip


def short_digest(data: str, episodes: str) -> str:
    """What names images and episodes together, such as ``10f82ae4c084-3ce42d929fd9``.

    Both are needed: data sets with as many classes and images have the same episodes by row.
    """
    return f"{data[:DIGITS]}-{episodes[:DIGITS]}"


def file_names(split: ImageSplit) -> list[str] | None:
    """The published file name of each row; None where the pack does not know them.

    A pack keeps no names. The images of the published mini-ImageNet are known by its digest.
    """
    if split.digest != ravi.PUBLISHED_PACK:
        return None
    target = ravi.ravi()
    return [f"{name}.jpg" for class_id in split.class_ids for name in target.names(class_id)]


def images_of(split: ImageSplit) -> list[dict[str, Any]]:
    """Each row of a split: its class, its number in the class and, where known, its file name."""
    names = file_names(split)
    found: list[dict[str, Any]] = []
    for class_id, (first, count) in zip(split.class_ids, split.class_rows, strict=True):
        for number in range(count):
            image: dict[str, Any] = {"class": class_id, "image": number}
            if names is not None:
                image["file"] = names[first + number]
            found.append(image)
    return found


def content(split: ImageSplit, sampler: EpisodeSampler, n_episode: int) -> dict[str, Any]:
    """Episodes as JSON: the images of the split by row, and the rows of each episode in order."""
    spec, drawn = sampler.spec, sampler.first(n_episode)
    digest = episodes_digest(drawn)
    return {
        "schema": SCHEMA,
        "digest": short_digest(split.digest, digest),
        "data_digest": split.digest,
        "episodes_digest": digest,
        "dataset": split.dataset,
        "split": split.split,
        "n_way": spec.n_way,
        "k_shot": spec.k_shot,
        "n_query": spec.n_query,
        "n_episode": len(drawn),
        "episode_seed": sampler.seed,
        "image_size": split.image_size,
        "images": images_of(split),
        "episodes": [
            {
                "classes": [split.class_ids[i] for i in episode.class_indices],
                "support": episode.support.tolist(),
                "support_labels": episode.support_labels.tolist(),
                "query": episode.query.tolist(),
                "query_labels": episode.query_labels.tolist(),
            }
            for episode in drawn
        ],
    }


def csv_rows(
    split: ImageSplit, sampler: EpisodeSampler, n_episode: int
) -> Iterator[tuple[Any, ...]]:
    """A line per image of an episode, below :data:`COLUMNS`."""
    drawn = sampler.first(n_episode)
    digest, images = short_digest(split.digest, episodes_digest(drawn)), images_of(split)
    for episode in drawn:
        for part, rows, labels in _parts(episode):
            for place, (row, label) in enumerate(zip(rows.tolist(), labels.tolist(), strict=True)):
                image = images[row]
                yield (digest, episode.index, part, place, label, split.split, image["class"],
                       image["image"], image.get("file", ""), row)  # fmt: skip


def _parts(episode: Episode) -> Iterable[tuple[str, Rows, Rows]]:
    return (
        ("support", episode.support, episode.support_labels),
        ("query", episode.query, episode.query_labels),
    )


def write(split: ImageSplit, sampler: EpisodeSampler, n_episode: int, path: Path) -> str:
    """Write episodes as JSON or CSV, by the ending of the name; returns the short digest.

    Raises:
        UsageError: another ending. StorageError: the disk refuses.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"episodes are written as {' or '.join(FORMATS)}, not as "
            f"{path.suffix or 'a file without an ending'}; name it {path.stem}.json"
        )
    if path.suffix.lower() == ".json":
        storage.write_text(path, json.dumps(content(split, sampler, n_episode)))
    else:
        with storage.atomic_file(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(csv_rows(split, sampler, n_episode))
            text.flush()
            text.detach()
    return short_digest(split.digest, episodes_digest(sampler.first(n_episode)))
