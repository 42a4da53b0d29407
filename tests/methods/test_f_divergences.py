"""f-divergences: their variational form against quadrature, its optimum, and the gradient that an energy follows."""

import pytest
import torch

from ebmpipe.methods.adversarial import covariance_loss
from ebmpipe.methods.f_divergences import DIVERGENCES

X = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
STEP = float(X[1] - X[0])
#: f itself, with f(1) = 0.
GENERATORS = {
    "kl": lambda r: r * r.log(),
    "reverse_kl": lambda r: -r.log(),
    "jensen_shannon": lambda r: r * r.log() - (1 + r) * ((1 + r) / 2).log(),
    "squared_hellinger": lambda r: (r.sqrt() - 1) ** 2,
}
DATA = -(X - 0.3).square() / 2 - 0.5 * torch.log(torch.tensor(2 * torch.pi))


def log_model(precision):
    """log of N(0, 1/precision) on the grid, of which exp(-E) is a multiple."""
    values = -precision * X.square() / 2
    return values - (values.exp().sum() * STEP).log()


def variational(name, h, model):
    f = DIVERGENCES[name]
    return (DATA.exp() * f.on_data(h) - model.exp() * f.on_model(h)).sum() * STEP


def test_all_are_tested():
    assert set(GENERATORS) == set(DIVERGENCES)


@pytest.mark.parametrize("name", GENERATORS)
def test_at_the_log_ratio_it_is_the_divergence_and_nowhere_more(name):
    model = log_model(0.8)
    best = variational(name, DATA - model, model)
    expected = (model.exp() * GENERATORS[name]((DATA - model).exp())).sum() * STEP
    assert float(best) == pytest.approx(float(expected), rel=1e-6)
    assert float(best) > 0
    for change in (0.3 * torch.sin(X), torch.full_like(X, 0.2), -0.1 * X):
        assert float(variational(name, DATA - model + change, model)) < float(best)
    assert float(variational(name, torch.zeros_like(X), DATA)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", GENERATORS)
def test_the_two_functions_are_of_one_f(name):
    """f*(f'(r)) = r f'(r) - f(r), and f' is the derivative of f but for a constant, which two laws do not see."""
    h = torch.linspace(-2, 2, 9, dtype=torch.float64)
    r = h.exp().requires_grad_(True)
    (slope,) = torch.autograd.grad(GENERATORS[name](r).sum(), r)
    f, r = DIVERGENCES[name], r.detach()
    torch.testing.assert_close(f.on_data(h), slope)
    torch.testing.assert_close(f.on_model(h), r * slope - GENERATORS[name](r))


@pytest.mark.parametrize("name", GENERATORS)
def test_the_covariance_is_the_gradient_of_the_divergence(name):
    """In the precision of the model: samples of it with the weights of the best critic, against the derivative by quadrature."""
    precision = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    model = log_model(precision)
    divergence = (model.exp() * GENERATORS[name]((DATA - model).exp())).sum() * STEP
    (expected,) = torch.autograd.grad(divergence, precision)
    x = torch.randn(2_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 0.8**0.5
    h = (-(x - 0.3).square() + 0.8 * x.square() - torch.log(torch.tensor(0.8))) / 2
    weights = DIVERGENCES[name].on_model(h)
    energies = precision * x.square() / 2
    (found,) = torch.autograd.grad(covariance_loss(energies, weights), precision)
    assert float(found) == pytest.approx(float(expected), abs=0.005)
    assert abs(float(expected)) > 0.02


def test_the_covariance_is_the_unbiased_one_of_samples():
    energies, weights = torch.randn(2, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(covariance_loss(energies, weights)) == pytest.approx(float(torch.cov(torch.stack([energies, weights]))[0, 1]))
