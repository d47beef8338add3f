"""Damaged and hostile files: only a ReproError that names the file, never a traceback."""

import contextlib
import copy
import io
import json
import random
import resource
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from repro import records
from repro.analysis import curves
from repro.analysis.ablation.effects import of_presets
from repro.analysis.ablation.formats import format_ablation
from repro.analysis.gates import figure as gates
from repro.analysis.seeds import siblings
from repro.analysis.selection import select_records
from repro.analysis.table import table1
from repro.analysis.table.formats import FORMATS
from repro.data.files.opening import open_source
from repro.data.mini_imagenet import dataset as mini_imagenet
from repro.data.mini_imagenet.judging import judge
from repro.data.mini_imagenet.layouts import detect
from repro.data.mini_imagenet.ravi import Target
from repro.data.pack import open_pack, verify_pack
from repro.data.pack_builder import build_pack
from repro.episodes import EpisodeSampler, episodes_digest, manifest, verify_manifest
from repro.papers import config
from repro.papers.config import EpisodeSpec
from repro.records import Record, checkpoints
from repro.records.variants import read_variants
from repro.run.cell import RunContext, plan, run_cell
from repro.run.evaluation import Partial
from repro.run.grid_search import tried_before
from repro.system import storage
from repro.system.errors import RecordError, ReproError, StorageError
from repro.system.interrupts import StopRequest
from repro.system.progress import Silent
from tests.analysis.ablation.test_ablation_effects import write_variant
from tests.analysis.analysis_doubles import record, reseal, write_gates
from tests.conftest import TINY, tiny_plans
from tests.data.mini_imagenet.layout_copies import LAYOUTS, SMALL, contain, small_files

