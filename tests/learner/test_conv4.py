"""The learner against an independent nn.Module and the protocol's counts."""

import pytest
import torch
from torch import nn

from repro.learner.conv4 import BatchNormStatistics, Conv4
from repro.system.seeding import Stream, rng


def module_of(learner: Conv4, params: torch.Tensor, momentum: float) -> nn.Sequential:
    parts = iter(learner.split(params))
    layers: list[nn.Module] = []
    n_input = 3
    for _ in range(4):
        conv = nn.Conv2d(n_input, learner.n_filter, 3, padding=1)
        norm = nn.BatchNorm2d(learner.n_filter, eps=1e-3, momentum=momentum)
        layers += [conv, norm, nn.ReLU(), nn.MaxPool2d(2)]
        n_input = learner.n_filter
    layers += [nn.Flatten(), nn.Linear(learner.n_feature, learner.n_output)]
    model = nn.Sequential(*layers).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(next(parts))
    return model


def test_the_meta_lstm_learner_has_the_published_32901_parameters_and_800_features() -> None:
    learner = Conv4(n_filter=32, n_output=5, image_size=84)
    assert (learner.n_param, learner.n_feature) == (32901, 800)
    assert Conv4(64, 0, 84).n_feature == 1600


@pytest.mark.parametrize("momentum", [0.1, 0.95])
def test_logits_and_running_statistics_equal_an_ordinary_module(momentum: float) -> None:
    learner = Conv4(n_filter=4, n_output=5, image_size=28)
    params = learner.initial(rng(0, Stream.LEARNER_INIT)).double()
    model = module_of(learner, params, momentum)
    images = torch.rand(6, 3, 28, 28, dtype=torch.float64, generator=torch.manual_seed(0))
    statistics = BatchNormStatistics(4, params)
    for _ in range(2):
        actual = learner.logits(params, images, statistics, True, momentum)
        torch.testing.assert_close(actual, model(images), rtol=0, atol=1e-12)
    model.eval()
    actual = learner.logits(params, images, statistics, False)
    torch.testing.assert_close(actual, model(images), rtol=0, atol=1e-12)


def test_initial_values_are_torch7s_and_depend_on_the_seed() -> None:
    learner = Conv4(32, 5, 84)
    params = learner.initial(rng(0, Stream.LEARNER_INIT))
    parts = dict(zip(learner.shapes, learner.split(params), strict=True))
    bound = (3 * 9) ** -0.5
    weight = parts["conv1.weight"]
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.97 * bound
    assert parts["norm1.weight"].min() >= 0
    assert parts["norm1.weight"].max() <= 1
    assert parts["norm1.weight"].std() > 0.2
    assert not parts["norm1.bias"].any()
    assert not torch.equal(params, learner.initial(rng(1, Stream.LEARNER_INIT)))
    one = learner.initial(rng(0, Stream.LEARNER_INIT), gamma="one")
    assert torch.equal(learner.split(one)[2], torch.ones(32))


def test_every_coordinate_has_a_layer() -> None:
    learner = Conv4(32, 5, 84)
    names = learner.layer_of_coordinate()
    assert len(names) == learner.n_param
    assert names.count("linear") == 4005
    assert names.count("norm") == 256
