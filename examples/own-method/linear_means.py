"""A method of one's own for repro: the nearest class mean under a learned linear map."""

import torch
from torch.nn import functional as F

from repro.config import EpisodeSpec
from repro.episodes import EpisodeSampler
from repro.methods.base import Adam, StepResult, accuracy
from repro.seeding import Stream, words


class LinearMeans:
    title, n_step = "Linear means", {"smoke": 200, "quick": 1000, "paper": 20_000}

    def __init__(self, setting):
        self.setting, n_pixel = setting, 3 * setting.image_size**2
        drawn = words(setting.seed, Stream.OWN_METHOD).uniform(64 * n_pixel, -0.05, 0.05)
        self.map = torch.from_numpy(drawn).float().view(n_pixel, 64).to(setting.device)
        self.adam = Adam({"map": self.map}, lr=1e-3)
        self.state, self.load_state = self.adam.state, self.adam.load_state

    def scores(self, episode, images):
        support = images.gather(episode.support).flatten(1) @ self.map
        query = images.gather(episode.query).flatten(1) @ self.map
        share = F.one_hot(images.labels(episode.support_labels)).float()
        means = share.T @ support / share.sum(0)[:, None]
        return -(query[:, None] - means).square().sum(2)

    def predict(self, episode, images):
        return self.scores(episode, images).log_softmax(1).detach()

    def train_step(self, images, step):
        spec, seed = EpisodeSpec(k_shot=self.setting.k_shot), self.setting.seed
        episode = EpisodeSampler(images.split.class_rows, "train", spec, seed)[step]
        scores, labels = self.scores(episode, images), images.labels(episode.query_labels)
        loss = F.cross_entropy(scores, labels)
        loss.backward()
        self.adam.step()
        return StepResult(loss.item(), accuracy(scores, labels))
