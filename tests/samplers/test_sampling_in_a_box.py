"""Kernels between walls: laws known in closed form, chains starting in the wrong corner."""

import math

import pytest
import torch
from scipy.stats import truncexpon, truncnorm, uniform

from ebmpipe.samplers import HMC, MALA, NUTS, run
from ebmpipe.supports import Box

CHAINS = 4000
KERNELS = [(MALA(0.6), 80), (HMC(0.3, 3), 60), (NUTS(0.3, max_depth=5), 20)]
BOX = Box(-1.0, 1.0)


class InBox:
    """An energy given by a formula, on the box."""

    support = BOX

    def __init__(self, formula):
        self.formula = formula

    def __call__(self, x):
        assert bool(BOX.contains(x).all()), "the energy was asked outside of its support"
        return self.formula(x)


def sampled(kernel, steps, formula, dimension):
    x = torch.full((CHAINS, dimension), 0.9, dtype=torch.float64)
    x, summary = run(kernel, InBox(formula), x, steps, torch.Generator().manual_seed(0))
    assert bool(BOX.contains(x).all())
    return x, summary


def check_moments(values, law):
    """Mean, mean square and the quartiles' probabilities of independent ``values``, to five standard errors."""
    values = values.numpy()
    quantiles = law.ppf([0.25, 0.5, 0.75])
    for statistic, expected in [
        (values, law.mean()),
        (values**2, law.var() + law.mean() ** 2),
        *[((values < q).astype(float), p) for q, p in zip(quantiles, (0.25, 0.5, 0.75), strict=True)],
    ]:
        assert abs(statistic.mean() - expected) < 5 * statistic.std() / math.sqrt(len(values))


@pytest.mark.parametrize(("kernel", "steps"), KERNELS, ids=["mala", "hmc", "nuts"])
@pytest.mark.parametrize("rate", [0.0, 2.0])
def test_exponential_law(kernel, steps, rate):
    """Against the wall where the gradient does not vanish; of rate 0, the uniform law."""
    x, _ = sampled(kernel, steps, lambda v: rate * v[:, 0], 1)
    law = truncexpon(b=2 * rate, loc=-1, scale=1 / rate) if rate else uniform(-1, 2)
    check_moments(x[:, 0], law)


@pytest.mark.parametrize(("kernel", "steps"), KERNELS, ids=["mala", "hmc", "nuts"])
def test_gaussian_in_a_corner(kernel, steps):
    """Its mean is outside of the box in the one coordinate and at the wall in the other."""
    means, scales = (-1.3, 1.0), (0.6, 0.4)

    def formula(x):
        return sum((x[:, i] - means[i]).square() / (2 * scales[i] ** 2) for i in range(2))

    x, _ = sampled(kernel, steps, formula, 2)
    for i in range(2):
        check_moments(x[:, i], truncnorm((-1 - means[i]) / scales[i], (1 - means[i]) / scales[i], loc=means[i], scale=scales[i]))
    product = (x[:, 0] - x[:, 0].mean()) * (x[:, 1] - x[:, 1].mean())
    assert abs(float(product.mean())) < 5 * float(product.std()) / math.sqrt(CHAINS)


def test_nuts_turns_at_the_walls():
    """With nothing between them, a particle turns where they send it back: a crossing takes 2 / (|p| ε) steps."""
    _, summary = sampled(NUTS(0.1, max_depth=9), 2, lambda v: 0 * v[:, 0], 1)
    assert summary.gradient_evaluations / (CHAINS * 2) < 80 < NUTS(0.1, max_depth=9).gradients_per_step
