"""A method of one's own for repro: the nearest class mean in a learned embedding."""

import torch
from torch import nn

from repro import Adam, EpisodeSampler, EpisodeSpec, StepResult, Stream, accuracy, rng


class ClassMeans:
    title, n_step = "Class means", {"smoke": 200, "quick": 1000, "paper": 20_000}

    def __init__(self, setting):
        self.setting = setting
        with torch.random.fork_rng():  # nothing may depend on a global generator
            torch.manual_seed(rng(setting.seed, Stream.OWN_METHOD).seed32())
            layers = [(nn.Conv2d(n, 32, 3, 2), nn.GroupNorm(8, 32), nn.ReLU()) for n in (3, 32, 32)]
            self.net = nn.Sequential(*sum(layers, ()), nn.Flatten()).to(setting.device)
        self.adam = Adam(dict(self.net.named_parameters()), lr=1e-3)
        self.state, self.load_state = self.adam.state, self.adam.load_state

    def scores(self, episode, images):
        support, query = (self.net(images.gather(x)) for x in (episode.support, episode.query))
        share = nn.functional.one_hot(images.labels(episode.support_labels)).float()
        means = share.T @ support / share.sum(0)[:, None]
        return -(query[:, None] - means).square().mean(2)

    def predict(self, episode, images):  # log-probabilities [n_query, n_way]
        return self.scores(episode, images).log_softmax(1).detach()

    def train_step(self, images, step):
        spec, seed = EpisodeSpec(k_shot=self.setting.k_shot), self.setting.seed
        episode = EpisodeSampler(images.split.class_rows, "train", spec, seed)[step]
        scores, labels = self.scores(episode, images), images.labels(episode.query_labels)
        loss = nn.functional.cross_entropy(scores, labels)
        loss.backward()
        self.adam.step()
        return StepResult(loss.item(), accuracy(scores, labels))
