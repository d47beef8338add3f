"""A user's own callable on the fixed episodes: its record, its place among others, its mistakes."""

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import repro
from repro.cli.main import cli
from repro.records import config_of, read_record
from repro.system.errors import MethodError, StorageError, UsageError

N = 12


@pytest.fixture
def episodes() -> repro.Episodes:
    return repro.episodes("glyphs", k_shot=1, n_episode=N)


def nearest(support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
    """Labels of the nearest support images."""
    return labels[torch.cdist(query.flatten(1), support.flatten(1)).argmin(1)]


def evaluate(function: Any, episodes: repro.Episodes, runs: Path, **options: Any) -> repro.Results:
    return repro.evaluate(function, episodes, runs=runs, progress=False, **options)


def test_accuracies_are_those_of_the_answers_counted_by_hand(
    episodes: repro.Episodes, tmp_path: Path
) -> None:
    found = evaluate(nearest, episodes, tmp_path)
    for episode, accuracy in zip(episodes, found.accuracy[0], strict=True):
        support, query = (
            episodes.split.images[rows].reshape(len(rows), -1).astype(np.float64)
            for rows in (episode.episode.support, episode.episode.query)
        )
        distance = ((query[:, None] - support) ** 2).sum(2)
        answer = episode.support.labels.numpy()[distance.argmin(1)]
        assert accuracy == (answer == episode.query.labels.numpy()).mean()


def test_scores_and_labels_say_the_same_as_tensors_and_as_arrays(
    episodes: repro.Episodes, tmp_path: Path
) -> None:
    def scores(support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        return nn.functional.one_hot(nearest(support, labels, query), 5)

    def arrays(support: Tensor, labels: Tensor, query: Tensor) -> Any:
        return scores(support, labels, query).numpy()

    found = [evaluate(f, episodes, tmp_path).accuracy for f in (nearest, scores, arrays)]
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()


def test_the_order_of_the_queries_tells_nothing(episodes: repro.Episodes, tmp_path: Path) -> None:
    def by_place(support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        return torch.arange(5).repeat_interleave(len(query) // 5)

    assert evaluate(by_place, episodes, tmp_path).accuracy.mean() < 0.35  # chance: 0.2


def test_the_record_is_one_like_any_other(episodes: repro.Episodes, tmp_path: Path) -> None:
    record = evaluate(nearest, episodes, tmp_path)[0]
    again = read_record(record.path)
    assert config_of(again).digest == again.digests["config"]
    assert again.digests["episodes"] == episodes.digest
    assert again.digests["data"] == episodes.split.digest
    predictions = np.load(record.path / "predictions.npy", allow_pickle=False)
    labels = np.stack([e.query_labels for e in episodes.rows])
    assert ((predictions == labels).mean(1) == again.accuracy).all()
    budget = f"smoke,n_test_episode={N},pretrain=2,n_validation_episode=2"
    other = repro.reproduce(
        "glyphs", budget, "nearest_neighbor", shots=[1], runs=tmp_path, progress=False
    )
    assert other[0].digests["episodes"] == again.digests["episodes"]
    pair = repro.compare(repro.Results([again]), other)[0]
    assert pair.interval.mean == pytest.approx((again.accuracy - other[0].accuracy).mean())
    runs = ["--runs", str(tmp_path)]
    shown = CliRunner().invoke(cli, ["table", *runs])
    assert "Nearest (not in the paper)" in shown.output, shown.output
    line = shown.output.split("Nearest (not in the paper)")[1].splitlines()[1]
    assert "unknown" in line  # how its model was trained
    assert ":nearest of a Python" in shown.output
    compared = CliRunner().invoke(cli, ["compare", *runs]).output
    assert "nearest_neighbor − nearest " in compared, compared
    assert "Nearest" in CliRunner().invoke(cli, ["check", *runs]).output
    page = tmp_path / "report.html"
    made = CliRunner().invoke(cli, ["report", *runs, "--output", str(page)])
    assert made.exit_code == 0, made.output
    assert "Nearest" in page.read_text()
    refused = CliRunner().invoke(cli, ["verify", str(record.path)])
    assert refused.exit_code == 1


def test_the_same_answers_leave_the_record_and_another_model_is_another_record(
    episodes: repro.Episodes, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = nn.Linear(3 * 28 * 28, 8)

    def features(support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        return nearest(net(support.flatten(1)), labels, net(query.flatten(1)))

    first = evaluate(features, episodes, tmp_path)[0]
    same = evaluate(features, episodes, tmp_path)[0]
    assert (same.path, same.started_at) == (first.path, first.started_at)
    assert same.earlier_tests == ()
    with torch.no_grad():
        net.weight.add_(torch.randn_like(net.weight))
    other = evaluate(features, episodes, tmp_path)[0]
    assert other.path != first.path
    assert len(repro.results(tmp_path)["features", 1]) == 2


def test_other_answers_of_the_same_code_are_told_as_another_test(
    episodes: repro.Episodes, tmp_path: Path
) -> None:
    drawn = iter(range(10**6))

    def chance(support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        return torch.full((len(query),), next(drawn) // N % 5)

    first = evaluate(chance, episodes, tmp_path)[0]
    second = evaluate(chance, episodes, tmp_path)[0]
    assert second.path == first.path
    assert [told["started_at"] for told in second.earlier_tests] == [first.started_at]


def test_nothing_is_written_of_validation_and_it_is_no_cell_of_a_table(tmp_path: Path) -> None:
    validation = repro.episodes("glyphs", "val", k_shot=1, n_episode=N)
    found = evaluate(nearest, validation, tmp_path)
    assert found.accuracy.shape == (1, N)
    assert "glyphs val" in repr(found)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="records of val"):
        repro.table1(found)

    def first(support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        return torch.zeros(len(query), dtype=torch.long)

    pair = repro.compare(found, evaluate(first, validation, tmp_path))[0]
    assert pair.interval.mean == pytest.approx(found.accuracy.mean() - 0.2)


@pytest.mark.parametrize(
    ("function", "options", "error", "sentence"),
    [
        (lambda s, y, q: y, {}, UsageError, "no name of its own; give one with name="),
        (lambda s, y, q: y, {"name": "short"}, MethodError, r"gave a tensor of shape \(5,\)"),
        (lambda s, y, q: None, {"name": "none"}, MethodError, "gave a NoneType; expected are"),
        (lambda s, y, q: torch.full((75,), 5), {"name": "six"}, MethodError, "outside 0 to 4"),
        (lambda s, y, q: torch.full((75, 5), torch.nan), {"name": "nan"}, MethodError, "NaN"),
        (lambda s, y, q: 1 / 0, {"name": "zero"}, MethodError, "raised ZeroDivisionError"),
        (nearest, {"name": "Nearest Ones"}, MethodError, "small letters"),
        (nearest, {"name": "meta_lstm"}, MethodError, "another name"),
        ("nearest", {}, UsageError, "expected is a function or a model, not a str"),
    ],
)
def test_a_mistake_gets_one_sentence_and_leaves_nothing(
    function: Any, options: dict[str, str], error: type, sentence: str,
    episodes: repro.Episodes, tmp_path: Path,
) -> None:  # fmt: skip
    with pytest.raises(error, match=sentence):
        evaluate(function, episodes, tmp_path, **options)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("row", "place"),
    [
        (np.array([1, 1 + 1e-12, 0, 0, 0]), 1),
        (np.array([2**60, 2**60 + 1, 0, 0, 0]), 1),
        (np.array([0, 2**63, 2**63 + 1, 1, 0], np.uint64), 2),
        (np.array([False, False, False, True, False]), 3),
        (np.array([-np.inf, -np.inf, -np.inf, -np.inf, -9], np.float32), 4),
    ],
)
def test_of_close_scores_the_larger_one_wins(
    row: Any, place: int, episodes: repro.Episodes, tmp_path: Path
) -> None:
    def close(support: Tensor, labels: Tensor, query: Tensor) -> Any:
        return np.tile(row, (len(query), 1))

    record = evaluate(close, episodes, tmp_path)[0]
    assert (np.load(record.path / "predictions.npy") == place).all()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32, np.uint64, np.int16])
def test_labels_of_every_whole_kind_and_of_views_are_taken(
    kind: Any, episodes: repro.Episodes, tmp_path: Path
) -> None:
    def view(support: Tensor, labels: Tensor, query: Tensor) -> Any:
        return nearest(support, labels, query).numpy()[::-1].astype(kind).copy()[::-1]

    wanted = evaluate(nearest, episodes, tmp_path).accuracy
    assert (evaluate(view, episodes, tmp_path).accuracy == wanted).all()


def always(answer: Any) -> Any:
    """A function that gives this for every episode."""
    return lambda support, labels, query: answer


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (torch.ones(75, 5, dtype=torch.complex64), "gave complex numbers; expected are real"),
        (torch.ones(75, dtype=torch.complex64), "gave complex numbers; expected are real"),
        (torch.full((75, 5), math.inf), "a score of .infinity"),
        (torch.full((75, 5), -math.inf), "-infinity for every class of 75 of 75 queries"),
    ],
)
def test_scores_that_say_nothing_are_refused(
    answer: Tensor, sentence: str, episodes: repro.Episodes, tmp_path: Path
) -> None:
    with pytest.raises(MethodError, match=sentence):
        evaluate(always(answer), episodes, tmp_path, name="bad")


@pytest.mark.parametrize("kind", [torch.float32, torch.int64, torch.complex64])
@pytest.mark.parametrize("shape", [(75, 5), (75,)])
def test_scores_without_values_are_refused(
    kind: torch.dtype, shape: tuple[int, ...], episodes: repro.Episodes, tmp_path: Path
) -> None:
    def on_meta(support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        return torch.ones(shape, dtype=kind, device="meta")

    with pytest.raises(MethodError):
        evaluate(on_meta, episodes, tmp_path)


class Linked:
    """An entry of a long list."""

    def __init__(self, rest: Any) -> None:
        self.rest = rest


def linked(n: int) -> Any:
    found = None
    for _ in range(n):
        found = Linked(found)
    return found


def test_code_that_has_no_digest_is_refused_in_a_sentence(
    episodes: repro.Episodes, tmp_path: Path
) -> None:
    values = [
        torch.eye(3).to_sparse(),
        torch.ones(3, device="meta"),
        torch.ones(3, dtype=torch.complex64).conj(),
        nn.LazyLinear(3),
        linked(3000),
    ]
    for value in values:

        def uses(support: Tensor, labels: Tensor, query: Tensor, value: Any = value) -> Any:
            return value

        with pytest.raises(MethodError, match="what uses uses has no digest"):
            evaluate(uses, episodes, tmp_path)


def never(support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
    raise AssertionError("an episode was run")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        *(({"seed": seed}, "seed is a whole number from 0")
          for seed in (-1, 1.5, "3", True, None, 2**70, 10**5000)),
        *(({"device": device}, "device is auto, cpu or cuda, not")
          for device in ("gpu", None, "mps", torch.device("meta"))),
        ({"device": "cuda:9999"}, "device cuda:9999: torch finds no such GPU here"),
        ({"name": 3}, "name is text, not 3"),
        ({"title": 3}, "title is text, not 3"),
        ({"runs": "s3://bucket/runs"}, "the command line takes URLs"),
        ({"runs": Path("s3://bucket/runs")}, "the command line takes URLs"),
        ({"runs": None}, "runs is a folder, not None"),
        ({"episodes": []}, "expected are episodes such as .* not a list"),
        ({"episodes": "glyphs"}, "expected are episodes such as .* not a str"),
    ],
)  # fmt: skip
def test_an_impossible_choice_is_refused_before_any_episode(
    options: dict[str, Any], sentence: str, episodes: repro.Episodes, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    asked = {"runs": tmp_path, "episodes": episodes, "progress": False, **options}
    with pytest.raises(UsageError, match=sentence):
        repro.evaluate(never, **asked)
    assert not list(tmp_path.iterdir())


def test_an_episode_alone_is_not_a_list_of_them(episodes: repro.Episodes, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a EpisodeImages"):
        evaluate(never, episodes[0], tmp_path)  # type: ignore[arg-type]


def test_a_file_in_the_way_of_runs_is_told_before_any_episode(
    episodes: repro.Episodes, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for runs in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(StorageError, match="choose a readable and writable folder"):
            evaluate(never, episodes, runs)


def test_seeds_of_numpy_and_devices_of_torch_are_those_of_their_names(
    episodes: repro.Episodes, tmp_path: Path
) -> None:
    plain = evaluate(nearest, episodes, tmp_path, seed=3, device="cpu")[0]
    same = evaluate(nearest, episodes, tmp_path, seed=np.int64(3), device=torch.device("cpu"))[0]
    assert (same.path, same.digests) == (plain.path, plain.digests)
    assert repro.results(tmp_path)[0].seed == 3


def test_it_works_beside_the_main_thread(episodes: repro.Episodes, tmp_path: Path) -> None:
    found: list[repro.Results] = []

    def work() -> None:
        found.append(evaluate(nearest, episodes, tmp_path))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(found) == 1
