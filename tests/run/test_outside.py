"""Predictions made elsewhere: counted exactly, marked wherever they are shown, refused if wrong."""

import csv
import functools
import json
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import CliRunner, Result
from filelock import FileLock

import repro
from repro.analysis.report.differences_section import short
from repro.cli.main import cli
from repro.papers.method_names import OUTSIDE
from repro.records import config_of, read_record
from repro.system.errors import RecordError, StorageError, UsageError

N, QUERIES, WAYS = 8, 75, 5
BUDGET = f"smoke,n_test_episode={N}"
Labels = npt.NDArray[np.int64]


@pytest.fixture(scope="module")
def episodes() -> repro.Episodes:
    return repro.episodes("glyphs", k_shot=1, n_episode=N, budget="smoke")


@pytest.fixture
def labels() -> Labels:
    return repro.rng(3, repro.Stream.GLYPHS).raw(N * QUERIES).astype(np.int64).reshape(N, -1) % WAYS


def lines_of(labels: Labels, digest: str) -> list[list[Any]]:
    rows = [[digest, e, q, label] for (e, q), label in np.ndenumerate(labels)]
    return [["digest", "episode", "query", "label"], *rows]


def write_csv(path: Path, lines: list[list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return path


def run(path: Path, runs: Path, *more: str) -> Result:
    words = ["import", str(path), "--name", "Their method", "--k-shot", "1", "--budget", BUDGET]
    return CliRunner().invoke(cli, [*words, "--runs", str(runs), *more])


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def one_hot(labels: Labels) -> npt.NDArray[np.float64]:
    return np.eye(WAYS)[labels] + 0.25


def json_lines(entries: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def test_every_format_gives_the_accuracies_counted_by_hand(
    episodes: repro.Episodes, labels: Labels, tmp_path: Path
) -> None:
    digest, scores = episodes.short_digest, one_hot(labels)
    write_csv(tmp_path / "labels.csv", lines_of(labels, digest))
    names = [f"score_{i}" for i in range(WAYS)]
    rows = [[e, q, *scores[e, q]] for e, q in np.ndindex(labels.shape)]
    write_csv(tmp_path / "scores.csv", [["episode", "query", *names], *rows])
    head = {"digest": digest}
    by_episode = [{"episode": e, "labels": row.tolist()} for e, row in enumerate(labels)]
    (tmp_path / "episodes.jsonl").write_text(json_lines([head, *by_episode]))
    scored = [{"episode": e, "scores": row.tolist()} for e, row in enumerate(scores)]
    (tmp_path / "scores.jsonl").write_text(json_lines([head, *scored]))
    by_query = [
        {"episode": e, "query": q, "label": int(v), **head} for (e, q), v in np.ndenumerate(labels)
    ]
    (tmp_path / "queries.jsonl").write_text(json_lines(by_query))
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "scores.npy", scores.astype(np.float32))
    truth = np.stack([episode.query_labels for episode in episodes.rows])
    sources = sorted(path for path in tmp_path.iterdir() if path.is_file())
    assert len(sources) == 7
    for source in sources:
        runs = tmp_path / f"runs-{source.name}"
        done = run(source, runs, "--digest", digest)
        assert done.exit_code == 0, done.output
        (record,) = repro.results(runs)
        np.testing.assert_array_equal(record.accuracy, (labels == truth).mean(1))
        written = np.load(record.path / "predictions.npy", allow_pickle=False)
        np.testing.assert_array_equal(written, labels)
    for array in (labels, scores, labels.tolist()):
        runs = tmp_path / f"runs-{type(array).__name__}-{np.ndim(array)}"
        made = repro.import_predictions(array, episodes, "Theirs", digest=digest, runs=runs)
        np.testing.assert_array_equal(made.accuracy[0], (labels == truth).mean(1))


def test_the_record_is_one_like_any_other_without_a_claim_on_training_or_hardware(
    episodes: repro.Episodes, labels: Labels, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "p.csv", lines_of(labels, episodes.short_digest))
    done = run(path, tmp_path / "runs", "--origin", "github.com/them/theirs at 1a2b3c4")
    assert done.exit_code == 0, done.output
    (record,) = repro.results(tmp_path / "runs")
    assert read_record(record.path).outside
    config = config_of(record)
    assert config.digest == record.digests["config"]
    assert config.own is not None
    assert config.own.source is not None
    assert config.own.source.package == OUTSIDE
    assert (record.digests["episodes"], record.digests["data"]) == (
        episodes.digest,
        episodes.split.digest,
    )
    assert (record.versions, record.device, record.training) == ({}, "elsewhere", {"n_step": 0})
    assert record.config["precision"] == "unknown"


def test_an_outside_row_is_marked_wherever_it_is_shown_and_never_called_measured(
    episodes: repro.Episodes, labels: Labels, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    path = write_csv(tmp_path / "p.csv", lines_of(labels, episodes.short_digest))
    assert run(path, runs, "--origin", "a paper").exit_code == 0

    def first(support: Any, labels: Any, query: Any) -> Any:
        return np.zeros(len(query), dtype=int)

    mine = repro.evaluate(first, episodes, runs=runs, progress=False, name="first")

    def shown(*words: str) -> str:
        done = CliRunner().invoke(cli, [*words, "--runs", str(runs)])
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    for style in ("text", "markdown", "latex"):
        table = shown("table", "--format", style)
        assert "Their method (outside)" in table
        assert "nothing was measured here, and their training is unknown" in table
        assert "a paper" in table
        assert "Their method (outside) (not in the paper)" not in table
    cells = json.loads(CliRunner().invoke(
        cli, ["table", "--format", "json", "--runs", str(runs)]).output)  # fmt: skip
    (cell,) = [c for c in cells if c["method"] == "outside_their_method" and c["measured_mean"]]
    assert (cell["outside"], cell["n_step"], cell["budget"], cell["verdict"]) == (
        True, None, "", "",
    )  # fmt: skip
    assert not any(c["outside"] for c in cells if c["method"] != "outside_their_method")
    checked = shown("check")
    assert "Their method (outside) 1-shot imported" in checked
    assert "Their method (outside) 1-shot measured" not in checked
    found = repro.results(runs)
    assert "authors-code" not in repr(found["outside_their_method"])
    (line,) = [x for x in repr(found).splitlines() if "outside_their_method" in x]
    assert "smoke" not in line
    assert short("outside_x", "A rather long title (outside)") == "A rather lo… (outside)"
    compared = shown("compare", "outside_their_method", "first")
    assert "outside_their_method − first" in compared
    assert "nothing was measured here" in compared
    assert "outside_their_method" in shown("power", "outside_their_method", "first")
    cell_of = "plot-cell --method outside_their_method --k-shot 1 --dataset glyphs --runs"
    drawn = CliRunner().invoke(cli, [*cell_of.split(), str(runs)])
    assert drawn.exit_code == 1
    assert "was imported, not measured here" in drawn.output
    page = tmp_path / "report.html"
    shown("report", "--output", str(page))
    assert "made elsewhere and imported, 8 episodes, seed 0; not measured here" in page.read_text()
    shown("report", "--format", "mlrc", "--output", str(tmp_path / "report.md"))
    assert "Their method (outside)" in (tmp_path / "report.md").read_text()
    frame = repro.results(runs).to_frame().set_index("method")
    assert frame.outside.to_dict() == {"outside_their_method": True, "first": False}
    theirs = repro.results(runs)["outside_their_method", 1]
    pair = repro.compare(theirs, mine)[0]
    assert pair.interval.mean == pytest.approx(theirs.accuracy.mean() - mine.accuracy.mean())
    refused = CliRunner().invoke(cli, ["verify", str(theirs[0].path)])
    assert refused.exit_code == 1


def test_it_goes_with_every_recipe_and_with_budgets_of_as_many_episodes(
    episodes: repro.Episodes, labels: Labels, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    sixty = repro.episodes("glyphs", k_shot=1, budget="smoke")
    chance = np.zeros((60, QUERIES), dtype=int)
    repro.import_predictions(chance, sixty, "Sixty", digest=sixty.short_digest, runs=runs)
    results = repro.results(runs)
    for options in ({"recipe": "paper"}, {"budget": "smoke"}, {"recipe": "port"}):
        assert [c.title for c in repro.table1(results, **options).cells if c.measured]
    with pytest.raises(RecordError, match="no record of glyphs"):
        repro.table1(results, budget="quick")


def test_seeds_are_one_row_and_other_predictions_of_one_seed_need_force(
    episodes: repro.Episodes, labels: Labels, tmp_path: Path
) -> None:
    runs, digest = tmp_path / "runs", episodes.short_digest
    other = (labels + 1) % WAYS
    path = write_csv(tmp_path / "a.csv", lines_of(labels, digest))
    changed = write_csv(tmp_path / "b.csv", lines_of(other, digest))
    assert run(path, runs).exit_code == 0
    before = {p: p.read_bytes() for p in files(runs)}
    assert run(path, runs).exit_code == 0  # the same again: left as it is
    refused = run(changed, runs)
    assert refused.exit_code == 1
    assert "has other predictions of 'Their method' at seed 0" in refused.output
    assert {p: p.read_bytes() for p in files(runs)} == before
    second = run(changed, runs, "--seed", "1")
    assert second.exit_code == 0
    assert "that is the accuracy of chance" in second.stderr
    cell = next(c for c in repro.table1(repro.results(runs)).cells if c.measured)
    assert cell.seeds == (0, 1)
    assert run(changed, runs, "--force").exit_code == 0
    replaced = repro.results(runs).filter(seed=0)[0]
    assert len(replaced.earlier_tests) == 1


def test_columns_of_other_names_are_read(
    episodes: repro.Episodes, labels: Labels, tmp_path: Path
) -> None:
    lines = lines_of(labels, episodes.short_digest)
    lines[0] = ["digest", "task", "index", "predicted"]
    path = write_csv(tmp_path / "p.csv", lines)
    refused = run(path, tmp_path / "runs")
    assert "its first line names no column episode, query, label" in refused.output
    done = run(path, tmp_path / "runs", "--columns", "episode=task,query=index,label=predicted")
    assert done.exit_code == 0, done.output


Edit = Callable[[list[list[Any]]], list[list[Any]]]


def swapped(lines: list[list[Any]]) -> list[list[Any]]:
    return [*lines[:3], lines[4], lines[3], *lines[5:]]


def with_value(line: int, column: int, value: Any) -> Edit:
    return lambda lines: [
        [value if (i, j) == (line, column) else old for j, old in enumerate(row)]
        for i, row in enumerate(lines)
    ]


def scored(value: Any) -> Edit:
    def edit(lines: list[list[Any]]) -> list[list[Any]]:
        rows = [[*row[:3], value, 0, 0, 0, 0] for row in lines[1:]]
        return [[*lines[0][:3], *(f"score_{i}" for i in range(WAYS))], *rows]

    return edit


MISTAKES: list[tuple[Edit, str]] = [
    (with_value(1, 0, "168a73de23d9-000000000000"), "has the digest '168a73de23d9-000000000000'"),
    (lambda lines: [row[1:] for row in lines], "does not say of which episodes it is"),
    (lambda lines: lines[:-QUERIES], "75 of 600 queries are missing (first: episode 7, query 0; 1"),
    (lambda lines: [*lines[:9], *lines[10:]], "1 of 600 queries are missing (first: episode 0, "
                                              "query 8)"),
    (lambda lines: [*lines, lines[-1]], "line 602 has episode 7, query 74 again"),
    (lambda lines: [*lines, [lines[1][0], 8, 0, 0]], "line 602 is of episode 8, but there are 8"),
    (with_value(1, 2, 75), "line 2 is of query 75, but there are 75, counted from 0"),
    (
        with_value(4, 3, 5),
        "line 5 has label 5 (counted from 1?), which is no class of the episode; labels are 0 to",
    ),
    (
        with_value(4, 3, 17),
        "line 5 has label 17, which is no class of the episode; labels are 0 to",
    ),
    (with_value(4, 3, -1), "line 5 has label -1, which is no class of the episode"),
    (with_value(4, 3, "n01930112"), "line 5 has label 'n01930112', which is not a whole number"),
    (with_value(4, 3, "1" * 400), "which is not a whole number"),
    (swapped, "line 4 has episode 0, query 3 where episode 0, query 2 comes in the export"),
    (with_value(0, 3, "class"), "its first line names no column label (or score_0 to score_4)"),
    (lambda lines: [*lines[:5], [1, 2]], "line 6 has 2 values below 4 columns"),
    (scored("nan"), "line 2 has a score that is NaN"),
    (scored("inf"), "line 2 has a score of +infinity; give finite scores"),
    (scored("1e999"), "line 2 has a score of +infinity; give finite scores"),
    (lambda lines: [[*row[:3], *5 * ["-inf"]] if row[1:3] == [0, 1] else row
                    for row in scored(-1)(lines)], "line 3 has only scores of -infinity"),
    (lambda lines: [[*row, row[3]] for row in lines], "names the column 'label' more than once"),
    (lambda lines: [[*row, f"score_{5}" if row is lines[0] else 1] for row in lines],
     "it has a column 'score_5', but the scores of an episode are score_0 to score_4"),
    (scored("high"), "line 2 has a score that is not a number"),
    (with_value(2, 3, "x" * 2_000_000), "line 3 has more than 1,048,576 bytes"),
    (with_value(2, 3, "x" * 200_000), "is not CSV (field larger than field limit"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "sentence"), MISTAKES)
def test_a_mistake_in_a_csv_gets_one_sentence_and_nothing_is_written(
    edit: Edit, sentence: str, episodes: repro.Episodes, labels: Labels, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "p.csv", edit(lines_of(labels, episodes.short_digest)))
    refuses(path, tmp_path / "runs", sentence)


def test_one_column_is_not_read_as_two_things(
    episodes: repro.Episodes, labels: Labels, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "p.csv", lines_of(labels, episodes.short_digest))
    sentence = "the column 'episode' is named as two things; name one column for each"
    refuses(path, tmp_path / "runs", sentence, "--columns", "label=episode")


def test_scores_of_minus_infinity_rule_classes_out(
    episodes: repro.Episodes, labels: Labels, tmp_path: Path
) -> None:
    scores = np.where(np.eye(WAYS)[labels] > 0, -1e30, -np.inf)
    made = imported(episodes, tmp_path, scores)  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.load(made[0].path / "predictions.npy"), labels)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        *(({"seed": seed}, "seed is a whole number from 0")
          for seed in (-1, 1.5, "3", True, None, 2**70)),
        ({"digest": 3}, "digest is text, not 3"),
        ({"name": None}, "name is text, not None"),
        ({"origin": None}, "origin is text, not None"),
        ({"row": 3}, "row is text, not 3"),
        ({"runs": "s3://bucket/runs"}, "the command line takes URLs"),
        ({"episodes": ["glyphs"]}, "expected are episodes such as .* not a list"),
    ],
)  # fmt: skip
def test_an_impossible_choice_is_refused_in_a_sentence(
    options: dict[str, Any], sentence: str, episodes: repro.Episodes, labels: Labels,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    asked = {"episodes": episodes, "name": "Theirs", "digest": episodes.short_digest, **options}
    with pytest.raises(UsageError, match=sentence):
        repro.import_predictions(labels, **asked)
    assert not list(tmp_path.iterdir())


def test_tensors_that_require_a_gradient_are_imported_and_others_are_told(
    episodes: repro.Episodes, labels: Labels, tmp_path: Path
) -> None:
    scores = torch.tensor(one_hot(labels), requires_grad=True)
    made = imported(episodes, tmp_path, scores)  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.load(made[0].path / "predictions.npy"), labels)
    for useless in (scores.to("meta"), scores.detach().to_sparse()):
        with pytest.raises(RecordError, match="the predictions are not an array"):
            imported(episodes, tmp_path, useless)  # type: ignore[arg-type]


def test_a_file_in_the_way_of_runs_is_told(
    episodes: repro.Episodes, labels: Labels, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="choose a readable and writable folder"):
        imported(episodes, tmp_path / "file", labels)


def refuses(path: Path, runs: Path, sentence: str, *more: str) -> None:
    done = run(path, runs, *more)
    assert done.exit_code in (1, 2), done.output
    assert done.output.startswith("error: "), done.output
    assert done.output.count("\n") == 1
    assert sentence in done.output
    assert not runs.exists() or not files(runs)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((N, 74), int), "array of int64 of shape (8, 74); expected are whole labels of"),
        (np.zeros((N - 1, 75), int), "of shape (7, 75); expected are whole labels of shape (8, 75"),
        (np.zeros((N, 75)), "an array of float64 of shape (8, 75)"),
        (
            np.full((N, 75), 5),
            "episode 0, query 0 has label 5 (counted from 1?), which is no class",
        ),
        (np.full((N, 75, 5), np.nan), "episode 0, query 0 has a score that is NaN"),
        (np.zeros((N, 75, 4)), "of shape (8, 75, 4)"),
        (np.zeros((N, 75), complex), "an array of complex128"),
    ],
)
def test_a_mistake_in_an_array_gets_one_sentence_and_nothing_is_written(
    array: npt.NDArray[Any], sentence: str, episodes: repro.Episodes, tmp_path: Path
) -> None:
    np.save(tmp_path / "p.npy", array)
    refuses(tmp_path / "p.npy", tmp_path / "runs", sentence, "--digest", episodes.short_digest)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"episode": 0, "labels": [0, 1]}', "line 1 has 2 predictions of episode 0; expected are"),
        ('{"episode": 0, "query": 0, "scores": [0, NaN, 0, 0, 0]}', "line 1 has a score that is N"),
        ('{"episode": 0, "query": 0, "scores": [0, 1]}', "line 1 has 2 scores; expected is one p"),
        ('{"episode": 0, "query": 0}', "is not a line of predictions (one of label, labels and sc"),
        ('{"query": 0, "label": 1}', "is not a line of predictions (no episode)"),
        ('{"episode": "0"}', "line 1 is not a line of predictions (Expected `int | null`"),
        ("[" * 100_000, "line 1 is not a line of predictions"),
        ('{"digest": "x"}', "has the digest 'x'"),
    ],
)  # fmt: skip
def test_a_mistake_in_json_lines_gets_one_sentence_and_nothing_is_written(
    text: str, sentence: str, episodes: repro.Episodes, tmp_path: Path
) -> None:
    (tmp_path / "p.jsonl").write_text(text + "\n")
    refuses(tmp_path / "p.jsonl", tmp_path / "runs", sentence, "--digest", episodes.short_digest)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("meta-learner LSTM", "looks like that of the built-in meta_lstm"),
        ("MAML", "looks like that of the built-in maml"),
        ("a\x1b[31mb", "has control characters"),
        ("x" * 60, "a method's name is small letters"),
        ("方法", "no row name can be made from"),
    ],
)
def test_a_name_that_no_row_can_have_is_refused(
    name: str, sentence: str, episodes: repro.Episodes, labels: Labels, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "p.csv", lines_of(labels, episodes.short_digest))
    refuses(path, tmp_path / "runs", sentence, "--name", name)