Reader = Callable[[Path], object]
MUTATIONS = 350  # per reader, seeded; two dozen readers


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Truncate, flip a bit, overwrite a stretch, double a part, or replace a token of text."""
    kind = rng.randrange(5)
    context = rng.randrange(max(1, len(content)))
    if kind == 0:
        return content[:context]
    if kind == 1:
        return (
            content[:context]
            + bytes([content[context] ^ 1 << rng.randrange(8)])
            + content[context + 1 :]
        )
    if kind == 2:
        return content[:context] + rng.randbytes(8) + content[context + 8 :]
    if kind == 3:
        return content[:context] + content[max(0, context - 40) :]
    token, other = rng.choice(
        [(b"1", b"-1"), (b"0", b"NaN"), (b'"', b""), (b"[", b"{"), (b":", b",")]
    )
    return content.replace(token, other, 1 + rng.randrange(3))


def damage(path: Path, read: Reader, n: int = MUTATIONS) -> int:
    """How many mutations of a file were refused; anything but a refusal or a success fails."""
    content, rng, refused = path.read_bytes(), random.Random(path.name), 0
    for _ in range(n):
        path.write_bytes(mutated(content, rng))
        try:
            read(path)
        except ReproError:
            refused += 1
    path.write_bytes(content)
    read(path)
    return refused


def test_checkpoints(tmp_path: Path) -> None:
    tensors = {"params": torch.arange(200.0), "adam.params.step": torch.tensor(3.0)}
    checkpoints.write(tmp_path, 3, tensors, {"best": 0.5}, "d" * 64)
    header = tmp_path / "checkpoint-0000003.json"

    def read(_: Path) -> None:
        found = checkpoints.read(header, "d" * 64)
        # What is accepted is what was written: the digest leaves no third way.
        assert torch.equal(found.tensors["params"], tensors["params"])

    same = damage(header.with_suffix(".safetensors"), read)
    assert same >= MUTATIONS - 5  # a mutation may by chance change nothing
    damage(header, lambda path: checkpoints.read(path, "d" * 64))


def test_records_and_partial_results(tmp_path: Path, tiny_pack: Path) -> None:
    recipe = config.recipe("authors-code,neighbor_features=pixels")
    (cell,) = plan("tiny", tiny_pack, ["nearest_neighbor"], [1], [0], recipe, TINY, "fp32", "cpu")
    here = RunContext(tmp_path, tiny_pack, 1, "cpu")
    record = run_cell(cell, here, Silent(), StopRequest(), "repro test")
    assert records.config_of(record) == cell

    def read(path: Path) -> None:
        found = records.read_record(path.parent)
        assert ((found.accuracy >= 0) & (found.accuracy <= 1)).all()
        records.config_of(found)

    damage(record.path / "record.json", read)
    partial = Partial(tmp_path / "test.partial", "d" * 64)
    rows = np.arange(150, dtype=np.uint8).reshape(2, 75)
    partial.save(rows, now=True)

    def read_partial(_: Path) -> None:
        found = partial.load(75)
        assert len(found) == 0 or (found == rows).all()

    damage(partial.path, read_partial)


def test_a_record_whose_numbers_were_changed_is_refused(tmp_path: Path, tiny_pack: Path) -> None:
    recipe = config.recipe("authors-code,neighbor_features=pixels")
    (cell,) = plan("tiny", tiny_pack, ["nearest_neighbor"], [1], [0], recipe, TINY, "fp32", "cpu")
    here = RunContext(tmp_path, tiny_pack, 1, "cpu")
    record = run_cell(cell, here, Silent(), StopRequest(), "repro test")
    path = record.path / "record.json"
    whole = storage.read_json(path)

    def refused(said: str, **changes: object) -> None:
        storage.write_json(path, {**whole, **changes})
        with pytest.raises(RecordError, match=rf"record.json .*{said}"):
            records.read_record(record.path)

    accuracy = whole["accuracy"]
    refused("the content was changed", accuracy=[1.0 - accuracy[0], *accuracy[1:]])
    refused("the content was changed", training={**whole["training"], "reached_step": 75_000})
    refused("the content was changed", numerics_revision=0)
    refused("seal: the content was changed", started_at="2030-01-01T00:00:00+00:00")
    refused("seal: the content was changed", dirty=not whole["dirty"])
    without = {key: value for key, value in whole["digests"].items() if key != "record"}
    refused("field 'record'", digests=without)
    refused("schema", schema=1)
    path.write_text("[" * 100_000)
    with pytest.raises(RecordError, match="not readable JSON"):
        records.read_record(record.path)


ODD: list[object] = [
    None, True, -1, 10**30, 1e300, 1.5, "", "x", "\ud800", "\x1b[31m", "../x", "a/b", [], [[]], {},
    {"a": 1}, [None], float("nan"), float("inf"),
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something is in a JSON value; of long lists the first two."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value[:2]):
            yield from places(item, (*path, number))


def odd(content: Any, name: str, folder: Path, read: Reader) -> tuple[int, int]:
    """Replace every field by every odd value and repair the digests: how many, how many refused."""
    n = refused = 0
    for context in list(places(content))[1:]:
        for value in ODD:
            changed = copy.deepcopy(content)
            *parents, last = context
            inner = changed
            for key in parents:
                inner = inner[key]
            inner[last] = value
            (folder / name).write_text(json.dumps(changed))
            with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
                reseal(folder, name)
            n += 1
            try:
                read(folder)
            except RecordError:
                refused += 1
    (folder / name).write_text(json.dumps(content))
    read(folder)
    return n, refused


@contextlib.contextmanager
def few_resources(gibibytes: float, seconds: float) -> Iterator[None]:
    """What is read may neither take more memory than now and this, nor more time."""
    peak, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < gibibytes * 2**20
    assert time.process_time() - began < seconds


def test_records_with_odd_values_and_right_digests(tmp_path: Path, tiny_pack: Path) -> None:
    recipe = config.recipe("authors-code,neighbor_features=pixels")
    (cell,) = plan("tiny", tiny_pack, ["nearest_neighbor"], [1], [0], recipe, TINY, "fp32", "cpu")
    made = run_cell(
        cell, RunContext(tmp_path, tiny_pack, 1, "cpu"), Silent(), StopRequest(), "repro t"
    )
    earlier = {"started_at": made.started_at, "reached_step": 1, "checkpoint": "",
               "n_episode": 6, "accuracy": 0.5}  # fmt: skip
    point = {"lr": 0.1, "decay": 0.0, "accuracy": 0.5}
    selection = {"n_episode": 1, "grid": [point], "chosen": point}
    training = {"name": "pretrain", "k_shot": 0, "n_step": 9, "reached_step": 9, "tested_step": 9,
                "digest": "a" * 64, "wall_s": 1.0, "checkpoint_s": 0.1}  # fmt: skip
    reseal(made.path, earlier_tests=[earlier], selection=selection, training=training)
    content = json.loads((made.path / "record.json").read_text())

    def read(folder: Path) -> None:
        (found,) = records.read_records(tmp_path, "tiny")
        with contextlib.suppress(RecordError):
            records.config_of(found)
        for style in FORMATS:
            table1.build(select_records([found], None), "tiny").format(style)
        siblings(found, [found])

    with few_resources(0.5, 60):
        n, refused = odd(content, "record.json", made.path, read)
    assert n > 1500
    assert refused > 0.6 * n


def test_variants_with_odd_values_and_right_digests(tmp_path: Path) -> None:
    folder = tmp_path / "made-up/ablation/meta_lstm-5-shot/authors-code-smoke-0123abcd"
    accuracy = np.linspace(0.2, 0.6, 60)
    for label in ("base", "theta_0=random"):
        write_variant(folder, label, 0, accuracy)
    content = json.loads((folder / "base/seed-0/variant.json").read_text())
    with few_resources(0.5, 60):
        n, refused = odd(
            content, "variant.json", folder / "base/seed-0",
            lambda _: [
                format_ablation(found, "json")
                for found in of_presets(read_variants(tmp_path, "made-up"))
            ],
        )  # fmt: skip
    assert refused > 0.6 * n


def test_headers_of_checkpoints_with_odd_values(tmp_path: Path) -> None:
    checkpoints.write(tmp_path, 3, {"params": torch.zeros(3)}, {"best": 0.5}, "d" * 64)
    path = tmp_path / "checkpoint-0000003.json"
    content = json.loads(path.read_text())
    _, refused = odd(content, path.name, tmp_path, lambda _: checkpoints.read(path, "d" * 64))
    assert refused > 60


def test_grid_searches(tmp_path: Path) -> None:
    points = [(0.1, 0.0), (0.01, 0.0)]
    grid = [{"lr": lr, "decay": decay, "accuracy": 0.4} for lr, decay in points]
    path = tmp_path / "selection.json"
    storage.write_json(path, {"checkpoint": "d" * 64, "grid": grid})
    damage(path, lambda p: tried_before(p, "d" * 64, points))


def test_manifests(tmp_path: Path) -> None:
    sampler = EpisodeSampler([(i * 30, 30) for i in range(6)], "val", EpisodeSpec(), 0)
    path = tmp_path / "episodes.json"
    storage.write_json(path, manifest(sampler, 4, "tiny"))
    refused = damage(path, lambda p: verify_manifest(storage.read_json(p), sampler, p.name))
    assert refused > MUTATIONS / 2


def test_gates_and_curves(tmp_path: Path) -> None:
    def read(reader: Callable[[Record], object]) -> Reader:
        # As someone who also repairs the digest of what was damaged.
        return lambda path: reader(record(k_shot=5, path=path.parent))

    write_gates(tmp_path, 5, 4, n_episode=2)
    damage(tmp_path / "gates.json", read(gates._read))
    path = tmp_path / "metrics.jsonl"
    lines = [
        {"kind": "train", "step": 10, "loss": 1.5, "accuracy": 0.3},
        {"kind": "validation", "step": 10, "accuracy": {"5": 0.4}, "half_width": {"5": 0.02}},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    damage(path, read(curves.read_curve))
    for line in (b"5\n", b"\xff\xfe\n", b'{"kind": "train", "step": NaN, "accuracy": 1e999}\n'):
        path.write_bytes(line)
        with pytest.raises(RecordError, match="not a readable training curve"):
            curves.read_curve(record(k_shot=5, path=tmp_path))
        assert checkpoints.parse_json_lines(path) == []


def test_packs(tiny_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path))
    pack = build_pack("tiny", 16, tiny_plans(), "made up")
    damage(pack / "pack.json", lambda p: open_pack(p.parent, "test"))
    refused = damage(pack / "val.npy", lambda p: verify_pack(p.parent))
    assert refused > 0.9 * MUTATIONS  # the header before the pixels is not read


def test_images_and_archives(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    path = tmp_path / "image.jpg"
    path.write_bytes(buffer.getvalue())
    damage(path, lambda p: mini_imagenet.decode_sized(p.read_bytes(), p.name))
    one = Target({"train": ("n01",), "val": ("n02",), "test": ("n03",)}, 1, {})
    root = tmp_path / "copy"
    root.mkdir()
    for split, (class_id,) in one.split.items():
        with zipfile.ZipFile(root / f"{split}.zip", "w") as archive:
            archive.writestr(f"{split}/{class_id}/0.jpg", buffer.getvalue())
    damage(root / "test.zip", lambda p: _look(p.parent, one))
    with zipfile.ZipFile(root / "test.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("test/n03/0.jpg", bytes(65 * 2**20))
    with pytest.raises(ReproError, match="would unpack to 68,157,440 bytes"):
        _look(root, one)


def _look(root: Path, target: Target) -> None:
    with open_source(root, target.classes) as source:
        copy = detect(source, target)
        judged = judge(copy, target)
        names = [n for classes in judged.plan.values() for of in classes.values() for n in of]
        for name, content in copy.images(names):
            mini_imagenet.decode_sized(content, name)


@pytest.mark.parametrize(
    ("layout", "container"),
    [
        ("split folders", "tar"),
        ("split folders", "tar.gz"),
        ("ILSVRC of tars", "tar"),
        ("Ravi's images with csv", "zip"),
        ("parquet", "tar"),
    ],
)
def test_copies_in_archives(layout: str, container: str, tmp_path: Path) -> None:
    path = contain(LAYOUTS[layout](tmp_path / "copy", small_files(), SMALL), container)
    assert damage(path, lambda p: _look(p, SMALL), 100) > 0


@pytest.mark.parametrize(
    ("layout", "file"),
    [
        ("cache pickles", "mini-imagenet-cache-test.pkl"),
        ("cache pickles of Python 2", "mini-imagenet-cache-test.pkl"),
        ("category pickles", "miniImageNet_category_split_test.pickle"),
        ("parquet", "test-00000-of-00002-0a1b2c.parquet"),
        ("Ravi's images with csv", "test.csv"),
    ],
)
def test_files_of_copies(layout: str, file: str, tmp_path: Path) -> None:
    path = LAYOUTS[layout](tmp_path / "copy", small_files(), SMALL) / file
    assert damage(path, lambda p: _look(p.parent, SMALL), 200) > 0


def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    buffer = io.BytesIO()
    Image.new("1", (8000, 8000)).save(buffer, "PNG")
    with pytest.raises(ReproError, match=r"8000×8000 pixels, more than the 50,000,000"):
        mini_imagenet.decode_sized(buffer.getvalue(), "bomb.png")


@contextlib.contextmanager
def small_disk() -> Iterator[None]:
    """Files may not grow past 64 KiB: what a full disk does, without special rights.

    Not a fixture: the log that pytest itself writes between the phases of a test may be longer.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_fills_up_leaves_the_state_before_it(tmp_path: Path) -> None:
    small, large = {"params": torch.zeros(100)}, {"params": torch.zeros(100_000)}
    with small_disk():
        checkpoints.write(tmp_path, 1, small, {}, "d" * 64)
        with pytest.raises(StorageError, match=r"cannot write .*File too large"):
            checkpoints.write(tmp_path, 2, large, {}, "d" * 64)
    found, passed = checkpoints.latest(tmp_path, "d" * 64)
    assert found is not None
    assert (found.step, passed) == (1, [])
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]


