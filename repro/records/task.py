"""What the episodes of a record are, beside their shot: classes, queries and data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repro.papers import paper

if TYPE_CHECKING:
    from repro.papers.pack import Table


@dataclass(frozen=True)
class Task:
    """Classes of an episode, queries of each, and the data set of the test.

    Attributes:
        test_dataset: where it is another than the training's, as ``name@`` and the first digits
            of its pack; else empty.
    """

    n_way: int = paper.N_WAY
    n_query: int = paper.N_QUERY
    test_dataset: str = ""

    @property
    def told(self) -> str:
        """What is not as in the paper, for people; else empty."""
        found = []
        if self.n_way != paper.N_WAY:
            found.append(f"{self.n_way}-way")
        if self.n_query != paper.N_QUERY:
            found.append(f"{self.n_query} queries")
        if self.test_dataset:
            found.append(f"tested on {self.test_dataset}")
        return ", ".join(found)

    def reported_in(self, of: Table) -> bool:
        """Whether a table can have a number of it: of as many classes, on the training's data."""
        return self.n_way == of.n_way and not self.test_dataset

    def chosen_over(self, other: Task, dataset: str) -> str:
        """The options that choose it where ``other`` is shown."""
        words = []
        if self.n_way != other.n_way:
            words.append(f"--n-way {self.n_way}")
        if self.n_query != other.n_query:
            words.append(f"--n-query {self.n_query}")
        if self.test_dataset != other.test_dataset:
            words.append(f"--test-dataset {self.test_dataset or dataset}")
        return " ".join(words)


PAPERS = Task()


def task_of(config: Mapping[str, Any], images: str) -> Task:
    """The task of a record's config; ``images`` is the digest of those that it was tested on."""
    other = config.get("test_dataset")
    return Task(
        int(config.get("n_way") or paper.N_WAY),
        int(config.get("n_query") or paper.N_QUERY),
        f"{other}@{images[:8]}" if other else "",
    )
