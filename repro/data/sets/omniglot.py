"""Omniglot: handwritten characters of 50 alphabets, 20 drawings each, at 28 x 28.

The split ``vinyals`` is the standard one of Vinyals et al. 2016 without rotations, as the lists of
Snell et al. 2017 and torchmeta give it: 1,028, 172 and 423 characters. It cuts one alphabet
(Gurmukhi) in two and trains on a part of Omniglot's evaluation set. The split ``alphabets`` keeps
alphabets whole and to Omniglot's own two sets (Lake et al. 2015): training on the background set
less the five validation alphabets of ``vinyals``, tests on the evaluation set: 792, 172 and 659.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from repro.data.dataset import ImageProgress, Selection
from repro.data.files.decoding import Counter, decode, fill_by_threads, first_few
from repro.data.files.opening import open_source
from repro.data.files.sources import Source
from repro.data.pack import SPLITS, Pixels
from repro.data.pack_builder import SplitPlan, build_pack
from repro.data.sets.folder import image_size
from repro.papers import paper
from repro.system.errors import DataError, unknown

name = "omniglot"
accepts = ("split", "image_size")
IMAGE_SIZE = 28  # px
IMAGES_PER_CLASS = 20
BACKGROUND, EVALUATION = "images_background", "images_evaluation"
SMALL = ("images_background_small1", "images_background_small2")
wanted = (
    f"a folder with {BACKGROUND} (or one or both of {', '.join(SMALL)}) and {EVALUATION}, "
    "each as a folder or a zip; torchvision's omniglot-py is one"
)
PLACES = ("", "omniglot-py", "omniglot/python", "python")
SPLIT_NAMES = ("vinyals", "alphabets")

# Characters per alphabet.
_BACKGROUND = """
Alphabet_of_the_Magi 20 Anglo-Saxon_Futhorc 29 Arcadian 26 Armenian 41 Asomtavruli_(Georgian) 40
Balinese 24 Bengali 46 Blackfoot_(Canadian_Aboriginal_Syllabics) 14 Braille 26
Burmese_(Myanmar) 34 Cyrillic 33 Early_Aramaic 22 Futurama 26 Grantha 43 Greek 24 Gujarati 48
Hebrew 22 Inuktitut_(Canadian_Aboriginal_Syllabics) 16 Japanese_(hiragana) 52
Japanese_(katakana) 47 Korean 40 Latin 26 Malay_(Jawi_-_Arabic) 40 Mkhedruli_(Georgian) 41 N_Ko 33
Ojibwe_(Canadian_Aboriginal_Syllabics) 14 Sanskrit 42 Syriac_(Estrangelo) 23 Tagalog 17 Tifinagh 55
"""
_EVALUATION = """
Angelic 20 Atemayar_Qelisayer 26 Atlantean 26 Aurek-Besh 26 Avesta 26 Ge_ez 26 Glagolitic 45
Gurmukhi 45 Kannada 41 Keble 26 Malayalam 47 Manipuri 40 Mongolian 30
Old_Church_Slavonic_(Cyrillic) 45 Oriya 46 Sylheti 28 Syriac_(Serto) 23 Tengwar 25 Tibetan 42
ULOG 26
"""
_VAL = {"Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)"}
# Of the evaluation set, in alphabetical order: what is before this character is trained on.
_FIRST_TEST = ("Gurmukhi", 42)


def _table(text: str) -> dict[str, int]:
    parts = text.split()
    return dict(zip(parts[::2], map(int, parts[1::2]), strict=True))


ALPHABETS = {BACKGROUND: _table(_BACKGROUND), EVALUATION: _table(_EVALUATION)}


def split_of(kind: str, part: str, alphabet: str, number: int) -> str:
    """The split of one character: ``kind`` of split, Omniglot's own part, alphabet, number."""
    if part == BACKGROUND:
        return "val" if alphabet in _VAL else "train"
    return "train" if kind == "vinyals" and (alphabet, number) < _FIRST_TEST else "test"


@dataclass(frozen=True)
class _Drawings:
    """The drawings of one part: character id to file names, and where they are read."""

    files: dict[str, list[str]]
    source: Source

    @property
    def origin(self) -> Path:
        return self.source.origin


def _list(place: Path, part: str, opened: ExitStack) -> _Drawings | None:
    """One part as a folder or a zip, which stays open as long as ``opened``."""
    folder, archive = place / part, place / f"{part}.zip"
    found = folder if folder.is_dir() else archive
    if not found.exists():
        return None
    source = opened.enter_context(open_source(found))
    return _Drawings(_group(source.names), source)


