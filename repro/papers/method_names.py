"""Names and titles of methods: which are allowed, and which look like another's."""

from __future__ import annotations

import re
import unicodedata

from repro.system.errors import UsageError

PRETRAIN = "pretrain"  # the training that several rows share
OUTSIDE = "elsewhere"  # as Source.package, of predictions that were made elsewhere and imported
OUTSIDE_PREFIX = "outside_"  # of the names of their rows, and of no others
OUTSIDE_MARK = " (outside)"  # after their titles
MAX_TITLE = 40  # characters
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
TITLES: dict[str, str] = {}  # of rows that come with this package, to their names
# Folders and options that a row may not be confused with.
_TAKEN = frozenset({"all", "figures", "paper", PRETRAIN, "trainings"})


def check_name(name: str, title: str) -> None:
    """A name goes into folders and style sheets, a title into every kind of table.

    Raises:
        UsageError: either is not fit for that.
    """
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise UsageError(
            f"a method's name is small letters, digits and _, at most 40, and none of "
            f"{', '.join(sorted(_TAKEN))}; not {name!r}"
        )
    if not title.strip() or not title.isprintable() or len(title) > MAX_TITLE:
        raise UsageError(
            f"the title of {name} is 1 to {MAX_TITLE} printable characters, not {title!r}"
        )
    refuse_title(title, name)


def refuse_title(title: str, name: str = "") -> None:
    """Refuse a title that can be taken for a built-in row's.

    Args:
        name: of the row; that of a built-in one may have its own title.
    Raises:
        UsageError: it looks like another row's.
    """
    owner = next((owner for known, owner in TITLES.items() if _look_alike(title, known)), name)
    if owner != name:
        raise UsageError(
            f"the title {title!r} looks like that of the built-in {owner}; give another"
        )


def is_outside(name: str) -> bool:
    """Whether a row is of predictions that were made elsewhere and imported."""
    return name.startswith(OUTSIDE_PREFIX)


def check_outside(name: str, package: str) -> None:
    """Imported predictions have names that no method has, which was run here.

    Args:
        package: of the row's source.
    Raises:
        UsageError: one has a name of the other kind.
    """
    if is_outside(name) != (package == OUTSIDE):
        raise UsageError(
            f"names that begin with {OUTSIDE_PREFIX} are of imported predictions, and only those; "
            f"give {name} another name"
        )


# Letters of these scripts can look like Latin ones; as the only letters of a title they are fine.
_LIKE_LATIN = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LATIN", "LISU")
_SAME_LOOK = str.maketrans({"1": "l", "i": "l", "|": "l", "0": "o", "ı": "l"})


def _seen(title: str) -> str:
    """A title as a reader sees it: without case, width, accents, kind of dash and spaces."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", title).casefold())
    kinds = [(char, unicodedata.category(char)) for char in plain]
    kept = "".join("-" if kind == "Pd" or char == "−" else char for char, kind in kinds
                   if kind[0] != "M")  # fmt: skip
    return "".join(kept.split()).translate(_SAME_LOOK).replace("rn", "m")


def _look_alike(title: str, known: str) -> bool:
    """Whether a title can be taken for a known one, which is in ASCII.

    No table of look-alikes is used: a letter of another script stands for any letter.
    """
    one, other = _seen(title), _seen(known)
    return len(one) == len(other) and all(
        a == b
        or (not a.isascii() and unicodedata.name(a, "").startswith(_LIKE_LATIN) and b.isalpha())
        for a, b in zip(one, other, strict=True)
    )
