"""A paper as data: what ``paper.toml`` may say, and the frozen values that code reads from it.

``docs/papers.md`` explains the fields. Accuracies of the file are in percent, as they are printed;
those of :class:`Reported` are fractions.
"""

from __future__ import annotations

import re
import zlib
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from repro.papers.reported import Reported, fractions, shots
from repro.system import names
from repro.system.errors import unknown

KEY = "[a-z][a-z0-9_-]{0,39}"
# The facts of a protocol that records tell, and what each is called in a sentence.
FACTS = {
    "train_n_way": "classes of training episodes",
    "meta_gradient": "meta-gradient",
    "inner_steps": "inner steps in training",
    "test_steps": "inner steps at test",
    "meta_batch": "episodes of a meta-batch",
    "query_batch_norm": "batch norm of the queries",
    "n_query": "queries a class at test",
}

Text = Annotated[str, Meta(min_length=1, max_length=1000)]
Key = Annotated[str, Meta(pattern=f"^{KEY}$")]
Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,39}$")]
Size = Annotated[int, Meta(ge=1, le=1_000_000)]
Numbers = Annotated[tuple[float, ...], Meta(min_length=1, max_length=2)]
Plain = bool | int | float | str
Fact = Plain | dict[str, Plain]  # one value, or one by shot


