"""Embedding once, going on after a stop, and rows of heads from a command to table and API."""

import json
import runpy
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from repro import records, results
from repro import reproduce as repro_function
from repro.cli.main import cli
from repro.data.features import store
from repro.data.pack import SPLITS, open_pack
from repro.data.preparing import pack_of
from repro.learner.backbones import Backbone, Embed, find
from repro.run import embed as embedding
from repro.run.context import RunContext
from repro.run.verify import verify
from repro.system import locks
from repro.system.errors import DataError, Interrupted, RecordError, UsageError
from repro.system.interrupts import StopRequest
from repro.system.progress import Silent
from repro.system.seeding import Stream, rng


def context(pack: Path, runs: Path) -> RunContext:
    return RunContext(runs, pack, 1, "cpu")


def counted(n_image: list[int], stop: StopRequest | None = None, after: int = 0) -> Backbone:
    """Pixels, counting what is embedded and asking for a stop after so many images."""
    plain = find("pixels", None, None)

    def build(device: str) -> Embed:
        inner = plain.build(device)

        def embed(images: np.ndarray) -> torch.Tensor:
            n_image.append(len(images))
            if stop is not None and sum(n_image) >= after:
                stop.exit_code = 130
            return inner(images)

        return embed

    return Backbone(plain.told, {**plain.identity, "test": after}, build)


def test_images_are_embedded_once_and_a_stopped_embedding_goes_on(
    tiny_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "PART", 60)
    first: list[int] = []
    stop = StopRequest()
    place = context(tiny_pack, tmp_path)
    with pytest.raises(Interrupted, match=r"stopped at image 180 of 475; run the same command"):
        embedding.embed_pack("again", counted(first, stop, 150), place, Silent(), stop)
    assert not [one for one in store.all_of(tiny_pack) if one.name == "again"]
    second: list[int] = []
    found = embedding.embed_pack(
        "again", counted(second, after=150), place, Silent(), StopRequest()
    )
    assert sum(first) + sum(second) == 475
    assert sum(first) == 180
    third: list[int] = []
    same = embedding.embed_pack("again", counted(third, after=150), place, Silent(), StopRequest())
    assert (same.digest, third) == (found.digest, [])
    for split in SPLITS:
        images = open_pack(tiny_pack, split).images
        expected = images.transpose(0, 3, 1, 2).reshape(len(images), -1) / 255
        np.testing.assert_allclose(found.split(split), expected, atol=1e-6)
    assert not list(store.home(tiny_pack).glob("parts-*/[!.]*"))


KILLED = """
import os, signal, sys
from pathlib import Path
from repro.learner.backbones import Backbone, find
from repro.run import embed
from repro.run.context import RunContext
from repro.system.interrupts import StopRequest
from repro.system.progress import Silent

plain, n = find("pixels", None, None), []

def build(device):
    inner = plain.build(device)
    def embedding(images):
        n.append(len(images))
        if sum(n) > 200:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(images)
    return embedding

embed.PART = 50
backbone = Backbone(plain.told, {**plain.identity, "test": -1}, build)
place = RunContext(Path("runs"), Path(sys.argv[1]), 1, "cpu")
embed.embed_pack("killed", backbone, place, Silent(), StopRequest())
"""


def test_a_killed_embedding_goes_on_at_its_next_part(
    tiny_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "PART", 50)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tiny_pack)], check=False)
    assert done.returncode == -signal.SIGKILL
    left: list[int] = []
    place = context(tiny_pack, tmp_path)
    found = embedding.embed_pack("killed", counted(left, after=-1), place, Silent(), StopRequest())
    assert sum(left) == 475 - 200
    whole = embedding.embed_pack(
        "whole", find("pixels", None, None), place, Silent(), StopRequest()
    )
    assert found.digest == whole.digest


def embedding_once(
    name: str, embed: Embed, pack: Path, runs: Path, says: Silent
) -> store.FeatureSet:
    """Under one request, whatever embeds."""
    backbone = Backbone("once", {"backbone": "once"}, lambda device: embed)
    return embedding.embed_pack(name, backbone, context(pack, runs), says, StopRequest())


