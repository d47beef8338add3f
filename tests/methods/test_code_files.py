"""The digest of a file's source covers what it imports from beside it, and no more."""

import hashlib
from pathlib import Path

import pytest

from repro.methods.code_files import beside, digest

FOLDER = {
    "my.py": "from helpers.net import which\nfrom helpers import flat\nimport torch.nn\n"
             "import deep.down.low as low\n",
    "helpers/net.py": "from .parts import part\nfrom . import more\n",
    "helpers/parts.py": "import plain\npart = 1\n",
    "helpers/more.py": "",
    "helpers/flat/__init__.py": "",
    "helpers/flat/inner.py": "",
    "helpers/unused.py": "",
    "deep/down/low.py": "from ..up import x\n",
    "deep/up.py": "x = 1\n",
    "plain.py": "",
    "torch/data.py": "",
    "torch/optim/large.py": "",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FOLDER.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def covered(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in beside(folder / "my.py")}


def test_an_edited_helper_in_a_folder_without_init_changes_the_digest(folder: Path) -> None:
    def now() -> str:
        return digest(folder, beside(folder / "my.py"))

    before = now()
    for name in ("helpers/net.py", "helpers/parts.py", "helpers/flat/inner.py", "deep/down/low.py"):
        text = (folder / name).read_text()
        (folder / name).write_text(text + "y = 2\n")
        assert now() != before, name
        (folder / name).write_text(text)
    assert now() == before


def test_only_imported_modules_of_a_folder_without_init_count(folder: Path) -> None:
    assert covered(folder) == {name for name in FOLDER if name != "helpers/unused.py"
                               and not name.startswith("torch/")}  # fmt: skip


def test_files_and_packages_with_init_keep_their_digests(tmp_path: Path) -> None:
    """A relative import in a package is none of the folder beside the package."""
    texts = {
        "my.py": b"import plain, pack.one\n",
        "pack/__init__.py": b"",
        "pack/one.py": b"from .utils.two import x\nfrom . import three\n",
        "pack/utils/two.py": b"x = 1\n",
        "plain.py": b"import os\n",
    }
    for name, text in {**texts, "utils/two.py": b"", "pack2/three.py": b""}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(text)
    wanted = hashlib.sha256()
    for name, text in sorted(texts.items()):
        wanted.update(f"{len(name)} {name} {len(text)} ".encode() + text)
    assert covered(tmp_path) == set(texts)
    assert digest(tmp_path, beside(tmp_path / "my.py")) == wanted.hexdigest()
