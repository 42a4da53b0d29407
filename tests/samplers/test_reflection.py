"""Boxes: the fold, the continued energy, and what kernels make of it."""

import math

import pytest
import torch
from scipy.integrate import quad

from ebmpipe.energies import gradient, value_and_gradient
from ebmpipe.samplers import MALA, ULA, AnnealedLangevin, ParallelTempering, UnderdampedLangevin, run
from ebmpipe.samplers.reflection import Reflected, reflected
from ebmpipe.supports import Box

BOXES = [Box(-1.0, 1.0), Box(0.1, 0.7), Box(-0.3, 0.9), Box(-5.0, -2.0)]


class OnBox:
    """A sum over coordinates of ``potential``, declared on ``box``."""

    def __init__(self, potential, box):
        self.potential, self.support = potential, box

    def __call__(self, x):
        return self.potential(x).flatten(1).sum(1)

    def moments(self):
        """E[x] and E[x²] of a coordinate, by quadrature."""
        z, first, second = (
            quad(lambda x, k=k: x**k * math.exp(-float(self.potential(torch.tensor(x)))), self.support.low, self.support.high)[0]
            for k in range(3)
        )
        return first / z, second / z


class ByHand(OnBox):
    """x²/2 + x with its gradient, which refuses to be asked outside the box."""

    def __init__(self, box):
        super().__init__(lambda x: x**2 / 2 + x, box)

    def __call__(self, x):
        assert self.support.contains(x).all()
        return super().__call__(x)

    def grad(self, x):
        assert self.support.contains(x).all()
        return x + 1

    def value_and_grad(self, x):
        return self(x), self.grad(x)


def uniform(box):
    return OnBox(lambda x: 0 * x, box)


def exponential(box):
    return OnBox(lambda x: 2.5 * x, box)


def mode_at_the_wall(box):
    return OnBox(lambda x: (x - box.low) ** 2 * 4 / box.width**2, box)


def tilted(box):
    return OnBox(lambda x: torch.cos(3 * (x - box.low)) - x / 2, box)


def anywhere(box, dtype=torch.float64, n=2000):
    """Points in and around the box, up to ten widths away."""
    generator = torch.Generator().manual_seed(0)
    return box.low + 10 * box.width * torch.randn(n, 3, generator=generator, dtype=dtype)


@pytest.mark.parametrize("box", BOXES)
class TestFold:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_it_maps_into_the_box_and_is_the_identity_there(self, box, dtype):
        x = anywhere(box, dtype)
        folded = box.fold(x)
        assert box.contains(folded).all()
        assert torch.equal(box.fold(folded), folded)
        inside = (x >= box.low) & (x <= box.high)
        assert inside.any() and not inside.all()
        assert torch.equal(folded[inside], x[inside])
        walls = torch.tensor([[box.low], [box.high]], dtype=dtype)
        assert torch.equal(box.fold(walls), walls)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_rounding_at_the_images_of_walls_leads_nowhere_else(self, box, dtype):
        """Where the last digit decides on which side of a wall a position is."""
        x = (box.low + box.width * torch.arange(-2000, 2001, dtype=torch.float64)).to(dtype)
        for towards in (torch.inf, -torch.inf):
            y = x
            for _ in range(4):
                assert box.contains(box.fold(y)[:, None]).all()
                y = torch.nextafter(y, torch.full_like(y, towards))

    @pytest.mark.parametrize("k", [-3, -1, 0, 1, 4])
    def test_it_is_the_reflection_at_either_wall_and_repeats_every_two_widths(self, box, k):
        x = torch.linspace(box.low, box.high, 101, dtype=torch.float64)[:, None]
        torch.testing.assert_close(box.fold(x + 2 * k * box.width), x)
        torch.testing.assert_close(box.fold(2 * box.low - x + 2 * k * box.width), x)
        torch.testing.assert_close(box.fold(2 * box.high - x + 2 * k * box.width), x)

    def test_its_derivative_is_the_orientation(self, box):
        x, h = anywhere(box), 1e-6
        distance = ((x - box.low) / box.width - ((x - box.low) / box.width).round()).abs() * box.width
        smooth = distance > 10 * h
        difference = (box.fold(x + h) - box.fold(x - h)) / (2 * h)
        torch.testing.assert_close(difference[smooth], box.orientation(x)[smooth], rtol=0, atol=1e-6)
        assert set(box.orientation(x).unique().tolist()) == {-1.0, 1.0}
        walls = torch.tensor([box.low, box.high], dtype=torch.float64)
        assert torch.equal(box.orientation(walls), torch.ones(2, dtype=torch.float64)), "walls belong to the box"

    def test_far_positions_in_single_precision(self, box):
        x = box.low + 1e4 * box.width * torch.randn(5000, 2, generator=torch.Generator().manual_seed(0))
        assert x.abs().max() > 1e4 * box.width
        assert box.contains(box.fold(x)).all()
        # As exact as a position so far away can be told.
        torch.testing.assert_close(box.fold(x).double(), box.fold(x.double()), rtol=0, atol=5e-3 * box.width)

    def test_the_continued_energy_is_symmetric_about_both_walls(self, box):
        energy, x = Reflected(ByHand(box), box), anywhere(box)
        for image in (2 * box.low - x, 2 * box.high - x, x + 2 * box.width):
            torch.testing.assert_close(energy(image), energy(x))
        torch.testing.assert_close(energy.grad(2 * box.low - x), -energy.grad(x))

    def test_gradients_by_hand_agree_with_autograd(self, box):
        energy, x = Reflected(ByHand(box), box), anywhere(box)
        value, slope = value_and_gradient(lambda y: energy(y), x)
        torch.testing.assert_close(energy.grad(x), slope)
        torch.testing.assert_close(energy.value_and_grad(x), (value, slope))
        torch.testing.assert_close(gradient(Reflected(exponential(box), box), x), 2.5 * box.orientation(x))


