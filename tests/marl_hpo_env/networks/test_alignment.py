"""What brings the branches of a merge to one size."""

import pytest
import torch

from marl_hpo_env.networks.alignment import interpolate_to, pool_to


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("align", [pool_to, interpolate_to])
def test_images_of_any_number_of_dimensions_are_brought_to_the_size_of_the_other(align, dimensions):
    x, like = torch.rand(2, 3, *(8, 6, 4)[:dimensions]), torch.rand(2, 5, *(4, 3, 2)[:dimensions])
    assert align(x, like).shape == (2, 3, *like.shape[2:])
    assert align(x, torch.rand(1, 1, *x.shape[2:])) is x
    constant = torch.full_like(x, 2.5)
    torch.testing.assert_close(align(constant, like), torch.full((2, 3, *like.shape[2:]), 2.5))


def test_pooling_takes_the_mean_of_what_a_pixel_covers():
    x = torch.tensor([[[1.0, 3.0, 5.0, 9.0]]])
    assert pool_to(x, torch.zeros(1, 1, 2)).tolist() == [[[2.0, 7.0]]]
    square = torch.tensor([[[[1.0, 3.0], [5.0, 9.0]]]])
    assert pool_to(square, torch.zeros(1, 1, 1, 1)).item() == 4.5
    cube = torch.arange(8.0).view(1, 1, 2, 2, 2)
    assert pool_to(cube, torch.zeros(1, 1, 1, 1, 1)).item() == 3.5


def test_interpolation_is_linear_between_the_centres_of_pixels():
    x = torch.tensor([[[0.0, 4.0]]])
    # Centres of two pixels at 1/4 and 3/4, of four at 1/8, 3/8, 5/8, 7/8: outside the outer centres nothing changes.
    assert interpolate_to(x, torch.zeros(1, 1, 4)).tolist() == [[[0.0, 1.0, 3.0, 4.0]]]
    square = torch.tensor([[[[0.0, 4.0], [8.0, 12.0]]]])
    assert interpolate_to(square, torch.zeros(1, 1, 4, 4))[0, 0, 1].tolist() == [2.0, 3.0, 5.0, 6.0]
    assert interpolate_to(torch.arange(4.0).view(1, 1, 4), torch.zeros(1, 1, 2)).tolist() == [[[0.5, 2.5]]]
