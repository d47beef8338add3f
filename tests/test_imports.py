"""Imports go one way, and analysis needs no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import repro

HOME = Path(repro.__file__).parent
# A package imports only itself and what stands above it.
PACKAGES = [
    "system", "papers", "data", "learner", "records", "episodes",
    "methods", "analysis", "run", "bench", "engines", "cli",
]  # fmt: skip
# repro/ itself holds these alone.
TOP = {"__init__.py", "__main__.py", "py.typed"}


def imported(path: Path) -> set[str]:
    """Every module or name of ``repro`` that a file imports, without the leading ``repro.``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "repro" or node.module.startswith("repro."):
                inside = node.module.removeprefix("repro").removeprefix(".")
                found |= {f"{inside}.{alias.name}".removeprefix(".") for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("repro.") for alias in node.names}
    return found


def modules() -> dict[str, Path]:
    """Dotted name, without the leading ``repro.``, and file of every module."""
    found = {}
    for path in HOME.rglob("*.py"):
        parts = path.relative_to(HOME).with_suffix("").parts
        found[".".join(parts).removesuffix("__init__").rstrip(".")] = path
    return found


def test_the_package_is_twelve_packages_and_nothing_else() -> None:
    here = {p.name for p in HOME.iterdir() if p.name != "__pycache__"}
    assert here == {*PACKAGES, *TOP}


def test_a_package_imports_only_those_above_it() -> None:
    for path in HOME.glob("*/**/*.py"):
        own = path.relative_to(HOME).parts[0]
        for name in imported(path):
            other = name.split(".")[0]
            if other in PACKAGES:
                assert PACKAGES.index(other) <= PACKAGES.index(own), f"{path} imports {name}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    uses = {}
    for name, path in known.items():
        reached = set()
        for target in imported(path):
            module = target if target in known else target.rpartition(".")[0]
            # A package hands on the names of its own modules: they may import it as a name.
            if module in known and module != name and known[module].name != "__init__.py":
                reached.add(module)
        uses[name] = reached
    while leaves := [name for name, reached in uses.items() if not reached & uses.keys()]:
        for name in leaves:
            del uses[name]
    circle = {name: sorted(reached & uses.keys()) for name, reached in uses.items()}
    # What is left uses a circle or is part of one.
    assert not circle, circle


def test_a_package_hands_names_on_and_holds_no_logic() -> None:
    for path in HOME.rglob("__init__.py"):
        for node in ast.parse(path.read_text()).body:
            assert not isinstance(node, ast.ClassDef | ast.For | ast.While | ast.With), path
            if isinstance(node, ast.FunctionDef):
                assert node.name == "__getattr__" and path.parent == HOME, path


def test_methods_never_import_each_other() -> None:
    protocol = {f"methods.{name}" for name in ("base", "setting", "split_images", "optimizers")}
    own = {
        f"methods.{name}"
        for name in ("code_files", "live_code", "description", "guard", "own_code")
    }
    for path in (HOME / "methods").glob("*.py"):
        for name in imported(path):
            if name.startswith("methods."):
                module = ".".join(name.split(".")[:2])
                finding = path.name in ("registry.py", "own_code.py") and module in own
                assert module in protocol or finding, f"{path} imports {name}"


def test_analysis_and_its_commands_import_no_torch() -> None:
    code = (
        "import sys, repro.analysis.report.page, repro.cli.report, repro.cli.main; "
        "sys.exit(any(m.split('.')[0] == 'torch' for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_pickle_is_ever_loaded_but_by_the_reader_of_plain_data() -> None:
    for path in HOME.rglob("*.py"):
        if path != HOME / "data" / "files" / "safe_pickle.py":
            assert not imported(path) & {"pickle", "cPickle", "dill", "joblib", "shelve"}, path
        if path != HOME / "learner" / "backbones.py":  # weights of others, as tensors only
            assert "torch.load" not in path.read_text(), path
        assert "allow_pickle=True" not in path.read_text(), path


def test_weights_of_others_are_loaded_without_running_code() -> None:
    text = (HOME / "learner" / "backbones.py").read_text()
    calls = [call.split(")")[0] for call in text.split("torch.load(")[1:]]
    assert len(calls) == 1 and calls[0].endswith("weights_only=True")


def test_modules_are_short() -> None:
    for path in HOME.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path
        assert path.stem != "utils"
