"""R-hat, effective sample sizes, autocorrelation and hops of chains whose law is known."""

import numpy as np
import pytest
from scipy import stats

from ebmpipe.mixing.diagnostics import autocorrelation, diagnose, ess, hops, largest_rhat, rhat

CHAINS, DRAWS = 32, 1000


def autoregressive(rho, rng, chains=CHAINS, draws=DRAWS):
    """Stationary AR(1) chains of unit variance, (chains, draws)."""
    x = np.empty((chains, draws))
    x[:, 0] = rng.standard_normal(chains)
    for t in range(1, draws):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * rng.standard_normal(chains)
    return x


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.7, 0.9, -0.4])
def test_autoregressive_chains_have_their_effective_sample_size_and_autocorrelation(rho, rng):
    x = autoregressive(rho, rng)
    # (1 - ρ)/(1 + ρ) of the draws; the estimator of 32 chains of 1,000 is good to some percent.
    expected = x.size * (1 - rho) / (1 + rho)
    assert ess(x, "mean") == pytest.approx(expected, rel=0.12)
    assert ess(x, "bulk") == pytest.approx(expected, rel=0.12)
    assert autocorrelation(x)[:6] == pytest.approx(rho ** np.arange(6), abs=0.03)
    assert rhat(x) < 1 + 1.5 * (1 + abs(rho)) / (1 - abs(rho)) / DRAWS


def by_hand(trace):
    """Split rank-normalised R-hat as Vehtari et al. (2021) write it: eqs. 1 to 4 and 14, of draws and of what they are folded to."""
    half = trace.shape[1] // 2
    halves = np.concatenate([trace[:, :half], trace[:, -half:]])

    def plain(x):
        ranks = stats.rankdata(x).reshape(x.shape)
        z = stats.norm.ppf((ranks - 3 / 8) / (x.size + 1 / 4))
        n = z.shape[1]
        within, between = z.var(axis=1, ddof=1).mean(), n * z.mean(axis=1).var(ddof=1)
        return np.sqrt(((n - 1) / n * within + between / n) / within)

    return max(plain(halves), plain(np.abs(halves - np.median(halves))))


@pytest.mark.parametrize("rho", [0.0, 0.8])
@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_rhat_is_that_of_the_paper(rho, shift, rng):
    x = autoregressive(rho, rng, 8, 100) + shift * np.arange(8)[:, None]
    assert rhat(x) == pytest.approx(by_hand(x), rel=1e-12)


def test_rhat_knows_no_units_and_sees_scale(rng):
    x = autoregressive(0.5, rng, 8, 400)
    assert rhat(1e-6 * x + 3) == pytest.approx(rhat(x), rel=1e-9)
    wide = x * np.where(np.arange(8) < 4, 0.3, 3.0)[:, None]
    # Chains of equal means and unequal widths: only folded draws tell them apart.
    assert rhat(wide) > 1.2


@pytest.mark.parametrize("worth", [5, 20, 50])
def test_rhat_tells_what_half_a_chain_is_worth(worth, rng):
    """R-hat² - 1 is one over the independent draws in half a chain: what docs/metrics.md says."""
    half = DRAWS / 2
    rho = (half / worth - 1) / (half / worth + 1)
    x = autoregressive(rho, rng, 128)
    assert rhat(x) ** 2 - 1 == pytest.approx(1 / worth, rel=0.3)


def test_chains_that_are_stuck_have_the_largest_rhat_and_no_more_draws_than_chains():
    stuck = np.repeat((np.arange(CHAINS) % 2).astype(float)[:, None], DRAWS, axis=1)
    assert rhat(stuck) == largest_rhat(CHAINS, DRAWS) == pytest.approx(np.sqrt(CHAINS * DRAWS))
    uneven = np.repeat((np.arange(CHAINS) < 3).astype(float)[:, None], DRAWS, axis=1)
    assert rhat(uneven) == largest_rhat(CHAINS, DRAWS)
    assert ess(stuck, "bulk") <= 1.02 * CHAINS
    # A single draw that differs is finite evidence, and the worst there can be of an indicator.
    stuck[0, 0] = 1.0
    assert 20 < rhat(stuck) < largest_rhat(CHAINS, DRAWS)


def test_what_never_varies_is_undefined():
    constant = np.full((CHAINS, DRAWS), 0.25)
    assert np.isnan(rhat(constant)) and np.isnan(ess(constant, "bulk")) and np.isnan(ess(constant, "tail"))
    assert np.isnan(autocorrelation(constant)).all()


def test_autocorrelation_of_chains_that_disagree_does_not_decay(rng):
    """About the mean of all it falls to the share of the variance that lies between chains."""
    between = np.where(np.arange(CHAINS) % 2, 3.0, -3.0)[:, None]
    x = autoregressive(0.5, rng) + between
    share = between.var(ddof=1) / (1 + between.var(ddof=1))
    assert autocorrelation(x)[50:200].mean() == pytest.approx(share, abs=0.02)
    # Two equal lumps, ranked, are the halves of a normal law: of its variance 2/π lies between them, whatever their distance.
    assert rhat(x) == pytest.approx(np.sqrt(np.pi / (np.pi - 2)), abs=0.03)


def test_hops_are_between_modes_and_not_to_nowhere():
    labels = np.array(
        [
            [0, 0, 1, 1, 2, 0],  # three
            [0, 3, 0, 3, 3, 0],  # out and back
            [3, 3, 1, 3, 2, 2],  # begins nowhere, hops once by way of nowhere
            [3, 3, 3, 3, 3, 3],
        ]
    )
    assert hops(labels, 3).tolist() == [3, 0, 1, 0]


def test_a_two_state_chain_hops_as_often_as_it_is_told_to(rng):
    flips = rng.random((CHAINS, DRAWS)) < 0.05
    labels = flips.cumsum(axis=1) % 2
    assert hops(labels, 2).mean() == pytest.approx(0.05 * (DRAWS - 1), rel=0.05)


def test_a_diagnosis_names_the_slowest_coordinate_and_every_quantity(rng):
    x = np.stack([autoregressive(rho, rng, 16, 500) for rho in (0.2, 0.95, 0.6)], axis=2)
    labels = (x[:, :, 0] > 0).astype(int)
    called = []
    found = diagnose(x, (x**2).sum(axis=2), labels, 2, lambda: called.append(1))
    assert found.rhat.shape == found.ess.shape == found.ess_tail.shape == (3 + 1 + 3,)
    assert len(called) == 7
    assert found.slowest == 1
    assert found.autocorrelation[1, 1] == pytest.approx(0.95, abs=0.02)
    # Nobody is in none of the modes.
    assert np.isnan(found.rhat[-1]) and np.isfinite(found.rhat[:-1]).all()


@pytest.mark.parametrize("shape", [(1, 100, 2), (4, 3, 2)])
def test_too_little_is_refused(shape, rng):
    with pytest.raises(ValueError, match="mixing is judged by two chains"):
        diagnose(rng.standard_normal(shape), rng.standard_normal(shape[:2]))
