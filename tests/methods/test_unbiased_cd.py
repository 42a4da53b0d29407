"""The estimator has the expectation that an infinitely long chain would have, where one of k steps has not. Tolerances are 5 SE."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ebmpipe.config import NetworkConfig
from ebmpipe.methods import build
from ebmpipe.methods.unbiased_cd import telescoped
from ebmpipe.samplers import MALA, run
from ebmpipe.spec import DataSpec
from ebmpipe.supports import Box

SHAPES = [(1,), (2,), (10,), (1, 2, 2)]
#: Of E(x) = λ|x|²/2 - μ Σx, whose law is N(μ/λ, 1/λ) in every coordinate.
PRECISION, SLOPE = 1.6, 0.8
STEP = 0.6
SPEC = DataSpec("made_up", "density", (2,), 0.0, 1.0, None, None, None, Path())
SETTINGS = {"batch_size": 32, "steps": 2, "lag": 3, "max_steps": 40}


def energy(x):
    return (PRECISION * x.square() / 2 - SLOPE * x).flatten(1).sum(1)


def start(shape, n):
    """From neither the mean nor the variance of the model."""
    generator = torch.Generator().manual_seed(3)
    return 1.2 + 0.3 * torch.randn(n, *shape, generator=generator, dtype=torch.float64)


def gradients(x):
    """∂E/∂λ and ∂E/∂μ, (n, 2)."""
    return torch.stack([x.square().flatten(1).sum(1) / 2, -x.flatten(1).sum(1)], dim=1)


def expected(shape):
    """Their expectations under the model."""
    mean = SLOPE / PRECISION
    return math.prod(shape) * torch.tensor([(1 / PRECISION + mean**2) / 2, -mean], dtype=torch.float64)


def per_pair(found, n):
    """Estimates of the expectations, one of each pair, (n, 2)."""
    return torch.zeros(n, 2, dtype=torch.float64).index_add_(0, found.owners, n * found.weights[:, None] * gradients(found.x))


def errors(estimates, truth):
    """Deviations of the means of (n, 2) from ``truth`` (2,), in standard errors."""
    return (estimates.mean(0) - truth).abs() / (estimates.std(0) / math.sqrt(len(estimates)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("burn_in", "lag"), [(1, 1), (2, 1), (2, 4), (3, 2)])
def test_the_gradient_is_unbiased_where_that_of_cd_is_not(shape, burn_in, lag):
    n, generator = 10_000, torch.Generator().manual_seed(0)
    found = telescoped(MALA(STEP), energy, start(shape, n), burn_in, lag, 3000, generator)
    assert int(found.times.max()) <= 3000
    assert (errors(per_pair(found, n), expected(shape)) < 5).all()
    plain, _ = run(MALA(STEP), energy, start(shape, n), burn_in, generator)
    assert (errors(gradients(plain), expected(shape)) > 10).all()


def test_after_a_long_burn_in_nothing_is_left_to_correct():
    n, burn_in = 500, 400
    found = telescoped(MALA(STEP), energy, start((2,), n), burn_in, 3, 1000, torch.Generator().manual_seed(0))
    assert int(found.times.max()) < burn_in
    assert torch.equal(found.owners, torch.arange(n))
    assert (found.weights == 1 / n).all()
    assert found.summary.steps == burn_in
    assert (errors(gradients(found.x), expected((2,))) < 5).all()


@pytest.mark.parametrize(("burn_in", "lag", "longest", "reached"), [(1, 1, 3, 3), (1, 2, 4, 3), (2, 3, 5, 5), (1, 5, 5, 1)])
def test_of_pairs_cut_off_the_expectation_is_that_of_so_many_steps(burn_in, lag, longest, reached):
    n, generator = 20_000, torch.Generator().manual_seed(0)
    found = telescoped(MALA(STEP), energy, start((2,), n), burn_in, lag, longest, generator)
    assert (found.times > longest).double().mean() > 0.2
    assert set(found.times.tolist()) <= set(range(lag, longest + 2))
    plain, _ = run(MALA(STEP), energy, start((2,), n), reached, generator)
    estimates, others = per_pair(found, n), gradients(plain)
    tolerance = 5 * (estimates.var(0) / n + others.var(0) / n).sqrt()
    assert ((estimates.mean(0) - others.mean(0)).abs() < tolerance).all()
    assert (errors(estimates, expected((2,))) > 5).all()


def test_a_lag_takes_weight_off_pairs_that_part_for_long():
    """Two narrow wells far apart: the sum over such a pair has a term in every L-th step alone."""

    def wells(x):
        return -torch.logsumexp(torch.stack([-((x - 2).square()), -((x + 2).square())]).flatten(2).sum(2) * 4, 0)

    n, variances = 2000, {}
    for lag in (1, 10):
        generator = torch.Generator().manual_seed(0)
        found = telescoped(MALA(0.5), wells, torch.randn(n, 1, generator=generator, dtype=torch.float64), 10, lag, 300, generator)
        variances[lag] = float(per_pair(found, n)[:, 1].var())
    assert variances[1] > 10 * variances[10]


@pytest.mark.parametrize("lag", [1, 4])
def test_the_cost_is_counted(lag):
    counted = []

    class Counting:
        def __call__(self, x):
            return energy(x)

        def value_and_grad(self, x):
            counted.append(len(x))
            return energy(x), PRECISION * x - SLOPE

    found = telescoped(MALA(STEP), Counting(), start((2,), 100), 3, lag, 50, torch.Generator().manual_seed(0))
    assert sum(counted) == found.summary.gradient_evaluations
    assert len(counted) == found.summary.steps + 1 == int(found.times.max()) + 1
    # X goes on for at least 3 steps, Y from the lag until they meet; proposals that coincide cost one gradient for both.
    assert sum(counted) <= 100 + int((found.times.clamp(min=3) + (found.times - lag)).sum())


def test_positions_lie_in_the_box():
    class Boxed:
        support = Box(-1.0, 1.0)

        def __call__(self, x):
            return 2 * x.flatten(1).sum(1)

    n = 10_000
    at = torch.rand(n, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = telescoped(MALA(STEP), Boxed(), at, 1, 1, 300, torch.Generator().manual_seed(0))
    assert int(found.times.max()) <= 300
    assert Boxed.support.contains(found.x).all()
    values = torch.zeros(n, dtype=torch.float64).index_add_(0, found.owners, n * found.weights * found.x[:, 0])
    assert abs(float(values.mean()) - (0.5 - 1 / math.tanh(2.0))) < 5 * float(values.std()) / math.sqrt(n)


def made(**settings):
    return build("unbiased_cd", SPEC, SETTINGS | settings, network=NetworkConfig(settings={"width": 8}), iterations=10)


def test_the_update_follows_the_estimator():
    """The gradient of mean E(data) less the weighted sum over the positions, computed here one position after the other."""
    method = made(lag=1, max_steps=20)
    method.learner.config = method.learner.config.model_copy(update={"betas": (0.0, 0.0)})
    batch = torch.randn(32, 2, generator=torch.Generator().manual_seed(1))
    found = method.negatives(batch, torch.Generator().manual_seed(5))
    assert (found.weights < 0).any()
    assert float(found.weights.sum()) == pytest.approx(1)
    parameters = list(method.live.parameters())
    summed = [torch.zeros_like(p) for p in parameters]
    for x, weight in [*zip(batch, torch.full((32,), 1 / 32), strict=True), *zip(found.x, -found.weights, strict=True)]:
        for total, part in zip(summed, torch.autograd.grad(method.live(x[None]).sum(), parameters), strict=True):
            total += weight * part
    report = method.training_step(batch, torch.Generator().manual_seed(5))
    for ours, theirs in zip(method.learner.moments("first_moment"), summed, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert report["gradient_evaluations"] == found.summary.gradient_evaluations + len(found.x) + 32


def test_meeting_times_are_reported_and_kept():
    method, generator, times = made(), torch.Generator().manual_seed(0), []
    for _ in range(5):
        batch, state = torch.randn(32, 2, generator=generator), generator.get_state()
        times.append(method.negatives(batch, generator).times)
        generator.set_state(state)
        report = method.training_step(batch, generator)
        seen = times[-1].float()
        assert float(report["meeting_time"]) == pytest.approx(float(seen.mean()))
        assert float(report["meeting_time_max"]) == float(seen.max())
        assert float(report["meeting_time_95"]) == pytest.approx(np.quantile(seen.numpy(), 0.95))
        assert float(report["unmet"]) == pytest.approx(float((seen == 41).float().mean()))
    every = torch.cat(times)
    statistics = method.statistics()
    counts = {(times["first"], times["last"]): times["pairs"] for times in statistics["meeting_times"]}
    assert list(counts) == [(1, 1), (2, 3), (4, 7), (8, 15), (16, 31), (32, 40)]
    for (first, last), pairs in counts.items():
        assert pairs == int(((every >= first) & (every <= last)).sum())
    assert counts[4, 7] > 0
    assert statistics["unmet"] == int((every == 41).sum()) > 0
    assert sum(counts.values()) + statistics["unmet"] == 5 * 32


def test_pairs_cut_off_are_never_hidden():
    method = made(steps=1, lag=1, max_steps=1, kernel={"name": "mala", "settings": {"step_size": 0.01}})
    report = method.training_step(torch.randn(32, 2), torch.Generator().manual_seed(0))
    assert report["unmet"] == 1
    assert report["meeting_time"] == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel": {"name": "ula", "settings": {"step_size": 0.1}}}, "couples chains of MALA"),
        ({"max_steps": 2}, "at least its steps and its lag"),
        ({"steps": 50}, "at least its steps and its lag"),
    ],
)
def test_what_cannot_be_coupled_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        made(**settings)
