"""The catalogue of methods: what is known of each without running its code.

A row that comes with this package is one entry of :data:`BUILT_IN`; one of a user's own is made
from a class by :mod:`repro.methods.registry`, and from a record where the class is not at hand.
Nothing here needs torch.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from repro.papers import paper, references
from repro.system.errors import UsageError, unknown

PRETRAIN = "pretrain"  # the training that several rows share
PRETRAIN_REVISION = 1  # as MethodSpec.revision, of that training
PRETRAIN_TARGET = "repro.methods.nearest_neighbor:NearestNeighbor"
TRAIN_SHOTS = ("task", "five", "none")
TRAIN_WAYS = ("task", "five")
SESSION = "a Python session"  # as Source.package, of what was handed over there
OUTSIDE = "elsewhere"  # as Source.package, of predictions that were made elsewhere and imported
OUTSIDE_PREFIX = "outside_"  # of the names of their rows, and of no others
OUTSIDE_MARK = " (outside)"  # after their titles
MAX_TITLE = 40  # characters
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
# Folders and options that a row may not be confused with.
_TITLES: dict[str, str] = {}  # of rows that come with this package, to their names
_TAKEN = frozenset({"all", "figures", "paper", PRETRAIN, "trainings"})

_COMMON = ("gamma_init", "pixels", "augmentation", "eval_resize", "parameters_tested")
_MATCHING = ("episode_classes", "matching_scores", "matching_train_shot", "matching_double_step")
_FCE = ("fce_read", "fce_backward", "fce_init", "fce_clip")
_META = (
    *("episode_classes", "gradient_over_batch", "gate_recurrence", "passes_1shot", "passes_5shot"),
    *("hidden_size", "lstm_init", "forget_bias_high", "meta_gradient", "theta_0", "gates"),
)


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
        target: ``module:Class`` that is built from a :class:`repro.methods.base.Setting`.
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


def check_name(name: str, title: str) -> None:
    """A name goes into folders and style sheets, a title into every kind of table.

    Raises:
        UsageError: either is not fit for that.
    """
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise UsageError(
            f"a method's name is small letters, digits and _, at most 40, and none of "
            f"{', '.join(sorted(_TAKEN))}; not {name!r}"
        )
    if not title.strip() or not title.isprintable() or len(title) > MAX_TITLE:
        raise UsageError(
            f"the title of {name} is 1 to {MAX_TITLE} printable characters, not {title!r}"
        )
    refuse_title(title, name)


def refuse_title(title: str, name: str = "") -> None:
    """Refuse a title that can be taken for a built-in row's.

    Args:
        name: of the row; that of a built-in one may have its own title.
    Raises:
        UsageError: it looks like another row's.
    """
    owner = next((owner for known, owner in _TITLES.items() if _look_alike(title, known)), name)
    if owner != name:
        raise UsageError(
            f"the title {title!r} looks like that of the built-in {owner}; give another"
        )


def is_outside(name: str) -> bool:
    """Whether a row is of predictions that were made elsewhere and imported."""
    return name.startswith(OUTSIDE_PREFIX)


def check_outside(name: str, package: str) -> None:
    """Imported predictions have names that no method has, which was run here.

    Args:
        package: of the row's source.
    Raises:
        UsageError: one has a name of the other kind.
    """
    if is_outside(name) != (package == OUTSIDE):
        raise UsageError(
            f"names that begin with {OUTSIDE_PREFIX} are of imported predictions, and only those; "
            f"give {name} another name"
        )


# Letters of these scripts can look like Latin ones; as the only letters of a title they are fine.
_LIKE_LATIN = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LATIN", "LISU")
_SAME_LOOK = str.maketrans({"1": "l", "i": "l", "|": "l", "0": "o", "ı": "l"})


def _seen(title: str) -> str:
    """A title as a reader sees it: without case, width, accents, kind of dash and spaces."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", title).casefold())
    kinds = [(char, unicodedata.category(char)) for char in plain]
    kept = "".join("-" if kind == "Pd" or char == "−" else char for char, kind in kinds
                   if kind[0] != "M")  # fmt: skip
    return "".join(kept.split()).translate(_SAME_LOOK).replace("rn", "m")


def _look_alike(title: str, known: str) -> bool:
    """Whether a title can be taken for a known one, which is in ASCII.

    No table of look-alikes is used: a letter of another script stands for any letter.
    """
    one, other = _seen(title), _seen(known)
    return len(one) == len(other) and all(
        a == b
        or (not a.isascii() and unicodedata.name(a, "").startswith(_LIKE_LATIN) and b.isalpha())
        for a, b in zip(one, other, strict=True)
    )


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