class _Fields(Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file; a field that is not known is a typing mistake."""


class Rerun(_Fields, frozen=True):
    """A public re-run of cells of a row."""

    source: Text
    cells: dict[str, Numbers]
    recipe: str = ""
    other_protocol: str = ""
    transductive: bool = False
    printed_as: Name | None = None

    def __post_init__(self) -> None:
        fractions(self.cells)

    def cell(self, k_shot: int) -> Reported | None:
        """What it has at a shot."""
        numbers = fractions(self.cells).get(k_shot)
        if numbers is None:
            return None
        return Reported(*numbers, self.source, self.recipe, self.other_protocol, self.transductive)


class Row(_Fields, frozen=True):
    """A row of a table.

    Attributes:
        method: whose numbers these are: a name of the catalogue, of an installed method or of a
            class that is named with ``--method``; None: nothing that can be run here.
        why: what is missing, where there is no method.
        printed_as: the method as which the paper names the row, where that is another.
        stands_for: further methods that are held against this row in the tables of other papers.
        copied_from: the publication whose numbers the paper repeats.
        protocol: facts that move the numbers (:data:`FACTS`), where they are not the table's.
        cost: of a run at the paper's length.
    """

    title: Text
    cells: dict[str, Numbers]
    method: Name | None = None
    why: str = ""
    printed_as: Name | None = None
    stands_for: tuple[Name, ...] = ()
    copied_from: str = ""
    protocol: dict[str, Fact] = {}
    cost: str = ""
    note: str = ""
    reruns: tuple[Rerun, ...] = ()

    def __post_init__(self) -> None:
        fractions(self.cells)
        if (self.method is None) != bool(self.why):
            raise ValueError(
                f"row {self.title!r} has either a method, or why no method of ours is the row's"
            )
        for fact, value in self.protocol.items():
            if fact not in FACTS:
                raise ValueError(str(unknown("fact of a protocol", fact, FACTS)))
            if isinstance(value, dict):
                shots(value)

    @property
    def key(self) -> str:
        """The method, or what stands for it where there is none and is no method's name."""
        if self.method is not None:
            return self.method
        words = re.findall("[a-z0-9]+", self.title.lower().replace("+", "-plus"))
        return "-".join(["row", *(words or [str(zlib.crc32(self.title.encode()))])])[:60]

    @property
    def shots(self) -> tuple[int, ...]:
        return tuple(sorted(shots(self.cells)))

    def cell(self, k_shot: int, source: str) -> Reported | None:
        """What it has at a shot."""
        numbers = fractions(self.cells).get(k_shot)
        return Reported(*numbers, source) if numbers else None

    def facts(self, k_shot: int) -> dict[str, Plain]:
        """The protocol behind the number at a shot."""
        found: dict[str, Plain] = {}
        for fact, value in self.protocol.items():
            if isinstance(value, dict):
                by_shot = shots(value)
                found[fact] = by_shot[k_shot if k_shot in by_shot else max(by_shot)]
            else:
                found[fact] = value
        return found


class Table(_Fields, frozen=True):
    """A table of a paper: rows by shots, of episodes of one size on one data set.

    Attributes:
        heading: how tables made here call it.
        n_query: per class; None: the paper does not say.
        interval: what its ± is; empty: none is printed.
        other_protocol: why no run made here can be held against it.
    """

    key: Key
    name: Text
    dataset: Text
    n_way: Annotated[int, Meta(ge=2, le=10_000)]
    rows: Annotated[tuple[Row, ...], Meta(min_length=1)]
    n_query: Size | None = None
    n_episode: Size | None = None
    heading: str = ""
    place: str = ""
    split: str = ""
    interval: str = ""
    other_protocol: str = ""
    source: str = ""  # the publication and the table; set by the paper

    def __post_init__(self) -> None:
        keys = [row.key for row in self.rows]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(
                    f"two rows of {self.name} are {key}; give one of them no method, but why, or "
                    "another title"
                )

    @property
    def shots(self) -> tuple[int, ...]:
        """Those of its cells, in order."""
        return tuple(sorted({shot for row in self.rows for shot in row.shots}))

    @property
    def keys(self) -> tuple[str, ...]:
        """The rows in order: methods, and what cannot be run."""
        return tuple(row.key for row in self.rows)

    @property
    def methods(self) -> tuple[str, ...]:
        """The rows that have a method."""
        return tuple(row.method for row in self.rows if row.method is not None)

    @property
    def titles(self) -> dict[str, str]:
        """How the paper calls each row, by :attr:`Row.key`."""
        return {row.key: row.title for row in self.rows}

    def row(self, key: str) -> Row | None:
        """The row of a method."""
        return next((row for row in self.rows if row.key == key), None)

    def reported(self, row: Row, k_shot: int) -> Reported | None:
        """A cell; None where the table has none."""
        return row.cell(k_shot, self.source)

    def reruns(self, key: str, k_shot: int) -> tuple[Reported, ...]:
        """Public re-runs of a cell."""
        row = self.row(key)
        found = [] if row is None else [rerun.cell(k_shot) for rerun in row.reruns]
        return tuple(cell for cell in found if cell is not None)


class Paper(_Fields, frozen=True):
    """A paper: ``paper.toml``, checked.

    Attributes:
        recipes: named sets of switches, each what differs from a recipe that is built in.
        budgets: named lengths of training and test, likewise.
        settings: numbers that the code of methods reads.
    """

    schema: Literal[1]
    key: Key
    title: Text
    cite: Text
    tables: Annotated[tuple[Table, ...], Meta(min_length=1)]
    authors: str = ""
    venue: str = ""
    year: Annotated[int, Meta(ge=1900, le=3000)] | None = None
    url: str = ""
    errata: tuple[Text, ...] = ()
    recipes: dict[str, dict[str, Plain]] = {}
    budgets: dict[str, dict[str, Plain]] = {}
    settings: dict[str, dict[str, Any]] = {}

    def __post_init__(self) -> None:
        keys = [table.key for table in self.tables]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"two tables have the key {key!r}; give one another")
        for name in (*self.recipes, *self.budgets):
            names.part(name)

    @property
    def published(self) -> str:
        """By whom, where and when: ``Ravi & Larochelle, ICLR 2017``."""
        where = " ".join(filter(None, (self.venue, str(self.year or ""))))
        return ", ".join(filter(None, (self.authors, where))) or self.cite

    @property
    def bibliography(self) -> str:
        """The same with the title."""
        where = " ".join(filter(None, (self.venue, str(self.year or ""))))
        return ", ".join(filter(None, (self.authors, self.title, where)))

    def table(self, dataset: str = "") -> Table:
        """The first table on a data set, else the paper's first."""
        name = dataset.partition("@")[0]
        return next((table for table in self.tables if table.dataset == name), self.tables[0])

    def only(self, key: str) -> Paper:
        """The paper with one of its tables.

        Raises:
            UsageError: it has none of this key.
        """
        found = tuple(table for table in self.tables if table.key == key)
        if not found:
            keys = [table.key for table in self.tables]
            raise unknown(f"table of {self.key}", key, keys)
        return msgspec.structs.replace(self, tables=found)
