"""Whether a copy is mini-ImageNet with Ravi's split, can be regrouped into it, or what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from repro.data.mini_imagenet.copy import Copy, Groups
from repro.data.mini_imagenet.pickles import name_classes
from repro.data.mini_imagenet.ravi import Target

_NAMED = 3  # examples in a sentence

Plan = dict[str, dict[str, list[str]]]


@dataclass(frozen=True)
class Finding:
    """Something that a user should know.

    Attributes:
        code: one word for machines.
        text: a sentence.
        refused: whether no pack can be made because of it.
    """

    code: str
    text: str
    refused: bool


@dataclass(frozen=True)
class Judgement:
    """What becomes of a copy.

    Attributes:
        plan: Ravi's split to its classes to the names of their images, in the pack's order;
            holds what is there, whole or not.
        split: the copy's own division of the classes, in words.
    """

    plan: Plan
    split: str
    findings: tuple[Finding, ...]

    @property
    def refusals(self) -> list[Finding]:
        """The findings that stand against a pack."""
        return [finding for finding in self.findings if finding.refused]


def judge(copy: Copy, target: Target) -> Judgement:
    """Compare a copy with what it should be; no image is read."""
    groups = name_classes(copy.groups, dict(target.split))
    holders: dict[str, dict[str, Sequence[str]]] = {}
    for split, classes in groups.items():
        for class_id, names in classes.items():
            if not class_id:
                continue  # loose images, such as a logo
            holders.setdefault(class_id, {})[split] = names
    plan: Plan = {
        split: {
            class_id: [name for names in holders[class_id].values() for name in names]
            for class_id in sorted(classes)
            if class_id in holders
        }
        for split, classes in target.split.items()
    }
    if any(len(held) > 1 for held in holders.values()):
        for classes_of in plan.values():
            for names in classes_of.values():
                names.sort(key=lambda name: PurePosixPath(name).name)
    words, found = _split(groups, holders, target)
    findings = _classes(groups, holders, target)
    if not any(finding.refused for finding in findings):
        findings += [*found, *_counts(copy, plan, target)]
    notes = [Finding("note", f"{note}.", False) for note in copy.notes]
    return Judgement(plan, words, (*findings, *notes))


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _sizes(groups: Groups) -> str:
    return ", ".join(
        f"{len(classes)} {split or 'without a split'}" for split, classes in groups.items()
    )


def _classes(
    groups: Groups, holders: Mapping[str, Mapping[str, Sequence[str]]], target: Target
) -> list[Finding]:
    missing, other = (
        sorted(target.classes - holders.keys()),
        sorted(holders.keys() - target.classes),
    )
    if not missing:
        text = f"{len(other)} classes that are not of mini-ImageNet are left out ({some(other)})."
        return [Finding("other-classes", text, False)] if other else []
    gone = [split for split, classes in target.split.items() if not set(classes) & holders.keys()]
    if not other and gone:
        text = (
            f"No {' and no '.join(gone)} split: all of its classes are missing; bring the "
            f"files of {' and '.join(gone)} too."
        )
        return [Finding("missing-split", text, True)]
    n_class = len(target.classes)
    text = f"Of Ravi's {n_class} classes {len(missing)} are missing ({some(missing)})" + (
        f" and {len(other)} others are there ({some(other)})" if other else ""
    )
    if len(holders) == n_class and other:
        shape = sorted(len(classes) for classes in groups.values())
        whose = (
            "as Vinyals et al. 2016 had (80 classes for training and 20 for test)"
            if shape == sorted((n_class * 4 // 5, n_class - n_class * 4 // 5))
            else "Vinyals' choice or someone else's"
        )
        text += f": {n_class} classes, but not Ravi's ({whose})"
        return [Finding("other-split", f"{text}; bring the copy with Ravi's.", True)]
    return [Finding("missing-classes", f"{text}; bring the whole copy with Ravi's.", True)]


def _split(
    groups: Groups, holders: Mapping[str, Mapping[str, Sequence[str]]], target: Target
) -> tuple[str, list[Finding]]:
    """The copy's own split in words, and what follows from it."""
    mine = {c: held for c, held in holders.items() if c in target.classes}
    if any(len(held) > 1 for held in mine.values()):
        return _divided_images(groups, mine, target)
    own = {class_id: next(iter(held)) for class_id, held in mine.items()}
    if set(own.values()) <= {""}:
        return "none", [
            Finding("regrouped", "No split; regrouped by WordNet id into Ravi's.", False)
        ]
    moved = sorted(c for c, split in own.items() if split != target.split_of[c])
    if not moved:
        return "Ravi's", []
    kept = {
        split: {c: classes[c] for c in classes if c in mine} for split, classes in groups.items()
    }
    sizes = sorted((len(classes) for classes in kept.values() if classes), reverse=True)
    share = sizes[0] * 10 // len(mine) / 10 if len(sizes) == 2 else 0
    words = (
        f"a split by class of its own, {round(100 * share)}/{100 - round(100 * share)}"
        if len(sizes) == 2
        else f"a split of its own ({_sizes(kept)})"
    )
    text = (
        f"Its classes are divided otherwise ({_sizes(kept)}; {len(moved)} classes elsewhere than "
        f"in Ravi's split, first {moved[0]}): results on that split are not comparable; the same "
        f"{len(mine)} classes are regrouped by WordNet id into Ravi's."
    )
    code = "split-80-20" if share == 0.8 else "regrouped"
    return words, [Finding(code, text, False)]


