"""What an energy tells from its data: signs, the optimum, noise, and what is asked of it where it has no answer."""

from dataclasses import replace

import numpy as np
import pytest

from ebmpipe.foreign.sets import ForeignSet
from ebmpipe.metrics.base import NotAvailable
from ebmpipe.metrics.out_of_distribution import OutOfDistribution


def rows_of(evaluation):
    return {row.metric: row for row in OutOfDistribution().compute(evaluation)}


def of_gaussian(plane, n=2000, **fields):
    """The Gaussian of the plane, its energy and score."""
    evaluation = plane(n=n)
    density = evaluation.density
    return replace(evaluation, score=lambda x: -(x - density.mean) / density.sd**2, **fields)


def shifted(density, by):
    rng = np.random.default_rng(9)
    return {"far": ForeignSet("far", "a shifted Gaussian", None, lambda n: density.sample(n, rng) + by)}


def test_more_energy_is_less_like_the_data(plane):
    evaluation = of_gaussian(plane)
    near, far = (rows_of(replace(evaluation, foreign=shifted(evaluation.density, by)))["ood_auroc_far"].value for by in (0.0, 3.0))
    assert near == pytest.approx(0.5, abs=0.06)
    assert far > 0.98


def test_the_true_density_is_the_best_score_against_uniform_noise(plane):
    """Neyman & Pearson: against uniform noise on a square that holds the data the likelihood ratio is the density; its area is known."""
    evaluation = of_gaussian(plane)
    rows = rows_of(evaluation)
    # |x - m|² / sd² is χ² of two degrees: P(E of noise > E of data) = E over noise of 1 - exp(-r²/2).
    noise = evaluation.foreign["noise"].first(200_000)
    squares = ((noise - evaluation.density.mean) ** 2).sum(axis=1) / evaluation.density.sd**2
    best = float((1 - np.exp(-squares / 2)).mean())
    row = rows["ood_auroc_noise"]
    assert row.value == pytest.approx(best, abs=5 * row.stderr)
    worse = rows_of(replace(evaluation, log_unnormalised=lambda x: -np.abs(x[:, 0] - 0.5)))
    assert worse["ood_auroc_noise"].value < row.value


def test_low_energies_are_caught_by_typicality_alone(plane):
    """All at the mode, which has the least energy: E calls them data, their distance from the mean energy does not."""
    evaluation = of_gaussian(plane)
    mode = {"mode": ForeignSet("mode", "the mode", None, lambda n: np.tile(evaluation.density.mean, (n, 1)))}
    rows = rows_of(replace(evaluation, foreign=mode))
    assert rows["ood_auroc_mode"].value == 0
    assert rows["ood_auroc_mode@gradient_norm"].value == 0
    # |E - mean E| of data is that of an exponential law about its mean 1; at the mode it is 1.
    exceeds = float(1 - np.exp(-2))
    assert rows["ood_auroc_mode@typicality"].value == pytest.approx(exceeds, abs=0.05)


def test_both_sides_get_the_same_noise_and_clean_ones_are_said_to_be_clean(plane):
    sigma = 2.0
    evaluation = of_gaussian(plane)
    noisy = replace(
        evaluation,
        foreign=shifted(evaluation.density, 3.0),
        noise_level=sigma,
        noisy=lambda x, stream: x + sigma * np.random.default_rng(len(stream)).standard_normal(x.shape),
    )
    rows, clean = rows_of(noisy), rows_of(replace(evaluation, foreign=shifted(evaluation.density, 3.0)))
    assert rows["ood_auroc_far"].value < clean["ood_auroc_far"].value
    assert rows["ood_auroc_far@clean"].value == pytest.approx(clean["ood_auroc_far"].value, abs=0.01)
    assert "noise σ = 2" in rows["ood_auroc_far"].protocol
    assert "no noise added" in rows["ood_auroc_far@clean"].protocol
    assert "ood_auroc_far@clean" not in clean
    assert set(rows) == set(OutOfDistribution().reports(noisy))


def test_equally_many_of_each_and_the_sides_are_told(plane):
    evaluation = of_gaussian(plane, n=300)
    few = {"few": ForeignSet("few", "a few", 40, lambda n: evaluation.foreign["noise"].first(n))}
    row = rows_of(replace(evaluation, foreign=few))["ood_auroc_few"]
    assert row.n == 40
    assert row.protocol.startswith("n = 40 of the test split and 40 of: a few")
    assert rows_of(evaluation)["ood_auprc_noise"].n == 300


def test_infinite_energies_are_as_far_as_can_be(plane):
    evaluation = of_gaussian(plane)
    inside = replace(evaluation, log_unnormalised=lambda x: np.where(np.abs(x).max(axis=1) < 100, 0.0, -np.inf))
    far = {"far": ForeignSet("far", "outside", None, lambda n: np.full((n, 2), 1000.0))}
    assert rows_of(replace(inside, foreign=far))["ood_auroc_far"].value == 1


def test_what_has_no_answer_says_why(plane):
    evaluation = of_gaussian(plane)
    with pytest.raises(NotAvailable, match="has no energy"):
        list(OutOfDistribution().compute(replace(evaluation, log_unnormalised=None)))
    with pytest.raises(NotAvailable, match="zero density to training examples"):
        list(OutOfDistribution().compute(replace(evaluation, log_unnormalised=lambda x: np.full(len(x), -np.inf))))
    broken = rows_of(replace(evaluation, score=lambda x: x * np.nan))
    assert broken["ood_auroc_noise@gradient_norm"].status.startswith("not available: the score is no number at 4000 of 4000")
    assert broken["ood_auroc_noise"].status == "ok"
    assert list(OutOfDistribution().compute(replace(evaluation, foreign={}))) == []


def test_energies_are_left_for_the_figure(plane):
    evaluation = of_gaussian(plane)
    rows_of(evaluation)
    assert set(evaluation.drawn) == {"ood_energy_test", "ood_energy_noise"}
    squares = ((evaluation.foreign["noise"].first(5) - evaluation.density.mean) ** 2).sum(axis=1)
    expected = squares / (2 * evaluation.density.sd**2) + np.log(2 * np.pi * evaluation.density.sd**2)
    np.testing.assert_allclose(evaluation.drawn["ood_energy_noise"][:5], expected)
