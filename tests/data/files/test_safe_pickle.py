"""Pickles of plain data come back equal; everything else is refused and nothing of it runs."""

import io
import os
import pickle
import random
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.data.files import safe_pickle
from repro.system.errors import DataError

VALUE = {
    "image_data": np.arange(48, dtype=np.uint8).reshape(2, 4, 2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">i4"),
    "names": np.array(["a", "ü"]),
    "class_dict": {"n01": [0, 1], "ü": (2, 3.5, None, True, b"", b"\xff\x00")},
    "ordered": OrderedDict(a=1),
    "label": np.int64(7),
}
PYTHON_2 = (
    b"(dp0\nS'image_data'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n"
    b"(I0\ntp4\nS'b'\np5\ntp6\nRp7\n(I1\n(I2\nI2\ntp8\ncnumpy\ndtype\np9\n(S'u1'\np10\nI0\nI1\n"
    b"tp11\nRp12\n(I3\nS'|'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\nS'\\x00\\x01\\xfe\\xff'\np15\n"
    b"tp16\nbsS'n'\np17\nL5L\ns."
)


def load(content: bytes, encoding: str = "latin1") -> Any:
    return safe_pickle.load(io.BytesIO(content), "some.pkl", encoding)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_comes_back_equal_in_every_protocol(protocol: int) -> None:
    found = load(pickle.dumps(VALUE, protocol))
    assert found.keys() == VALUE.keys()
    for key, value in VALUE.items():
        np.testing.assert_equal(found[key], value)
        if isinstance(value, np.ndarray):
            # As with numpy's own pickles, other byte orders may come back native.
            assert found[key].dtype.newbyteorder("=") == value.dtype.newbyteorder("=")
            assert found[key].shape == value.shape


def test_python_2_pickles_are_read_with_text_as_str_or_bytes() -> None:
    found = load(PYTHON_2)
    assert found["image_data"].tolist() == [[0, 1], [254, 255]]
    assert found["n"] == 5
    assert load(PYTHON_2, "bytes")[b"image_data"].tolist() == [[0, 1], [254, 255]]


def test_a_large_string_of_python_2_is_in_memory_once(tmp_path: Path) -> None:
    size = 8 * 2**20
    path = tmp_path / "large.pkl"
    path.write_bytes(b"\x80\x02T" + size.to_bytes(4, "little") + b"x" * size + b".")
    tracemalloc.start()
    with path.open("rb") as stream:
        found = safe_pickle.load(stream, "large.pkl", "bytes")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == b"x" * size
    assert peak < 1.2 * size


class Calls:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class Plain:
    pass


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Calls(os.system, "touch ran"), "asks for posix.system"),
        (Calls(eval, "open('ran', 'w')"), r"asks for \w+.eval"),
        (Calls(np.load, "x.npy", None, True), r"asks for numpy"),
        (Plain(), "asks for"),
        (np.array([{}, []], dtype=object), "an array of objects"),
        (np.zeros(2, dtype=[("a", "i4")]), "an array with fields"),
        (np.zeros(2, dtype="V4"), "an array of type"),
        (np.zeros(2, dtype="M8[s]"), "not a pickle of plain data"),
    ],
)
def test_anything_else_is_refused_in_one_sentence_and_not_run(
    value: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for protocol in (0, 2, pickle.HIGHEST_PROTOCOL):
        with pytest.raises(DataError, match=said) as caught:
            load(pickle.dumps([value], protocol))
        assert str(caught.value).startswith("some.pkl is not a pickle of plain data")
    assert not list(tmp_path.iterdir())


def test_the_reader_itself_cannot_be_changed_by_a_pickle() -> None:
    # BUILD with a state on the name numpy.dtype: would set attributes of a shared object.
    with pytest.raises(DataError, match="a change of the reader itself"):
        load(b"cnumpy\ndtype\n(dS'_function'\nNsb.")
    # _reconstruct's array believes no length: 2 x 2 pixels claimed as 9.
    with pytest.raises(DataError, match=r"some\.pkl"):
        load(PYTHON_2.replace(b"(I2\nI2\n", b"(I3\nI3\n"))


def test_html_cut_and_mutated_files_give_the_value_or_a_refusal() -> None:
    for content in (b"", b"<!DOCTYPE html><html>Sign in</html>", PYTHON_2[:-30]):
        with pytest.raises(DataError, match=r"some\.pkl is not a pickle"):
            load(content)
    rng, refused = random.Random(0), 0
    whole = pickle.dumps(VALUE, 4)
    for _ in range(1500):
        damaged = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            load(bytes(damaged))
        except DataError:
            refused += 1
    assert refused > 500


MAKES = b"cbuiltins\nbytes\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x80\x02Nr\xf0\xff\xff\x0f.", ""),  # remembered under number 268,435,440: harmless
        (b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.", "are announced"),
        (b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"x.", "are announced"),
        (b"\x80\x02T" + (2**31 - 1).to_bytes(4, "little") + b"x.", "are announced"),
        (b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"N.", "are announced"),
        (MAKES + b"(I3000000000\ntR.", "bytes made of int"),
        (b"cbuiltins\nbytearray\n(I3000000000\ntR.", "bytes made of int"),
        (pickle.dumps({(1, 2): 3}), "a key of type tuple"),
        (pickle.dumps({2**61 - 1: 3}), "a key of type int"),
        (pickle.dumps({1.5}), "a key of type float"),
        (pickle.dumps(frozenset([(1,)])), "a key of type tuple"),
        (pickle.dumps(OrderedDict({(1,): 2})), "a key of type tuple"),
    ],
)
def test_claims_of_memory_and_chosen_hashes_are_not_believed(content: bytes, said: str) -> None:
    tracemalloc.start()
    try:
        if not said:
            assert load(content) is None
        else:
            with pytest.raises(DataError, match=said):
                load(content)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_what_is_made_of_little_is_little() -> None:
    # One megabyte, copied by one short call after another.
    many = b"".join(b"h\x01h\x00\x85R" for _ in range(500))
    content = b"\x80\x02" + MAKES + b"q\x01B" + (2**20).to_bytes(4, "little") + bytes(2**20)
    with pytest.raises(DataError, match="much more memory than the file has bytes"):
        load(content + b"q\x00" + b"(" + many + b"l.")


def test_colliding_numbers_are_refused_at_once() -> None:
    keys = b"".join(
        b"\x8a\x0f" + (i * (2**61 - 1)).to_bytes(15, "little") + b"N" for i in range(1, 50_000)
    )
    with pytest.raises(DataError, match="a key of type int"):
        load(b"\x80\x02}(" + keys + b"u.")


def test_labels_are_checked_before_anything_is_made_of_them() -> None:
    assert safe_pickle.labels([0, 2], 3, "x").tolist() == [0, 2]
    for values in ([2**40], np.array([2**40]), [-1], [0.5], [[0]], "01", None, np.zeros((2, 2))):
        with pytest.raises(ValueError, match="x "):
            safe_pickle.labels(values, 100, "x")
    endless: list[Any] = ["a"]
    for _ in range(60):
        endless = [endless, endless]
    with pytest.raises(ValueError, match="list instead of text"):
        safe_pickle.texts(endless, "x")
