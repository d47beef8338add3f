"""The records of runs as one object that can be filtered, tabulated and compared."""

from __future__ import annotations

import html
import sys
from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from repro.analysis.seeds import stacked
from repro.analysis.statistics.intervals import Interval, mean_interval
from repro.analysis.text import percent_interval
from repro.papers.catalogue import numerics_revision, order
from repro.records import Record, read_records
from repro.system.errors import RecordError, UsageError, unknown

if TYPE_CHECKING:
    import pandas as pd

_HEADER = ("data set", "method", "shot", "seed", "recipe", "budget", "episodes", "accuracy %")
_SHOWN = 30  # records in a repr


class Results(Sequence[Record]):
    """Records of tested cells, one per data set, method, shot, seed, recipe and budget.

    ``results["meta_lstm"]`` and ``results["meta_lstm", 5]`` are those of a method (and shot),
    ``results[0]`` is a record; ``ours + published`` joins two.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = sorted(
            {record.path: record for record in records}.values(),
            key=lambda r: (r.dataset, *order(r.method), r.k_shot, r.recipe_name, r.budget_name,
                           r.seed, r.started_at),
        )  # fmt: skip

    def filter(
        self,
        *,
        dataset: str | Collection[str] | None = None,
        method: str | Collection[str] | None = None,
        k_shot: int | Collection[int] | None = None,
        seed: int | Collection[int] | None = None,
        recipe: str | Collection[str] | None = None,
        budget: str | Collection[str] | None = None,
        at_step: int | Collection[int] | None = None,
        n_way: int | Collection[int] | None = None,
        n_query: int | Collection[int] | None = None,
        test_dataset: str | Collection[str] | None = None,
    ) -> Results:
        """Those that have all the values named; of each a value or several. May be empty.

        >>> results("results").filter(dataset="glyphs", method="finetune", budget="quick")
        data set  method    shot  seed        recipe  budget  episodes    accuracy %
        glyphs    finetune     1     0  authors-code   quick       600  56.01 ± 0.82
        glyphs    finetune     5     0  authors-code   quick       600  81.27 ± 0.57
        """
        wanted = {"dataset": dataset, "method": method, "k_shot": k_shot, "seed": seed,
                  "recipe_name": recipe, "budget_name": budget, "at_step": at_step,
                  "task.n_way": n_way, "task.n_query": n_query,
                  "tested_on": test_dataset}  # fmt: skip
        allowed = {
            name: [value] if isinstance(value, str | int) else list(value)
            for name, value in wanted.items()
            if value is not None
        }
        return Results(
            record
            for record in self
            if all(attrgetter(name)(record) in values for name, values in allowed.items())
        )

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, key: int) -> Record: ...
    @overload
    def __getitem__(self, key: slice | str | tuple[str, int]) -> Results: ...
    def __getitem__(self, key: int | slice | str | tuple[str, int]) -> Record | Results:
        if isinstance(key, slice):
            return Results(self._records[key])
        if not isinstance(key, str | tuple):
            return self._records[key]
        method, k_shot = (key, None) if isinstance(key, str) else key
        methods = {record.method for record in self}
        if method not in methods:
            raise unknown("method", method, methods)
        found = self.filter(method=method, k_shot=k_shot)
        if not found:
            shots = sorted({record.k_shot for record in self.filter(method=method)})
            raise UsageError(f"{method} has no records at {k_shot}-shot (there are: {shots})")
        return found

    def __add__(self, other: Results) -> Results:
        return Results([*self, *other])

    @property
    def accuracy(self) -> npt.NDArray[np.float64]:
        """Fractions of correct queries, ``[n_record, n_episode]``.

        Raises:
            RecordError: there is no record, or they are of different episodes.
        """
        if not self:
            raise RecordError("there are no records; filter for less")
        found: npt.NDArray[np.float64] = stacked(self._records)
        return found

    def to_frame(self, episodes: bool = False) -> pd.DataFrame:
        """A tidy pandas DataFrame: a row per record, or per episode of each.

        Columns of both: ``dataset``, ``method``, ``k_shot``, ``seed``, ``recipe``, ``budget`` and
        ``accuracy`` (a fraction; of all episodes, or of one). Of episodes: ``episode``, its
        number. Of records:

        - ``half_width`` of the 95% interval over episodes, a fraction;
        - ``title``, the row's name in the table; ``split`` of the episodes;
        - ``n_episode``, ``n_way``, ``n_query`` (per class), ``test_dataset``;
        - ``n_step``: training steps made;
        - ``outside``: predictions made elsewhere, without recipe, budget and ``n_step``;
        - ``unfinished``: the training had not come to its end;
        - ``apart``: why it is not its row's own number (transductive, milestone), else empty;
        - ``current``: this version computes the row in the same way;
        - ``started_at`` (ISO 8601), ``device`` and ``path``.

        >>> rows = ["finetune", "meta_lstm", "nearest_neighbor"]
        >>> glyphs = results("results").filter(dataset="glyphs", budget="quick", method=rows)
        >>> frame = glyphs.to_frame()
        >>> frame.pivot(index="method", columns="k_shot", values="accuracy").round(3)
        k_shot                1      5
        method
        finetune          0.560  0.813
        meta_lstm         0.332  0.455
        nearest_neighbor  0.722  0.832
        """
        import pandas as pd

        if episodes:
            parts = [
                pd.DataFrame({**_key(r), "episode": range(r.n_episode), "accuracy": r.accuracy})
                for r in self
            ]
            columns = [*_KEY, "episode", "accuracy"]
            return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
        rows = [_row(record) for record in self]
        return pd.DataFrame(rows, columns=list(rows[0]) if rows else [*_KEY, "accuracy"])

    def _lines(self) -> list[list[str]]:
        return [
            [
                *map(str, {**_key(r), "dataset": _where(r), "k_shot": _shot(r)}.values()),
                f"{r.n_episode:,}",
                percent_interval(_interval(r)),
            ]
            for r in self._records[:_SHOWN]
        ]  # fmt: skip

    def _more(self) -> str:
        return f"… {len(self) - _SHOWN} more" if len(self) > _SHOWN else ""

    def __repr__(self) -> str:
        if not self:
            return "no records"
        rows = [list(_HEADER), *self._lines()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
        lines = [
            "  ".join(
                cell.ljust(width) if i < 2 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join([*lines, *filter(None, [self._more()])])

    def _repr_html_(self) -> str:
        return html_table([_HEADER, *self._lines()], (0, 1), [self._more()])


def html_table(
    rows: Sequence[Sequence[str]], left: Collection[int], notes: Iterable[str] = ()
) -> str:
    """Rows, the header first, as a table for a notebook, with notes below it.

    Args:
        left: the columns that are flush left.
    """

    def line(row: Sequence[str], tag: str) -> str:
        cells = [
            f'<{tag} style="text-align: {"left" if i in left else "right"}">'
            f"{html.escape(value)}</{tag}>"
            for i, value in enumerate(row)
        ]
        return f"<tr>{''.join(cells)}</tr>"

    body = "\n".join(line(row, "td") for row in rows[1:])
    below = "\n".join(f"<p>{html.escape(note)}</p>" for note in notes if note)
    return (
        f"<table><thead>{line(rows[0], 'th')}</thead>\n<tbody>\n{body}\n</tbody></table>\n{below}"
    )


_KEY = ("dataset", "method", "k_shot", "seed", "recipe", "budget")


def _key(record: Record) -> dict[str, Any]:
    told = ("", "") if record.outside else (record.recipe_name, record.budget_name)
    values = (record.dataset, record.method, record.k_shot, record.seed, *told)
    return dict(zip(_KEY, values, strict=True))


def split_of(record: Record) -> str:
    """The split of a record's episodes: ``test`` but for what is written nowhere."""
    return str(record.config.get("split", "test"))


