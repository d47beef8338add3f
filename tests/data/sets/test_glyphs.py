"""The embedded data set is the same everywhere."""

import hashlib

import numpy as np
import pytest

from repro.data.pack import open_pack
from repro.data.preparing import load_split, prepare
from repro.data.sets import glyphs
from repro.system.errors import DataError, UsageError

FIRST_CLASS = "cc5e49a5f0d6ee95f1f4067a42f16b01bea197b304b04b2aaaaf0a5a6387bad9"


def rendered(class_index: int) -> glyphs.Pixels:
    """The images of one class, uint8 ``[600, 28, 28, 3]``."""
    stored = glyphs._load_shapes()
    strokes = glyphs._strokes(stored["shapes"][class_index])
    return glyphs._render(strokes, stored["sine"], class_index)


def test_the_first_class_has_the_published_pixels() -> None:
    pixels = rendered(0)
    assert pixels.shape == (600, 28, 28, 3)
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == FIRST_CLASS


def test_the_whole_set_has_the_published_digest_and_split() -> None:
    pack = prepare("glyphs", None)  # raises when the digest differs
    splits = [open_pack(pack, name) for name in ("train", "val", "test")]
    assert [len(split.class_ids) for split in splits] == [64, 16, 20]
    assert [len(split.images) for split in splits] == [38400, 9600, 12000]
    assert len({i for split in splits for i in split.class_ids}) == 100
    assert load_split("glyphs", None, "val").digest == glyphs.EXPECTED_DIGEST


def test_images_of_a_class_differ_and_use_the_range() -> None:
    pixels = rendered(7)
    assert len(np.unique(pixels.reshape(600, -1), axis=0)) == 600
    assert pixels.min() < 20
    assert pixels.max() > 235


def test_other_pixels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = glyphs.EXPECTED_DIGEST
    monkeypatch.setattr(glyphs, "EXPECTED_DIGEST", "0" * 64)
    with pytest.raises(DataError, match=f"have digest {honest[:12]}, expected 000000000000"):
        glyphs.prepare()


def test_unknown_names_suggest_the_near_miss() -> None:
    with pytest.raises(UsageError, match="did you mean 'glyphs'"):
        prepare("glyph", None)
    with pytest.raises(UsageError, match="did you mean 'val'"):
        load_split("glyphs", None, "vall")
