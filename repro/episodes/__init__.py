"""Episodes: which images are support and query, and their pixels.

The package can be called: ``repro.episodes("mini-imagenet", k_shot=5)`` is
:func:`repro.episodes.images.episodes`.
"""

import sys

from repro.episodes.images import CallablePackage, Episodes
from repro.episodes.sampler import (
    MAX_KEPT,
    Episode,
    EpisodeSampler,
    Rows,
    draw_classes,
    episodes_digest,
    manifest,
    verify_manifest,
)

__all__ = [
    "MAX_KEPT",
    "Episode",
    "EpisodeSampler",
    "Episodes",
    "Rows",
    "draw_classes",
    "episodes_digest",
    "manifest",
    "verify_manifest",
]

sys.modules[__name__].__class__ = CallablePackage
