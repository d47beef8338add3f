"""Frozen features in place of a training: what was asked for, and how it is got."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from repro.papers import heads
from repro.papers.catalogue import BUILT_IN
from repro.papers.method_names import PRETRAIN
from repro.papers.method_spec import MethodSpec
from repro.system.errors import UsageError

if TYPE_CHECKING:
    from repro.data.features.store import FeatureSet
    from repro.papers.config import RunConfig
    from repro.run.context import RunContext
    from repro.system.interrupts import StopRequest
    from repro.system.progress import Reporter

_BACKBONE = re.compile(r"(torchvision|timm):.*|pixels|pretrain")


@dataclass(frozen=True)
class Frozen:
    """Features that heads are to work on, as asked for.

    Attributes:
        features: names of embedded ones, or files. backbones: words such as
            ``torchvision:resnet18``. Either may begin with ``NAME=``.
        weights, input_size: of the one backbone.
    """

    features: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ()
    weights: Path | None = None
    input_size: int | None = None
    heads: tuple[heads.Head, ...] = ()

    def __post_init__(self) -> None:
        if self.weights is not None and len(self.backbones) != 1:
            raise UsageError("--weights belongs to one --backbone; name exactly one")

    def __bool__(self) -> bool:
        return bool(self.features or self.backbones)

    def with_heads(self, methods: Sequence[str], given: bool) -> tuple[Frozen, list[str]]:
        """The heads among the names of methods are taken; the other names are given back.

        Args:
            given: whether the names were asked for; if not, with features they are all heads.
        Raises:
            UsageError: heads without features, or features without a head.
        """
        chosen: dict[str, heads.Head] = {}
        others = []
        for word in methods if given or not self else [heads.INDUCTIVE]:
            if word == heads.INDUCTIVE:
                chosen.update({h.name: h for h in heads.HEADS.values() if not h.transductive})
            elif word in heads.HEADS:
                chosen[word] = heads.HEADS[word]
            else:
                others.append(word)
        if chosen and not self:
            raise UsageError(
                f"{next(iter(chosen))} is a head on frozen features; add --features or --backbone"
            )
        if self and not chosen:
            for word in others:
                if word not in BUILT_IN and word not in ("paper", "all"):
                    heads.find(word)
            raise UsageError(
                f"--features and --backbone are for heads; name one of {', '.join(heads.HEADS)} or "
                f"all as {heads.INDUCTIVE}"
            )
        return replace(self, heads=tuple(chosen.values())), others

    def rows(
        self, cell: RunConfig, first: bool, context: RunContext, reporter: Reporter,
        stop: StopRequest,
    ) -> list[MethodSpec]:  # fmt: skip
        """Every head on the features for a seed, which are embedded where they are not yet.

        Args:
            cell: of the pre-training with this seed. first: also features that have no seed.
        """
        found = [stored(word, context.pack) for word in self.features if first]
        for word in self.backbones:
            if first or split_name(word)[1] == PRETRAIN:
                found.append(
                    embedded(word, self.weights, self.input_size, cell, context, reporter, stop)
                )
        _check_names([one.name for one in found])
        return [heads.row(head, one.described()) for one in found for head in self.heads]


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"two backbones are called {name}; put another name in front of one, as in mine=…"
            )


def split_name(word: str) -> tuple[str, str]:
    """``NAME=REST`` in two; the name is empty where none is given."""
    name, equals, rest = word.partition("=")
    return (name, rest) if equals else ("", word)


def is_backbone(word: str) -> bool:
    """Whether a word names a backbone, and no file or set of features."""
    return bool(_BACKBONE.fullmatch(split_name(word)[1]))


def stored(word: str, pack: Path) -> FeatureSet:
    """Features by name, or of a file."""
    from repro.data.features import outside, store

    name, rest = split_name(word)
    path = Path(rest).expanduser()
    if name or path.exists() or "/" in rest or path.suffix:
        return outside.import_features(path, name or path.stem, pack)
    return store.named(pack, rest)


def embedded(
    word: str, weights: Path | None, input_size: int | None, cell: RunConfig, context: RunContext,
    reporter: Reporter, stop: StopRequest,
) -> FeatureSet:  # fmt: skip
    """The features of a backbone."""
    from repro.data.features import store
    from repro.run.embed import backbone_of, embed_pack

    name, rest = split_name(word)
    name = store.check_name(name or rest.rpartition(":")[2])
    backbone = backbone_of(rest, weights, input_size, cell, context, reporter, stop)
    return embed_pack(name, backbone, context, reporter, stop)
