"""Imports go one way, and analysis needs no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import repro

HOME = Path(repro.__file__).parent
LAYERS = [
    {
        "errors",
        "paper",
        "references",
        "allocator",
        "interrupts",
        "progress",
        "board",
        "ray_cluster",
        "names",
    },
    {"regular"},
    {"processes"},
    {"storage", "seeding"},
    {"code_files"},
    {"rows"},
    {"presets"},
    {"config"},
    {"units"},
    {"switches"},
    {"record_schema", "revisions"},
    {"data", "episodes", "record_files", "records", "ablation_records", "checkpoints"},
    {"milestones"},
    {"publishing"},
    {"remote"},
    {"kernels"},
    {"augmentation", "learner", "stacked", "inner_loop", "context", "replay"},
    {"meta_learner"},
    {"fused_cell", "native_cell"},
    {"methods"},
    {"gate_traces", "training", "evaluation", "provenance", "locks"},
    {"grid_search"},
    {"cells"},
    {"method_probes", "method_watch"},
    {"method_questions"},
    {"verify", "method_check", "parts"},
    {"engine", "ship", "ray_hub"},
    {"ray_worker"},
    {"ray_tasks"},
    {"ray_engine", "ablation"},
    {"plain"},
    {"bench", "bench_work"},
    {"analysis"},
    {"cli_options"},
    {"cli_data", "cli_fetch", "cli_method", "cli_report", "cli_results"},
    {"cli_figures"},
    {"cli_work"},
    {"cli_ablate", "cli_bench", "cli_compare", "cli_run"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
MAY_MEET_WITHIN_A_LAYER = {"data", "methods", "analysis", "learner", "storage", "config", "bench"}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "repro":
                found |= {alias.name for alias in node.names}
            elif node.module.startswith("repro."):
                found.add(node.module.removeprefix("repro."))
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_imports_go_down_the_list() -> None:
    for path in HOME.rglob("*.py"):
        own = path.relative_to(HOME).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for name in imported(path):
            other = name.split(".")[0]
            if other in RANK and other != own:
                assert RANK[other] <= RANK[own], f"{path} imports {name}"


def test_methods_never_import_each_other() -> None:
    for path in (HOME / "methods").glob("*.py"):
        for name in imported(path):
            if name.startswith("methods."):
                parts = name in ("methods.described", "methods.guard")
                assert name == "methods.base" or (path.name == "registry.py" and parts), (
                    f"{path} imports {name}"
                )


def test_analysis_and_its_commands_import_no_torch() -> None:
    code = (
        "import sys, repro.analysis.report, repro.cli_report, repro.cli; "
        "sys.exit(any(m.split('.')[0] == 'torch' for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_pickle_is_ever_loaded_but_by_the_reader_of_plain_data() -> None:
    for path in HOME.rglob("*.py"):
        if path != HOME / "data" / "safe_pickle.py":
            assert not imported(path) & {"pickle", "cPickle", "dill", "joblib", "shelve"}, path
        assert "torch.load" not in path.read_text(), path
        assert "allow_pickle=True" not in path.read_text(), path


def test_modules_are_short() -> None:
    for path in HOME.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path
        assert path.stem != "utils"