@settings(max_examples=60, deadline=None)
@given(
    n_class=st.integers(5, 30),
    per_class=st.integers(25, 60),
    n_way=st.integers(2, 5),
    k_shot=st.integers(1, 7),
    n_query=st.integers(1, 15),
    seed=st.integers(0, 2**62),
    index=st.integers(0, 10**6),
    classes=st.sampled_from(["permutation", "independent"]),
)
def test_any_episode_is_valid_and_repeatable(
    n_class: int, per_class: int, n_way: int, k_shot: int, n_query: int, seed: int, index: int,
    classes: str,
) -> None:  # fmt: skip
    rows = [(i * per_class, per_class) for i in range(n_class)]
    spec = EpisodeSpec(n_way, k_shot, n_query)
    episode = EpisodeSampler(rows, "train", spec, seed, classes)[index]
    drawn = np.concatenate([episode.support, episode.query])
    assert len(np.unique(drawn)) == n_way * (k_shot + n_query)
    labels = np.concatenate([episode.support_labels, episode.query_labels])
    np.testing.assert_array_equal(episode.class_indices[labels], drawn // per_class)
    again = EpisodeSampler(rows, "train", spec, seed, classes)[index]
    assert episodes_digest([again]) == episodes_digest([episode])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    k_shot=st.integers(1, 5),
    recipe=st.sampled_from(list(config.RECIPES.values())),
    budget=st.sampled_from(list(config.BUDGETS.values())),
    precision=st.sampled_from(["fp32", "bf16"]),
)
def test_a_config_survives_its_record(
    seed: int, k_shot: int, recipe: config.Recipe, budget: config.Budget, precision: str
) -> None:
    run = config.RunConfig(
        "glyphs", "d" * 64, "meta_lstm", EpisodeSpec(k_shot=k_shot), recipe, budget, seed, precision
    )
    describe = json.loads(json.dumps(run.describe()))
    record = records.Record(
        Path("cell"), describe, {}, 1, np.ones(1), {}, None, {}, "", 1, "", False, "", "", 0.0
    )
    assert records.config_of(record) == run
    assert records.config_of(record).digest == run.digest
    with pytest.raises(RecordError, match="damaged config"):
        records.config_of(
            records.Record(
                Path("cell"), {**describe, "recipe": {"gates": 3}}, {}, 1, np.ones(1), {}, None,
                {}, "", 1, "", False, "", "", 0.0,
            )
        )  # fmt: skip
