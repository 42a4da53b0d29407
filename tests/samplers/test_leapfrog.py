"""The leapfrog integrator: what makes Hamiltonian kernels exact, and how good it is."""

import math
from itertools import pairwise

import pytest
import torch

from ebmpipe.energies import value_and_gradient
from ebmpipe.samplers.leapfrog import kinetic, leapfrog


def waves(x):
    """Neither convex nor separable, with curvature of both signs."""
    flat = x.flatten(1)
    return flat.square().sum(1) / 4 + (flat.sin() * flat.roll(1, 1).cos()).sum(1)


def start(n, shape):
    generator = torch.Generator().manual_seed(0)
    x, momentum = (torch.randn(n, *shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return x, momentum, value_and_gradient(waves, x)[1]


def test_kinetic_energy_sums_over_every_axis():
    momentum = torch.randn(3, 2, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(kinetic(momentum), torch.stack([(one**2).sum() / 2 for one in momentum]))


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 4, 4)])
def test_it_is_reversible(shape):
    x, momentum, slope = start(20, shape)
    end, momentum_end, _, slope_end = leapfrog(waves, x, momentum, slope, 0.2, 25)
    back, momentum_back, _, _ = leapfrog(waves, end, -momentum_end, slope_end, 0.2, 25)
    assert float((end - x).abs().mean()) > 0.1, "the trajectory led nowhere"
    torch.testing.assert_close(back, x, rtol=0, atol=1e-10)
    torch.testing.assert_close(-momentum_back, momentum, rtol=0, atol=1e-10)


def test_it_preserves_volume():
    """The Jacobian of (x, p) -> (x', p') has determinant one, though the map is far from the identity."""
    x, momentum, _ = start(1, (3,))

    def flow(z):
        position, p = z[None, :3], z[None, 3:]
        end, p_end, _, _ = leapfrog(differentiable, position, p, differentiable.grad(position), 0.3, 8)
        return torch.cat([end[0], p_end[0]])

    class Differentiable:
        """`waves` with gradients that can be differentiated once more."""

        def __call__(self, x):
            return waves(x)

        def grad(self, x):
            return torch.func.grad(lambda v: waves(v).sum())(x)

        def value_and_grad(self, x):
            return waves(x), self.grad(x)

    differentiable = Differentiable()
    jacobian = torch.func.jacrev(flow)(torch.cat([x[0], momentum[0]]))
    assert float(torch.linalg.det(jacobian)) == pytest.approx(1, abs=1e-10)
    assert float((jacobian - torch.eye(6, dtype=torch.float64)).abs().max()) > 0.5


def test_it_is_of_order_two():
    """Over a fixed time the error of H falls by four when the step is halved."""
    x, momentum, slope = start(500, (3,))
    before = waves(x) + kinetic(momentum)
    steps = torch.tensor([8, 16, 32, 64, 128])
    errors = []
    for count in steps.tolist():
        _, end, value, _ = leapfrog(waves, x, momentum, slope, 2.0 / count, count)
        errors.append(float((value + kinetic(end) - before).abs().mean()))
    slopes = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert slopes[-2:] == pytest.approx([2, 2], abs=0.05)


def test_gradients_are_one_per_step_and_arguments_stay_as_they_are():
    class Counting:
        gradients = values = 0

        def grad(self, x):
            self.gradients += 1
            return x  # the very tensor it was given, as an energy may

        def value_and_grad(self, x):
            self.values += 1
            return x.square().sum(1) / 2, x

    energy = Counting()
    x, momentum, _ = start(4, (2,))
    before = x.clone(), momentum.clone()
    end, momentum_end, value, slope = leapfrog(energy, x, momentum, x, 0.1, 7)
    assert (energy.gradients, energy.values) == (6, 1)
    assert torch.equal(x, before[0]) and torch.equal(momentum, before[1])
    assert torch.equal(slope, end) and torch.equal(value, end.square().sum(1) / 2)
    # The harmonic oscillator in discrete time: each step turns by arccos(1 - ε²/2) on an ellipse.
    angle, ratio = 7 * math.acos(1 - 0.1**2 / 2), math.sqrt(1 - 0.1**2 / 4)
    torch.testing.assert_close(end, x * math.cos(angle) + momentum * math.sin(angle) / ratio)
    torch.testing.assert_close(momentum_end, momentum * math.cos(angle) - x * math.sin(angle) * ratio)
