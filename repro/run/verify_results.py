"""Published parameters tested again, from results."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

from repro.analysis.results import Results
from repro.records import MODEL, Record
from repro.run.verify import Verdict, packs_for
from repro.run.verify import verify as verify_record
from repro.system.errors import RecordError
from repro.system.interrupts import stop_requests
from repro.system.progress import ConsoleReporter, Reporter, Silent


class Verdicts(Sequence[Verdict]):
    """Of each record; ``bool(verdicts)`` is whether every one is as it was recorded."""

    def __init__(self, found: Iterable[tuple[Record, Verdict]]) -> None:
        self._found = list(found)

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, index: int) -> Verdict: ...
    @overload
    def __getitem__(self, index: slice) -> Verdicts: ...
    def __getitem__(self, index: int | slice) -> Verdict | Verdicts:
        if isinstance(index, slice):
            return Verdicts(self._found[index])
        return self._found[index][1]

    def __bool__(self) -> bool:
        return all(verdict.ok for _, verdict in self._found)

    def __repr__(self) -> str:
        return "\n".join(verdict.sentence(record.path) for record, verdict in self._found)


def verify(
    results: Results | Record,
    *,
    n_episode: int | None = None,
    data: str | Path | None = None,
    methods: Sequence[str] = (),
    progress: bool = True,
) -> Verdicts:
    """Test recorded parameters again and compare episode by episode, as ``repro verify``.

    Of several records, those that were published without parameters are passed over.

    Args:
        n_episode: a seeded sample of so many; by default all.
        data: where the images are, when the data set has not been prepared yet.
        methods: ``path/to/file.py:Class`` of methods of one's own among them.
    Raises:
        RecordError: there is nothing to verify, or parameters or images are other ones.
        UsageError: ``n_episode`` is below 1.

    >>> import repro
    >>> published = repro.results("results").filter(dataset="glyphs", budget="quick", k_shot=5)
    >>> bool(repro.verify(published["nearest_neighbor", 5], n_episode=5, progress=False))
    True
    """
    found = [results] if isinstance(results, Record) else list(results)
    if len(found) > 1:
        found = [record for record in found if (record.path / MODEL).exists()]
    if not found:
        raise RecordError("no record with parameters is among these; filter for less")
    verdicts = []
    with contextlib.ExitStack() as stack:
        reporter: Reporter = stack.enter_context(ConsoleReporter()) if progress else Silent()
        stop = stack.enter_context(stop_requests())
        for record in found:
            pack, test_pack = packs_for(record, None if data is None else Path(data))
            verdict = verify_record(
                record.path, pack, reporter, stop, n_episode, methods, test_pack
            )
            verdicts.append((record, verdict))
    return Verdicts(verdicts)
