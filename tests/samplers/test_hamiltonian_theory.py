"""HMC and NUTS against closed forms. Tolerances are five standard errors of the estimates."""

import math

import pytest
import torch

from ebmpipe.samplers import HMC, MALA, NUTS, run

CHAINS = 4000


def gaussian(x):
    return x.flatten(1).square().sum(1) / 2


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def close(values, expected):
    """The mean of independent ``values`` is ``expected`` within five standard errors."""
    return abs(float(values.mean()) - expected) < 5 * float(values.std()) / math.sqrt(len(values))


KERNELS = [(HMC(0.8, 3), 60), (NUTS(0.8), 20), (HMC(0.85, 3, jitter=0.5), 60)]
SHAPES = [(1,), (2,), (10,), (1, 4, 4)]


@pytest.mark.parametrize(("kernel", "steps"), KERNELS, ids=["hmc", "nuts", "jittered"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gaussian_moments_are_exact(kernel, steps, shape):
    """From a start at the wrong place and scale."""
    generator = seeded()
    x = 3 + 0.3 * torch.randn(CHAINS, *shape, generator=generator, dtype=torch.float64)
    x, summary = run(kernel, gaussian, x, steps, generator)
    values = x.flatten(1)
    assert abs(float(values.mean())) < 5 / math.sqrt(values.numel())
    assert abs(float(values.var()) - 1) < 5 * math.sqrt(2 / values.numel())
    radius = values.square().sum(1)
    assert close(radius, values.shape[1]), "kinetic energy must sum over all axes of an event"
    assert 0.6 < summary.acceptance < 0.97


@pytest.mark.parametrize(("kernel", "steps"), [(HMC(0.35, 9), 60), (NUTS(0.35), 15)], ids=["hmc", "nuts"])
def test_correlated_gaussian(kernel, steps):
    """Standard deviations from 0.4 to 2 along directions that are not the axes', around a mean that is not zero."""
    generator = seeded()
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))
    scales, centre = torch.tensor([0.4, 0.7, 1.2, 2.0], dtype=torch.float64), torch.arange(4, dtype=torch.float64)
    x = torch.randn(CHAINS, 4, generator=generator, dtype=torch.float64)
    x, _ = run(kernel, lambda v: gaussian((v - centre) @ rotation / scales), x, steps, generator)
    white = (x - centre) @ rotation / scales
    assert float(white.mean(0).abs().max()) < 5 / math.sqrt(CHAINS)
    assert float((white.T @ white / CHAINS - torch.eye(4)).abs().max()) < 5 * math.sqrt(2 / CHAINS)


def test_jitter_breaks_the_orbits_of_fixed_length():
    """Of a Gaussian, half a period takes x to -x, and its energy nowhere: one is 2π (1 - ε²/24 + …) long, so L ε = π near enough."""
    x = 2 * torch.randn(CHAINS, 1, generator=seeded(), dtype=torch.float64)
    before = gaussian(x)
    kept, mixed = (gaussian(run(HMC(math.pi / 16, 16, jitter), gaussian, x, 12, seeded(1))[0]) for jitter in (0.0, 0.5))
    correlation = [float(torch.corrcoef(torch.stack([before, after]))[0, 1]) for after in (kept, mixed)]
    assert correlation[0] > 0.95 and abs(correlation[1]) < 0.2


@pytest.mark.parametrize("jitter", [-0.1, 1.0])
def test_a_jitter_that_reaches_zero_is_refused(jitter):
    with pytest.raises(ValueError, match="jitter"):
        HMC(0.1, 3, jitter)


@pytest.mark.parametrize(("kernel", "steps"), [(MALA(0.9), 300), (HMC(0.5, 5), 60), (NUTS(0.6), 30)], ids=["mala", "hmc", "nuts"])
def test_mode_weights_of_a_mixture(kernel, steps):
    """Two Gaussians of unequal weights and widths, all chains starting in the lighter one."""
    centres = torch.tensor([[-1.5, 0.0], [1.5, 1.0]], dtype=torch.float64)
    weights, scales = torch.tensor([0.2, 0.8], dtype=torch.float64), torch.tensor([0.6, 0.9], dtype=torch.float64)

    def mixture(x):
        exponents = -(x[:, None] - centres).square().sum(2) / (2 * scales**2)
        return -(exponents + (weights / scales**2).log()).logsumexp(1)

    generator = seeded()
    x = centres[0] + 0.1 * torch.randn(CHAINS, 2, generator=generator, dtype=torch.float64)
    x, _ = run(kernel, mixture, x, steps, generator)
    right = float((weights * torch.special.ndtr(centres[:, 0] / scales)).sum())
    assert close((x[:, 0] > 0).double(), right)
    assert close(x[:, 0], float((weights * centres[:, 0]).sum()))
    assert close(x[:, 1], float((weights * centres[:, 1]).sum()))


def quartic(x):
    return (x**4 / 4 - x**2 / 2).flatten(1).sum(1)


def quartic_samples(n, generator):
    """Exact but for the spacing of a fine grid, which a smooth jitter hides."""
    grid = torch.linspace(-4, 4, 20_001, dtype=torch.float64)
    return grid[torch.multinomial((-quartic(grid[:, None])).softmax(0), n, replacement=True, generator=generator)][:, None]


