"""Episodes for people without this package: what the files say is what is drawn here."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import repro
from repro.cli.main import cli
from repro.data.mini_imagenet import ravi
from repro.data.pack import ImageSplit
from repro.episodes.export import images_of
from repro.episodes.sampler import EpisodeSampler, episodes_digest
from repro.papers.config import EpisodeSpec

N = 4


@pytest.fixture
def episodes() -> repro.Episodes:
    return repro.episodes("glyphs", k_shot=5, n_episode=N)


def test_json_has_the_rows_labels_and_orders_of_every_episode(
    episodes: repro.Episodes, tmp_path: Path
) -> None:
    digest = episodes.export(tmp_path / "e.json")
    content = json.loads((tmp_path / "e.json").read_text())
    assert digest == content["digest"] == episodes.short_digest
    assert content["episodes_digest"] == episodes_digest(episodes.rows)
    assert content["data_digest"] == episodes.split.digest
    assert len(content["episodes"]) == N
    for told, drawn in zip(content["episodes"], episodes.rows, strict=True):
        assert told["support"] == drawn.support.tolist()
        assert told["query"] == drawn.query.tolist()
        for part in ("support", "query"):
            for row, label in zip(told[part], told[f"{part}_labels"], strict=True):
                assert content["images"][row]["class"] == told["classes"][label]
    first = {c: f for c, (f, _) in
             zip(episodes.split.class_ids, episodes.split.class_rows, strict=True)}  # fmt: skip
    assert all(
        first[image["class"]] + image["image"] == row for row, image in enumerate(content["images"])
    )


def test_csv_says_the_same_as_json(episodes: repro.Episodes, tmp_path: Path) -> None:
    episodes.export(tmp_path / "e.json")
    episodes.export(tmp_path / "e.csv")
    content = json.loads((tmp_path / "e.json").read_text())
    with (tmp_path / "e.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["digest"] for line in lines} == {content["digest"]}
    for number, told in enumerate(content["episodes"]):
        for part in ("support", "query"):
            mine = [x for x in lines if (x["episode"], x["part"]) == (str(number), part)]
            assert [int(line["place"]) for line in mine] == list(range(len(told[part])))
            assert [int(line["row"]) for line in mine] == told[part]
            assert [int(line["label"]) for line in mine] == told[f"{part}_labels"]
            images = [content["images"][row] for row in told[part]]
            assert [line["class"] for line in mine] == [image["class"] for image in images]
            assert [int(line["image"]) for line in mine] == [image["image"] for image in images]


def test_the_published_mini_imagenet_is_named_by_its_file_names() -> None:
    target = ravi.ravi()
    ids = target.split["test"]
    rows = tuple((600 * i, 600) for i in range(20))
    split = ImageSplit(
        "mini-imagenet", "test", np.empty((0, 84, 84, 3), np.uint8), ids, rows, ravi.PUBLISHED_PACK
    )
    images = images_of(split)
    assert images[0] == {"class": "n01930112", "image": 0, "file": "n0193011200000001.jpg"}
    assert len({image["file"] for image in images}) == 12_000
    assert all(image["file"].startswith(image["class"]) for image in images)
    other = ImageSplit("mini-imagenet", "test", split.images, ids, rows, "0" * 64)
    assert "file" not in images_of(other)[0]


@pytest.mark.parametrize("k_shot", [1, 5])
def test_the_default_is_the_pinned_600_episodes(k_shot: int, tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    words = ["episodes", "export", "glyphs", "--k-shot", str(k_shot), "--output", str(path)]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    content = json.loads(path.read_text())
    assert content["digest"] in done.output
    pinned = json.loads((Path(repro.__file__).parent / "episodes/pinned_episodes.json").read_text())
    assert content["episodes_digest"] == pinned["glyphs"][str(k_shot)]
    rows = repro.episodes("glyphs", k_shot=k_shot).split.class_rows
    drawn = EpisodeSampler(rows, "test", EpisodeSpec(k_shot=k_shot), 0).first(600)
    assert content["episodes"][-1]["query"] == drawn[-1].query.tolist()


def test_another_ending_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    words = ["episodes", "export", "glyphs", "--output", str(tmp_path / "e.txt")]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
    assert "episodes are written as .json or .csv, not as .txt" in done.output
    assert not list(tmp_path.iterdir())