def test_pickles_archives_and_files_of_other_kinds_are_refused_unread(
    episodes: repro.Episodes, tmp_path: Path
) -> None:
    more = ("--digest", episodes.short_digest)
    np.save(tmp_path / "object.npy", np.array([print, 1], dtype=object), allow_pickle=True)
    refuses(tmp_path / "object.npy", tmp_path / "runs", "it is not a .npy file of numbers", *more)
    np.savez(tmp_path / "z.npz", labels=np.zeros((N, 75), int))
    (tmp_path / "z.npz").rename(tmp_path / "z.npy")
    refuses(tmp_path / "z.npy", tmp_path / "runs", "it is not a .npy file of numbers", *more)
    (tmp_path / "p.txt").write_text("0")
    refuses(tmp_path / "p.txt", tmp_path / "runs", "predictions are .csv, .jsonl or .npy, not .txt")
    (tmp_path / "folder.csv").mkdir()
    refuses(tmp_path / "folder.csv", tmp_path / "runs", "it is a folder, not a file")
    refuses(tmp_path / "none.csv", tmp_path / "runs", "give the file of predictions")
    (tmp_path / "latin.csv").write_bytes(b"episode,query,label\n0,0,\xe9\n")
    refuses(tmp_path / "latin.csv", tmp_path / "runs", "line 2 is not UTF-8 text", *more)


