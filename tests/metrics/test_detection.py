"""Areas under curves: values against scikit-learn, standard errors against repeats and exhaustion."""

import numpy as np
import pytest

from ebmpipe.metrics.estimators.detection import auprc, auroc, average_precision, placements


def scores(n, m, shift=1.0, digits=None, seed=0):
    rng = np.random.default_rng(seed)
    positive, negative = rng.normal(shift, 1, n), rng.normal(0, 1, m)
    return (positive, negative) if digits is None else (positive.round(digits), negative.round(digits))


@pytest.mark.parametrize("digits", [None, 0])
@pytest.mark.parametrize(("n", "m"), [(2, 3), (50, 80), (400, 400)])
def test_areas_are_those_of_scikit_learn(n, m, digits):
    from sklearn.metrics import average_precision_score, roc_auc_score

    positive, negative = scores(n, m, digits=digits)
    truth, both = np.repeat([1, 0], [n, m]), np.concatenate([positive, negative])
    assert auroc(positive, negative)[0] == pytest.approx(roc_auc_score(truth, both))
    assert average_precision(positive, negative)[0] == pytest.approx(average_precision_score(truth, both))
    weights = np.random.default_rng(1).integers(0, 4, (3, n + m)).astype(float)
    weights[:, 0] = 1
    by_theirs = [average_precision_score(truth, both, sample_weight=w) for w in weights]
    np.testing.assert_allclose(average_precision(positive, negative, weights), by_theirs)


def test_placements_count_ties_by_half():
    assert placements(np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0, 0.0, np.inf])).tolist() == [0.125, 0.5, 0.75]


def test_infinite_scores_are_ties_at_the_top():
    value, _ = auroc(np.array([np.inf, np.inf, 0.0]), np.array([np.inf, -1.0]))
    assert value == pytest.approx((0.75 + 0.75 + 0.5) / 3)


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_the_standard_errors_are_the_spread_of_repeats(shift):
    rng = np.random.default_rng(0)
    found = [(auroc(*pair), auprc(*pair, rng)) for seed in range(150) for pair in (scores(100, 100, shift, seed=seed),)]
    for area in (0, 1):
        values, errors = np.array([each[area] for each in found]).T
        assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.25)


def test_the_mean_over_repeats_is_the_normal_law_s():
    """Of N(a, 1) and N(0, 1) the area is Φ(a/√2)."""
    values = [auroc(*scores(100, 100, 1.5, seed=seed))[0] for seed in range(200)]
    assert np.mean(values) == pytest.approx(0.8556, abs=5 * np.std(values) / 200**0.5)


def test_monotone_scores_and_exchanged_sides():
    positive, negative = scores(60, 40)
    assert auroc(np.exp(positive), np.exp(negative)) == pytest.approx(auroc(positive, negative))
    assert auroc(negative, positive)[0] == pytest.approx(1 - auroc(positive, negative)[0])
    assert average_precision(positive, positive)[0] == pytest.approx(0.5)
