"""Random numbers: a generator for each (seed, stream, index), and no global one.

Words come from numpy's PCG64 bit generator, whose raw stream numpy promises to keep; the
distributions drawn from it are our own arithmetic, because numpy does not promise those of
``Generator`` and torch's generators keep only the low 32 bits of a seed.
"""

from __future__ import annotations

import enum

import numpy as np
import numpy.typing as npt


class Stream(enum.IntEnum):
    """What a stream of random words is for; values are frozen (they are in published episodes)."""

    EPISODE_TRAIN = 1
    EPISODE_VAL = 2
    EPISODE_TEST = 3
    CLASSES_TRAIN = 4
    CLASSES_VAL = 5
    CLASSES_TEST = 6
    LEARNER_INIT = 7
    META_LEARNER_INIT = 8
    CONTEXT_INIT = 9
    FINETUNE_HEAD = 10
    PRETRAIN_BATCH = 11
    DROPOUT = 12
    AUGMENTATION = 13
    GATE_COORDINATE = 14
    GLYPHS = 15
    RANDOM_THETA_0 = 16
    CLASS_SPLIT = 17
    VERIFY = 18
    SIGN_FLIP = 30
    PIGEONHOLE = 31
    OWN_METHOD = 40  # for methods that do not come with this package
    METHOD_CHECK = 41
    QUERY_ORDER = 42  # in which a user's function sees the queries


class Rng:
    """A reproducible sequence of 64-bit random words and a few exact draws from it."""

    def __init__(self, seed: int, stream: Stream, index: int = 0) -> None:
        entropy = (int(seed), int(stream), int(index))
        self._bits = np.random.PCG64(np.random.SeedSequence(entropy))

    def raw(self, n: int) -> npt.NDArray[np.uint64]:
        """The next ``n`` words, uint64 ``[n]``."""
        rng: npt.NDArray[np.uint64] = self._bits.random_raw(n)
        return rng

    def uniform(self, n: int, low: float = 0.0, high: float = 1.0) -> npt.NDArray[np.float64]:
        """``n`` numbers uniform in [low, high), float64 ``[n]``, 53 random bits each."""
        unit = (self.raw(n) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return low + (high - low) * unit

    def below(self, bound: int) -> int:
        """One integer uniform in [0, bound), without modulo bias worth the name (2^-32)."""
        return int((int(self.raw(1)[0]) >> 32) * bound >> 32)

    def permutation(self, n: int) -> npt.NDArray[np.int64]:
        """A uniform permutation of 0..n-1, int64 ``[n]``, by sorting one random word per item."""
        # Ties among 64-bit words have probability n^2 / 2^65; a stable sort makes even those exact.
        return np.argsort(self.raw(n), kind="stable").astype(np.int64)

    def seed32(self) -> int:
        """A 32-bit seed for a torch generator (all that its CPU generator keeps)."""
        return int(self.raw(1)[0]) >> 32


def rng(seed: int, stream: Stream, index: int = 0) -> Rng:
    """A generator that depends on its three arguments and on nothing else."""
    return Rng(seed, stream, index)