def test_memory_does_not_grow_with_the_file(episodes: repro.Episodes, tmp_path: Path) -> None:
    path, limit = tmp_path / "p.jsonl", 8 * 2**20
    with path.open("w") as file:
        for _ in range(70):
            file.write(" " * (2**20 - 1) + "\n")
        file.write('{"episode": 0, "query": 0, "label": 0}\n' * 2)
    assert path.stat().st_size > 8 * limit
    imported = repro.import_predictions  # loads torch, which takes more
    episodes.rows, episodes.digest  # noqa: B018 -- drawn before
    tracemalloc.start()
    with pytest.raises(RecordError, match="again"):
        imported(path, episodes, "Long", runs=tmp_path / "runs")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < limit


def test_a_row_of_ones_own_cannot_have_a_name_of_an_outside_row(
    episodes: repro.Episodes, tmp_path: Path
) -> None:
    def outside_model(support: Any, labels: Any, query: Any) -> Any:
        return labels

    with pytest.raises(repro.ReproError, match="names that begin with outside_"):
        repro.evaluate(outside_model, episodes, runs=tmp_path, progress=False)


def test_the_five_mistakes_of_the_manual_get_the_sentences_that_stand_there(
    tmp_path: Path,
) -> None:
    page = (Path(__file__).parents[2] / "docs/predictions.md").read_text()
    section = page.partition("## The five likeliest mistakes")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| ")]
    shown = [row[1].strip("`| ") for row in rows if "`" in row[1]]
    digest = repro.episodes("glyphs", budget="smoke").short_digest
    lines = lines_of(np.zeros((60, QUERIES), int), digest)
    made = [
        ([row[1:] for row in lines], 5),
        (lines, 1),
        (lines[:751], 5),
        (with_value(5, 3, 17)(lines), 5),
        ([lines[0], *sorted(lines[1:], key=lambda row: (str(row[1]), str(row[2])))], 5),
    ]
    found = []
    for mistake, k_shot in made:
        path = write_csv(tmp_path / "predictions.csv", mistake)
        more = ("--budget", "smoke", "--k-shot", str(k_shot))
        refuses(path, tmp_path / "runs", "predictions.csv", *more)
        found.append(run(path, tmp_path / "runs", *more).output.removeprefix("error: ").strip())
    assert found == shown


