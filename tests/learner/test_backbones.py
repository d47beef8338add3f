"""Backbones of others, with small networks whose weights the tests make."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from repro.learner.backbones import _embedding, find
from repro.system.errors import DataError, UsageError
from repro.system.seeding import Stream, rng

NAME = "shufflenet_v2_x0_5"  # the smallest of torchvision: 5 MB
PIXELS = rng(0, Stream.GLYPHS).raw(2 * 32 * 32 * 3).astype(np.uint8).reshape(2, 32, 32, 3)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found: torch.nn.Module = models.get_model(NAME, weights=None).eval()
    return found


@pytest.fixture(scope="module")
def weights(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "made.safetensors"
    save_file(network.state_dict(), path)
    return path


def test_the_features_are_what_the_last_layer_gets(
    network: torch.nn.Module, weights: Path, tmp_path: Path
) -> None:
    seen = []
    network.fc.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    batch = torch.from_numpy(PIXELS).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in
                 ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))  # fmt: skip
    with torch.no_grad():
        network((batch - mean) / std)
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}},
               tmp_path / "made.pth")  # fmt: skip
    for path in (weights, tmp_path / "made.pth"):
        found = find(f"torchvision:{NAME}", path, None).build("cpu")(PIXELS)
        torch.testing.assert_close(found, seen[0], rtol=0, atol=1e-5)


def test_weights_in_the_cache_of_torch_are_used_and_missing_ones_are_never_fetched(
    network: torch.nn.Module, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"shufflenetv2_x0.5.*\.pth .*; nothing is downloaded"):
        find(f"torchvision:{NAME}", None, None)
    url = models.get_model_weights(NAME).DEFAULT.url
    path = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    found = find(f"torchvision:{NAME}", None, 48).build("cpu")(PIXELS)
    other = find(f"torchvision:{NAME}", weights, 48).build("cpu")(PIXELS)
    assert torch.equal(found, other)


def test_wrong_names_and_weights_get_a_sentence(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"model of torchvision 'resnet81'; did you mean 'resnet"):
        find("torchvision:resnet81", weights, None)
    with pytest.raises(UsageError, match="unknown backbone 'torchvison:resnet18'; did you mean"):
        find("torchvison:resnet18", weights, None)
    with pytest.raises(DataError, match=r"is not of torchvision:resnet18: \d+ of its tensors are"):
        find("torchvision:resnet18", weights, None).build("cpu")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(DataError, match="is no file of weights that is read without running code"):
        find(f"torchvision:{NAME}", tmp_path / "text.pth", None).build("cpu")


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("harmed",)


def test_code_in_a_file_of_weights_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Harmful()}, "weights.pth")
    with pytest.raises(DataError, match="without running code"):
        find(f"torchvision:{NAME}", Path("weights.pth"), None).build("cpu")
    assert not Path("harmed").exists()


def test_a_network_that_needs_its_own_size_says_so() -> None:
    vit = models.VisionTransformer(64, 32, 1, 1, 8, 8, num_classes=2)
    embed = _embedding(vit, "torchvision:tiny_vit", None, (0, 0, 0), (1, 1, 1), "cpu")
    with pytest.raises(UsageError, match=r"does not take images of 32 px .* --input-size 224"):
        embed(PIXELS)


def test_pixels_are_averages() -> None:
    found = find("pixels", None, None).build("cpu")(PIXELS).view(2, 3, 16, 16)
    expected = PIXELS.reshape(2, 16, 2, 16, 2, 3).mean((2, 4)) / 255
    np.testing.assert_allclose(found.permute(0, 2, 3, 1), expected, atol=1e-6)


def test_timm_is_asked_for_where_it_is_missing(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"pip install 'repro-fewshot\[timm\]'"):
        find("timm:resnet18", weights, None)


@pytest.mark.parametrize("name", ["resnet10t", "resnet10t.c3_in1k"])
def test_a_network_of_timm_gives_what_its_classifier_gets(name: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = timm.create_model("resnet10t", pretrained=False).eval()
    save_file(made.state_dict(), tmp_path / "made.safetensors")
    found = find(f"timm:{name}", tmp_path / "made.safetensors", None).build("cpu")(PIXELS)
    told = timm.get_pretrained_cfg(name)
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (told.mean, told.std))
    batch = torch.from_numpy(PIXELS).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        expected = made.forward_head(made.forward_features((batch - mean) / std), pre_logits=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_cache_of_timm_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match="nothing is downloaded"):
        find("timm:resnet10t", None, None)
    folder = tmp_path / "models--timm--resnet10t.c3_in1k"
    for name in ("refs", "snapshots/1"):
        (folder / name).mkdir(parents=True)
    (folder / "refs/main").write_text("1")
    save_file(timm.create_model("resnet10t").state_dict(), folder / "snapshots/1/model.safetensors")
    assert find("timm:resnet10t", None, None).build("cpu")(PIXELS).shape == (2, 512)
