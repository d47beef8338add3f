"""A method as the configs, the records and the table know it, without running its code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from repro.papers.method_names import PRETRAIN, check_name, check_outside
from repro.system.errors import UsageError

TRAIN_SHOTS = ("task", "five", "none")
TRAIN_WAYS = ("task", "five")
SESSION = "a Python session"  # as Source.package, of what was handed over there


@dataclass(frozen=True)
class Source:
    """Where a method that does not come with this package was read from.

    Attributes:
        target: ``module:Class``, or ``file.py:Class`` without folders (records are for others too);
            of imported predictions where they are from, in the importer's words.
        package: name and version of what was installed; empty for a file.
        digest: SHA-256 of the source.
        path: of the file on this machine; in no record.
    """

    target: str
    package: str
    digest: str
    path: str = field(default="", compare=False)

    @property
    def class_name(self) -> str:
        """The class alone."""
        return self.target.rpartition(":")[2]

    @property
    def told(self) -> str:
        """For people."""
        where = self.package or "a file"
        return f"{self.target} of {where}, source {self.digest[:8]}"


@dataclass(frozen=True)
class Features:
    """Frozen features, which a head has in place of a training.

    Attributes:
        name: of the backbone, the first part of the names of its rows.
        backbone: what made them, for people; with the digest of its weights.
        digest: of the features and of the images that they are of.
    """

    name: str
    backbone: str
    digest: str


@dataclass(frozen=True)
class MethodSpec:
    """A method as the configs, the records and the table know it.

    Attributes:
        name: as after ``--methods``, and in the folders of its records.
        target: ``module:Class`` that is built from a :class:`repro.methods.setting.Setting`.
        training: its own name, ``pretrain`` (shared with the baselines), or None: nothing is
            trained.
        train_shot: support images per class in training episodes: the ``task``'s, always ``five``
            (one training then serves both columns), ``none`` where training has no episodes, or
            the name of a switch of the recipe with one of these values.
        train_way: classes of training episodes: the ``task``'s, where the parameters have an output
            for each class, or always ``five``, where one training serves every number of classes.
        untrained_if: a switch and its value with which nothing is trained.
        switches: of the recipe that the training depends on; None: all.
        n_step: training steps by budget; empty where the budget has a field of its own.
        cost: of a training step against the others, roughly; the dearest are started first.
        transductive: whether its predictions read all queries of an episode together.
        source: None for what comes with this package.
        searches: whether one point of the budget's grid is chosen on meta-validation before the
            test, by :class:`repro.methods.base.Searching`.
        episode_s: seconds of a test episode on an idle machine, as ``repro bench`` measured them.
        revision: the numerics revision: raised when a change of the code moves the row's numbers
            or its training's. Records of another revision than the code's are not used. 1 for a
            method of a user's own: the digest of its source is in its configs.
        head: of :mod:`repro.papers.heads`; empty for all other rows. features: that it works on.
    """

    name: str
    title: str
    target: str
    training: str | None
    in_paper: bool = False
    train_shot: str = "task"
    train_way: str = "task"
    untrained_if: tuple[str, str] | None = None
    switches: tuple[str, ...] | None = None
    n_step: tuple[tuple[str, int], ...] = ()
    cost: int = 1
    transductive: bool = False
    source: Source | None = None
    revision: int = 1
    searches: bool = False
    episode_s: float = 0.02
    head: str = ""
    features: Features | None = None

    def __post_init__(self) -> None:
        check_name(self.name, self.title)
        check_outside(self.name, self.source.package if self.source else "")
        if self.training not in (None, PRETRAIN, self.name):
            raise UsageError(
                f"the training of {self.name} is its own, {PRETRAIN!r} or None, not "
                f"{self.training!r}"
            )
        for budget, n in self.n_step:
            if not isinstance(n, int) or isinstance(n, bool) or n < 1:
                raise UsageError(
                    f"n_step of {self.name} is a whole number from 1, not {n!r} (budget {budget})"
                )

    def describe(self) -> dict[str, Any]:
        """As the record of a row that is not in the paper has it."""
        source, features = self.source, self.features
        # The digest of the features is the config's training, so that seeds have one row.
        frozen = {} if features is None else {
            "head": self.head,
            "features": {"name": features.name, "backbone": features.backbone},
        }  # fmt: skip
        return {
            **frozen,
            "title": self.title,
            "training": self.training,
            "train_shot": self.train_shot,
            **({"train_way": self.train_way} if source and self.train_way != "task" else {}),
            "switches": None if self.switches is None else list(self.switches),
            "n_step": dict(self.n_step),
            "transductive": self.transductive,
            "source": None
            if source is None
            else {"target": source.target, "package": source.package, "digest": source.digest},
        }


def steps(smoke: int, quick: int, paper: int) -> tuple[tuple[str, int], ...]:
    """Training steps of a row in each budget."""
    return (("smoke", smoke), ("quick", quick), ("paper", paper))


def from_record(name: str, describe: Mapping[str, Any]) -> MethodSpec:
    """The row that :meth:`MethodSpec.describe` was of, without its class.

    Raises:
        KeyError, TypeError, ValueError, UsageError: damaged.
    """
    source, switches = describe["source"], describe["switches"]
    if describe["train_shot"] not in TRAIN_SHOTS:
        raise ValueError(f"train_shot {describe['train_shot']!r}")
    train_way = str(describe.get("train_way", "task"))
    if train_way not in TRAIN_WAYS:
        raise ValueError(f"train_way {train_way!r}")
    return MethodSpec(
        name=name,
        title=str(describe["title"]),
        target=str(source["target"]),
        training=describe["training"],
        train_shot=str(describe["train_shot"]),
        train_way=train_way,
        switches=None if switches is None else tuple(map(str, switches)),
        n_step=tuple((str(k), int(n)) for k, n in dict(describe["n_step"]).items()),
        transductive=bool(describe["transductive"]),
        source=Source(str(source["target"]), str(source["package"]), str(source["digest"])),
    )
