"""What every kernel must do, whatever it samples."""

from pathlib import Path

import pytest
import torch

from ebmpipe import registry
from ebmpipe.config import KernelConfig
from ebmpipe.methods.base import build_kernel
from ebmpipe.samplers import run

#: Settings under which each kernel moves well on a standard Gaussian. A new kernel adds its line.
SETTINGS = {
    "annealed_langevin": {"step_size": 0.5, "width": 3.0, "levels": 3, "steps_per_level": 2},
    "hmc": {"step_size": 0.5, "leapfrog_steps": 3},
    "mala": {"step_size": 0.5},
    "nuts": {"step_size": 0.5, "max_depth": 5},
    "parallel_tempering": {"step_size": 0.5, "temperatures": 3, "hottest": 5.0},
    "ula": {"step_size": 0.5},
    "underdamped_langevin": {"step_size": 0.5, "friction": 0.7},
}
SHAPES = [(1,), (2,), (10,), (1, 4, 4)]


def kernel_of(name, **changes):
    return registry.load("samplers", name)(**{**SETTINGS[name], **changes})


def gaussian(x):
    return x.flatten(1).square().sum(1) / 2


class Counting:
    """A Gaussian energy that offers its gradient and counts the examples it was asked for."""

    def __init__(self):
        self.gradients = 0

    def __call__(self, x):
        return gaussian(x)

    def grad(self, x):
        self.gradients += len(x)
        return x.clone()

    def value_and_grad(self, x):
        self.gradients += len(x)
        return gaussian(x), x.clone()


def test_every_kernel_is_tested():
    """Here, or in a file of its own where it moves on states, on which there is no Gaussian."""
    of_states = {name for name, kernel in registry.load_all("samplers").items() if kernel.kinds == {"binary"}}
    assert set(registry.names("samplers")) == SETTINGS.keys() | of_states
    assert all((Path(__file__).parent / f"test_{name}.py").is_file() for name in of_states)