@pytest.mark.parametrize("name", ["once", "twice"])
def test_a_second_process_that_waited_uses_what_the_first_made_and_loses_no_part(
    name: str, tiny_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "POLL_S", 0.01)
    monkeypatch.setattr(store, "home", lambda pack: tmp_path / "features")
    plain = find("pixels", None, None).build("cpu")
    waits, made = threading.Event(), list[store.FeatureSet]()
    n_image: list[int] = []

    class Listening(Silent):
        def say(self, message: str) -> None:
            assert "another process works on it" in message
            waits.set()

    def counting(images: np.ndarray) -> torch.Tensor:
        n_image.append(len(images))
        return plain(images)

    def follow() -> None:
        made.append(embedding_once(name, counting, tiny_pack, tmp_path, Listening()))

    second = threading.Thread(target=follow)

    def leading(images: np.ndarray) -> torch.Tensor:
        if not second.ident:
            second.start()
            assert waits.wait(20)
        return plain(images)

    first = embedding_once("once", leading, tiny_pack, tmp_path, Silent())
    second.join()
    (found,) = made
    assert (found.digest, found.name) == (first.digest, name)
    assert sum(n_image) == (0 if name == "once" else 475)
    assert not list((tmp_path / "features").rglob("train-*"))


def test_features_of_fewer_images_than_the_pack_has_are_not_saved(
    tiny_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "PART", 60)
    monkeypatch.setattr(store, "home", lambda pack: tmp_path / "features")
    plain = find("pixels", None, None).build("cpu")

    def losing(images: np.ndarray) -> torch.Tensor:
        """Somebody removes a part in the middle."""
        for path in tmp_path.rglob("train-00000060.npy"):
            path.unlink()
        return plain(images)

    with pytest.raises(DataError, match=r"has the features of 140 of 200 train images; delete it"):
        embedding_once("fewer", losing, tiny_pack, tmp_path, Silent())
    assert store.all_of(tiny_pack) == []


def test_features_that_are_no_numbers_are_refused(tiny_pack: Path, tmp_path: Path) -> None:
    broken = Backbone("broken", {"backbone": "broken"}, lambda device: lambda images: torch.full(
        (len(images), 2), torch.nan))  # fmt: skip
    with pytest.raises(DataError, match="the features of image 0 are NaN or infinite"):
        embedding.embed_pack(
            "broken", broken, context(tiny_pack, tmp_path), Silent(), StopRequest()
        )


