"""The schema of a cell's files: types, ranges and required fields.

Readers check a file against its type here (``storage.conform``), so damage is refused
with the place of the field and nothing further has to ask. Fields that are not listed may follow.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from repro.system import names

Digest = Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Size = Annotated[int, Meta(ge=1, le=10_000)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, Meta(ge=0, le=1e12)]
Real = Annotated[float, Meta(ge=-1e300, le=1e300)]
Text = Annotated[str, Meta(max_length=10_000)]
Accuracies = Annotated[list[Fraction], Meta(min_length=1, max_length=1_000_000)]
Switches = dict[str, bool | Annotated[int, Meta(ge=-(2**53), le=2**53)] | Real | Text]


class Named(Struct):
    """A preset and the name under which it is in the folder's name."""

    name: Text


class Told(Struct):
    """A row that is not in the paper, as ``MethodSpec.describe`` gives it."""

    title: Text
    source: dict[str, Text] | None = None
    transductive: bool = False
    head: Text = ""
    features: dict[str, Text] | None = None  # name and backbone of frozen features


class Cell(Struct):
    """The config of a record. Names are checked to be parts of a path."""

    dataset: Text
    method: Text
    n_way: Size
    k_shot: Size
    n_query: Size
    seed: Seed
    recipe: Switches
    recipe_name: Text
    budget: dict[str, Any]
    budget_name: Text
    data_digest: Digest = ""
    precision: Text = ""
    train_k_shot: Size | None = None
    train_n_way: Size | None = None
    train_n_query: Size | None = None
    test_dataset: Text | None = None
    test_data_digest: Digest = ""
    at_step: Count | None = None
    split: Literal["test", "val"] = "test"
    episode_seed: Seed = 0
    n_test_class: Size | None = None
    row: Told | None = None
    settings: dict[str, Any] = {}

    def __post_init__(self) -> None:
        tested = self.test_dataset or self.dataset
        for part in (self.dataset, tested, self.recipe_name, self.budget_name):
            names.part(part)
        for preset, name in ((self.recipe, self.recipe_name), (self.budget, self.budget_name)):
            if preset.get("name") != name:
                raise ValueError(f"{name!r} is not the name of its recipe or budget")


class Training(Struct):
    """What a record says of the training that it tests; nothing was trained without ``name``."""

    n_step: Count = 0
    reached_step: Count | msgspec.UnsetType = msgspec.UNSET
    tested_step: Count = 0
    name: Text = ""
    k_shot: Annotated[int, Meta(ge=0, le=10_000)] = 0
    digest: Digest = ""
    wall_s: Seconds = 0.0
    checkpoint_s: Seconds = 0.0
    retrained: bool = False
    milestone_decided_at: Count | None = None


class Point(Struct):
    """Of fine-tune's grid."""

    lr: Real
    decay: Real
    accuracy: Fraction


class Chosen(Struct):
    """Fine-tune's grid search."""

    n_episode: Count
    grid: list[Point]
    chosen: Point


class EarlierTest(Struct):
    """Of the same cell on meta-test."""

    started_at: Text
    reached_step: Count
    checkpoint: Text
    n_episode: Count
    accuracy: Fraction


class Provenance(Struct, kw_only=True):
    """How a file came about."""

    numerics_revision: Count
    versions: dict[str, Text]
    device: Text
    threads: Size
    commit: Text
    dirty: bool
    command: Text
    started_at: Text
    wall_s: Seconds

    def __post_init__(self) -> None:
        # What decides which of two records is the newer one.
        if datetime.datetime.fromisoformat(self.started_at).utcoffset() is None:
            raise ValueError("started_at has no time zone")


class RecordFile(Provenance, kw_only=True):
    """``record.json``. Schema 3 has ``files`` (digests of curve and gates) and ``seal``."""

    schema: Literal[2, 3]
    config: Cell
    digests: dict[str, Digest]
    accuracy: Accuracies
    training: Training
    selection: Chosen | None
    earlier_tests: list[EarlierTest] = []
    files: dict[str, Digest] = {}
    seal: Digest = ""


