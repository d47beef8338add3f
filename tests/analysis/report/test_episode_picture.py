"""Pictures of episodes show the episode's images, and ImageNet's never reach a repository."""

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from repro.analysis.report import episode_picture
from repro.cli.main import cli
from repro.data.pack import ImageSplit, open_pack
from repro.episodes import EpisodeSampler
from repro.papers.config import EpisodeSpec
from repro.system.errors import UsageError


@pytest.fixture
def split(tiny_pack: Path) -> ImageSplit:
    return open_pack(tiny_pack, "test")


def test_every_image_stands_in_its_classes_row(split: ImageSplit) -> None:
    episode = EpisodeSampler(split.class_rows, "test", EpisodeSpec(k_shot=5), 0)[3]
    sheet = np.asarray(episode_picture.draw(episode, split, size=16))
    step, top = 16 + 3, 22
    query_left = 5 * step - 3 + 18
    for label in range(5):
        for left, rows in ((0, episode.support_rows), (query_left, episode.query_rows)):
            for place, row in enumerate(rows[label]):
                y, x = top + label * step, left + place * step
                assert (sheet[y : y + 16, x : x + 16] == split.images[row]).all()


def test_the_same_episode_gives_the_same_bytes(split: ImageSplit) -> None:
    episode = EpisodeSampler(split.class_rows, "test", EpisodeSpec(), 0)[0]
    first, second = (episode_picture.png(episode_picture.draw(episode, split)) for _ in range(2))
    assert first == second
    assert Image.open(io.BytesIO(first)).format == "PNG"


def test_images_of_imagenet_are_refused_where_git_would_see_them(tmp_path: Path) -> None:
    inside = tmp_path / "repository"
    inside.mkdir()
    subprocess.run(["git", "init", "-q", str(inside)], check=True)
    (inside / ".gitignore").write_text("runs/\n")
    refuse = episode_picture.refuse_committed
    for name in ("report.html", "results/a.html", "docs/deep/a.png"):
        with pytest.raises(UsageError, match="never be committed"):
            refuse(inside / name, "mini-imagenet")
        refuse(inside / name, "glyphs")
    refuse(inside / "runs" / "deep" / "a.png", "mini-imagenet")
    refuse(tmp_path / "outside.png", "mini-imagenet")
    (tmp_path / "link").symlink_to(inside)
    with pytest.raises(UsageError, match="never be committed"):
        refuse(tmp_path / "link" / "a.png", "mini-imagenet")


def draw(*words: str) -> Result:
    result = CliRunner().invoke(cli, ["episodes", "draw", *words])
    assert not isinstance(result.exception, (AssertionError, TypeError, KeyError, OSError))
    return result


def test_the_command_draws_and_names_the_classes(
    tmp_path: Path, split: ImageSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repro.data.preparing.load_split", lambda *_: split)
    target = tmp_path / "deep" / "episode.png"
    result = draw("tiny", "--index", "2", "--k-shot", "5", "--output", str(target))
    assert result.exit_code == 0, result.output
    episode = EpisodeSampler(split.class_rows, "test", EpisodeSpec(k_shot=5), 0)[2]
    assert ", ".join(split.class_ids[i] for i in episode.class_indices) in result.output
    assert target.read_bytes() == episode_picture.png(episode_picture.draw(episode, split))


@pytest.mark.parametrize(
    "words",
    [
        ("nothing",),
        ("glyphs", "--split", "nothing"),
        ("glyphs", "--index", "-1"),
        ("glyphs", "--output", "episode.jpg"),
    ],
)
def test_mistakes_get_one_sentence_and_leave_no_file(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = draw(*words)
    assert result.exit_code == 2
    assert "rror" in result.output
    assert not list(tmp_path.iterdir())
