"""The catalogue of methods: what is known of each without running its code.

A row that comes with this package is one entry of :data:`BUILT_IN`; one of a user's own is made
from a class by :mod:`repro.methods.registry`, and from a record where the class is not at hand.
Nothing here needs torch.
"""

from __future__ import annotations

from repro.papers import paper, references
from repro.papers.method_names import PRETRAIN, TITLES
from repro.papers.method_spec import MethodSpec, steps
from repro.system.errors import unknown

PRETRAIN_REVISION = 1  # as MethodSpec.revision, of that training
PRETRAIN_TARGET = "repro.methods.nearest_neighbor:NearestNeighbor"

_COMMON = ("gamma_init", "pixels", "augmentation", "eval_resize", "parameters_tested")
_MATCHING = ("episode_classes", "matching_scores", "matching_train_shot", "matching_double_step")
_FCE = ("fce_read", "fce_backward", "fce_init", "fce_clip")
_META = (
    *("episode_classes", "gradient_over_batch", "gate_recurrence", "passes_1shot", "passes_5shot"),
    *("hidden_size", "lstm_init", "forget_bias_high", "meta_gradient", "theta_0", "gates"),
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
TITLES.update((row.title, row.name) for row in BUILT_IN.values())


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