LAWS = [uniform, exponential, mode_at_the_wall, tilted]


@pytest.mark.parametrize("energy_on", LAWS)
@pytest.mark.parametrize(("shape", "step", "steps"), [((1,), 1.2, 30), ((2,), 1.0, 40), ((1, 4, 4), 0.4, 120)])
def test_mala_samples_the_box_exactly(energy_on, shape, step, steps):
    """From the middle of the box, at a step that crosses walls all the time."""
    box = Box(-1.0, 1.0)
    energy = energy_on(box)
    start = torch.zeros(16_000 // math.prod(shape), *shape, dtype=torch.float64)
    check_moments(energy, *run(MALA(step), energy, start, steps, torch.Generator().manual_seed(0)))


def check_moments(energy, x, summary):
    assert energy.support.contains(x).all()
    assert not energy.support.contains(summary.state.x).all(), "no chain crossed a wall"
    for power, expected in enumerate(energy.moments(), start=1):
        values = x.flatten() ** power
        assert abs(float(values.mean()) - expected) < 5 * float(values.std()) / math.sqrt(values.numel())


def test_moments_of_the_truncated_exponential_in_closed_form():
    """The quadrature that the other tests rely on: mean 1/λ - 1/(e^λ - 1) on [0, 1]."""
    assert exponential(Box(0.0, 1.0)).moments()[0] == pytest.approx(1 / 2.5 - 1 / math.expm1(2.5))
    assert uniform(Box(-1.0, 1.0)).moments() == pytest.approx((0, 1 / 3))


@pytest.mark.parametrize("energy_on", LAWS)
@pytest.mark.parametrize("shape", [(1,), (2,), (1, 2, 2)])
def test_ula_samples_the_box(energy_on, shape):
    """At a step so small that its bias, which is largest at walls, is a sixth of the test's tolerance."""
    energy = energy_on(Box(0.0, 1.0))
    start = torch.full((4000 // math.prod(shape), *shape), 0.5, dtype=torch.float64)
    check_moments(energy, *run(ULA(0.07), energy, start, 350, torch.Generator().manual_seed(0)))


KERNELS = [
    pytest.param(UnderdampedLangevin(0.1, 3.0), 150, id="underdamped_langevin"),
    pytest.param(AnnealedLangevin(0.07, 3.0, 3, 50), 400, id="annealed_langevin"),
    pytest.param(ParallelTempering(0.5, 3, 5.0), 40, id="parallel_tempering"),
]


@pytest.mark.parametrize(("kernel", "steps"), KERNELS)
@pytest.mark.parametrize("energy_on", [mode_at_the_wall, tilted])
def test_other_kernels_sample_the_box(kernel, steps, energy_on):
    energy = energy_on(Box(0.0, 1.0))
    start = torch.full((2000, 2), 0.5, dtype=torch.float64)
    check_moments(energy, *run(kernel, energy, start, steps, torch.Generator().manual_seed(0)))


def test_a_run_on_a_box_goes_on_from_its_state():
    energy, generator = exponential(Box(0.0, 1.0)), torch.Generator().manual_seed(1)
    start = torch.rand(5, 3)
    whole, _ = run(UnderdampedLangevin(0.3), energy, start, 9, torch.Generator().manual_seed(1))
    _, summary = run(UnderdampedLangevin(0.3), energy, start, 4, generator)
    again, _ = run(UnderdampedLangevin(0.3), energy, summary.state, 5, generator)
    assert torch.equal(whole, again)


def test_an_energy_without_support_is_left_alone():
    def energy(x):
        return x.flatten(1).sum(1)

    assert reflected(energy) == (energy, None)
    energy.support = None
    assert reflected(energy) == (energy, None)
    energy.support = "box"
    with pytest.raises(TypeError, match=r"must be an ebmpipe\.supports\.Box.*got 'box'"):
        reflected(energy)


def test_wider_energies_keep_the_box():
    """An energy that makes wider versions of itself does so in its box, too."""
    box = Box(0.0, 1.0)
    energy = exponential(box)
    assert not hasattr(Reflected(energy, box), "at_width")
    energy.at_width = lambda width: OnBox(lambda x: 2.5 * x / width, box)
    x = torch.tensor([[1.25], [0.75]])
    assert Reflected(energy, box).at_width(2.0)(x).tolist() == pytest.approx([0.75 * 1.25] * 2)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (-math.inf, 0.0), (0.0, math.inf), (math.nan, 1.0)])
def test_a_box_has_finite_walls_in_order(low, high):
    with pytest.raises(ValueError, match="a box needs finite low < high"):
        Box(low, high)
