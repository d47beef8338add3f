"""Single values of a preset, changed by ``name=value``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol, TypeVar, get_type_hints

from repro.system.errors import UsageError, unknown


class _Preset(Protocol):
    """A frozen dataclass with a name: a recipe or a budget."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=_Preset)


def override(
    base: T, kind: str, changes: list[str], text: str, others: Iterable[str] = ()
) -> T:  # fmt: skip
    """A preset with the values that are asked for, of the kind that the error names.

    Args:
        changes: ``name=value`` each. text: all that was asked for.
        others: further names, which are suggested for one that is not known.
    Raises:
        UsageError: an unknown name or value.
    """
    hints: dict[str, Any] = get_type_hints(type(base))
    hints = {key: hint for key, hint in hints.items() if key not in ("name", "own")}
    values: dict[str, Any] = {}
    for change in changes:
        field, equals, value = (part.strip() for part in change.partition("="))
        if not equals:
            raise UsageError(f"expected {kind} as name=value in {text!r}, got {change!r}")
        if field not in hints:
            raise unknown(kind, field, (*hints, *others))
        try:
            if hints[field] is bool:
                values[field] = {"true": True, "false": False}[value.lower()]
            else:
                values[field] = hints[field](value) if hints[field] in (int, float) else value
        except (KeyError, ValueError):
            raise UsageError(f"{kind} {field} cannot be {value!r}") from None
    if not values:
        return base
    return dataclasses.replace(base, name=f"{base.name}-custom", **values)
