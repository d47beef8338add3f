"""Predictions from a file of someone else's: CSV, JSON lines or ``.npy``, a line at a time.

Nothing of a file is run, and memory is bounded by the number of queries that are expected.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from repro.run.predictions import Filled, Wanted, from_array, shown_number
from repro.system.errors import RecordError, UsageError, unknown
from repro.system.regular import open_file

FORMATS = (".csv", ".jsonl", ".npy")
FIELDS = ("episode", "query", "label", "digest")  # columns that may be renamed
MAX_LINE = 2**20  # bytes
_SCORE = "score_"


def read(
    path: Path, wanted: Wanted, columns: Mapping[str, str] | None = None
) -> tuple[npt.NDArray[np.uint8], bool]:
    """Predicted labels, ``[n_episode, n_query]``, and whether the file names these episodes.

    Args:
        columns: of a CSV file, by what they are: ``{"episode": "task"}``.
    Raises:
        RecordError: the file cannot be read, is of other episodes or not of this shape.
        UsageError: its name has another ending.
    """
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise UsageError(
            f"predictions are {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, not "
            f"{ending or 'a file without an ending'}; rename or convert {path.name}"
        )
    if columns and ending != ".csv":
        raise UsageError(f"columns are named of .csv files only, not of {path.name}")
    filled = Filled(wanted, path.name)
    try:
        with open_file(path) as file:
            if ending == ".csv":
                _read_csv(file, filled, dict(columns or {}))
            elif ending == ".jsonl":
                _read_json_lines(file, filled)
            else:
                _read_array(path, filled)
    except FileNotFoundError:
        raise RecordError(f"no file {path}; give the file of predictions") from None
    except OSError as error:
        raise RecordError(f"{path} cannot be read ({error.strerror or error})") from error
    return filled.whole(), filled.declared


def _lines(file: BufferedReader, filled: Filled) -> Iterator[str]:
    """Lines as text, of at most :data:`MAX_LINE` bytes each."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise filled.error(f"line {number} has more than {MAX_LINE:,} bytes; write one query "
                               "or episode a line")  # fmt: skip
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise filled.error(f"line {number} is not UTF-8 text; save it as UTF-8") from None


def _whole_number(text: str, name: str, where: str, filled: Filled) -> int:
    kept = text.strip()
    if not kept.removeprefix("-").isdecimal() or len(kept) > 18:
        raise filled.error(f"{where} has {name} {kept[:40]!r}, which is not a whole number")
    return int(kept)


def _read_csv(file: BufferedReader, filled: Filled, columns: dict[str, str]) -> None:
    """Columns ``episode``, ``query``, and ``label`` or ``score_0`` to ``score_4``."""
    for field in columns:
        if field not in FIELDS:
            raise unknown("column", field, FIELDS)
    reader = csv.reader(_lines(file, filled))
    try:
        header = [name.strip() for name in next(reader, [])]
        place = {f: header.index(n) for f in FIELDS if (n := columns.get(f, f)) in header}
        scores = [header.index(n) for i in range(filled.wanted.n_way)
                  if (n := f"{_SCORE}{i}") in header]  # fmt: skip
        _check_header(header, [*place.values(), *scores], filled)
        wanted = [columns.get(f, f) for f in ("episode", "query") if f not in place]
        if len(scores) != filled.wanted.n_way and "label" not in place:
            wanted.append(f"{columns.get('label', 'label')} (or {_SCORE}0 to "
                          f"{_SCORE}{filled.wanted.n_way - 1})")  # fmt: skip
        if wanted:
            shown = ", ".join(header)[:80]
            raise filled.error(
                f"its first line names no column {', '.join(wanted)} (it has {shown!r}); name the "
                "columns in the first line, apart by commas, or say which they are with --columns"
            )
        if scores and "label" in place:
            raise filled.error("it has labels and scores; give one of the two")
        for row in reader:
            if not row:
                continue
            where = f"line {reader.line_num}"
            if len(row) != len(header):
                raise filled.error(f"{where} has {len(row)} values below {len(header)} columns")
            if "digest" in place:
                filled.declare(row[place["digest"]])
            episode, query = (
                _whole_number(row[place[f]], f, where, filled) for f in ("episode", "query")
            )
            if "label" in place:
                text = row[place["label"]]
                filled.put(
                    episode, query, _whole_number(text, "label", where, filled), where
                )  # fmt: skip
            else:
                filled.scored(
                    episode, query, _reals([row[i] for i in scores], where, filled), where
                )
    except csv.Error as error:
        raise filled.error(f"line {reader.line_num} is not CSV ({error})") from error


