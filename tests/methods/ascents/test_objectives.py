"""Objectives against what they say, computed slowly."""

from __future__ import annotations

import itertools

import pytest
import torch

from convscope.methods.ascents.objectives import DIVERSITY, SLOPE, climbed, likeness, own_maps, score


@pytest.fixture
def maps() -> torch.Tensor:
    return torch.randn(6, 4, 3, 5, generator=torch.Generator().manual_seed(0))


def test_scores_are_the_leaky_mean_and_the_centre(maps):
    means, centres = score(maps, "channel"), score(maps, "position")
    for image, channel in itertools.product(range(6), range(4)):
        values = [value if value > 0 else SLOPE * value for value in maps[image, channel].flatten().tolist()]
        assert means[image, channel] == pytest.approx(sum(values) / 15, abs=1e-6)
        assert centres[image, channel] == maps[image, channel, 1, 2]


def test_own_maps_are_each_images_channel_or_the_direction(maps):
    own = own_maps(maps, [3, 0, 1, 1, 2, 0])
    assert torch.equal(own[:, 0], torch.stack([maps[i, c] for i, c in enumerate([3, 0, 1, 1, 2, 0])]))
    direction = torch.tensor([0.5, -1.0, 0, 2.0])
    expected = 0.5 * maps[:, 0] - maps[:, 1] + 2 * maps[:, 3]
    torch.testing.assert_close(own_maps(maps, [], direction)[:, 0], expected)


def test_likeness_is_the_mean_cosine_of_gram_matrices(maps):
    found = likeness(maps, 3)
    grams = [torch.einsum("kp,lp->kl", m.relu().flatten(1), m.relu().flatten(1)).flatten() for m in maps]
    for image in range(6):
        others = [other for other in range(image // 3 * 3, image // 3 * 3 + 3) if other != image]
        cosines = [torch.cosine_similarity(grams[image], grams[other], dim=0) for other in others]
        assert found[image] == pytest.approx(sum(cosines).item() / 2, rel=1e-5)


def test_no_image_is_driven_by_anothers_channel(maps):
    maps.requires_grad_()
    climbed([0, 1, 2, 3, 0, 1], "channel")(maps).sum().backward()
    for image, channel in itertools.product(range(6), range(4)):
        assert bool(maps.grad[image, channel].any()) == (channel == [0, 1, 2, 3, 0, 1][image])


def test_variants_lose_their_likeness_in_proportion(maps):
    channels = [0, 0, 0, 1, 1, 1]
    alone, together = climbed(channels, "channel")(maps), climbed(channels, "channel", variants=3)(maps)
    torch.testing.assert_close(alone - together, DIVERSITY * alone.abs() * likeness(maps, 3))


def test_silent_maps_are_like_nothing_and_still_have_a_gradient():
    maps = torch.full((2, 3, 4, 4), -1.0, requires_grad=True)
    assert likeness(maps, 2).tolist() == [0, 0]
    climbed([0, 0], "channel", variants=2)(maps).sum().backward()
    assert (maps.grad[:, 0] > 0).all()
    assert maps.grad.isfinite().all()
