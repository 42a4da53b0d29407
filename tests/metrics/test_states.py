"""What is measured on states: likelihoods and couplings by enumeration, moments of samples."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ebmpipe import registry
from ebmpipe.data.ising import Ising
from ebmpipe.metrics.base import NotAvailable
from ebmpipe.metrics.correlations import Correlations
from ebmpipe.metrics.couplings import Couplings
from ebmpipe.metrics.enumeration import Enumeration, numbers
from ebmpipe.metrics.estimators.enumerated import walsh_couplings
from ebmpipe.spec import DataSpec
from ebmpipe.states import all_states


def spec_of(shape, name="made_up"):
    return DataSpec(name, "binary", shape, 0.0, 1.0, None, None, None, Path())


def values(metric, evaluation):
    return {row.metric: row.value for row in metric.compute(evaluation)}


class Independent:
    """Spins on fields b, each for itself: log p = b·x - Σ log 2 cosh b."""

    couplings = np.zeros((6, 6))

    def __init__(self, fields):
        self.fields = np.asarray(fields)

    @property
    def log_z(self):
        return float(np.log(2 * np.cosh(self.fields)).sum())

    def log_density(self, x):
        return x.reshape(len(x), -1) @ self.fields - self.log_z


def test_independent_spins_have_their_closed_forms(states):
    """log Z = Σ log 2 cosh b_i; KL = Σ_i of that of two coins; the test split's nll is the mean of -log p."""
    truth, model = Independent([0.3, -0.2, 0.0, 1.0, 0.5, -0.7]), Independent([0.1, 0.2, -0.4, 0.9, 0.0, -0.6])
    x = np.sign(np.random.default_rng(0).random((500, 1, 2, 3)) - 0.4)
    made = replace(
        states(), spec=spec_of((1, 2, 3)), test=x, law=truth, log_unnormalised=lambda y: y.reshape(len(y), -1) @ model.fields, cache={}
    )
    found = values(Enumeration(), made)
    means = np.tanh(truth.fields)
    assert found["log_z"] == pytest.approx(model.log_z)
    assert found["nll"] == pytest.approx(-model.log_density(x).mean())
    assert found["nll_gap"] == pytest.approx((means * (truth.fields - model.fields)).sum() - truth.log_z + model.log_z)


def test_the_gap_is_exact_and_what_test_examples_estimate(states):
    law = Ising()

    def hotter(x):
        return 0.8 * law.log_weight(x)

    rng = np.random.default_rng(3)
    found = values(Enumeration(), states(log_unnormalised=hotter, test=law.sample(20_000, rng)))
    x = law.sample(20_000, rng)
    log_z = found["log_z"]
    estimate = law.log_density(x) - hotter(x) + log_z
    assert found["nll_gap"] > 0.01
    assert found["nll_gap"] == pytest.approx(estimate.mean(), abs=5 * estimate.std() / np.sqrt(len(x)))
    assert found["nll"] - found["nll_gap"] == pytest.approx(law.entropy(), abs=0.1)
    assert values(Enumeration(), states())["nll_gap"] == pytest.approx(0, abs=1e-12)


def test_what_has_no_likelihood_says_why(states):
    lost = values(Enumeration(), states(log_unnormalised=lambda x: np.where(x.reshape(len(x), -1)[:, 0] > 0, 0.0, -np.inf)))
    assert lost["nll"] is None and lost["nll_gap"] is None and lost["log_z"] == pytest.approx(15 * np.log(2))
    unknown = list(Enumeration().compute(states(law=None)))
    assert [row.status for row in unknown if row.metric == "nll_gap"] == ["not available: the true law is unknown"]
    for made, reason in (
        (states(log_unnormalised=None), "has no energy"),
        (states(log_unnormalised=lambda x: np.full(len(x), -np.inf)), "no state"),
    ):
        with pytest.raises(NotAvailable, match=reason):
            list(Enumeration().compute(made))


def test_states_are_found_where_they_stand():
    x = all_states((1, 2, 2))
    assert (numbers(x) == np.arange(16)).all() and (numbers(x[[7, 3]].astype(np.float32)) == [7, 3]).all()


@pytest.mark.parametrize("dimension", [2, 5])
def test_couplings_of_any_energy_are_those_of_its_pairs(dimension):
    rng = np.random.default_rng(0)
    upper = np.triu(rng.standard_normal((dimension, dimension)), 1)
    x = all_states((dimension,)).astype(float)
    quadratic = np.einsum("ni,ij,nj->n", x, upper, x) + x @ rng.standard_normal(dimension) - 3.0
    np.testing.assert_allclose(walsh_couplings(quadratic, (dimension,)), upper + upper.T, atol=1e-12)
    if dimension > 2:
        third = quadratic + 2 * x[:, 0] * x[:, 1] * x[:, 2]
        np.testing.assert_allclose(walsh_couplings(third, (dimension,)), upper + upper.T, atol=1e-12)


def test_the_error_of_couplings_is_relative(states):
    law = Ising()
    for factor, error in ((1.0, 0.0), (0.9, 0.1), (0.0, 1.0)):
        found = values(Couplings(), states(log_unnormalised=lambda x, f=factor: f * law.log_weight(x)))
        assert found["couplings_error"] == pytest.approx(error, abs=1e-12)
    with pytest.raises(NotAvailable, match="unknown"):
        list(Couplings().compute(states(law=None)))


def test_moments_are_those_of_the_definition(states):
    made = states()
    x, y = (np.asarray(one).reshape(len(one), -1) for one in (made.samples["fresh"], made.test))
    pairs = [(i, j) for i in range(16) for j in range(i)]
    second = [(x[:, i] * x[:, j]).mean() - (y[:, i] * y[:, j]).mean() for i, j in pairs]
    found = values(Correlations(), made)
    assert found["mean_error"] == pytest.approx(np.sqrt(np.mean((x.mean(0) - y.mean(0)) ** 2)))
    assert found["correlation_error"] == pytest.approx(np.sqrt(np.mean(np.square(second))))
    same = values(Correlations(), states(np.asarray(made.test)))
    assert same == {"mean_error": 0.0, "correlation_error": 0.0}
    rows = list(Correlations().compute(states(np.full((5, 1, 4, 4), 0.5))))
    assert {row.status for row in rows} == {"not available: 5 of 5 samples are no states of -1 and 1"}


def test_what_needs_a_space_says_nothing_of_states():
    """Densities, gradients and step sizes are of no states; and what enumerates them leaves many coordinates alone."""
    few, many = spec_of((1, 4, 4), "ising"), spec_of((1, 8, 8), "binary_digits")
    applying = {
        spec.name: {name for name, family in registry.load_all("metrics").items() if family().applies(spec)} for spec in (few, many)
    }
    of_samples = {"correlations", "energy_distance", "mmd", "sliced_wasserstein", "training_partition"}
    assert applying == {"ising": of_samples | {"couplings", "enumeration"}, "binary_digits": of_samples}
    assert not Couplings().applies(spec_of((4,))), "of the user's own data no couplings are known"
    plane = spec_of((2,))
    assert not any(registry.load("metrics", name)().applies(plane) for name in ("quadrature", "temperature", "ksd", "modes"))
