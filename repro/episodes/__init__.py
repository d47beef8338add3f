"""Episodes: which images are support and query, and their pixels."""

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
    "Rows",
    "draw_classes",
    "episodes_digest",
    "manifest",
    "verify_manifest",
]
