"""Each way to break the protocol is found, and named in one sentence."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from repro.data.pack import ImageSplit
from repro.methods.checks.check import FAILED, NOTE, SKIPPED, Finding, examine
from repro.methods.optimizers import Optimizer
from repro.methods.registry import find
from repro.papers.catalogue import BUILT_IN
from repro.system.seeding import Stream, rng

HONEST = (Path(__file__).resolve().parents[3] / "examples/own-method/class_means.py").read_text()
SIZE = 16


def split(name: str) -> ImageSplit:
    """Noisy images of classes with a mean of their own."""
    n_class, per_class = 12, 30
    drawn = rng(len(name), Stream.GLYPHS).uniform(n_class * per_class * SIZE * SIZE * 3, 0, 60)
    level = np.repeat(np.arange(n_class) * 15, per_class)[:, None, None, None]
    images = (drawn.reshape(-1, SIZE, SIZE, 3) + level).astype(np.uint8)
    rows = tuple((per_class * i, per_class) for i in range(n_class))
    return ImageSplit("toy", name, images, tuple(f"c{i}" for i in range(n_class)), rows, "0" * 64)


def findings(path: Path, old: str, new: str) -> list[Finding]:
    """The answers of the example with a part of its source replaced."""
    assert old in HONEST
    path.write_text(HONEST.replace(old, new))
    return list(examine(find(f"{path}:ClassMeans"), split("train"), split("test")))


KEPT = "self.state, self.load_state = self.adam.state, self.adam.load_state"
PREDICT = "return self.scores(episode, images).log_softmax(1).detach()"
STEP = "        scores, labels = self.scores(episode, images)"
MADE = "        self.adam = Adam("


@pytest.mark.parametrize(
    ("old", "new", "rule", "said"),
    [
        (PREDICT, "return self.scores(episode, images)[:-1]", "predicts", r"shape \(39, 5\)"),
        (PREDICT, "return self.scores(episode, images).argmax(1)", "predicts", r"shape \(40,\)"),
        (PREDICT, "return self.scores(episode, images).long()", "predicts", "a tensor of int64"),
        (PREDICT, "return self.scores(episode, images).detach().numpy()", "predicts", "a ndarray"),
        (PREDICT, "return self.scores(episode, images) * float('nan')", "predicts",
         "NaN for 40 of 40 queries"),
        (PREDICT, "return self.scores(episode, images).detach()", "predicts",
         "add up to .*log_softmax"),
        (PREDICT, "raise ValueError('too few images')", "predicts",
         r"raised ValueError: too few images in predict at episode 0 \(class_means\.py:\d+\)"),
        (PREDICT, "self.net[1].bias.data[0] += 0.5; " + PREDICT, "keeps nothing", "keep nothing"),
        (PREDICT, "return (5.0 * nn.functional.one_hot(images.labels(episode.query_labels)))"
         ".log_softmax(1)",
         "order of the queries", "tells the labels"),
        (PREDICT, "s = self.scores(episode, images); s[:8, 0] += 1; return s.log_softmax(1)",
         "order of the queries", "tells the labels"),
        (PREDICT, "return (5.0 * (torch.tensor(episode.query // 30)[:, None] == "
         "torch.tensor(episode.class_indices))).log_softmax(1)",
         "numbers of images", "only pixels"),
        (PREDICT, "images.split.images[0] = 0; " + PREDICT, "predicts log", "read-only"),
        (PREDICT, "return self.scores(episode, images)[torch.randperm(40)].log_softmax(1)",
         "no global random", "that of torch in predict"),
        (MADE, "        self.net[0].bias.data += torch.rand(1)\n" + MADE, "no global random",
         "that of torch in __init__"),
        (STEP, "        import random; self.net[0].bias.data *= random.random()\n" + STEP,
         "no global random", "that of random in train_step"),
        (KEPT,
         "self.state, self.load_state = lambda: {'lr': 1e-3}, self.adam.load_state",
         "finite loss", "a float under 'lr'"),
        (KEPT,
         "self.load_state = self.adam.load_state", "is built", "has no state"),
        (KEPT,
         "self.load_state = self.adam.load_state; self.state = lambda: dict("
         "self.net.named_parameters())",
         "continues from its state", "another training step .*state has to hold all"),
        (KEPT,
         "self.state, self.load_state = self.adam.state, lambda state: None",
         "continues from its state", "predict differently"),
        (STEP, "        self.n = getattr(self, 'n', 0) + 1; self.net[1].bias.data += self.n\n"
         + STEP,
         "state and step number", "made other steps before"),
        (PREDICT, "self.adam.inner.param_groups[0]['lr'] = 1.0; " + PREDICT,
         "leave the training alone", "predicted meanwhile"),
        (KEPT,
         "self.state = self.adam.state; self.load_state = lambda s: (s['adam.0.bias.step'], "
         "self.adam.load_state(s))", "a record keeps", "names begin with adam"),
        ("StepResult(loss.item(), ", "StepResult(float('nan'), ", "finite loss", "loss is nan"),
        ("return StepResult(loss.item(), accuracy(scores, labels))", "return loss.item()",
         "finite loss", "a float in train_step at step 0"),
        ("self.adam.step()", "self.adam.stop()", "finite loss", "raised AttributeError"),
        ("self.setting = setting", "pass", "finite loss",
         "no attribute 'setting'"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_named(old: str, new: str, rule: str, said: str, tmp_path: Path) -> None:
    found = findings(tmp_path / "class_means.py", old, new)
    broken = [f for f in found if f.verdict == FAILED and rule in f.rule]
    assert len(broken) == 1, found
    assert re.search(said, broken[0].told), broken[0].told
    assert "\n" not in broken[0].told


def test_a_transductive_method_is_marked_and_not_refused(tmp_path: Path) -> None:
    centred = "s = self.scores(episode, images); return (s - s.mean(0)).log_softmax(1).detach()"
    found = findings(tmp_path / "class_means.py", PREDICT, centred)
    assert [f.told[:12] for f in found if f.verdict == NOTE] == ["transductive"]
    assert not [f for f in found if f.verdict == FAILED]


def test_rules_that_could_not_be_examined_are_named(tmp_path: Path) -> None:
    found = findings(tmp_path / "class_means.py", PREDICT, "return None")
    skipped = [f for f in found if f.verdict == SKIPPED]
    assert "does not use the order of the queries" in [f.rule for f in skipped]
    (failed,) = [f for f in found if f.verdict == FAILED]
    assert all(f.told == f"not examined; mend first: {failed.rule}" for f in skipped)
    assert len({f.rule for f in found}) == len(found)


_SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("finetune", "meta_lstm")]


@pytest.mark.parametrize("name", ["nearest_neighbor", "matching_net", *_SLOW])
def test_built_in_rows_keep_to_the_protocol(name: str) -> None:
    state = torch.get_rng_state()
    found = list(examine(BUILT_IN[name], split("train"), split("test")))
    assert not [f for f in found if f.verdict == FAILED]
    assert torch.equal(torch.get_rng_state(), state)


SCHEDULE = (
    "        self.count = torch.optim.lr_scheduler.StepLR(self.adam.inner, {every}, 0.1)\n"
)  # fmt: skip


@pytest.mark.parametrize(
    ("every", "verdict", "rule", "said"),
    [
        (10, FAILED, "continues from its state", "another training step 1"),
        (1000, NOTE, "keeps no counter", r"count\.last_epoch \(2 and 0\)"),
    ],
)
def test_a_schedule_that_counts_for_itself_is_found_even_where_it_matters_late(
    every: int, verdict: str, rule: str, said: str, tmp_path: Path
) -> None:
    source = HONEST.replace("        " + KEPT, SCHEDULE.format(every=every) + "        " + KEPT)
    assert "self.adam.step()" in source
    source = source.replace("self.adam.step()", "self.adam.step(); self.count.step()")
    path = tmp_path / "class_means.py"
    path.write_text(source)
    found = list(examine(find(f"{path}:ClassMeans"), split("train"), split("test")))
    (told,) = [f.told for f in found if f.verdict == verdict and rule in f.rule]
    assert re.search(said, told), told


@pytest.mark.parametrize(
    ("new", "rule", "said"),
    [
        ("from repro.data.preparing import load_split; load_split('glyphs', None, 'test')\n",
         "only the images", r"opens test\.npy of a data set in train_step"),
        ("import numpy, pathlib; numpy.load(pathlib.Path(images.split.images.filename)"
         ".with_name('test.npy'))\n", "only the images", r"opens test\.npy"),
        ("__import__('pathlib').Path(FILE).read_text()\n", "reads no file",
         "notes.txt in train_step, which its digest"),
        ("import importlib, sys; sys.path.append(FOLDER); importlib.import_module('late_one')\n",
         "reads no file", "late_one.py in train_step"),
        ("torch.backends.mkldnn.enabled = False\n", "torch's global settings",
         "torch.backends.mkldnn.enabled from True to False in train_step"),
        ("torch.set_default_dtype(torch.float64)\n", "torch's global settings", "float64"),
    ],
)  # fmt: skip
def test_what_a_method_does_beside_its_answers_is_found(
    new: str, rule: str, said: str, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "late_one.py").write_text("x = 1")
    (elsewhere / "notes.txt").write_text("1")
    new = new.replace("FILE", repr(str(elsewhere / "notes.txt")))
    new = new.replace("FOLDER", repr(str(elsewhere)))
    try:
        found = findings(tmp_path / "class_means.py", STEP, f"        {new}{STEP}")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.backends.mkldnn.enabled = True  # type: ignore[assignment]
    (told,) = [f.told for f in found if f.verdict == FAILED and rule in f.rule]
    assert re.search(said, told), told


def test_files_that_the_class_names_and_modules_beside_it_are_covered(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("x = 1")
    (tmp_path / "table.txt").write_text("1")
    table = repr(str(tmp_path / "table.txt"))
    new = f"        import beside, pathlib\n        pathlib.Path({table}).read_text()\n{STEP}"
    source = HONEST.replace("class ClassMeans:\n", "class ClassMeans:\n    files = ['table.txt']\n")
    path = tmp_path / "class_means.py"
    path.write_text(source.replace(STEP, new))
    assert "files = " in path.read_text()
    found = list(examine(find(f"{path}:ClassMeans"), split("train"), split("test")))
    assert not [f for f in found if f.verdict == FAILED], found


@pytest.mark.parametrize("make", [
    lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9), lambda ps: torch.optim.SGD(ps, lr=0.1),
    lambda ps: torch.optim.AdamW(ps, lr=0.1), lambda ps: torch.optim.RMSprop(ps, lr=0.1),
    lambda ps: torch.optim.NAdam(ps, lr=0.1),
])  # fmt: skip
def test_a_resumed_optimizer_of_any_kind_makes_the_same_steps(make: object) -> None:
    def made() -> Optimizer:
        return Optimizer({"w": torch.arange(4.0).clone()}, make)  # type: ignore[arg-type]

    def steps(optimizer: Optimizer, n: int) -> torch.Tensor:
        for _ in range(n):
            loss = optimizer.params["w"].sin().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return optimizer.params["w"].detach().clone()

    whole, resumed = made(), made()
    steps(whole, 3)
    resumed.load_state({k: v.clone() for k, v in whole.state().items()})
    assert torch.equal(steps(whole, 4), steps(resumed, 4))
    assert all(k == "w" or k.startswith("optimizer.w.") for k in whole.state())
    with pytest.raises(TypeError, match="tensors only"):
        lbfgs = Optimizer({"w": torch.ones(2)}, lambda ps: torch.optim.LBFGS(ps))
        lbfgs.inner.state[lbfgs.params["w"]]["n_iter"] = 3
        lbfgs.state()
