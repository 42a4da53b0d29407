"""Kinetic Langevin dynamics against closed forms."""

import math

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss, hermevander
from scipy.integrate import quad

from ebmpipe.samplers import UnderdampedLangevin, run
from ebmpipe.samplers.base import State


def gaussian(scale):
    return lambda x: x.flatten(1).square().sum(1) / (2 * scale**2)


def flat(x):
    return 0 * x.flatten(1).sum(1)


class FlatBottomed:
    """x²/2 + cos x = 1 + x⁴/24 - …: quartic at the bottom, of bounded curvature."""

    def __call__(self, x):
        return (x**2 / 2 + torch.cos(x)).flatten(1).sum(1)

    def grad(self, x):
        return x - torch.sin(x)


def draws(n, shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *shape, generator=generator, dtype=torch.float64), generator


@pytest.mark.parametrize(("scale", "step", "friction", "temperature"), [(1.0, 0.5, 1.0, 1.0), (0.7, 1.3, 0.3, 0.5), (2.0, 3.9, 5.0, 2.0)])
def test_the_stationary_covariance_on_a_gaussian_is_exact(scale, step, friction, temperature):
    """A step is linear there, (x, v) ← M (x, v) + u z: M is read off the kernel without noise, and Σ = M Σ Mᵀ + u uᵀ."""
    start = State(torch.tensor([[1.0], [0.0]], dtype=torch.float64), memory=torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    start = start._replace(gradient=start.x / scale**2)
    moved, _ = UnderdampedLangevin(step, friction, 0.0).step(gaussian(scale), start, torch.Generator())
    transfer = torch.cat([moved.x.T, moved.memory.T])
    kept = math.exp(-friction * step)
    noise = torch.tensor([[step / 2], [1 - step**2 / (4 * scale**2)]], dtype=torch.float64) * math.sqrt(temperature * (1 - kept**2))
    covariance = torch.diag(torch.tensor([scale**2, 1 - step**2 / (4 * scale**2)], dtype=torch.float64)) * temperature
    torch.testing.assert_close(transfer @ covariance @ transfer.T + noise @ noise.T, covariance, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(1,), (2,), (10,), (1, 4, 4)])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_variances_of_positions_and_momenta(shape, temperature):
    """From a start at the wrong scale, at a step where ULA's variance would be twice too large."""
    scale, step = 0.8, 1.1
    x, generator = draws(40_000 // math.prod(shape), shape)
    kernel = UnderdampedLangevin(step, 1.5, temperature)
    x, summary = run(kernel, gaussian(scale), x / 2, 80, generator)
    for values, expected in [(x, temperature * scale**2), (summary.state.memory, temperature * (1 - step**2 / (4 * scale**2)))]:
        assert abs(float(values.mean())) < 5 * math.sqrt(expected / values.numel())
        assert abs(float(values.var()) - expected) < 5 * expected * math.sqrt(2 / values.numel())
    assert summary.temperature == temperature
    assert summary.acceptance == 1


def test_momenta_forget_at_the_rate_of_the_friction():
    """Without forces, v is an Ornstein-Uhlenbeck process: cov(v_0, v_t) = T e^(-γt), and positions move by its integral."""
    step, friction, temperature, steps = 0.2, 0.7, 2.0, 5
    x, generator = draws(200_000, (1,))
    kernel = UnderdampedLangevin(step, friction, temperature)
    first, _ = kernel.step(flat, kernel.init(flat, x), generator)
    _, summary = run(kernel, flat, first, steps, generator)
    products = first.memory * summary.state.memory
    assert abs(float(products.mean()) - temperature * math.exp(-friction * step * steps)) < 5 * float(products.std()) / math.sqrt(len(x))


def test_at_infinite_friction_it_is_ula_with_averaged_noise():
    energy, step, temperature = FlatBottomed(), 0.6, 0.5
    x, generator = draws(7, (2, 3))
    kernel = UnderdampedLangevin(step, math.inf, temperature)
    x, summary = run(kernel, energy, x, 1, generator)
    noise = summary.state.memory + step / 2 * energy.grad(x)
    twin = generator.clone_state()
    moved, _ = run(kernel, energy, summary.state, 4, generator)
    for _ in range(4):
        old, noise = noise, math.sqrt(temperature) * torch.randn(x.shape, generator=twin, dtype=x.dtype)
        x = x - step**2 / 2 * energy.grad(x) + step * (old + noise) / 2
    torch.testing.assert_close(moved, x)


def stationary_second_moment(kernel, energy, monkeypatch, scale=1.1):
    """E[x²] under the kernel's stationary law in one dimension, without Monte Carlo.

    The transition operator is projected on Hermite polynomials in (x/scale, v), its integrals over x, v and the noise done by
    Gauss-Hermite quadrature, for which the kernel is handed the nodes in place of random numbers.
    """
    orders, rules = (30, 10), [hermegauss(count) for count in (48, 20, 16)]
    x, v, z = (torch.from_numpy(a.ravel())[:, None] for a in np.meshgrid(*(nodes for nodes, _ in rules), indexing="ij"))
    weights = np.prod(np.meshgrid(*(w / w.sum() for _, w in rules), indexing="ij"), axis=0).ravel()

    def basis(position, momentum):
        parts = [hermevander(a[:, 0].numpy(), n - 1) for a, n in zip((position / scale, momentum), orders, strict=True)]
        parts = [p / [math.sqrt(math.factorial(k)) for k in range(p.shape[1])] for p in parts]
        return (parts[0][:, :, None] * parts[1][:, None, :]).reshape(len(position), -1)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "randn", lambda *shape, **options: z.clone())
        moved, _ = kernel.step(energy, State(scale * x, gradient=energy.grad(scale * x), memory=v), torch.Generator())
    operator = basis(scale * x, v).T @ (weights[:, None] * basis(moved.x, moved.memory))
    # Row vector of expectations e with e = e P and e(1) = 1; the first basis function is 1.
    expectations = np.linalg.solve((operator - np.eye(len(operator)))[1:, 1:].T, -operator[0, 1:])
    return scale**2 * (math.sqrt(2) * expectations[2 * orders[1] - 1] + 1)


@pytest.mark.parametrize(("friction", "order"), [(0.5, 2), (1.0, 2), (math.inf, 4)])
def test_the_bias_is_of_the_declared_order(friction, order, monkeypatch):
    def weight(x):
        return math.exp(-(x**2) / 2 - math.cos(x))

    energy = FlatBottomed()
    truth = quad(lambda x: x * x * weight(x), -12, 12)[0] / quad(weight, -12, 12)[0]
    coarse, fine = (stationary_second_moment(UnderdampedLangevin(h, friction), energy, monkeypatch) - truth for h in (0.6, 0.3))
    assert math.log2(abs(coarse / fine)) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("bad", [{"step_size": -1.0}, {"friction": 0.0}, {"friction": math.nan}, {"temperature": -0.1}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match="needs step_size > 0, friction > 0 and temperature >= 0"):
        UnderdampedLangevin(**{"step_size": 0.5} | bad)
    with pytest.raises(ValueError, match=next(iter(bad))):
        UnderdampedLangevin.settings_model().model_validate({"step_size": 0.5} | bad)