_PAPER = (
    MethodSpec(
        "finetune", paper.ROW_TITLES["finetune"], "repro.methods.finetune:Finetune", PRETRAIN,
        in_paper=True, train_shot="none", switches=_COMMON, searches=True, episode_s=0.5,
    ),
    MethodSpec(
        "nearest_neighbor", paper.ROW_TITLES["nearest_neighbor"], PRETRAIN_TARGET, PRETRAIN,
        in_paper=True, train_shot="none", untrained_if=("neighbor_features", "pixels"),
        switches=_COMMON,
    ),
    MethodSpec(
        "matching_net", paper.ROW_TITLES["matching_net"],
        "repro.methods.matching_net:MatchingNet", "matching_net", in_paper=True,
        train_shot="matching_train_shot", train_way="five", switches=_COMMON + _MATCHING, cost=2,
        revision=2,
    ),
    MethodSpec(
        "matching_net_fce", paper.ROW_TITLES["matching_net_fce"],
        "repro.methods.matching_net:MatchingNetFCE", "matching_net_fce", in_paper=True,
        train_shot="matching_train_shot", train_way="five", switches=_COMMON + _MATCHING + _FCE,
        cost=2, revision=2,
    ),
    MethodSpec(
        "meta_lstm", paper.ROW_TITLES["meta_lstm"], "repro.methods.meta_lstm:MetaLSTM",
        "meta_lstm", in_paper=True, switches=_COMMON + _META, cost=3, episode_s=0.16,
    ),
)  # fmt: skip
# Rows that the paper does not have; `--methods all` runs them, too. What was published of them is
# in the packs of their papers. In the budget "paper" MAML makes its authors' meta-iterations; that
# of the Prototypical Networks is ours (theirs stop by validation): the learning rate, halved every
# 2,000 episodes, is a thousandth by then.
_MAML_STEPS = steps(smoke=120, quick=500, paper=references.MAML_STEPS)
_OWN_EPISODES = (*_COMMON, "episode_classes")
_NOT_IN_PAPER = (
    MethodSpec(
        "proto_net", "Prototypical Network", "repro.methods.proto_net:ProtoNet", "proto_net",
        train_way="five", switches=_OWN_EPISODES,
        n_step=steps(smoke=300, quick=1500, paper=20_000),
    ),
    MethodSpec(
        "proto_net_wide", "Prototypical Network 30/20-way",
        "repro.methods.proto_net:ProtoNetWide", "proto_net_wide", train_way="five",
        switches=_OWN_EPISODES, n_step=steps(smoke=60, quick=300, paper=20_000), cost=6,
    ),
    MethodSpec(
        "maml", "MAML", "repro.methods.maml:MAML", "maml", switches=_OWN_EPISODES,
        n_step=_MAML_STEPS, cost=5, transductive=True,
    ),
    MethodSpec(
        "fomaml", "First-order MAML", "repro.methods.maml:FirstOrderMAML", "fomaml",
        switches=_OWN_EPISODES, n_step=_MAML_STEPS, cost=2,
        transductive=True,
    ),
    MethodSpec(
        "pretrained_cosine", "Pre-trained, cosine", "repro.methods.pretrained:PretrainedCosine",
        PRETRAIN, train_shot="none", switches=_COMMON,
    ),
    MethodSpec(
        "pretrained_logistic", "Pre-trained, logistic",
        "repro.methods.pretrained:PretrainedLogistic", PRETRAIN, train_shot="none",
        switches=_COMMON,
    ),
)  # fmt: skip
BUILT_IN: dict[str, MethodSpec] = {row.name: row for row in (*_PAPER, *_NOT_IN_PAPER)}
_TITLES.update((row.title, row.name) for row in BUILT_IN.values())


def built_in(name: str) -> MethodSpec:
    """A row that comes with this package.

    Raises:
        UsageError: there is none of this name; the near miss is suggested.
    """
    if name not in BUILT_IN:
        raise unknown("method", name, BUILT_IN)
    return BUILT_IN[name]


def numerics_revision(name: str) -> int:
    """The revision that records of a method, or a training, have to be of: :class:`MethodSpec`."""
    if name == PRETRAIN:
        return PRETRAIN_REVISION
    return BUILT_IN[name].revision if name in BUILT_IN else 1


def order(name: str) -> tuple[int, str]:
    """Sorts rows: the paper's in its order, the others that are built in, then by name."""
    names = list(BUILT_IN)
    return (names.index(name), "") if name in names else (len(names), name)


def pretrain_switches() -> tuple[str, ...]:
    """The switches of the recipe that the shared pre-training depends on."""
    return _COMMON