def banana(x):
    return x[:, 0].square() / 2 + (x[:, 1] - x[:, 0].square()).square()


def banana_samples(n, generator):
    z = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return torch.stack([z[:, 0], z[:, 0].square() + z[:, 1] / math.sqrt(2)], 1)


@pytest.mark.parametrize("kernel", [HMC(0.7, 4), NUTS(0.3), NUTS(0.7), NUTS(0.12, max_depth=3)], ids=["hmc", "fine", "coarse", "shallow"])
@pytest.mark.parametrize(("energy", "samples"), [(quartic, quartic_samples), (banana, banana_samples)])
def test_one_step_keeps_the_law(kernel, energy, samples):
    """From exact samples the expectation of every function stays; differences of pairs show even a small bias."""
    generator = seeded()
    x = samples(40_000, generator)
    moved, _ = run(kernel, energy, x, 1, generator)
    assert float((moved - x).abs().mean()) > 0.2
    for f in (energy, lambda v: v[:, 0], lambda v: v[:, -1] ** 2, lambda v: torch.cos(3 * v[:, 0]), lambda v: (v[:, -1] > 1).double()):
        assert close(f(moved) - f(x), 0)


@pytest.mark.parametrize("kernel", [HMC(0.7, 4), NUTS(0.7), NUTS(0.12, max_depth=3)], ids=["hmc", "nuts", "shallow"])
@pytest.mark.parametrize(("energy", "samples"), [(quartic, quartic_samples), (banana, banana_samples)])
def test_detailed_balance(kernel, energy, samples):
    """From the target, (x, x') and (x', x) have one law: every antisymmetric statistic vanishes."""
    generator = seeded()
    x = samples(100_000, generator)
    moved, _ = run(kernel, energy, x, 1, generator)
    for f, g in [(torch.sin, torch.exp), (torch.tanh, torch.square)]:
        assert close((f(x[:, 0]) * g(moved[:, -1]) - f(moved[:, 0]) * g(x[:, -1])), 0)


@pytest.mark.parametrize("shape", [(3,), (1, 2, 2)])
def test_mala_is_hmc_of_one_leapfrog_step(shape):
    """The same numbers from the generator make the same proposals, accepted with the same probability."""
    x = torch.randn(50, *shape, generator=seeded(), dtype=torch.float64)
    hmc, mala = HMC(0.9, 1), MALA(0.9)
    _, of_hmc = hmc.step(quartic, hmc.init(quartic, x), seeded(1))
    _, of_mala = mala.step(quartic, mala.init(quartic, x), seeded(1))
    torch.testing.assert_close(of_hmc.accept_prob, of_mala.accept_prob)
    torch.testing.assert_close(run(hmc, quartic, x, 20, seeded(1))[0], run(mala, quartic, x, 20, seeded(1))[0])


@pytest.mark.parametrize("make", [lambda step: HMC(step, 4), NUTS], ids=["hmc", "nuts"])
@pytest.mark.parametrize("dimension", [1, 2, 10])
def test_acceptance_follows_the_step(make, dimension):
    x = torch.randn(500, dimension, generator=seeded(), dtype=torch.float64)
    small = make(0.01) if make is not NUTS else NUTS(0.01, max_depth=4)
    assert run(small, gaussian, x, 5, seeded())[1].acceptance > 0.99
    assert run(make(10.0), gaussian, x, 5, seeded())[1].acceptance < 0.1


@pytest.mark.parametrize("kernel", [HMC(0.5, 4), NUTS(0.5, max_depth=5)], ids=["hmc", "nuts"])
def test_the_shape_of_events_does_not_matter(kernel):
    """Chains of images are those of the same numbers in a row."""
    x = torch.randn(30, 1, 4, 4, generator=seeded(), dtype=torch.float64)
    of_images, of_vectors = run(kernel, quartic, x, 5, seeded(1)), run(kernel, quartic, x.flatten(1), 5, seeded(1))
    assert torch.equal(of_images[0].flatten(1), of_vectors[0])
    assert of_images[1].acceptance == of_vectors[1].acceptance


@pytest.mark.parametrize("kernel", [HMC(1.0, 3), NUTS(1.0, max_depth=4)], ids=["hmc", "nuts"])
@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
def test_no_chain_enters_where_the_energy_is_not_finite(kernel, bad):
    def half_line(x):
        return torch.where(x[:, 0] > 0, x[:, 0], torch.full_like(x[:, 0], bad))

    x, summary = run(kernel, half_line, torch.ones(500, 1, dtype=torch.float64), 60, seeded())
    assert (x > 0).all() and 0 < summary.acceptance < 1
    assert close(x[:, 0], 1), "what is left is the exponential law"


def test_a_hundred_thousand_chains():
    generator = seeded()
    x, summary = run(HMC(0.9, 3), gaussian, torch.randn(100_000, 2, generator=generator), 4, generator)
    assert x.shape == (100_000, 2) and summary.gradient_evaluations == 100_000 * (1 + 4 * 3)
    assert float(x.mean(0).abs().max()) < 5 / math.sqrt(len(x))
    assert float((x.T.cov() - torch.eye(2)).abs().max()) < 5 * math.sqrt(2 / len(x))
