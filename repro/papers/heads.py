"""Heads: classifiers on frozen features, each a row of its own with every backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from repro.papers.method_spec import Features, MethodSpec
from repro.system.errors import UsageError, unknown

INDUCTIVE = "heads"  # as a name in a list of methods: every head that is not transductive


@dataclass(frozen=True)
class Head:
    """What is known of a head; its settings are in :func:`repro.papers.references.settings`.

    Attributes:
        name: the last part of its rows' names; a transductive one says so there, since folders,
            comparisons and the API show names. title: of its rows, after the backbone's name.
        target: ``module:Class``. source: where it was published.
    """

    name: str
    title: str
    target: str
    source: str
    transductive: bool = False


HEADS = {
    head.name: head
    for head in (
        Head("nearest", "nearest neighbor", "repro.methods.heads:Nearest",
             "Ravi & Larochelle 2017, Sec. 5.1, Baseline-nearest-neighbor"),
        Head("cosine", "cosine means", "repro.methods.heads:CosineMeans",
             "Chen et al. 2021, Meta-Baseline, Sec. 3 (the classifier baseline)"),
        Head("simpleshot", "SimpleShot", "repro.methods.heads:SimpleShot",
             "Wang et al. 2019, SimpleShot, Sec. 3 (CL2N)"),
        Head("logistic", "logistic", "repro.methods.heads:Logistic",
             "Tian et al. 2020, Rethinking Few-Shot Image Classification, Sec. 3.2"),
        Head("ridge", "ridge", "repro.methods.heads:Ridge",
             "Bertinetto et al. 2019, Closed-form Solvers, Sec. 3.2 (there inside meta-training)"),
        Head("transductive_kmeans", "transductive k-means", "repro.methods.heads:SoftKMeans",
             "Ren et al. 2018, Semi-Supervised Few-Shot, Sec. 3.1.1 (the queries are unlabelled)",
             transductive=True),
    )
}  # fmt: skip


def row(head: Head, features: Features) -> MethodSpec:
    """The row of a head on the features of one backbone."""
    return MethodSpec(
        name=f"{features.name}_{head.name}",
        title=f"{features.name}: {head.title}",
        target=head.target,
        training=None,
        train_shot="none",
        switches=(),
        transductive=head.transductive,
        episode_s=0.003,
        head=head.name,
        features=features,
    )


def from_record(name: str, told: Mapping[str, Any], digest: str) -> MethodSpec:
    """The row that a record tells of.

    Args:
        told: as :meth:`MethodSpec.describe` gave it. digest: of the features.
    Raises:
        KeyError, TypeError, UsageError: damaged.
    """
    kept = told["features"]
    head = find(str(told["head"]))
    found = row(head, Features(str(kept["name"]), str(kept["backbone"]), digest))
    if found.name != name:
        raise UsageError(f"the head {head.name} on {kept['name']} is no row {name}")
    return found


def find(name: str) -> Head:
    """A head by its name.

    Raises:
        UsageError: there is none; the near miss is suggested.
    """
    if name not in HEADS:
        raise unknown("head", name, (*HEADS, INDUCTIVE))
    return HEADS[name]
