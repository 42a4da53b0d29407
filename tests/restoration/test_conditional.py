"""Conditional energies: their gradients, and that any kernel samples the conditional law, known in closed form or by quadrature."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import truncnorm

from ebmpipe.energies import gradient, support_of, value_and_gradient
from ebmpipe.restoration.conditional import Masked, Observed, for_rows
from ebmpipe.samplers import HMC, MALA, NUTS, ParallelTempering, run
from ebmpipe.supports import Box

CHAINS = 1500
KERNELS = {
    "mala": (MALA(0.5), 80),
    "hmc": (HMC(0.35, 3), 50),
    "nuts": (NUTS(0.4, max_depth=5), 15),
    "parallel_tempering": (ParallelTempering(0.5, temperatures=3, hottest=3.0), 60),
}
SHAPES = [(1,), (3,), (1, 2, 3)]


def gaussian_of(shape, seed=0):
    """An energy of a correlated Gaussian over events, with its mean and covariance."""
    d, generator = math.prod(shape), torch.Generator().manual_seed(seed)
    root = torch.randn(d, d, dtype=torch.float64, generator=generator) / d**0.5
    covariance = root @ root.T + 0.5 * torch.eye(d, dtype=torch.float64)
    mean, precision = torch.randn(d, dtype=torch.float64, generator=generator), torch.linalg.inv(covariance)

    def energy(x):
        centred = x.flatten(1) - mean
        return (centred @ precision * centred).sum(1) / 2

    return energy, mean, covariance


def check(x, mean, covariance):
    """Mean and covariance of independent rows, to five standard errors."""
    error = (covariance.diagonal() / len(x)).sqrt()
    assert ((x.mean(0) - mean).abs() < 5 * error).all()
    scale = covariance.diagonal().outer(covariance.diagonal()) + covariance.square()
    assert ((torch.cov(x.T).view_as(covariance) - covariance).abs() < 5 * (scale / len(x)).sqrt()).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", KERNELS)
def test_denoising_a_gaussian_gives_the_linear_estimate_and_its_covariance(name, shape):
    energy, mean, covariance = gaussian_of(shape)
    s, y = 0.8, torch.linspace(-2, 2, math.prod(shape), dtype=torch.float64)
    gain = covariance @ torch.linalg.inv(covariance + s**2 * torch.eye(len(mean), dtype=torch.float64))
    kernel, steps = KERNELS[name]
    law = Observed(energy, y.view(1, *shape), s)
    x, _ = run(kernel, law, torch.zeros(CHAINS, *shape, dtype=torch.float64), steps, torch.Generator().manual_seed(1))
    check(x.flatten(1), mean + gain @ (y - mean), covariance - gain @ covariance)


@pytest.mark.parametrize("shape", [(3,), (1, 2, 3)])
@pytest.mark.parametrize("name", KERNELS)
def test_completing_a_gaussian_gives_its_conditional_law(name, shape):
    energy, mean, covariance = gaussian_of(shape, seed=2)
    d = math.prod(shape)
    missing = torch.arange(d) % 3 != 1
    known = torch.linspace(-1, 1, d, dtype=torch.float64)
    blocks = {(a, b): covariance[i][:, j] for a, i in (("m", missing), ("k", ~missing)) for b, j in (("m", missing), ("k", ~missing))}
    gain = blocks["m", "k"] @ torch.linalg.inv(blocks["k", "k"])
    kernel, steps = KERNELS[name]
    law = Masked(energy, known.view(1, *shape), missing.view(shape))
    start = torch.zeros(CHAINS, int(missing.sum()), dtype=torch.float64)
    x, _ = run(kernel, law, start, steps, torch.Generator().manual_seed(1))
    check(x, mean[missing] + gain @ (known - mean)[~missing], blocks["m", "m"] - gain @ blocks["k", "m"])
    whole = law.whole(x).flatten(1)
    assert torch.equal(whole[:, ~missing], known[~missing].expand(CHAINS, -1))
    assert torch.equal(law.part(whole.view(-1, *shape)), x)


@pytest.mark.parametrize("shape", [(3,), (1, 2, 3)])
def test_gradients_by_hand_are_those_of_autograd(shape):
    energy, *_ = gaussian_of(shape)
    x = torch.randn(4, *shape, dtype=torch.float64)
    missing = (torch.arange(math.prod(shape)) % 2 == 0).view(shape)
    y = torch.randn(2, *shape, dtype=torch.float64)
    for law, at in ((Observed(energy, y, 0.7), x), (Masked(energy, y, missing), x.flatten(1)[:, missing.flatten()])):
        value, slope = value_and_gradient(law, at)
        auto_value, auto_slope = value_and_gradient(lambda z, law=law: law(z), at)
        torch.testing.assert_close(value, auto_value)
        torch.testing.assert_close(slope, auto_slope)
        torch.testing.assert_close(gradient(law, at), auto_slope)
        torch.testing.assert_close(value, law(at))


def test_every_chain_has_its_own_observation_also_in_replicas():
    """Chain i belongs to observation i modulo their number, which is how parallel tempering stacks its replicas."""
    energy, mean, covariance = gaussian_of((2,))
    y = torch.tensor([[-3.0, 0.0], [2.0, 2.0], [0.0, -5.0]], dtype=torch.float64)
    gain = covariance @ torch.linalg.inv(covariance + 0.25 * torch.eye(2, dtype=torch.float64))
    for name in ("mala", "hmc", "parallel_tempering"):
        kernel, steps = KERNELS[name]
        start = torch.zeros(3 * CHAINS, 2, dtype=torch.float64)
        x, _ = run(kernel, Observed(energy, y, 0.5), start, steps, torch.Generator().manual_seed(1))
        for i in range(3):
            check(x[i::3], mean + gain @ (y[i] - mean), covariance - gain @ covariance)


def test_noise_of_two_parts_is_known_by_either():
    """Of Gaussian data the posterior mean of the clean example is the same by its own energy, and by the smoothed one's and the jump."""
    tau, sigma = 0.9, 0.4
    _, mean, covariance = gaussian_of((3,))
    eye = torch.eye(3, dtype=torch.float64)
    wide = covariance + sigma**2 * eye
    precision = torch.linalg.inv(wide)

    def smoothed(x):
        return ((x - mean) @ precision * (x - mean)).sum(1) / 2

    y, s = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64), (tau**2 - sigma**2) ** 0.5
    x, _ = run(MALA(0.6), Observed(smoothed, y, s), torch.zeros(CHAINS, 3, dtype=torch.float64), 100, torch.Generator().manual_seed(1))
    jumped = x - sigma**2 * gradient(smoothed, x)
    best = mean + covariance @ torch.linalg.inv(covariance + tau**2 * eye) @ (y[0] - mean)
    assert ((jumped.mean(0) - best).abs() < 5 * jumped.std(0) / CHAINS**0.5).all()