def repro(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of small images, 20 a class."""
    root = tmp_path_factory.mktemp("data")
    for place in range(15):
        parent = root / SPLITS[place // 5] / f"c{place:02d}"
        parent.mkdir(parents=True)
        drawn = rng(place, Stream.GLYPHS)
        pattern = drawn.uniform(16 * 16 * 3, 40, 215).reshape(16, 16, 3)
        for n in range(20):
            noise = drawn.uniform(16 * 16 * 3, -120, 120).reshape(16, 16, 3)
            pixels = np.clip(pattern + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(parent / f"{n}.png")
    return root


BUDGET = "smoke,n_test_episode=6,n_validation_episode=2,pretrain=2,validate_every=2"


def reproduce(folder: Path, runs: Path, methods: str, *words: str) -> Result:
    """Two backbones on the folder."""
    return repro(
        "reproduce", "--dataset", "folder", "--data", folder, "--image-size", "16", "--runs", runs,
        "--budget", BUDGET, "--backbone", "pixels,ours=pretrain", "--methods", methods,
        "--jobs", "1", *words,
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four heads on two backbones, beside a row of the paper."""
    found = tmp_path_factory.mktemp("frozen") / "runs"
    done = reproduce(folder, found, "nearest_neighbor,nearest,simpleshot,ridge,transductive_kmeans")
    assert done.exit_code == 0, done.output
    return found


def test_rows_name_backbone_and_head_and_none_is_held_against_the_paper(runs: Path) -> None:
    shown = ("table", "--dataset", "folder", "--runs", runs, "--from", "runs")
    done = repro(*shown, "--format", "json")
    cells = {(c["method"], c["k_shot"]): c for c in json.loads(done.stdout)}
    for backbone in ("pixels", "ours"):
        for head in ("nearest", "simpleshot", "ridge", "transductive_kmeans"):
            cell = cells[f"{backbone}_{head}", 5]
            assert cell["reported_mean"] is None and not cell["verdict"], cell
    text = " ".join(repro(*shown).output.split())
    assert "pixels: SimpleShot (not in the paper)" in text
    assert (
        "together, which helps): ours: transductive k-means, pixels: transductive k-means" in text
    )
    assert "pixels: ridge (built in, on frozen features of pixels of 16 px)" in text
    assert "not known here" not in text  # neither pixels nor ours was trained elsewhere


def test_the_nearest_neighbor_on_our_own_features_is_the_papers_row(runs: Path) -> None:
    """The same network and the same rule, by another way."""
    found = results(runs).filter(k_shot=5)
    ours, paper = (found.filter(method=m).accuracy for m in ("ours_nearest", "nearest_neighbor"))
    np.testing.assert_allclose(ours, paper, atol=1.5 / 75)


def test_the_digest_of_the_features_is_in_the_record_and_seeds_are_one_row(
    folder: Path, runs: Path
) -> None:
    again = reproduce(folder, runs, "simpleshot", "--shots", "5", "--seeds", "2")
    assert again.exit_code == 0, again.output
    found = results(runs).filter(method="ours_simpleshot", k_shot=5)
    digests = {record.seed: record.digests["features"] for record in found}
    assert len(set(digests.values())) == 2 and sorted(digests) == [0, 1]
    assert len(results(runs).filter(method="pixels_simpleshot", k_shot=5)) == 1
    for record in found:
        assert record.config["training"] == record.digests["features"]
        assert records.config_of(record).digest == record.digests["config"]
    compared = repro("compare", "ours_simpleshot", "pixels_simpleshot", "--dataset", "folder",
                     "--runs", runs)  # fmt: skip
    assert compared.exit_code == 0 and "ours_simpleshot − pixels_simpleshot" in compared.output


def test_the_script_of_the_manual_makes_a_file_whose_rows_are_tested(
    folder: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Path("examples/features/make_features.py").resolve()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["make_features.py", "folder"])
    runpy.run_path(str(script))
    taken = repro("embed", "colours=features.npz", "--dataset", "folder")
    assert taken.exit_code == 0 and "colours: 3 features of folder-" in taken.output, taken.output
    done = repro("evaluate", "ridge", "--features", "colours", "--dataset", "folder", "--budget",
                 BUDGET, "--runs", "runs")  # fmt: skip
    assert done.exit_code == 0 and "colours: ridge 5-shot" in done.output, done.output
    table = repro("table", "--dataset", "folder", "--runs", "runs", "--from", "runs").output
    assert "the test classes may have been among it: colours." in " ".join(table.split())


def test_the_function_gives_the_records_of_the_command(folder: Path, runs: Path) -> None:
    found = repro_function(
        "folder", BUDGET, ["nearest_neighbor", "ridge"], backbone="pixels", runs=runs,
        progress=False,
    )  # fmt: skip
    assert [r.method for r in found] == ["nearest_neighbor"] * 2 + ["pixels_ridge"] * 2
    (record,) = results(runs).filter(method="pixels_ridge", k_shot=5)
    assert found[3].path == record.path and found[3].started_at == record.started_at
    with pytest.raises(UsageError, match="ridge is a head on frozen features"):
        repro_function("folder", BUDGET, "ridge", runs=runs, progress=False)


def test_a_record_is_verified_from_the_features_and_says_when_they_are_gone(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (record,) = results(runs).filter(method="pixels_ridge", k_shot=5)
    pack = pack_of("folder", record.digests["data"])
    assert pack is not None
    found = verify(record.path, pack, Silent(), StopRequest())
    assert found.ok and found.n_differing == 0
    monkeypatch.setattr(store, "all_of", lambda pack: [])
    with pytest.raises((DataError, RecordError), match="make them again with `repro embed`"):
        verify(record.path, pack, Silent(), StopRequest())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--methods", "simpleshot"], "simpleshot is a head on frozen features; add --features"),
        (["--methods", "finetune", "--backbone", "pixels"], "are for heads; name one of"),
        (["--backbone", "pixel"], "unknown backbone 'pixel'; did you mean 'pixels'?"),
        (["--backbone", "pixels", "--methods", "simpleshots"], "did you mean 'simpleshot'?"),
        (["--features", "absent"], "unknown features 'absent'"),
        (["--features", "absent.npz"], "nothing is at absent.npz"),
        (["--backbone", "a=pixels,a=pretrain"], "two backbones are called a"),
        (["--backbone", "pixels,pretrain", "--weights", "x"], "--weights belongs to one"),
        (["--backbone", "Über=pixels"], "a backbone is named in small letters"),
    ],
)
def test_a_mistake_on_the_command_line_gets_a_sentence(
    folder: Path, words: list[str], sentence: str, tmp_path: Path
) -> None:
    done = repro("reproduce", "--dataset", "folder", "--data", folder, "--image-size", "16",
                 "--budget", BUDGET, "--runs", tmp_path / "runs", *words)  # fmt: skip
    assert done.exit_code in (1, 2)
    assert sentence in done.output and "Traceback" not in done.output, done.output
    assert not list((tmp_path / "runs").rglob("record.json"))
