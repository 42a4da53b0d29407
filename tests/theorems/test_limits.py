"""Losses of small steps: the order they become score matching with, the constants, and what a sample left attached comes to."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from ebmpipe import registry
from ebmpipe.derivatives import slope, slope_and_laplacian
from ebmpipe.methods.improved_cd import through_last_step
from ebmpipe.samplers import ULA
from ebmpipe.theorems.cd_step import CDStep, attached_objective, contrast
from ebmpipe.theorems.examples import Waves, expected, gauss_hermite, points
from ebmpipe.theorems.limits import SHAPES, STEPS, Limit, fitted_slope, gradients, named, values

LIMITS = {name: theorem for name, theorem in registry.load_all("theorems").items() if issubclass(theorem, Limit)}
MEASURED = {}


@pytest.fixture
def measured(request):
    """A limit's errors, measured once."""
    name = request.param
    if name not in MEASURED:
        MEASURED[name] = LIMITS[name]().measure()
    return LIMITS[name], MEASURED[name]


@pytest.mark.parametrize("measured", LIMITS, indirect=True)
@pytest.mark.parametrize("shape", SHAPES, ids=named)
def test_every_limit_is_reached_with_its_order(measured, shape):
    theorem, found = measured
    for kind in ["gradient"] + ["value"] * (theorem.constant is not None):
        errors, scale = found.arrays[f"{kind}_{named(shape)}"], theorem.order
        assert found.numbers[f"slope_{kind}_{named(shape)}"] == pytest.approx(theorem.order, abs=0.03)
        # The error itself is small, and every halving of the step divides it by 2^order.
        assert errors[-1] < 40 * STEPS[-1] ** scale
        np.testing.assert_allclose(errors[-3] / errors[-1], 2**scale, rtol=0.03)


def test_which_orders_are_claimed():
    assert LIMITS["cd_step"].order == 2 and LIMITS["shifted_noise"].order == 4


@pytest.mark.parametrize("shape", SHAPES, ids=named)
def test_a_sample_that_is_not_detached_trains_another_objective(shape):
    """It stays away from score matching, by exactly what ½‖∇E‖² differs by, and comes to ‖∇E‖² - ΔE with order 2."""
    found = CDStep().errors(shape)
    assert fitted_slope(STEPS, found["attached_own"]) == pytest.approx(2, abs=0.03)
    assert abs(fitted_slope(STEPS, found["attached"])) < 0.02 and found["attached"][-1] > 0.3

    def half_square(energy, x, step):
        return slope(energy, x).flatten(1).square().sum(1) / 2

    apart = np.abs(gradients(shape, half_square, [1.0])).max() / np.abs(gradients(shape, CDStep().leading, [math.sqrt(2)])).max()
    # Two steps, of which one is √2 times the other, tell where an error with a remainder of order 2 comes to.
    assert 2 * found["attached"][-1] - found["attached"][-2] == pytest.approx(apart, rel=1e-5)
    energy, x = Waves(shape), points(shape)
    _, s, laplacian = slope_and_laplacian(energy, x)
    torch.testing.assert_close(attached_objective(energy, x), s.flatten(1).square().sum(1) - laplacian)


def test_the_step_is_that_of_the_langevin_kernel():
    """With the noise that the kernel draws, CD's contrast is the difference of the energies at its start and at its end."""
    energy, x, step = Waves((3,)), points((3,)), 0.3
    state, _ = ULA(step).step(energy, ULA(step).init(energy, x), torch.Generator().manual_seed(5))
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=x.dtype)
    torch.testing.assert_close(through_last_step(energy, x, z, step, step)[0], state.x)
    # And quadrature is the mean over many such steps.
    many = x[:1].repeat(200_000, 1)
    state, _ = ULA(step).step(energy, ULA(step).init(energy, many), torch.Generator().manual_seed(6))
    with torch.no_grad():
        drawn = energy(many) - energy(state.x)
    error = float(drawn.std()) / math.sqrt(len(drawn))
    assert float(contrast(energy, x[:1], step).detach()) == pytest.approx(float(drawn.mean()), abs=4 * error)


def test_a_quadratic_energy_has_its_closed_form():
    """E = λx²/2: E(x) - E E(x') = (ε²/2)(λ²x² - λ) - ε⁴λ³x²/8, of which the gradient in λ at fixed x' is another."""

    class Quadratic(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.precision = torch.nn.Parameter(torch.tensor(1.3, dtype=torch.float64))

        def forward(self, x):
            return self.precision * x.flatten(1).square().sum(1) / 2

    energy, x, step, λ = Quadratic(), torch.tensor([[0.7]], dtype=torch.float64), 0.2, 1.3
    square = 0.49
    expected_value = step**2 / 2 * (λ**2 * square - λ) - step**4 * λ**3 * square / 8
    assert float(contrast(energy, x, step).detach()) == pytest.approx(expected_value, rel=1e-10)
    (found,) = torch.autograd.grad(contrast(energy, x, step).sum(), energy.precision)
    # ½x² - ½E[x'²] = (ε²/2)(λx² - 1) - ε⁴λ²x²/8, the gradient of (ε²/2)[½λ²x² - λ] to leading order.
    assert float(found) == pytest.approx(step**2 / 2 * (λ * square - 1) - step**4 * λ**2 * square / 8, rel=1e-10)


@pytest.mark.parametrize("shape", SHAPES, ids=named)
def test_quadrature_has_the_moments_of_the_normal_law(shape):
    z, weights = gauss_hermite(shape)
    flat = z.flatten(1)
    eye = torch.eye(flat.shape[1], dtype=torch.float64)
    torch.testing.assert_close((weights[:, None] * flat).sum(0), torch.zeros(flat.shape[1], dtype=torch.float64))
    torch.testing.assert_close(flat.T @ (weights[:, None] * flat), eye)
    torch.testing.assert_close((weights[:, None] * flat**4).sum(0), 3 * torch.ones(flat.shape[1], dtype=torch.float64))
    wave = expected(points(shape), lambda x, z: torch.cos(0.8 * z.flatten(1).sum(1)) + 0 * x.flatten(1).sum(1))
    torch.testing.assert_close(wave, torch.full_like(wave, math.exp(-0.32 * flat.shape[1])), rtol=0, atol=2e-4)


def test_pairs_keep_their_points():
    """Each example has its own average: by numerical integration on the line."""
    x = points((1,))
    found = expected(x, lambda here, z: torch.sin(here + z).flatten())
    for place in range(3):
        exact, _ = quad(lambda z, at=float(x[place]): math.sin(at + z) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi), -9, 9)
        assert float(found[place]) == pytest.approx(exact, abs=1e-9)


def test_the_example_depends_on_all_its_weights():
    energy = Waves((3,))
    found = gradients((3,), lambda energy, x, step: energy(x), [1.0])
    assert found.shape == (1, sum(weight.numel() for weight in energy.parameters())) and (np.abs(found) > 1e-6).all()
    assert values((3,), lambda energy, x, step: energy(x), [1.0, 2.0]).shape == (2, len(points((3,))))
