"""Energy matching against closed forms: transport between Gaussians, pairing, schedule, the contrast at the truth, signs, own samples."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from quadratic_network import QuadraticNetwork, gaussian_of

from ebmpipe.config import NetworkConfig, SamplingConfig
from ebmpipe.energies import BASE_WIDTH
from ebmpipe.methods import build
from ebmpipe.methods.energy_matching import paired, share_of_transport, transport_loss, transported
from ebmpipe.spec import DataSpec

SHAPES = [(1,), (2,), (10,), (1, 3, 3)]
MEAN, STD, N = 0.7, 0.8, 40_000
#: Of the law of noise, which is also that of the energy before its first update.
NOISE = BASE_WIDTH * STD


def made(shape, settings=None):
    """One whose energy is that of N(MEAN, NOISE²) before its first update."""
    spec = DataSpec("gaussian", "images" if len(shape) == 3 else "vectors", shape, MEAN, STD, None, None, None, Path())
    settings = {"batch_size": 1000, "data_noise": 0.0, "pairing": "independent"} | (settings or {})
    return build("energy_matching", spec, settings, network=NetworkConfig(name=QuadraticNetwork.name), iterations=100)


def normal(shape, std, n=N, seed=0):
    return std * torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def times(n=N):
    return torch.rand(n, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def test_pairs_are_those_of_least_distance():
    start, end = normal((2,), 1.0, 6, seed=1), normal((2,), 2.0, 6, seed=2)
    least = min(float((start - end[list(order)]).square().sum()) for order in itertools.permutations(range(6)))
    assert float((start - paired(start, end)).square().sum()) == pytest.approx(least)
    assert sorted(paired(start, end)[:, 0].tolist()) == sorted(end[:, 0].tolist())


def test_on_the_line_pairs_are_those_of_equal_rank():
    start, end = normal((1,), 1.0, 300, seed=1), normal((1,), 0.5, 300, seed=2)
    assert torch.equal(paired(start, end)[start[:, 0].argsort()], end.sort(0).values)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("start_std", "end_std"), [(1.5, 0.6), (0.5, 1.2)])
@pytest.mark.parametrize("pairing", ["independent", "optimal"])
def test_the_best_linear_velocity_between_gaussians(shape, start_std, end_std, pairing):
    """-∇V = -h x with h = 3/2 (a² - b²)/(a² + b²), or 3/2 (a² - b²)/(a² + ab + b²) where x₁ = (b/a) x₀, the optimal pairing's map.

    From h = -E[x_t·(x₁ - x₀)]/E‖x_t‖² over t in [0, 1] as well.
    """
    a, b, epsilon = start_std, end_std, 0.3
    start = normal(shape, a)
    end = b / a * start if pairing == "optimal" else normal(shape, b, seed=1)
    h = 1.5 * (a**2 - b**2) / (a**2 + b**2 + (a * b if pairing == "optimal" else 0))
    # One of each example: the slope's standard error is then that of their slopes.
    each = torch.full((N,), h / epsilon, dtype=torch.float64, requires_grad=True)
    losses = transport_loss(lambda x: each * x.flatten(1).square().sum(1) / 2, start, end, times(), epsilon)
    assert losses.shape == (N,)
    (slopes,) = torch.autograd.grad(losses.sum(), each)
    assert abs(float(slopes.mean())) < 5 * float(slopes.std()) / math.sqrt(N)
    for factor in (0.5, 1.5, -1.0):
        other = transport_loss(lambda x, k=factor: k * h / epsilon * x.flatten(1).square().sum(1) / 2, start, end, times(), epsilon)
        assert float(other.detach().mean()) > float(losses.detach().mean())


@pytest.mark.parametrize("dimension", [2, 5])
def test_the_best_linear_gradient_field_between_any_two_gaussians(dimension):
    """H symmetric with H S + S H = -2 K for the time's means S = (A + B)/3 of x_t x_tᵀ and K = (B - A)/2 of (x₁ - x₀) x_tᵀ."""
    roots = torch.randn(2, dimension, dimension, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    a, b = roots @ roots.mT / dimension
    start, end = (normal((dimension,), 1.0, 200_000, seed) @ root.T / dimension**0.5 for seed, root in enumerate(roots))
    eye = torch.eye(dimension, dtype=torch.float64)
    second = (a + b) / 3
    solved = torch.linalg.solve(torch.kron(second, eye) + torch.kron(eye, second), (a - b).flatten()).view(dimension, dimension)
    torch.testing.assert_close(solved, solved.T)
    best = solved.clone().requires_grad_(True)

    def energy(x):
        return (x @ ((best + best.T) / 2) * x).sum(1) / 2

    t = times(len(start))
    loss = transport_loss(energy, start, end, t, 1.0)
    (slope,) = torch.autograd.grad(loss.mean(), best)
    # Beside the slope at no field, it is nothing.
    assert float(slope.norm()) < 0.03 * float((a - b).norm())


def test_the_best_potential_of_all_between_gaussians_is_the_mean_velocity_over_times():
    """-∇V(x) = k(‖x‖) x, k = ∫ c_t p_t dt / ∫ p_t dt with c_t = (t b² - (1 - t) a²)/v_t and p_t = N(0, v_t): radial, hence a gradient.

    Its potential is V(x) = -‖x‖² ∫ s k(s ‖x‖) ds over s in [0, 1]. It is not quadratic.
    """
    a, b, n = 1.5, 0.5, 10_000
    start, end, t = normal((2,), a, n), normal((2,), b, n, seed=1), times(n)
    grid = (torch.arange(50, dtype=torch.float64) + 0.5) / 50
    variance = (1 - grid) ** 2 * a**2 + grid**2 * b**2
    rate = (grid * b**2 - (1 - grid) * a**2) / variance
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(8))
    nodes, weights = (nodes + 1) / 2, weights / 2

    def best(x):
        square = x.square().sum(1)
        shares = (-(square[:, None] * nodes.square())[:, :, None] / (2 * variance) - variance.log()).softmax(2)
        return -square * ((shares @ rate) * nodes * weights).sum(1)

    others = (best, lambda x: x.square().sum(1), lambda x: x.square().sum(1).add(1).log(), lambda x: x.sin().sum(1))
    for other in others:
        each = torch.zeros(n, dtype=torch.float64, requires_grad=True)
        losses = transport_loss(lambda x, each=each, other=other: (best(x) + each * other(x)) / 0.3, start, end, t, 0.3)
        (slopes,) = torch.autograd.grad(losses.sum(), each)
        assert abs(float(slopes.mean())) < 5 * float(slopes.std()) / math.sqrt(n)
    h = 1.5 * (a**2 - b**2) / (a**2 + b**2)
    linear = transport_loss(lambda x: h * x.square().sum(1) / 2, start, end, t, 1.0)
    gain = (linear - losses).detach()
    assert float(gain.mean()) > 5 * float(gain.std()) / math.sqrt(n)


