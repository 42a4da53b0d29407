"""Composed energies against closed forms: Gaussians times, beside and over Gaussians."""

import math

import numpy as np
import pytest
import torch

from ebmpipe import samplers
from ebmpipe.composition import COMPOSITIONS, Difference, Mixture, Product, check_proper
from ebmpipe.energies import GaussianLaw, UniformLaw, gradient, value_and_gradient
from ebmpipe.learned_base import LearnedGaussian
from ebmpipe.metrics.estimators.partition import log_partition
from ebmpipe.samplers import MALA
from ebmpipe.supports import Box

SHAPES = [(1,), (2,), (5,), (1, 3, 3)]


class Gaussian:
    """-log N(mean, diag(variance)), and a constant."""

    def __init__(self, mean, variance, constant=0.0):
        self.mean, self.variance = (torch.as_tensor(v, dtype=torch.float64) for v in (mean, variance))
        self.constant = constant

    def __call__(self, x):
        z = (x - self.mean).square() / self.variance + (2 * math.pi * self.variance).log()
        return z.flatten(1).sum(1) / 2 + self.constant


def two(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    means = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    return [Gaussian(mean, 0.5 + torch.rand(shape, generator=generator, dtype=torch.float64)) for mean in means]


def points(shape, n=7):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def precision_sum(one, other, weight):
    """Mean and variance of the Gaussian ∝ p₁ p₂^weight."""
    precision = 1 / one.variance + weight / other.variance
    return (one.mean / one.variance + weight * other.mean / other.variance) / precision, 1 / precision


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("kind", "sign"), [(Product, 1.0), (Difference, -1.0)])
@pytest.mark.parametrize("weight", [0.1, 0.3])
def test_products_and_differences_of_gaussians_are_gaussians(shape, kind, sign, weight):
    one, other = two(shape)
    mean, variance = precision_sum(one, other, sign * weight)
    assert (variance > 0).all()
    x = points(shape)
    rest = kind(one, other, weight)(x) - Gaussian(mean, variance)(x)
    torch.testing.assert_close(rest, rest[:1].expand(len(x)))


def test_log_z_of_a_product_is_that_of_the_overlap():
    """∫ N(x; a, s²) N(x; b, t²) dx = N(a; b, s² + t²)."""
    one, other = Gaussian([0.3, -1.0], [0.5, 0.8]), Gaussian([1.0, 0.2], [0.9, 0.4])
    product = Product(one, other)
    log_z, _ = log_partition(lambda x: -product(torch.from_numpy(x)).numpy(), half_width=4.0)
    expected = -Gaussian(other.mean, one.variance + other.variance)(one.mean[None])
    assert log_z == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("weight", [0.2, 0.5, 0.9])