def _where(record: Record) -> str:
    split = split_of(record)
    return record.dataset if split == "test" else f"{record.dataset} {split}"


def _shot(record: Record) -> str:
    return str(record.k_shot) + (f" ({told})" if (told := record.task.told) else "")


def _interval(record: Record) -> Interval:
    return mean_interval(record.accuracy)


def _row(record: Record) -> dict[str, Any]:
    interval = _interval(record)
    return {
        **_key(record),
        "accuracy": interval.mean,
        "half_width": interval.half_width,
        "title": record.title,
        "split": split_of(record),
        "n_episode": record.n_episode,
        "n_way": record.config.get("n_way"),
        "n_query": record.config.get("n_query"),
        "test_dataset": record.tested_on,
        "n_step": None if record.outside else record.n_step,
        "outside": record.outside,
        "unfinished": record.unfinished,
        "apart": record.apart,
        "current": record.numerics_revision == numerics_revision(record.method),
        "started_at": record.started_at,
        "device": record.device,
        "path": str(record.path),
    }


def results(path: str | Path = "runs", dataset: str | None = None) -> Results:
    """The records below a folder of runs or of published results.

    Args:
        path: a folder, or a URL as of ``--runs`` (``s3://bucket/prefix``).
        dataset: only this one; ``folder@1a2b3c4d`` are the images (pack digest) that begin so.
    Raises:
        RecordError: there are none, or one is damaged.

    >>> published = results("results", dataset="glyphs").filter(budget="quick")
    >>> published["meta_lstm", 5].accuracy.shape
    (1, 600)
    """
    if "://" in str(path):
        from repro.records.remote import session

        path = session.read(str(path), "read", lambda sentence: print(sentence, file=sys.stderr))
    root = Path(path)
    if not root.is_dir():
        raise RecordError(
            f"{root} is not a folder; name that of runs (runs, unless --runs named another) or "
            "the folder results of a checkout"
        )
    name, _, images = (dataset or "").partition("@")
    names = [name] if name else sorted(p.name for p in root.iterdir() if p.is_dir())
    found = [
        record
        for name in names
        for record in read_records(root, name)
        if record.digests.get("data", "").startswith(images)
    ]
    if not found:
        which = f" of {dataset}" if dataset else ""
        raise RecordError(
            f"no records{which} under {root}; run `repro reproduce"
            f"{f' --dataset {name}' if name else ''}` or repro.reproduce() first"
        )
    return Results(found)