def test_the_schedule():
    t = torch.tensor([0.0, 0.5, 0.8, 0.9, 1.0], dtype=torch.float64)
    assert share_of_transport(t, 0.8).tolist() == pytest.approx([1, 1, 1, 0.5, 0])
    assert share_of_transport(t, 0.0).tolist() == pytest.approx([1, 0.5, 0.2, 0.1, 0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cutoff", [0.0, 0.5, 0.9])
def test_what_is_carried_through_a_quadratic_potential_has_the_variance_of_its_recursion(shape, cutoff):
    """x ← (1 - ελ Δt) x + √(2 ε(t) Δt) z: without noise before τ*, with all of ε in the last step."""
    n, steps, epsilon, precision = 20_000, 10, 0.4, 2.0
    start = normal(shape, 1.3, n)
    found = transported(
        lambda x: precision * x.flatten(1).square().sum(1) / 2, start, steps, epsilon, cutoff, torch.Generator().manual_seed(1)
    )
    variance = 1.3**2
    for step in range(1, steps + 1):
        share = max(0.0, (step / steps - cutoff) / (1 - cutoff))
        variance = (1 - epsilon * precision / steps) ** 2 * variance + 2 * epsilon * share / steps
    assert float(found.var()) == pytest.approx(variance, rel=5 * (2 / (n * math.prod(shape))) ** 0.5)


def slopes_of(method, shape, std, updates=20):
    """Gradients in the weights of updates that move nothing, on data N(MEAN, std²)."""
    found, generator = [], torch.Generator().manual_seed(0)
    for _ in range(updates):
        method.training_step(MEAN + std * torch.randn(method.config.batch_size, *shape, generator=generator), generator)
        found.append(torch.cat([moment.flatten() for moment in method.learner.moments("first_moment")]))
    return torch.stack(found).double()


STILL = {"learning_rate": 1e-12, "betas": (0.0, 0.99)}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_slope_of_the_contrast_is_zero_at_the_truth(shape):
    """Chains from data keep its law, those from noise come to it by long runs of the kernel."""
    kernel = {"name": "mala", "settings": {"step_size": 1.0}}
    method = made(shape, {"warm_up": 0.0, "transport_weight": 0.0, "optimiser": STILL, "steps": 40, "kernel": kernel})
    slopes = slopes_of(method, shape, NOISE)
    assert bool((slopes.mean(0).abs() < 5 * slopes.std(0) / len(slopes) ** 0.5 + 1e-12).all())


def divergence(energy, shape, std):
    """KL of N(MEAN, std²) from the Gaussian law of an energy, nats."""
    mean, covariance = gaussian_of(energy, shape)
    dimension, solved, off = len(mean), covariance.inverse(), mean - MEAN
    relative = std**2 * solved.trace() + off @ solved @ off - dimension + torch.logdet(covariance) - dimension * math.log(std**2)
    return float(relative / 2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factor", [0.6, 1.5])
def test_one_update_of_the_contrast_towards_narrower_or_wider_data_lowers_the_divergence(shape, factor):
    method = made(shape, {"warm_up": 0.0, "transport_weight": 0.0, "optimiser": {"learning_rate": 0.01}})
    std, generator = factor * NOISE, torch.Generator().manual_seed(0)
    before = divergence(method.live, shape, std)
    method.training_step(MEAN + std * torch.randn(1000, *shape, generator=generator), generator)
    assert divergence(method.live, shape, std) < before


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("factor", "sign"), [(0.4, 1), (1.6, -1)])
def test_one_update_of_transport_confines_to_narrower_data_and_lets_go_to_wider(shape, factor, sign):
    method = made(shape, {"temperature": 1e-3, "optimiser": {"learning_rate": 0.01}})
    before = gaussian_of(method.live, shape)[1].inverse().trace()
    generator = torch.Generator().manual_seed(0)
    report = method.training_step(MEAN + factor * NOISE * torch.randn(1000, *shape, generator=generator), generator)
    assert sign * float(gaussian_of(method.live, shape)[1].inverse().trace() - before) > 0
    assert report["gradient_evaluations"] == 2 * 1000


def test_chains_run_once_transport_is_learned_and_its_weight_falls_to_zero():
    settings = {"warm_up": 0.25, "fade_out": 0.75, "transport_weight": 2.0, "batch_size": 50, "optimiser": STILL}
    method = made((2,), settings)
    batch, generator = MEAN + STD * torch.randn(50, 2), torch.Generator().manual_seed(0)
    weights, costs = [], []
    for over in (0.2, 0.25, 0.5, 0.75, 0.9):
        method.learner.fraction = over
        report = method.training_step(batch, generator)
        assert ("d_t" in report) == (over >= 0.25)
        assert ("transport" in report) == (over < 0.75)
        costs.append(report["gradient_evaluations"])
        if 0.25 <= over < 0.75:
            weights.append((report["loss"] - float(report["d_t"])) / float(report["transport"]))
    assert weights == pytest.approx([2.0, 1.0], abs=1e-4)
    most = method.gradient_evaluations_per_step
    assert costs == [100, most, most, most - 100, most - 100]


@pytest.mark.parametrize("shape", SHAPES)
def test_its_own_samples_follow_the_schedule_to_the_law_of_the_energy(shape):
    """Here of N(m, NOISE²/4) with m half a deviation of the data off the mean of the noise, which it starts from."""
    kernel = {"name": "mala", "settings": {"step_size": 0.45}}
    method, n = made(shape, {"steps": 60, "kernel": kernel}), 10_000
    network = method.learner.average.network
    with torch.no_grad():
        # In units of the data's deviation the base adds a precision of 1/w² to that of the network, w being BASE_WIDTH.
        network.matrix.copy_(torch.eye(math.prod(shape)) * 3 / BASE_WIDTH**2)
        network.offset.fill_(-0.5 * 4 / BASE_WIDTH**2)
    mean, covariance = gaussian_of(method.energy_function(), shape)
    assert mean.tolist() == pytest.approx([MEAN + STD / 2] * math.prod(shape), rel=1e-4)
    assert covariance.diagonal().tolist() == pytest.approx([NOISE**2 / 4] * math.prod(shape), rel=1e-4)
    own = method.own_samples(n, torch.Generator().manual_seed(0))
    assert own.x.shape == (n, *shape)
    error = 5 * (n * math.prod(shape)) ** -0.5
    assert float(own.x.mean()) == pytest.approx(MEAN + STD / 2, abs=error * NOISE / 2)
    assert float(own.x.var()) == pytest.approx(NOISE**2 / 4, rel=1.5 * error)
    assert (own.sampler, own.sampler_steps, own.gradient_evaluations) == ("transport", 10 + 60, n * (10 + 61))


def test_samples_end_with_the_jump_where_that_is_configured():
    method = made((2,), {"data_noise": 0.3})
    method.sampling = SamplingConfig(denoise=True)
    own = method.own_samples(50, torch.Generator().manual_seed(0))
    torch.testing.assert_close(own.x, own.before - 0.3**2 * method.learner.average.grad(own.before))
    assert own.gradient_evaluations == 50 * (10 + 21 + 1)


def test_what_the_kernel_swaps_and_clips_is_reported():
    batch = MEAN + STD * torch.randn(50, 2)
    for name, more, told in (
        ("parallel_tempering", {}, {"acceptance", "swaps"}),
        ("ula", {"clip": 0.5}, {"clipped"}),
        ("mala", {}, {"acceptance"}),
    ):
        kernel = {"name": name, "settings": {"step_size": 0.5} | more}
        method = made((2,), {"batch_size": 50, "warm_up": 0.0, "kernel": kernel})
        report = method.training_step(batch, torch.Generator().manual_seed(0))
        assert report.keys() & {"acceptance", "swaps", "clipped"} == told
        assert all(0 < report[key] <= 1 for key in told)


def test_a_kernel_of_states_is_refused():
    with pytest.raises(ValueError, match="'gibbs' takes binary, not vectors"):
        made((2,), {"kernel": {"name": "gibbs", "settings": {}}})


def test_a_kernel_of_another_temperature_is_refused():
    with pytest.raises(ValueError, match="energy_matching samples at temperature 1"):
        made((2,), {"kernel": {"name": "ula", "settings": {"step_size": 0.5, "noise_scale": 0.1}}})
