"""The checks of ``repro method check``, in their order, on a few generated episodes.

A method follows :class:`repro.methods.base.Method` when its predictions depend on the pixels of
the episode alone, and its training on state, step number and seed alone. Each question has one
sentence for an answer that breaks this.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from repro.data.pack import ImageSplit
from repro.data.preparing import load_split
from repro.methods.checks.probes import reseed
from repro.methods.checks.questions import Questions
from repro.methods.checks.watch import changed, opened, settings
from repro.methods.registry import find
from repro.papers.method_spec import MethodSpec
from repro.system.errors import MethodError

OK, FAILED, NOTE, SKIPPED = "ok", "FAILED", "note", "skipped"


@dataclass(frozen=True)
class Finding:
    """One line of the list: the rule, how it came out, and the sentence that says why."""

    rule: str
    verdict: str
    told: str = ""


_Question = tuple[str, Callable[[Questions], str]]
_FIRST: tuple[_Question, ...] = (
    ("is built from a Setting", Questions.is_built),
    ("trains, with a finite loss and a state of tensors", Questions.trains),
    ("predicts log-probabilities at 1-shot and 5-shot", Questions.gives_log_probabilities),
)
_PREDICTION: tuple[_Question, ...] = (
    ("keeps nothing from one episode to the next", Questions.keeps_nothing),
    ("does not use the order of the queries", Questions.sees_no_order),
    ("does not use the numbers of images or classes", Questions.sees_no_numbers),
)
_TRAINING: tuple[_Question, ...] = (
    ("continues from its state, bit for bit", Questions.continues_what_was_trained),
    ("a step depends on state and step number alone", Questions.has_no_hidden_past),
    ("predictions leave the training alone", Questions.is_not_moved_by_predictions),
)
_LOADED: _Question = ("loads what a record keeps of its state", Questions.loads_what_is_published)
_GENERATORS: _Question = (
    "uses no global random generator", Questions.draws_from_its_own_generators
)  # fmt: skip
_HIDDEN: _Question = ("keeps no counter outside its state", Questions.hides_no_number)
_BESIDE: tuple[_Question, ...] = (
    ("uses only the images it is given", Questions.uses_given_images),
    ("reads no file that its digest does not cover", Questions.reads_what_is_covered),
    ("leaves torch's global settings as they are", Questions.leaves_torch_alone),
)
_INDUCTIVE: _Question = ("predicts each query independently", Questions.is_inductive)


def examined(word: str) -> tuple[MethodSpec, list[Finding]]:
    """Load a method by its name or file and put every question, on the embedded glyphs.

    To be called in a process that does nothing else: the method's code is run in it.

    Raises:
        UsageError, MethodError: as :func:`repro.methods.registry.find`.
    """
    train, test = (load_split("glyphs", None, split) for split in ("train", "test"))
    before = settings()
    with opened() as at_import:
        row = find(word)
    return row, list(examine(row, train, test, at_import, changed(before)))


def examine(
    row: MethodSpec, train: ImageSplit, test: ImageSplit, at_import: Sequence[Path] = (),
    changes: Sequence[str] = (),
) -> Iterator[Finding]:  # fmt: skip
    """Put every question; the first three spare the others where they fail.

    Args:
        at_import, changes: what was opened and changed when its class was loaded.
    """
    with tempfile.TemporaryDirectory(prefix="repro-method-") as folder:
        asked = Questions(row, train, test, Path(folder), at_import, changes)
        yield from _examine(asked)


def _examine(asked: Questions) -> Iterator[Finding]:
    row = asked.row
    generators = random.getstate(), np.random.get_state(), torch.get_rng_state()
    n_thread = torch.get_num_threads()
    torch.set_num_threads(1)  # the networks are tiny
    try:
        for rule, question in _FIRST:
            if question is Questions.trains and row.training is None:
                yield Finding(rule, SKIPPED, "nothing is trained")
                continue
            finding = _ask(asked, rule, question)
            yield finding
            if finding.verdict == FAILED:
                for rule, question in _BESIDE:
                    yield _ask(asked, rule, question)
                unasked = f"not examined; mend first: {finding.rule}"
                rest = [name for name, _ in (*_FIRST, *_questions(row))]
                for name in rest[rest.index(finding.rule) + 1 :]:
                    yield Finding(name, SKIPPED, unasked)
                return
        for rule, question in _questions(row):
            yield _ask(asked, rule, question)
        if row.training == row.name:
            yield _ask(asked, *_HIDDEN, verdict=NOTE)
        for rule, question in _BESIDE:
            yield _ask(asked, rule, question)
        yield _ask(asked, *_INDUCTIVE, verdict=NOTE)
    finally:
        random.setstate(generators[0])
        np.random.set_state(generators[1])
        torch.set_rng_state(generators[2])
        torch.set_num_threads(n_thread)


def _questions(row: MethodSpec) -> Sequence[_Question]:
    own = row.training == row.name
    return (
        *_PREDICTION,
        *(_TRAINING if own else ()),
        *((_LOADED,) if row.training is not None else ()),
        _GENERATORS,
    )


def _ask(
    asked: Questions, rule: str, question: Callable[[Questions], str], verdict: str = FAILED
) -> Finding:  # fmt: skip
    reseed(0)  # so that a global generator that is read is one question's answer, not every one's
    try:
        told = question(asked)
    except MethodError as error:
        return Finding(rule, FAILED, str(error))
    return Finding(rule, verdict if told else OK, told)