def _divided_images(
    groups: Groups, mine: Mapping[str, Mapping[str, Sequence[str]]], target: Target
) -> tuple[str, list[Finding]]:
    totals = {split: sum(map(len, classes.values())) for split, classes in groups.items()}
    shown = "/".join(f"{n:,}" for n in sorted(totals.values(), reverse=True))
    several = sorted(class_id for class_id, held in mine.items() if len(held) > 1)
    ranked = sorted(totals.values(), reverse=True)
    words = f"by image, not by class ({shown})"
    if len(ranked) == 3 and ranked[0] == 5 * ranked[1] == 10 * ranked[2]:
        text = (
            f"The {shown} version: every class is in all three splits, with images that are not "
            "Ravi's; it serves ordinary classification and cannot be made into Ravi's split, "
            "bring another copy."
        )
        return words, [Finding("version-50000", text, True)]
    whole = all(sum(map(len, mine[c].values())) == target.per_class for c in several)
    files = all(
        len({PurePosixPath(n).name for names in mine[c].values() for n in names})
        == target.per_class
        for c in several
    )
    if whole and files:
        text = (
            f"The images of {len(several)} classes are divided between the splits ({shown}), which "
            f"is not few-shot learning; put together they are {target.per_class} a class and are "
            "regrouped by WordNet id into Ravi's."
        )
        return words, [Finding("regrouped", text, False)]
    text = (
        f"{len(several)} classes are in several splits (first {several[0]}) and do not add up to "
        f"{target.per_class} different images each; bring a copy with whole classes."
    )
    return words, [Finding("divided-images", text, True)]


def _counts(copy: Copy, plan: Plan, target: Target) -> list[Finding]:
    """Missing and extra images, named where the copy's names are the published ones."""
    wrong: dict[str, int] = {}
    missing, extra = list(copy.absent), []
    for classes in plan.values():
        for class_id, names in classes.items():
            if len(names) != target.per_class:
                wrong[class_id] = len(names)
            published = set(target.names(class_id))
            here = {PurePosixPath(name).stem: name for name in names}
            if len(published & here.keys()) * 2 > target.per_class:  # its names are Ravi's
                if not copy.absent:
                    missing += sorted(published - here.keys())
                extra += [here[stem] for stem in sorted(here.keys() - published)]
    if not wrong and not missing and not extra:
        return []
    told = []
    if missing:
        told.append(f"{len(missing):,} images of the published list are missing ({some(missing)})")
    if extra:
        told.append(f"{len(extra):,} are not in it ({some(extra)})")
    if wrong:
        first = next(iter(wrong))
        told.append(
            f"{len(wrong)} of {len(target.classes)} classes do not have {target.per_class} images "
            f"(first: {first} with {wrong[first]:,})"
        )
    too_few = missing or min(wrong.values(), default=target.per_class) < target.per_class
    text = "; ".join([*told, "unpack or get the copy again."])
    return [Finding("missing-images" if too_few else "extra-images", text, True)]