@pytest.mark.parametrize("name", SETTINGS)
class TestContract:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("n", [1, 5])
    def test_shapes_types_and_acceptance(self, name, shape, dtype, n):
        kernel, generator = kernel_of(name), torch.Generator().manual_seed(0)
        x = torch.randn(n, *shape, dtype=dtype)
        before = x.clone()
        state = kernel.init(gaussian, x)
        state, info = kernel.step(gaussian, state, generator)
        assert state.x.shape == x.shape
        assert state.x.dtype == dtype
        assert info.accept_prob.shape == (n,)
        assert ((info.accept_prob >= 0) & (info.accept_prob <= 1)).all()
        assert torch.equal(x, before), "the caller's tensor was changed"

    def test_a_state_is_not_changed_by_the_steps_made_from_it(self, name):
        kernel = kernel_of(name)
        state, _ = kernel.step(gaussian, kernel.init(gaussian, torch.randn(4, 3)), torch.Generator().manual_seed(0))
        first, _ = kernel.step(gaussian, state, torch.Generator().manual_seed(1))
        again, _ = kernel.step(gaussian, state, torch.Generator().manual_seed(1))
        assert torch.equal(first.x, again.x)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_cached_values_equal_recomputed_ones(self, name, shape):
        kernel, generator = kernel_of(name), torch.Generator().manual_seed(0)
        state = kernel.init(gaussian, torch.randn(6, *shape, dtype=torch.float64))
        for _ in range(5):
            state, _ = kernel.step(gaussian, state, generator)
            if state.energy is not None:
                torch.testing.assert_close(state.energy, gaussian(state.x))
            if state.gradient is not None:
                torch.testing.assert_close(state.gradient, state.x)

    @pytest.mark.parametrize("steps", [0, 1, 4, 9])
    def test_a_run_split_in_two_is_the_same_run(self, name, steps):
        """Through the state always, and through positions where the kernel carries nothing else that they do not tell."""
        x = torch.randn(4, 3)
        whole, _ = run(kernel_of(name), gaussian, x, 9, torch.Generator().manual_seed(1))
        generator = torch.Generator().manual_seed(1)
        half, summary = run(kernel_of(name), gaussian, x, steps, generator)
        twin = generator.clone_state()
        again, rest = run(kernel_of(name), gaussian, summary.state, 9 - steps, generator)
        assert torch.equal(whole, again)
        if summary.state.memory is None:
            again, anew = run(kernel_of(name), gaussian, half, 9 - steps, twin)
            assert torch.equal(whole, again)
            assert anew.gradient_evaluations == rest.gradient_evaluations + 4 * kernel_of(name).gradients_at_init

    def test_only_the_given_generator_matters(self, name):
        x = torch.randn(4, 3)
        torch.manual_seed(1)
        first, _ = run(kernel_of(name), gaussian, x, 5, torch.Generator().manual_seed(7))
        torch.manual_seed(2)
        second, _ = run(kernel_of(name), gaussian, x, 5, torch.Generator().manual_seed(7))
        assert torch.equal(first, second)

    @pytest.mark.parametrize("steps", [0, 1, 7])
    def test_gradients_are_as_many_as_declared(self, name, steps):
        energy, kernel = Counting(), kernel_of(name)
        _, summary = run(kernel, energy, torch.randn(11, 2), steps, torch.Generator().manual_seed(0))
        assert energy.gradients == summary.gradient_evaluations
        if kernel.random_cost:
            assert 11 * (kernel.gradients_at_init + steps) <= energy.gradients <= 11 * kernel.cost(steps)
        else:
            assert energy.gradients == 11 * kernel.cost(steps)

    def test_an_energy_of_each_chain(self, name):
        """What is told of `one_point_per_chain`: E is then that of each chain's own well, which it ends in."""
        kernel, wells, generator = kernel_of(name), torch.tensor([[-40.0], [0.0], [40.0]]), torch.Generator().manual_seed(0)
        sizes = []

        def energy(x):
            sizes.append(len(x))
            return gaussian(x - (wells if len(x) == len(wells) else 0))

        x, _ = run(kernel, energy, wells, 20, generator)
        assert (set(sizes) == {len(wells)}) == kernel.one_point_per_chain
        if kernel.one_point_per_chain:
            assert ((x - wells).abs() < 8).all()

    def test_a_hundred_thousand_chains(self, name):
        n, energy, kernel, generator = 100_000, Counting(), kernel_of(name), torch.Generator().manual_seed(0)
        start = torch.randn(n, 2, generator=generator)
        x, summary = run(kernel, energy, start, 2, generator)
        assert x.shape == (n, 2) and x.isfinite().all()
        assert float((x != start).all(1).double().mean()) > 0.9, "every chain moves, but for rejections"
        assert energy.gradients == summary.gradient_evaluations
        assert n * (kernel.gradients_at_init + 2) <= energy.gradients <= n * kernel.cost(2)
        if not kernel.random_cost:
            assert energy.gradients == n * kernel.cost(2)

    def test_positions_without_an_event_axis_are_refused(self, name):
        with pytest.raises(ValueError, match=r"\(n, \*event\) with at least one axis of an event, got shape \(5,\)"):
            run(kernel_of(name), gaussian, torch.zeros(5), 1, torch.Generator())

    def test_a_negative_number_of_steps_is_refused(self, name):
        with pytest.raises(ValueError, match="at least 0, got -1"):
            run(kernel_of(name), gaussian, torch.zeros(5, 2), -1, torch.Generator())

    def test_a_step_size_is_needed(self, name):
        with pytest.raises(ValueError, match=r"step_size\s+Field required"):
            build_kernel(KernelConfig(name=name))

    def test_another_step_size_changes_nothing_else(self, name):
        kernel = kernel_of(name)
        other, again = kernel.with_step_size(2 * kernel.step_size), kernel_of(name, step_size=2 * kernel.step_size)
        x = torch.randn(4, 3)
        moved, _ = run(other, gaussian, x, 3, torch.Generator().manual_seed(1))
        expected, _ = run(again, gaussian, x, 3, torch.Generator().manual_seed(1))
        assert torch.equal(moved, expected)
        assert (other.step_size, other.temperature, other.cost(3)) == (again.step_size, again.temperature, again.cost(3))
        assert kernel.step_size == kernel_of(name).step_size, "the kernel itself was changed"

    def test_hand_written_gradients_change_nothing(self, name):
        x = torch.randn(5, 2, dtype=torch.float64)
        by_hand, _ = run(kernel_of(name), Counting(), x, 10, torch.Generator().manual_seed(3))
        by_autograd, _ = run(kernel_of(name), gaussian, x, 10, torch.Generator().manual_seed(3))
        torch.testing.assert_close(by_hand, by_autograd)

    def test_settings_are_described_and_checked_by_their_model(self, name):
        model = registry.load("samplers", name).settings_model()
        assert model.model_validate(SETTINGS[name])
        assert all(info.description for info in model.model_fields.values())
        for bad in ({"step_size": -1.0}, {"no_such_setting": 1.0}):
            with pytest.raises(ValueError, match=next(iter(bad))):
                model.model_validate(SETTINGS[name] | bad)

    def test_bad_settings_are_refused(self, name):
        with pytest.raises(ValueError, match="step_size"):
            kernel_of(name, step_size=0.0)
        with pytest.raises(ValueError, match="step_size"):
            kernel_of(name, step_size=float("nan"))


@pytest.mark.parametrize("name", [name for name in SETTINGS if kernel_of(name).adjusted])
@pytest.mark.parametrize("wrong", [lambda x: x.square().sum() / 2, lambda x: x.square() / 2, lambda x: x.square().sum(1, keepdim=True)])
def test_an_energy_that_is_not_one_number_per_example_is_refused(name, wrong):
    """By every kernel that compares energies; the others take gradients alone."""
    with pytest.raises(ValueError, match=r"an energy must map \(n, \*event\) to \(n,\)"):
        run(kernel_of(name), wrong, torch.zeros(5, 2), 1, torch.Generator())
