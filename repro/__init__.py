"""A reproducibility benchmark harness for few-shot learning.

Everything in :data:`__all__` is loaded when it is first used, so ``import repro`` is quick and
loads no torch.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # for editors and type checkers; _HOMES says the same at run time
    from repro.analysis.compare.several import Comparisons, compare
    from repro.analysis.results import Results, results
    from repro.analysis.results_table import Check, check, table1
    from repro.data.dataset import Selection
    from repro.data.pack_builder import SplitPlan, build_pack
    from repro.engines.reproduce import reproduce
    from repro.episodes.images import Episodes, episodes
    from repro.episodes.sampler import Episode, EpisodeSampler
    from repro.methods.base import Method, StepResult, Trainable, accuracy
    from repro.methods.optimizers import Adam
    from repro.methods.setting import Setting
    from repro.methods.split_images import SplitImages
    from repro.papers.budgets import Budget
    from repro.papers.config import EpisodeSpec
    from repro.papers.paper import TABLE_1
    from repro.papers.recipes import Recipe
    from repro.records.tested_cell import Record
    from repro.run.function import evaluate
    from repro.run.outside import import_predictions
    from repro.run.verify_results import verify
    from repro.system.errors import ReproError
    from repro.system.seeding import Stream, rng

_HOMES = {
    "Results": "repro.analysis.results",
    "results": "repro.analysis.results",
    "table1": "repro.analysis.results_table",
    "check": "repro.analysis.results_table",
    "Check": "repro.analysis.results_table",
    "compare": "repro.analysis.compare.several",
    "Comparisons": "repro.analysis.compare.several",
    "Episodes": "repro.episodes.images",
    "evaluate": "repro.run.function",
    "import_predictions": "repro.run.outside",
    "verify": "repro.run.verify_results",
    "reproduce": "repro.engines.reproduce",
    "Record": "repro.records.tested_cell",
    "Episode": "repro.episodes.sampler",
    "EpisodeSampler": "repro.episodes.sampler",
    "EpisodeSpec": "repro.papers.config",
    "Recipe": "repro.papers.recipes",
    "Budget": "repro.papers.budgets",
    "Selection": "repro.data.dataset",
    "Method": "repro.methods.base",
    "Trainable": "repro.methods.base",
    "Setting": "repro.methods.setting",
    "SplitImages": "repro.methods.split_images",
    "StepResult": "repro.methods.base",
    "Adam": "repro.methods.optimizers",
    "accuracy": "repro.methods.base",
    "rng": "repro.system.seeding",
    "Stream": "repro.system.seeding",
    "ReproError": "repro.system.errors",
    "TABLE_1": "repro.papers.paper",
    "SplitPlan": "repro.data.pack_builder",
    "build_pack": "repro.data.pack_builder",
}

__all__ = [
    "TABLE_1", "Adam", "Budget", "Check", "Comparisons", "Episode", "EpisodeSampler",
    "EpisodeSpec", "Episodes", "Method", "Recipe", "Record", "ReproError", "Results", "Selection",
    "Setting", "SplitImages", "SplitPlan", "StepResult", "Stream", "Trainable", "accuracy",
    "build_pack", "check", "compare", "episodes", "evaluate", "import_predictions", "reproduce",
    "results", "rng", "table1", "verify",
]  # fmt: skip

if not TYPE_CHECKING:  # a checker would take every name to be there

    def __getattr__(name: str) -> Any:
        import importlib

        if name == "episodes":  # a package that can be called
            return importlib.import_module("repro.episodes")
        if name not in _HOMES:
            raise AttributeError(f"module 'repro' has no attribute {name!r}")
        return getattr(importlib.import_module(_HOMES[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