def _check_header(header: list[str], used: list[int], filled: Filled) -> None:
    """Refuse columns of which one would be read and another left, or one be read as two things.

    Args:
        used: places of the columns that are read.
    """
    names = [name for name in header if name]
    if doubled := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise filled.error(f"its first line names the column {doubled[0][:40]!r} more than once; "
                           "give each column a name of its own")  # fmt: skip
    if doubled := [header[place] for place in dict.fromkeys(used) if used.count(place) > 1]:
        raise filled.error(f"the column {doubled[0][:40]!r} is named as two things; name one "
                           "column for each")  # fmt: skip
    n_way = filled.wanted.n_way
    known = {f"{_SCORE}{i}" for i in range(n_way)}
    if surplus := [n for n in names if re.fullmatch(rf"{_SCORE}\d+", n) and n not in known]:
        raise filled.error(f"it has a column {surplus[0][:40]!r}, but the scores of an episode are "
                           f"{_SCORE}0 to {_SCORE}{n_way - 1}; leave it out")  # fmt: skip


def _reals(texts: list[str], where: str, filled: Filled) -> npt.NDArray[np.float64]:
    try:
        return np.array([float(text) for text in texts], dtype=np.float64)
    except ValueError:
        raise filled.error(f"{where} has a score that is not a number") from None


class Line(msgspec.Struct):
    """A line of JSON: of one query, or with lists of a whole episode."""

    digest: str | None = None
    episode: int | None = None
    query: int | None = None
    label: int | None = None
    labels: list[int] | None = None
    scores: list[Any] | None = None


def _read_json_lines(file: BufferedReader, filled: Filled) -> None:
    for number, text in enumerate(_lines(file, filled), start=1):
        if not text.strip():
            continue
        where = f"line {number}"
        if "NaN" in text:
            raise filled.error(f"{where} has a score that is NaN; give a number for every class of "
                               "every query")  # fmt: skip
        try:
            line = msgspec.json.decode(text, type=Line)
            if line.digest is not None:
                filled.declare(line.digest)
            if line.episode is None and line.digest is not None:
                continue  # a line of its own for the digest
            _put_line(line, filled, where)
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            told = str(error).splitlines()[0][:120] if str(error) else "too deep"
            raise filled.error(
                f"{where} is not a line of predictions ({told}); expected is such as "
                '{"episode": 0, "labels": [0, 3, …]} or {"episode": 0, "query": 0, "label": 0}'
            ) from error


def _put_line(line: Line, filled: Filled, where: str) -> None:
    """The queries of a line.

    Raises:
        RecordError: as :meth:`Filled.put`. ValueError, TypeError: it says too little or too much.
    """
    if line.episode is None:
        raise ValueError("no episode")
    given = [name for name in ("label", "labels", "scores") if getattr(line, name) is not None]
    if len(given) != 1:
        raise ValueError("one of label, labels and scores")
    if line.query is not None:
        if line.labels is not None:
            raise ValueError("labels of one query; it is label")
        if line.label is not None:
            filled.put(line.episode, line.query, line.label, where)
        else:
            values = np.asarray(line.scores, dtype=np.float64)
            filled.scored(line.episode, line.query, values, where)
        return
    if line.label is not None:
        raise ValueError("label without query")
    listed: list[Any] = line.labels if line.labels is not None else line.scores or []
    if len(listed) != filled.wanted.n_query:
        raise filled.error(
            f"{where} has {len(listed)} predictions of episode {shown_number(line.episode)}; "
            f"expected are {filled.wanted.n_query}"
        )
    for query, value in enumerate(listed):
        if line.labels is not None:
            filled.put(line.episode, query, value, where)
        else:
            filled.scored(line.episode, query, np.asarray(value, dtype=np.float64), where)


def _read_array(path: Path, filled: Filled) -> None:
    """Labels ``[n_episode, n_query]`` or scores ``[n_episode, n_query, n_way]``, mapped."""
    try:
        # Mapped: only the episode that is looked at takes memory. Objects are refused.
        array = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, TypeError, SyntaxError, EOFError, OverflowError) as error:
        raise filled.error(
            f"it is not a .npy file of numbers ({str(error).splitlines()[0][:80]}); save it with "
            "numpy.save"
        ) from error
    from_array(array, filled)
