"""What ``import repro`` gives: quick, lazy, the same for editors, with examples that run."""

import ast
import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import repro

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = (
    *("repro.analysis.results", "repro.analysis.results_table", "repro.analysis.compare.several"),
    *("repro.episodes.images", "repro.methods.live_code", "repro.run.function"),
    "repro.run.outside",
    *("repro.run.verify_results", "repro.engines.reproduce"),
)
FLAGS = doctest.NORMALIZE_WHITESPACE


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_repro_is_quick_and_loads_nothing_heavy() -> None:
    told = run(
        "import sys, time; began = time.process_time(); import repro; "
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'click', 'rich', 'matplotlib'}; "
        "print(time.process_time() - began, *heavy & set(sys.modules))"
    ).split()
    assert float(told[0]) < 0.1
    assert len(told) == 1, told


def test_results_tables_and_comparisons_need_no_torch() -> None:
    run(
        "import sys, repro; results = repro.results('results'); "
        "repro.table1(results, 'glyphs'); repro.compare(results.filter(dataset='glyphs')); "
        "assert 'torch' not in sys.modules"
    )


def test_every_name_is_there_and_says_what_it_is() -> None:
    assert len(repro.__all__) == len(set(repro.__all__))
    for name in repro.__all__:
        assert name in dir(repro)
        found = getattr(repro, name)
        assert name == "TABLE_1" or inspect.getdoc(found), name
    with pytest.raises(AttributeError, match="no attribute 'tabel1'"):
        repro.tabel1  # noqa: B018


def test_type_checkers_see_the_names_that_are_there() -> None:
    tree = ast.parse(Path(repro.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen.pop("episodes") == "repro.episodes.images"
    assert seen == repro._HOMES
    assert {*seen, "episodes"} == set(repro.__all__)


def test_the_package_of_episodes_is_the_function_however_it_is_reached() -> None:
    run(
        "import repro.episodes.sampler, repro; from repro import episodes; "
        "assert callable(repro.episodes) and episodes is repro.episodes; "
        "assert repro.episodes.EpisodeSampler is repro.EpisodeSampler"
    )


@pytest.mark.parametrize("module", EXAMPLES)
def test_the_examples_of_docstrings_run(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = doctest.testmod(importlib.import_module(module), optionflags=FLAGS)
    assert found.attempted > 0
    assert found.failed == 0
