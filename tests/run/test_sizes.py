"""Episodes of any way, shot and number of queries: what is trained, tested and refused."""

from pathlib import Path

import numpy as np
import pytest

from repro import records
from repro.data.pack import Pixels
from repro.data.pack_builder import SplitPlan, build_pack
from repro.papers import config
from repro.papers.catalogue import BUILT_IN
from repro.papers.config import RunConfig
from repro.run.cell import plan, run_cell
from repro.run.context import RunContext
from repro.system.errors import UsageError
from repro.system.interrupts import StopRequest
from repro.system.progress import Silent
from repro.system.seeding import Stream, rng
from tests.conftest import TINY

OF_TASK = ("meta_lstm", "maml", "fomaml")  # an output for each class


def cell(pack: Path, method: str, k_shot: int = 1, n_way: int = 5, n_query: int = 15) -> RunConfig:
    own = ((method, 2),) if BUILT_IN[method].n_step else ()
    budget = config.Budget(**{**vars(TINY), "own": own})
    (found,) = plan("tiny", pack, [method], [k_shot], [0], config.Recipe(), budget, "fp32", "cpu",
                    n_way=n_way, n_query=n_query)  # fmt: skip
    return found


def finish(runs: Path, pack: Path, config: RunConfig) -> records.Record:
    here = RunContext(runs, pack, 1, "cpu")
    return run_cell(config, here, Silent(), StopRequest(), "repro test")


def small_pack(n_class: int, n_image: int) -> Path:
    """Every split has so many classes of so many images of 16 px."""

    def plan(first: int) -> SplitPlan:
        def fill(array: Pixels) -> None:
            noise = rng(first, Stream.GLYPHS).uniform(array.size, 0, 60).reshape(array.shape)
            colour = np.repeat(np.arange(n_class) * (190 // n_class), n_image)
            array[:] = colour[:, None, None, None] + noise

        ids = tuple(f"c{first + i}" for i in range(n_class))
        return SplitPlan(ids, (n_image,) * n_class, fill)

    plans = {name: plan(place * n_class) for place, name in enumerate(("train", "val", "test"))}
    return build_pack("tiny", 16, plans, "made up")


@pytest.mark.parametrize("method", sorted(set(BUILT_IN) - {"matching_net_fce"}))
def test_every_row_runs_at_three_ways_three_shots_and_two_queries(
    tiny_pack: Path, tmp_path: Path, method: str
) -> None:
    record = finish(tmp_path, tiny_pack, cell(tiny_pack, method, 3, 3, 2))
    predictions = np.load(record.path / "predictions.npy")
    assert predictions.shape == (TINY.n_test_episode, 3 * 2)
    assert predictions.max() < 3
    assert (record.task.n_way, record.k_shot, record.task.n_query) == (3, 3, 2)
    assert records.config_of(record) == cell(tiny_pack, method, 3, 3, 2)


@pytest.mark.parametrize("method", sorted(BUILT_IN))
def test_a_training_is_shared_by_all_ways_unless_its_parameters_belong_to_one(
    tiny_pack: Path, method: str
) -> None:
    three, five = (cell(tiny_pack, method, 5, n_way, 4).training() for n_way in (3, 5))
    usual = cell(tiny_pack, method, 5).training()
    assert three is not None and five is not None and usual is not None
    assert five.digest == usual.digest  # queries of a test do not touch its training
    assert (three.digest == five.digest) == (method not in OF_TASK)
    assert three.n_way == (3 if method in OF_TASK else 5)


@pytest.mark.parametrize("method", ["finetune", "nearest_neighbor", "proto_net"])
def test_more_classes_than_meta_validation_has_can_be_tested(
    tiny_pack: Path, tmp_path: Path, method: str
) -> None:
    record = finish(tmp_path, tiny_pack, cell(tiny_pack, method, 1, 6))  # of 6; 5 in val
    predictions = np.load(record.path / "predictions.npy")
    assert predictions.shape == (TINY.n_test_episode, 6 * 15)
    if method != "finetune":  # whose two steps of training answer with two classes
        assert np.unique(predictions).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("method", OF_TASK)
def test_a_row_with_an_output_for_each_class_says_why_it_cannot(
    tiny_pack: Path, method: str
) -> None:
    with pytest.raises(UsageError, match=(
        f"{method} 1-shot 6-way: the val split has 5 classes, and {method} has an output for each "
        "class, so it is trained and validated in 6-way episodes; ask for --n-way 5 or less"
    )):  # fmt: skip
        cell(tiny_pack, method, 1, 6)


def test_more_classes_than_the_test_has_are_refused(tiny_pack: Path) -> None:
    with pytest.raises(UsageError, match="the test split has 6 classes; ask for --n-way 6 or less"):
        cell(tiny_pack, "nearest_neighbor", 1, 7)


@pytest.mark.parametrize("method", ["nearest_neighbor", "proto_net", "matching_net"])
def test_1_shot_of_classes_of_16_images_is_trained_and_tested(
    tmp_path: Path, cache: Path, method: str
) -> None:
    pack = small_pack(5, 16)
    asked = cell(pack, method)
    training = asked.training()
    assert training is not None
    # The shared trainings have 5-shot episodes too, of which 11 images are left for queries.
    assert training.n_query == (15 if method == "proto_net" else 11)
    record = finish(tmp_path, pack, asked)
    assert np.load(record.path / "predictions.npy").shape[1] == 5 * 15
    with pytest.raises(UsageError, match=(
        r"5-shot: an episode of the test split takes at least 20 images of a class \(5 support, 15 "
        r"query\), but c1\d has 16; ask for at most 1 shots or for --n-query 11, or leave"
    )):  # fmt: skip
        cell(pack, method, 5)
    assert cell(pack, method, 5, n_query=11).spec.n_query == 11


def test_fewer_than_five_classes_are_trained_in_as_many_ways_as_there_are(cache: Path) -> None:
    pack = small_pack(3, 25)
    with pytest.raises(UsageError, match="the test split has 3 classes; ask for --n-way 3 or less"):
        cell(pack, "proto_net")
    training = cell(pack, "proto_net", n_way=2).training()
    assert training is not None and training.n_way == 3
