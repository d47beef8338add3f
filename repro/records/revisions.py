"""Numerics revisions: whether a record was made by the arithmetic of this code."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from repro.papers.catalogue import numerics_revision
from repro.system.errors import RecordError


class Revised(Protocol):
    """What has a numerics revision."""

    @property
    def path(self) -> Path: ...
    @property
    def method(self) -> str: ...
    @property
    def numerics_revision(self) -> int: ...


def other_revision(record: Revised) -> str:
    """Why a record's numbers are not this code's, as a sentence; empty where they are."""
    current = numerics_revision(record.method)
    if record.numerics_revision == current:
        return ""
    return (
        f"{record.path} is of numerics revision {record.numerics_revision}, this code's "
        f"{record.method} is of {current}; run it again"
    )


def check_revision(record: Revised) -> None:
    """Refuse a record whose row has other arithmetic now.

    Raises:
        RecordError: it is of another numerics revision than its row in this code.
    """
    reason = other_revision(record)
    if reason:
        raise RecordError(reason)