def imported(
    episodes: repro.Episodes, runs: Path, predictions: Labels, force: bool = False
) -> repro.Results:
    return repro.import_predictions(
        predictions, episodes, "Theirs", digest=episodes.short_digest, runs=runs, force=force
    )


def test_a_replacement_that_was_killed_halfway_is_finished_by_the_next_call(
    episodes: repro.Episodes, labels: Labels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New predictions have their name, the old record is set aside, the new one is not there."""

    made = functools.partial(imported, episodes, tmp_path)
    (old,) = made(labels)
    others = (labels + 1) % WAYS

    class Killed(BaseException):
        """No handler of the package catches it."""

    honest = Path.replace

    def replace(path: Path, target: Any) -> Path:
        if Path(target).name == "record.json":
            raise Killed
        return honest(path, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", replace)
        made(others, force=True)
    assert not (old.path / "record.json").exists()
    np.testing.assert_array_equal(np.load(old.path / "predictions.npy"), others)
    (new,) = made(others)
    assert [told["started_at"] for told in new.earlier_tests] == [old.started_at]
    assert [path.name for path in old.path.glob("*record*")] == ["record.json"]


def test_force_replaces_damaged_predictions(
    episodes: repro.Episodes, labels: Labels, tmp_path: Path
) -> None:
    made = functools.partial(imported, episodes, tmp_path, labels)
    (record,) = made()
    path = record.path / "predictions.npy"
    whole = path.read_bytes()
    for damaged in (b"", whole[:-7], whole[:-1] + b"\4", b"no array"):
        path.write_bytes(damaged)
        with pytest.raises(RecordError, match=r"predictions\.npy does not have the predictions"):
            made()
        made(force=True)
        assert path.read_bytes() == whole


def test_a_record_is_replaced_by_one_process_at_a_time(
    episodes: repro.Episodes, labels: Labels, tmp_path: Path
) -> None:
    made = functools.partial(imported, episodes, tmp_path, force=True)
    (record,) = made(labels)
    others = (labels + 1) % WAYS
    with FileLock(record.path / ".lock"):
        second = threading.Thread(target=made, args=[others])
        second.start()
        second.join(0.3)
        assert second.is_alive()
        np.testing.assert_array_equal(np.load(record.path / "predictions.npy"), labels)
    second.join()
    np.testing.assert_array_equal(np.load(record.path / "predictions.npy"), others)