def _group(names: list[str]) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for called in sorted(names):
        path = PurePosixPath(called)
        if path.suffix.lower() == ".png" and len(path.parts) >= 3:
            files.setdefault("/".join(path.parts[-3:-1]), []).append(called)
    return files


def _check(drawings: _Drawings, alphabets: dict[str, int], whole: bool) -> None:
    """Every character that should be there, with its drawings, and no other.

    Args:
        whole: all alphabets have to be there; otherwise any of them.
    """
    there = {class_id.split("/")[0] for class_id in drawings.files}
    taken = alphabets if whole else {a: n for a, n in alphabets.items() if a in there}
    expected = {f"{a}/character{i:02}" for a, n in taken.items() for i in range(1, n + 1)}
    missing = sorted(expected - set(drawings.files))
    extra = sorted(set(drawings.files) - expected)
    if missing or extra or not taken:
        some = ", ".join(first_few(missing or extra))
        raise DataError(
            f"{drawings.origin} is not this part of Omniglot: {len(missing)} characters are "
            f"missing and {len(extra)} others are there ({some or 'it is empty'}); get it again"
        )
    wrong = [c for c, files in drawings.files.items() if len(files) != IMAGES_PER_CLASS]
    if wrong:
        raise DataError(
            f"{drawings.origin}: every character has {IMAGES_PER_CLASS} drawings, but {len(wrong)} "
            f"do not ({wrong[0]} has {len(drawings.files[wrong[0]])}); get it again"
        )


def _parts(root: Path, opened: ExitStack) -> list[tuple[str, _Drawings]]:
    """The listed and checked parts; the small background sets only without the whole one."""
    for inner in PLACES:
        place = root / inner
        evaluation = _list(place, EVALUATION, opened)
        if evaluation is None:
            continue
        background = _list(place, BACKGROUND, opened)
        listed = [] if background else [_list(place, name, opened) for name in SMALL]
        small = [drawings for drawings in listed if drawings is not None]
        if background is None and not small:
            break
        for drawings in [background] if background else small:
            _check(drawings, ALPHABETS[BACKGROUND], whole=background is not None)
        _check(evaluation, ALPHABETS[EVALUATION], whole=True)
        used = [background] if background else small
        return [*((BACKGROUND, drawings) for drawings in used), (EVALUATION, evaluation)]
    raise DataError(f"no Omniglot at {root}; expected {wanted}")


def prepare(root: Path | None, selection: Selection, progress: ImageProgress) -> Path:
    """The pack: white ink on black, shrunk from 105 x 105 by the mean of areas.

    Raises:
        DataError: parts or characters are missing, or a drawing cannot be read.
    """
    assert root is not None
    size, kind = image_size(selection, IMAGE_SIZE), selection.split or "vinyals"
    if kind not in SPLIT_NAMES:
        raise unknown("split of omniglot", kind, SPLIT_NAMES)
    with ExitStack() as opened:
        return _packed(_parts(root, opened), kind, size, str(root.resolve()), progress)


def _packed(
    parts: list[tuple[str, _Drawings]], kind: str, size: int, origin: str, progress: ImageProgress
) -> Path:
    found: dict[str, dict[str, tuple[_Drawings, list[str]]]] = {split: {} for split in SPLITS}
    for part, drawings in parts:
        for class_id, files in drawings.files.items():
            alphabet, number = class_id.split("/")
            split = split_of(kind, part, alphabet, int(number.removeprefix("character")))
            found[split].setdefault(class_id, (drawings, files))
    for split, classes in found.items():
        if len(classes) < paper.N_WAY:
            raise DataError(
                f"the {split} split has {len(classes)} characters: these background alphabets have "
                f"too few for it (validation uses {', '.join(sorted(_VAL))}); add {BACKGROUND}"
            )
    tick = Counter(IMAGES_PER_CLASS * sum(map(len, found.values())), progress)

    def plan(classes: dict[str, tuple[_Drawings, list[str]]]) -> SplitPlan:
        ids = tuple(sorted(classes))
        items = [(classes[c][0], called) for c in ids for called in classes[c][1]]

        def read(item: tuple[_Drawings, str]) -> Pixels:
            drawings, called = item
            return 255 - decode(drawings.source.read(called), drawings.source.called(called), size)

        def fill(array: Pixels) -> None:
            fill_by_threads(array, items, read, tick)

        return SplitPlan(ids, (IMAGES_PER_CLASS,) * len(ids), fill)

    plans = {split: plan(found[split]) for split in SPLITS}
    said = ", ".join(f"{len(classes)} {split}" for split, classes in found.items())
    return build_pack(name, size, plans, origin, lambda: [f"the split {kind}: {said}"])
