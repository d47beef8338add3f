"""The description of a user's method: its :class:`MethodSpec`, read from its class."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from repro.papers.catalogue import BUILT_IN, pretrain_switches
from repro.papers.config import BUDGETS, Recipe
from repro.papers.method_names import PRETRAIN
from repro.papers.method_spec import TRAIN_SHOTS, TRAIN_WAYS, MethodSpec, Source
from repro.system.errors import MethodError, UsageError, unknown


def describe(loaded: type, source: Source, entry_name: str | None) -> MethodSpec:
    """The row that a class's attributes describe."""
    told = f"the method {source.target}"
    given = {
        word: getattr(loaded, word)
        for word in ("name", "title", "training", "n_step", "train_shot", "train_way",
                     "switches", "transductive")
        if hasattr(loaded, word)
    }  # fmt: skip
    name = given.get("name", entry_name or _snake(source.class_name))
    if entry_name is not None and name != entry_name:
        raise MethodError(f"{told} calls itself {name!r}, its entry point {entry_name!r}")
    if name in BUILT_IN:
        raise MethodError(f"{told} has the name of a built-in method, {name}; give it another name")
    learns = callable(getattr(loaded, "train_step", None))
    training = given.get("training", "own" if learns else None)
    if training not in ("own", PRETRAIN, None):
        raise MethodError(
            f"{told} has training = {training!r}; it is 'own', 'pretrain' (shared with the "
            "baselines) or None"
        )
    # What else it needs may be made in its __init__: the guard looks at the instance.
    wanted = ["predict", *(["train_step"] if training == "own" else ())]
    missing = [word for word in wanted if not callable(getattr(loaded, word, None))]
    if missing:
        raise MethodError(
            f"{told} is not a method: it has no {', '.join(missing)}; see "
            f"repro.methods.base.{'Trainable' if training == 'own' else 'Method'}"
        )
    train_shot, switches = given.get("train_shot", "task"), given.get("switches")
    if train_shot not in TRAIN_SHOTS:
        raise MethodError(f"{told} has train_shot = {train_shot!r}, not one of {TRAIN_SHOTS}")
    train_way = given.get("train_way", "task")
    if train_way not in TRAIN_WAYS:
        raise MethodError(f"{told} has train_way = {train_way!r}, not one of {TRAIN_WAYS}")
    own = training == "own"
    try:
        row = MethodSpec(
            name=str(name),
            title=str(given.get("title", str(name).replace("_", " ").capitalize())),
            target=source.target,
            training=str(name) if own else training,
            train_shot=train_shot if training != PRETRAIN else "none",
            train_way=train_way if own else "task",
            switches=_switches(switches) if own else pretrain_switches(),
            n_step=_steps(given.get("n_step")) if own else (),
            transductive=bool(given.get("transductive", False)),
            source=source,
        )
    except UsageError as error:
        raise MethodError(f"{told}: {error}") from error
    return row


def _snake(name: str) -> str:
    """``NearestMean`` as ``nearest_mean``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _steps(given: Any) -> tuple[tuple[str, int], ...]:
    """Steps by budget from a number or a mapping; as many as a Matching Network where untold."""
    default = {name: budget.matching_net for name, budget in BUDGETS.items()}
    if given is None:
        return tuple(default.items())
    if isinstance(given, Mapping):
        for name in given:
            if name not in BUDGETS:
                raise unknown("budget in n_step", str(name), BUDGETS)
        return tuple({**default, **given}.items())
    return tuple(dict.fromkeys(default, given).items())


def _switches(given: Any) -> tuple[str, ...] | None:
    if given is None:
        return None
    known = set(Recipe.__dataclass_fields__) - {"name"}
    for name in given:
        if name not in known:
            raise unknown("switch", str(name), known)
    return tuple(given)
