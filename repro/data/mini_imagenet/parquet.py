"""mini-ImageNet as parquet shards: a column of images, one of labels that name WordNet ids."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from repro.data.files.sources import BAD_ARCHIVE, MAX_IMAGE_BYTES, Source, html_error, is_html
from repro.data.mini_imagenet.copy import Copy, Images, by_file_name, split_name
from repro.system.errors import DataError

_SPLIT = re.compile(r"(?:^|[/_-])(train|validation|val|test)(?=[/_.-])", re.IGNORECASE)
_CLASS = re.compile(r"n\d{8}")
_IMAGE_COLUMNS = ("image", "img", "jpg")
_LABEL_COLUMNS = ("label", "labels", "wnid", "class")
_ROWS = 128  # read at a time


def find(source: Source, shards: list[str]) -> Copy:
    """A copy of parquet shards; only labels and file names are read.

    Raises:
        DataError: pyarrow is missing, a shard is damaged, or labels name no WordNet ids.
    """
    found: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for shard in sorted(shards):
        words = _SPLIT.findall(shard)
        split = found.setdefault(split_name(words[-1].lower()) if words else "", {})
        for row, (label, file) in enumerate(_labels(source, shard)):
            split.setdefault(label, []).append((file, f"{shard}#{row}"))
    groups = {}
    for name, classes in found.items():
        groups[name] = {
            class_id: [place for _, place in _in_order(items)]
            for class_id, items in sorted(classes.items())
        }
    return Copy("parquet shards", source.origin, groups, _reader(source))


def _in_order(items: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """By file name, where all have one of their own; else as they come."""
    files = {file for file, _ in items}
    if "" in files or len(files) < len(items):
        return items
    return sorted(items, key=lambda item: by_file_name(item[0]))


@contextmanager
def _opened(source: Source, shard: str) -> Iterator[Any]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise DataError(
            "parquet shards are read with pyarrow, which is not installed: run "
            "`pip install 'repro-fewshot[parquet]'`"
        ) from None
    with source.open(shard) as stream:
        if is_html(stream.read(512)):
            raise html_error(source.called(shard))
        stream.seek(0)
        try:
            with arrow.parquet.ParquetFile(stream) as file:
                yield file
        except (arrow.ArrowException, *BAD_ARCHIVE) as error:
            raise DataError(
                f"{source.called(shard)} is not a readable parquet file "
                f"({str(error).splitlines()[0] if str(error) else type(error).__name__}); get it "
                "again"
            ) from error


def _column(names: list[str], wanted: tuple[str, ...], name: str) -> str:
    for column in wanted:
        if column in names:
            return column
    raise DataError(
        f"{name} has no column called {' or '.join(wanted)} (it has {', '.join(names)[:80]})"
    )


def _label_names(schema: Any, column: str, name: str) -> list[str]:
    """The names of integer labels, from the metadata that Hugging Face's library writes."""
    try:
        describe = json.loads((schema.metadata or {})[b"huggingface"])
        names = [str(word) for word in describe["info"]["features"][column]["names"]]
    except (KeyError, TypeError, ValueError):
        names = []
    if not names or not all(_CLASS.search(word) for word in names):
        raise DataError(
            f"{name}: its integer labels name no WordNet ids, so nobody can tell which class is "
            "which; bring a copy whose labels are named"
        )
    return [found[0] if (found := _CLASS.search(word)) else word for word in names]


def _labels(source: Source, shard: str) -> list[tuple[str, str]]:
    """(class, file name or nothing) of every row."""
    name = source.called(shard)
    with _opened(source, shard) as file:
        schema = file.schema_arrow
        label = _column(schema.names, _LABEL_COLUMNS, name)
        image = _column(schema.names, _IMAGE_COLUMNS, name)
        labels = file.read(columns=[label]).column(label).to_pylist()
        if any(isinstance(value, int) for value in labels):
            names = _label_names(schema, label, name)
            if not all(isinstance(v, int) and 0 <= v < len(names) for v in labels):
                raise DataError(f"{name}: a label is outside of the {len(names)} that it names")
            labels = [names[value] for value in labels]
        if not all(isinstance(value, str) for value in labels):
            raise DataError(f"{name}: labels are neither integers nor text; get it again")
        files = [""] * len(labels)
        if "path" in [field.name for field in _fields(schema.field(image).type)]:
            paths = file.read(columns=[f"{image}.path"]).column(image).to_pylist()
            files = [str((value or {}).get("path") or "") for value in paths]
    return list(zip(labels, files, strict=True))


def _fields(kind: Any) -> list[Any]:
    try:
        return [kind.field(place) for place in range(kind.num_fields)]
    except (AttributeError, TypeError, IndexError):
        return []


def _reader(source: Source) -> Callable[[Collection[str]], Images]:
    def images(names: Collection[str]) -> Images:
        wanted: dict[str, set[int]] = {}
        for name in names:
            shard, _, row = name.rpartition("#")
            wanted.setdefault(shard, set()).add(int(row))
        for shard in source.ordered(wanted):
            with _opened(source, shard) as file:
                image = _column(file.schema_arrow.names, _IMAGE_COLUMNS, shard)
                place = 0
                for batch in file.iter_batches(batch_size=_ROWS, columns=[image]):
                    for value in batch.column(0):
                        if place in wanted[shard]:
                            called = f"{shard}#{place}"
                            yield called, _content(value.as_py(), source.called(called))
                        place += 1

    return images


def _content(value: Any, name: str) -> bytes:
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes) or len(content) > MAX_IMAGE_BYTES:
        raise DataError(
            f"{name} holds no image of at most {MAX_IMAGE_BYTES:,} bytes; get the shard again"
        )
    return content