class VariantConfig(Struct):
    """The config of a variant of an ablation."""

    dataset: Text
    method: Text
    n_way: Size
    k_shot: Size
    n_query: Size
    seed: Seed
    block: Size
    base_name: Text
    base_recipe: Switches
    recipe: Switches
    budget: dict[str, Any]
    budget_name: Text
    data_digest: Digest
    episode_seed: Seed
    split: Literal["val"]
    n_class: Size
    precision: Text
    numerics_revision: Count

    def __post_init__(self) -> None:
        for part in (self.dataset, self.base_name, self.budget_name):
            names.part(part)


class VariantFile(Provenance, kw_only=True):
    """``variant.json`` of :mod:`repro.records.variants`. Schema 2 has the seal."""

    schema: Literal[1, 2]
    label: Text
    config: VariantConfig
    digests: dict[str, Digest]
    accuracy: Accuracies
    training: Training
    seal: Digest = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        names.part(self.label)
        if self.numerics_revision != self.config.numerics_revision:
            raise ValueError("numerics_revision is not the config's")


class Sealed(Struct):
    """``sealed.json``: digests of the files of a cell published before records held them."""

    schema: Literal[1]
    files: dict[str, Digest]


class TrainLine(Struct, tag="train", tag_field="kind"):
    """A line of ``metrics.jsonl``: means over the last steps."""

    step: Count
    loss: Real
    accuracy: Fraction


class ValidationLine(Struct, tag="validation", tag_field="kind"):
    """A line of ``metrics.jsonl``: by shot, with the half-width of the 95% interval."""

    step: Count
    accuracy: dict[str, Fraction]
    half_width: dict[str, Annotated[float, Meta(ge=0, le=10)]]


Line = TrainLine | ValidationLine


class Panel(Struct):
    """One gate in one layer. Gates are fractions."""

    trace: list[list[Fraction]]
    band: dict[Literal["5", "25", "50", "75", "95"], list[Fraction]]
    untrained: list[Fraction]
    mean: Fraction
    untrained_mean: Fraction
    episode_variance: Annotated[float, Meta(ge=0, le=1)]


class GatesFile(Struct):
    """``gates.json``."""

    schema: Literal[1]
    n_step: Annotated[int, Meta(ge=1, le=10_000)]
    n_episode: Annotated[int, Meta(ge=1, le=10_000)]
    layers: Annotated[list[Text], Meta(min_length=1, max_length=100)]
    gates: dict[Literal["forget", "input"], dict[str, Panel]]

    def __post_init__(self) -> None:
        for gate in ("forget", "input"):
            for layer in self.layers:
                self._check(self.gates[gate][layer], f"{gate} {layer}")

    def _check(self, panel: Panel, where: str) -> None:
        if len(panel.trace) != self.n_episode or len(panel.band) != 5:
            raise ValueError(f"{where}: another number of episodes or bands")
        for row in (*panel.trace, *panel.band.values(), panel.untrained):
            if len(row) != self.n_step:
                raise ValueError(f"{where}: {len(row)} updates, expected {self.n_step}")


class Window(Struct):
    """Sums since the last line of a training curve."""

    loss: Real
    accuracy: Real
    n: Count


class Extra(Struct):
    """What a training goes on from beside its tensors."""

    best: Annotated[float, Meta(ge=-1, le=1)] = -1.0
    wall_s: Seconds = 0.0
    checkpoint_s: Seconds = 0.0
    seed: Seed = 0
    decided_at: Count | msgspec.UnsetType = msgspec.UNSET
    window: Window = msgspec.field(default_factory=lambda: Window(0.0, 0.0, 0))


class Header(Struct):
    """The JSON file of a checkpoint."""

    schema: Literal[1]
    step: Count
    config: Text
    sha256: Digest
    extra: dict[str, Any]

    def __post_init__(self) -> None:
        known = msgspec.convert(self.extra, Extra)
        self.extra = {**msgspec.to_builtins(known), **self.extra}
