"""What each part of the report shows, as plain values for the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from repro.analysis import confusion, curves
from repro.analysis.gates import figure as gates
from repro.analysis.gates import numbers as gate_numbers
from repro.analysis.report import charts as report_charts
from repro.analysis.report.differences_section import ordered
from repro.analysis.report.episode_picture import data_uri, draw
from repro.analysis.text import percent
from repro.data.pack import ImageSplit
from repro.system.errors import RecordError

if TYPE_CHECKING:
    from repro.records import Record

N_EXTREME = 4  # hardest and easiest episodes shown per shot
N_SHOWN_QUERY = 5  # queries per class in their pictures


@dataclass(frozen=True)
class Titled:
    """A chart with the sentence beneath it."""

    title: str
    picture: Markup


@dataclass(frozen=True)
class GatePanel:
    """A panel of Figure 3 with what the page's control chooses by."""

    k_shot: int
    gate: str
    layer: str
    picture: Markup


@dataclass(frozen=True)
class Gates:
    """Figure 3, its numbers, and the paper's readings of it."""

    layers: tuple[str, ...]
    shots: tuple[int, ...]
    panels: tuple[GatePanel, ...]
    rows: tuple[tuple[str, ...], ...]
    between: tuple[tuple[str, ...], ...]
    readings: tuple[gate_numbers.Reading, ...]
    caveats: tuple[str, ...]


@dataclass(frozen=True)
class ConfusionView:
    """One record's confusions, as a picture and as rows (number, class, accuracy, taken for)."""

    title: str
    picture: Markup
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Extreme:
    """One of the hardest or easiest episodes."""

    kind: str
    k_shot: int
    index: int
    mean: str
    methods: str
    classes: str
    image: str  # data URI, or empty


def training(records: Sequence[Record]) -> list[Titled]:
    """A curve per record that has one.

    Raises:
        RecordError: a curve is damaged.
    """
    made = []
    for k_shot in sorted({record.k_shot for record in records}):
        found = [
            curves.drawn(record)
            for record in ordered(records, k_shot)
            if (record.path / curves.FILE).exists()
        ]
        for shown in {shown.key: shown for shown in found}.values():
            title = f"{shown.title}, {k_shot}-shot"
            told = f" ({', '.join(shown.note.splitlines())})" if shown.note else ""
            made.append(Titled(f"{title}{told}", report_charts.training(shown, title)))
    return made


def figure_3(records: Sequence[Record]) -> Gates | None:
    """Gates of the records that have them; None where no record has.

    Raises:
        RecordError: a file of gates is damaged.
    """
    traced = [r for r in records if r.method == "meta_lstm" and (r.path / gates.FILE).exists()]
    if not traced:
        return None
    contents = gates.read_gates(traced)
    panels = tuple(
        GatePanel(
            shot, gate, layer,
            report_charts.gate(
                content["gates"][gate][layer], f"{gate} gate, {layer}, {shot}-shot"
            ),
        )
        for shot, content in sorted(contents.items())
        for gate in gates.GATES
        for layer in content["layers"]
    )  # fmt: skip
    numbers = gate_numbers.numbers(contents)
    rows = tuple(
        (
            item.gate, item.layer, f"{item.k_shot}-shot", gate_numbers.gate_interval(item.mean),
            f"{item.initial:.3f}", gate_numbers.gate_interval(item.change, "+"),
            gate_numbers.episode_spread(item),
        )
        for item in numbers
    )  # fmt: skip
    between = tuple(
        (gate, layer, gate_numbers.gate_interval(found, "+"))
        for (gate, layer), found in gate_numbers.between_shots(numbers).items()
    )
    background = gates.background(traced)
    caveats = tuple(
        f"{shot}-shot was trained for {steps}."
        for shot, steps in sorted(background.unfinished.items())
    )
    shots = tuple(sorted(contents))
    layers = tuple(map(str, contents[shots[0]]["layers"]))
    readings = gate_numbers.readings(numbers, background)
    return Gates(layers, shots, panels, rows, between, readings, caveats)


def confusions(records: Sequence[Record]) -> tuple[list[ConfusionView], list[str]]:
    """Per-class confusion of each record, and why those are missing that are."""
    made, absent = [], []
    for k_shot in sorted({record.k_shot for record in records}):
        for record in ordered(records, k_shot):
            title = f"{record.title}, {k_shot}-shot"
            try:
                found = confusion.confusion(record)
            except RecordError as error:
                absent.append(f"{title}: {error}")
                continue
            if found is None:
                absent.append(f"{title}: its episodes cannot be drawn again here.")
                continue
            share, rows = found.share, []
            for i, name in enumerate(found.names):
                worst = found.worst(i)
                taken = (
                    "none" if worst is None
                    else f"{found.names[worst[0]]} ({percent(worst[1], digits=0)}%)"
                )  # fmt: skip
                right = "not drawn" if np.isnan(share[i, i]) else percent(share[i, i], digits=0)
                rows.append((str(i + 1), name, right, taken))
            label = f"Confusion of {title}; the same numbers are in the table beside it."
            made.append(ConfusionView(title, report_charts.confusion(found, label), tuple(rows)))
    return made, absent


def extremes(records: Sequence[Record], split: ImageSplit | None) -> list[Extreme]:
    """Hardest and easiest episodes by the mean over all methods that saw the same episodes.

    Args:
        split: meta-test images for the pictures; None leaves them out.
    """
    made = []
    for k_shot in sorted({record.k_shot for record in records}):
        found = ordered(records, k_shot)
        digests = [record.digests.get("episodes") for record in found]
        same = [r for r in found if r.digests.get("episodes") == max(digests, key=digests.count)]
        names = confusion.class_names(same[0].tested_on)
        episodes = confusion.redrawn_episodes(same[0], len(names)) if names else None
        mean = np.mean([record.accuracy for record in same], axis=0)
        order = np.argsort(mean, kind="stable")
        chosen = [("hardest", i) for i in order[:N_EXTREME].tolist()]
        chosen += [("easiest", i) for i in order[::-1][:N_EXTREME].tolist()]
        for kind, index in chosen:
            told = ", ".join(f"{r.title} {percent(r.accuracy[index], digits=0)}%" for r in same)
            classes, image = "", ""
            if episodes is not None:
                classes = ", ".join(names[i] for i in episodes[index].class_indices)
                if split is not None:
                    picture = draw(episodes[index], split, n_query=N_SHOWN_QUERY)
                    image = data_uri(picture)
            made.append(
                Extreme(kind, k_shot, index, percent(mean[index], digits=1), told, classes, image)
            )
    return made