def test_a_mixture_of_normalised_laws_is_normalised(weight):
    """Also of energies with constants that their log-partitions take off."""
    one, other = Gaussian([1.0, 0.0], [0.3, 0.5], constant=3.0), Gaussian([-1.0, 0.5], [0.4, 0.2], constant=-2.0)
    mixture = Mixture(one, other, weight, log_z=(-3.0, 2.0))
    log_z, _ = log_partition(lambda x: -mixture(torch.from_numpy(x)).numpy(), half_width=4.0)
    assert log_z == pytest.approx(0, abs=1e-4)
    x = points((2,))
    expected = (1 - weight) * (-(one(x) - 3)).exp() + weight * (-(other(x) + 2)).exp()
    torch.testing.assert_close((-mixture(x)).exp(), expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", COMPOSITIONS.values(), ids=COMPOSITIONS)
def test_gradients_are_those_of_autograd(kind, shape):
    composed, x = kind(*two(shape), 0.3, (0.7, -0.4)), points(shape)
    leaf = x.clone().requires_grad_(True)
    expected = torch.autograd.grad(composed(leaf).sum(), leaf)[0]
    value, slope = value_and_gradient(composed, x)
    torch.testing.assert_close(value, composed(x))
    torch.testing.assert_close(slope, expected)
    torch.testing.assert_close(gradient(composed, x), expected)


def test_far_from_both_laws_a_mixture_is_still_a_number():
    x = torch.full((1, 2), 1e3, dtype=torch.float64)
    value, slope = value_and_gradient(Mixture(*two((2,))), x)
    assert value.isfinite().all() and slope.isfinite().all() and (slope > 0).all()


@pytest.mark.parametrize("kind", COMPOSITIONS.values(), ids=COMPOSITIONS)
def test_chains_sample_it(kind):
    one, other = Gaussian([0.5], [0.5]), Gaussian([-0.5], [2.0])
    composed, weight = kind(one, other), kind.default_weight
    start = torch.randn(4000, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x, _ = samplers.run(MALA(step_size=0.9), composed, start, 60, torch.Generator().manual_seed(2))
    if kind is Mixture:
        mean = torch.tensor([0.0])
        variance = torch.tensor([(0.5 + 2.0) / 2 + 0.25])
    else:
        mean, variance = precision_sum(one, other, weight if kind is Product else -weight)
    error = math.sqrt(float(variance) / len(x))
    assert float(x.mean()) == pytest.approx(float(mean), abs=4 * error)
    assert float(x.var()) == pytest.approx(float(variance), rel=0.12)


def test_a_difference_that_is_no_law_is_refused():
    """Of Gaussians of variance 1 and 4 the first over the second to the w is one for w < 4."""
    narrow, wide = GaussianLaw((2,), 0.0, 1.0), GaussianLaw((2,), 0.0, 2.0)
    check_proper(3.9, narrow, wide)
    with pytest.raises(ValueError, match=r"set its weight below 4, the ratio"):
        check_proper(4.0, narrow, wide)
    with pytest.raises(ValueError, match=r"below 0\.25"):
        check_proper(0.3, wide, narrow)
    # Another law, a flow say, has no width to compare.
    with pytest.raises(ValueError, match="on Gaussian bases"):
        check_proper(0.2, narrow, UniformLaw((2,), Box(0.0, 1.0)))


def test_of_learned_bases_the_narrowest_coordinate_decides():
    """N(0, diag(1, 9)) over N(0, diag(4, 9)) to the w is one for w < 1, and over N(0, I) for w < 1/9."""
    laws = [LearnedGaussian((2,), 0.0, 1.0) for _ in range(2)]
    for law, std in zip(laws, ([1.0, 3.0], [2.0, 3.0]), strict=True):
        law.log_std.data = torch.tensor(std).log()
    check_proper(0.99, *laws)
    with pytest.raises(ValueError, match=r"below 1, the ratio"):
        check_proper(1.01, *laws)
    with pytest.raises(ValueError, match=r"below 0\.1111"):
        check_proper(0.2, laws[0], GaussianLaw((2,), 0.0, 1.0))


def test_weights_out_of_range_and_boxes_are_refused():
    one, other = two((2,))
    for kind, weight in ((Product, 0.0), (Difference, -1.0), (Mixture, 1.0), (Mixture, math.nan)):
        with pytest.raises(ValueError, match="weight"):
            kind(one, other, weight)
    with pytest.raises(ValueError, match="on a box"):
        Product(one, UniformLaw((1, 2, 2), Box(-1, 1)))


def test_what_both_forbid_differs_from_what_either_forbids():
    """Half-way between two far Gaussians the product is at its highest and the mixture next to nothing."""
    one, other = Gaussian([-3.0, 0.0], [1.0, 1.0]), Gaussian([3.0, 0.0], [1.0, 1.0])
    x = torch.tensor([[0.0, 0.0], [-3.0, 0.0], [3.0, 0.0]], dtype=torch.float64)
    assert int(Product(one, other)(x).argmin()) == 0
    assert int(Mixture(one, other)(x).argmax()) == 0
    assert int(Difference(one, other)(x).argmin()) == 1
    assert np.all(np.diff(sorted(Mixture(one, other)(x).tolist())[:2]) < 1e-6)
