"""The single checks of a method, on a few generated episodes.

Each has one sentence for an answer that breaks the protocol of :class:`repro.methods.base.Method`,
and none where all is well.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import torch

from repro.episodes import EpisodeSampler
from repro.methods.checks.examination import N_QUERY, N_STEP, N_WAY, SHOT, Examination
from repro.methods.checks.probes import (
    differing_entries,
    renumbered,
    reseed,
    same,
    shuffled_queries,
)
from repro.methods.checks.watch import foreign, hidden_numbers, images_of
from repro.methods.guard import problem_of_scores, problem_of_state
from repro.methods.optimizers import OPTIMIZERS
from repro.methods.registry import build, build_training, covered
from repro.papers.config import EpisodeSpec
from repro.system.errors import ReproError, text_of

LATER, LATER_S = 26, 10.0  # a resumed training is followed to this step, or for so many seconds


class Questions(Examination):
    """The questions to one row, in order; an answer may spare later ones.

    Each answers with a sentence, or with nothing where all is well.
    """

    def is_built(self) -> str:
        self.fresh()
        return ""

    def trains(self) -> str:
        own = self.row.training == self.row.name
        method = self.fresh() if own else build_training(self.row, self.setting)
        for step in range(N_STEP):
            result = self.step(method, step)
            if not math.isfinite(result.loss):
                return f"the loss is {result.loss} at step {step}"
            if not 0 <= result.accuracy <= 1:
                return f"the accuracy is {result.accuracy} at step {step}; it is a fraction"
        state = method.state()
        problem = problem_of_state(state)
        if problem:
            return f"state gives {problem}, where tensors by name are expected"
        self.trained = {name: value.detach().clone() for name, value in state.items()}
        return ""

    def gives_log_probabilities(self) -> str:
        for k_shot in (1, SHOT):
            method = build(self.row, self._setting(k_shot))
            self.load(method)
            spec = EpisodeSpec(N_WAY, k_shot, N_QUERY)
            episode = EpisodeSampler(self.test.class_rows, "test", spec, 0)[0]
            scores = self.predict(method, episode)
            shape = (N_WAY * N_QUERY, N_WAY)
            problem = problem_of_scores(scores, shape)
            if problem:
                return f"predict gives {problem} at {k_shot}-shot, where {shape} is expected"
            total = scores.double().exp().sum(1)
            worst = int((total - 1).abs().argmax())
            if abs(float(total[worst]) - 1) > 1e-3:
                return (
                    f"the probabilities of query {worst} add up to {float(total[worst]):.3g} at "
                    f"{k_shot}-shot; end predict with scores.log_softmax(1)"
                )
        return ""

    def keeps_nothing(self) -> str:
        method, images = self.fresh(), self.images()
        first = self.predict(method, self.episodes[0], images)
        for episode in self.episodes[1:]:
            self.predict(method, episode, images)
        again = self.predict(method, self.episodes[0], images)
        other, images = self.fresh(), self.images()
        backwards = [self.predict(other, e, images) for e in reversed(self.episodes)][-1]
        if same(first, again) and same(first, backwards):
            return ""
        return (
            "the predictions for an episode change when others were predicted before; predict may "
            "keep nothing (statistics, parameters, counters) between episodes"
        )

    def sees_no_order(self) -> str:
        method, episode = self.fresh(), self.episodes[0]
        plain = self.predict(method, episode)
        shuffled, order = shuffled_queries(episode)
        if same(plain[torch.from_numpy(order)], self.predict(method, shuffled)):
            return ""
        return (
            "with the queries in another order, the predictions do not follow them: queries come "
            "class by class, so their order (or query_labels) tells the labels and may not be used"
        )

    def sees_no_numbers(self) -> str:
        method = self.fresh()
        plain = self.predict(method, self.episodes[0])
        episode, split = renumbered(self.episodes[0], self.test)
        if same(plain, self.predict(method, episode, self.images(split))):
            return ""
        return (
            "with the same pixels under other image and class numbers the predictions are others: "
            "the numbers tell the class (class_rows, class_ids), and only pixels may be used"
        )

    def is_inductive(self) -> str:
        method, episode = self.fresh(), self.episodes[0]
        plain = self.predict(method, episode).view(N_WAY, N_QUERY, N_WAY)[:, :2].flatten(0, 1)
        few = replace(episode, query_rows=episode.query_rows[:, :2].copy())
        transductive = not same(plain, self.predict(method, few))
        if transductive and not self.row.transductive:
            return (
                "transductive: the prediction for a query depends on the other queries; say so "
                "with `transductive = True` in the class, and the table will"
            )
        if self.row.transductive and not transductive:
            return "the class says transductive, but each query is predicted independently"
        return "transductive, as the class says" if transductive else ""

    def _same_steps(self, one: Any, other: Any, what: str, last: int = N_STEP + 2) -> str:
        ends = time.monotonic() + LATER_S
        for step in range(N_STEP, last):
            if step > N_STEP + 1 and time.monotonic() > ends:
                break
            results = self.step(one, step), self.step(other, step)
            states = one.state(), other.state()
            differing = differing_entries(*states)
            if results[0] != results[1] or differing:
                told = f" (first in state: {differing[0]})" if differing else ""
                return f"{what} makes another training step {step}{told}; state has to hold all"
        return ""

    def continues_what_was_trained(self) -> str:
        """The state taken over has to be that of the instance which was trained."""
        assert self.trained is not None
        whole = self.fresh(load=False)
        for step in range(N_STEP):
            self.step(whole, step)
        differing = differing_entries(whole.state(), self.trained)
        if differing:
            return f"the same training gives another state ({differing[0]})"
        resumed = self.fresh()
        for episode in self.episodes[:2]:
            if not torch.equal(self.predict(whole, episode), self.predict(resumed, episode)):
                return (
                    "the instance that was trained and a fresh one that loads its state predict "
                    "differently; state has to hold everything that predict uses"
                )
        return self._same_steps(
            whole, resumed, "a fresh instance that loads the state of a training", LATER
        )

    def hides_no_number(self) -> str:
        """A schedule that counts for itself may matter at a step that is not tried here."""
        whole, resumed = self.fresh(load=False), self.fresh()
        for step in range(N_STEP):
            self.step(whole, step)
        differing = hidden_numbers(*(getattr(m, "method", m) for m in (whole, resumed)))
        if not differing:
            return ""
        return (
            f"after {N_STEP} steps {differing[0]} differs between the instance that was trained "
            "and a fresh one that loaded its state; where a later step depends on it, as a "
            "learning-rate schedule does, take it from the step number or keep it in state"
        )

    def uses_given_images(self) -> str:
        """Of all calls so far."""
        test_first = sorted(self.opened, key=lambda found: found[1].name != "test.npy")
        for where, path in test_first:
            if images_of([path]):
                return (
                    f"opens {path.name} of a data set in {where}; only the images that it is "
                    "given may be used, those of meta-test never in training"
                )
        return ""

    def reads_what_is_covered(self) -> str:
        """Of all calls so far, and of loading the class."""
        if self.row.source is None:
            return ""
        read = foreign([path for _, path in self.opened], covered(self.row), self.began)
        if not read:
            return ""
        where = next(w for w, path in self.opened if path.name.startswith(read[0].stem))
        return (
            f"reads {read[0]} in {where}, which its digest does not cover, so that a record stays "
            "when the file changes; put modules beside its own file, and name other files in the "
            "class: files = (...)"
        )

    def leaves_torch_alone(self) -> str:
        """Of all calls so far, and of loading the class."""
        if not self.changed:
            return ""
        return (
            f"changes {self.changed[0]}; set it for a block (with ...) and put it back, for "
            "training and test do not run in the same order everywhere"
        )

    def has_no_hidden_past(self) -> str:
        used = self.fresh()
        for step in (7, 8):
            self.step(used, step)
        self.predict(used, self.episodes[1])
        self.load(used)
        return self._same_steps(
            self.fresh(), used, "an instance that made other steps before it loaded the state"
        )

    def is_not_moved_by_predictions(self) -> str:
        watched = self.fresh()
        for episode in self.episodes[:2]:
            self.predict(watched, episode)
        return self._same_steps(
            self.fresh(), watched, "an instance that predicted meanwhile (as for validation)"
        )

    def loads_what_is_published(self) -> str:
        assert self.trained is not None
        kept = {k: v.clone() for k, v in self.trained.items() if not k.startswith(OPTIMIZERS)}
        method = self.fresh(load=False)
        try:
            method.load_state(kept)
        except ReproError as error:
            return (
                "load_state fails without the entries whose names begin with "
                f"{' or '.join(OPTIMIZERS)}, which records leave out: {text_of(error)}"
            )
        if self.row.source is not None and self.row.training != self.row.name:
            method.fit(self.images(self.train))
        if torch.equal(
            self.predict(method, self.episodes[0]), self.predict(self.fresh(), self.episodes[0])
        ):
            return ""
        return f"predictions depend on state entries whose names begin with {OPTIMIZERS}"

    def draws_from_its_own_generators(self) -> str:
        found = []
        for seed in (11, 12):
            reseed(seed)
            method = self.fresh(load=self.row.training != self.row.name)
            if self.row.training == self.row.name:
                self.step(method, 0)
            found.append(self.predict(method, self.episodes[0]))
        if torch.equal(*found):
            return ""  # drawn to no effect, as when a module's first values are replaced
        which = " and ".join(
            f"that of {name} in {' and '.join(dict.fromkeys(where))}"
            for name, where in self.moved.items()
        )
        return (
            f"the predictions depend on a global generator ({which or 'which one is unknown'}); "
            "draw from repro.system.seeding.rng(setting.seed, Stream.OWN_METHOD, step), within "
            "torch.random.fork_rng() where torch has to be seeded"
        )