def mixture(x):
    """Two Gaussians in the plane, of unequal weights and widths."""
    parts = [math.log(w) - (x - torch.tensor(c, dtype=x.dtype)).square().sum(1) / (2 * s**2) - 2 * math.log(s) for w, c, s in COMPONENTS]
    return -torch.logsumexp(torch.stack(parts), 0)


COMPONENTS = [(0.3, (-1.0, 0.5), 0.5), (0.7, (1.0, -0.2), 0.8)]


def test_denoising_a_mixture_agrees_with_quadrature():
    y, s = torch.tensor([[0.1, 0.4]], dtype=torch.float64), 0.9
    ticks = torch.linspace(-6, 6, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(ticks, ticks)
    weights = torch.softmax(-Observed(mixture, y, s)(grid), 0)
    mean, square = weights @ grid, weights @ grid.square()
    start = y.repeat(CHAINS, 1)
    x, _ = run(MALA(0.7), Observed(mixture, y, s), start, 200, torch.Generator().manual_seed(1))
    assert ((x.mean(0) - mean).abs() < 5 * x.std(0) / CHAINS**0.5).all()
    assert ((x.square().mean(0) - square).abs() < 5 * x.square().std(0) / CHAINS**0.5).all()


def test_completing_a_mixture_agrees_with_quadrature():
    known = torch.tensor([[0.0, 0.3]], dtype=torch.float64)
    law = Masked(mixture, known, torch.tensor([True, False]))
    ticks = torch.linspace(-6, 6, 4001, dtype=torch.float64)[:, None]
    weights = torch.softmax(-law(ticks), 0)
    x, _ = run(MALA(0.9), law, torch.randn(CHAINS, 1, dtype=torch.float64), 200, torch.Generator().manual_seed(1))
    for quantile in (-1.0, 0.0, 1.0):
        share = float(weights[ticks[:, 0] <= quantile].sum())
        assert float((x <= quantile).double().mean()) == pytest.approx(share, abs=5 * (share * (1 - share) / CHAINS) ** 0.5)


class InBox:
    """A Gaussian energy on a box, which may not be asked outside of it."""

    support = Box(-1.0, 1.0)

    def __call__(self, x):
        assert bool(self.support.contains(x).all())
        return x.flatten(1).square().sum(1) / 2


def test_walls_are_kept():
    """Within a box, the posterior of a Gaussian is a truncated Gaussian; that of the missing coordinates as well."""
    y, s = torch.full((1, 2, 2), 1.5, dtype=torch.float64), 0.7
    observed, masked = Observed(InBox(), y, s), Masked(InBox(), y.clamp(-1, 1), torch.tensor([[True, False], [False, True]]))
    assert support_of(observed) == support_of(masked) == InBox.support
    wide = s**2 / (1 + s**2)
    for law, shape, mean, sd in ((observed, (2, 2), 1.5 / (1 + s**2), wide**0.5), (masked, (2,), 0.0, 1.0)):
        x, _ = run(MALA(0.5), law, torch.zeros(CHAINS, *shape, dtype=torch.float64), 100, torch.Generator().manual_seed(1))
        assert bool(InBox.support.contains(x).all())
        truth = truncnorm((-1 - mean) / sd, (1 - mean) / sd, mean, sd)
        each = x.flatten(1).numpy()
        assert np.abs(each.mean(0) - truth.mean()).max() < 5 * truth.std() / CHAINS**0.5


def test_what_cannot_be_conditioned_on_is_refused():
    energy, *_ = gaussian_of((2,))
    with pytest.raises(ValueError, match="must be positive, got 0"):
        Observed(energy, torch.zeros(1, 2), 0.0)
    with pytest.raises(ValueError, match="at least one coordinate"):
        Masked(energy, torch.zeros(1, 2), torch.tensor([False, False]))
    with pytest.raises(ValueError, match=r"shape \(3,\) must mark"):
        Masked(energy, torch.zeros(1, 2), torch.tensor([True, False, True]))
    with pytest.raises(ValueError, match="5 chains are not a multiple of 2 observations"):
        for_rows(torch.zeros(2, 2), 5)
