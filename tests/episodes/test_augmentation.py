"""Augmentation depends on its words only, keeps size and range, and covers its published range."""

import numpy as np
import torch

from repro.episodes.augmentation import _crop_box, augment, flip, resize_and_crop
from repro.system.seeding import Stream, rng


def batch() -> torch.Tensor:
    n = 3 * 3 * 28 * 28
    return torch.from_numpy(rng(0, Stream.GLYPHS).uniform(n)).float().view(3, 3, 28, 28)


def test_the_same_words_give_the_same_images_and_other_words_others() -> None:
    first, again, other = (augment(batch(), rng(s, Stream.AUGMENTATION)) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == batch().shape
    assert first.min() >= 0
    assert first.max() <= 1


def test_crops_cover_8_to_100_percent_with_aspects_between_3_4_and_4_3() -> None:
    stream = rng(0, Stream.AUGMENTATION)
    boxes = np.array([_crop_box(stream, 84) for _ in range(2000)])
    area, aspect = boxes[:, 2] * boxes[:, 3] / 84**2, boxes[:, 3] / boxes[:, 2]
    assert 0.07 < area.min() < 0.1
    assert area.max() > 0.95
    assert 0.7 < aspect.min() < 0.8
    assert 1.25 < aspect.max() < 1.4
    assert (boxes[:, 0] + boxes[:, 2] <= 84).all()
    assert (boxes[:, 1] + boxes[:, 3] <= 84).all()


def test_a_flip_mirrors_half_of_the_images_and_changes_no_pixel() -> None:
    many = batch()[:1].expand(400, 3, 28, 28)
    flipped = flip(many, rng(0, Stream.AUGMENTATION))
    drawn = rng(0, Stream.AUGMENTATION)
    coins = [drawn.below(2) for _ in many]
    for image, coin in zip(flipped, coins, strict=True):
        assert torch.equal(image, many[0].flip(2) if coin else many[0])
    assert 160 < sum(coins) < 240


def test_the_evaluation_crop_keeps_the_centre() -> None:
    image = torch.zeros(1, 3, 84, 84)
    image[..., 40:44, 40:44] = 1
    cropped = resize_and_crop(image)
    assert cropped.shape == image.shape
    assert float(cropped[..., 41:43, 41:43].min()) > 0.9
    flat = torch.full((1, 3, 84, 84), 0.25)
    torch.testing.assert_close(resize_and_crop(flat), flat)
