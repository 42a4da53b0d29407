"""Fréchet and kernel distance against closed forms, other people's code and their own standard errors; what has no number says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ebmpipe.features.base import FeatureSpace
from ebmpipe.metrics.base import Evaluation, Measurement, SampleMetric
from ebmpipe.metrics.estimators import feature_metric
from ebmpipe.metrics.estimators.feature_statistics import CHUNK, FeatureStatistics, statistics_of
from ebmpipe.metrics.estimators.two_sample import gram, squared_mmd
from ebmpipe.metrics.frechet import Frechet, between, frechet_distance, jackknife_error
from ebmpipe.metrics.kernel_distance import KernelDistance, polynomial

Maker = Callable[..., Evaluation]
Space = Callable[..., FeatureSpace]


def primary(metric: SampleMetric, evaluation: Evaluation) -> Measurement:
    """The row of the primary feature space."""
    return next(row for row in metric.compute(evaluation) if row.metric.endswith("_lenet"))


def statistics(x: np.ndarray, space: Space) -> FeatureStatistics:
    """Those of feature vectors that are given."""
    return statistics_of(x, np.arange(len(x)), space(lambda rows: rows, dimension=x.shape[1]), "samples")


def correlated(seed: int, n: int = 500, d: int = 24) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((d, d))
    return rng.standard_normal((n, d)) @ mixing, 0.5 + rng.standard_normal((n, d)) @ mixing.T


# One pass over chunks


@pytest.mark.parametrize("n", [2, CHUNK, 2 * CHUNK + 37])
def test_moments_are_those_of_all_rows_together(space: Space, n: int) -> None:
    x = 1e4 + np.random.default_rng(0).standard_normal((n, 5))
    found = statistics(x, space)
    mean, covariance = found.moments()
    assert found.n == n
    assert mean == pytest.approx(x.mean(axis=0), rel=1e-14)
    assert covariance == pytest.approx(np.cov(x, rowvar=False), rel=1e-10)
    for left in (0, 7):
        if n > 20:
            rest = x[np.arange(n) % 20 != left]
            assert found.moments(left)[0] == pytest.approx(rest.mean(axis=0), rel=1e-14)
            assert found.moments(left)[1] == pytest.approx(np.cov(rest, rowvar=False), rel=1e-10)


def test_the_size_of_chunks_does_not_matter(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = correlated(0)
    whole = between(statistics(x, space), statistics(y, space))
    monkeypatch.setattr("ebmpipe.metrics.estimators.feature_statistics.CHUNK", 7)
    assert between(statistics(x, space), statistics(y, space)) == pytest.approx(whole, rel=1e-12)


def test_a_limited_number_of_rows_is_kept(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ebmpipe.metrics.estimators.feature_statistics.KEPT", CHUNK + 3)
    x = np.random.default_rng(0).standard_normal((3 * CHUNK, 2))
    found = statistics(x, space)
    assert np.array_equal(found.rows, x[: CHUNK + 3])
    assert found.n == 3 * CHUNK


# Fréchet distance


def test_frechet_between_known_gaussians() -> None:
    diagonal = frechet_distance(np.array([1.0, 2.0]), np.diag([4.0, 9.0]), np.array([0.0, 0.0]), np.diag([1.0, 1.0]))
    assert diagonal == pytest.approx(1 + 4 + (2 - 1) ** 2 + (3 - 1) ** 2, rel=1e-12)
    rng = np.random.default_rng(0)
    roots = rng.standard_normal((2, 5, 5))
    a, b = (r @ r.T for r in roots)
    from scipy.linalg import sqrtm

    expected = np.trace(a + b) - 2 * np.trace(sqrtm(a @ b)).real
    assert frechet_distance(np.zeros(5), a, np.zeros(5), b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(np.zeros(5), a, np.zeros(5), a) == pytest.approx(0, abs=1e-6)


def test_frechet_with_singular_covariances() -> None:
    a, b = np.diag([1.0, 0.0, 0.0]), np.diag([0.0, 1.0, 0.0])
    assert frechet_distance(np.zeros(3), a, np.zeros(3), b) == pytest.approx(2, rel=1e-12)


def test_frechet_error_is_the_spread_over_samples(space: Space) -> None:
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x, y = statistics(rng.standard_normal((200, 8)), space), statistics(0.3 + rng.standard_normal((200, 8)), space)
        found.append((between(x, y), jackknife_error(x, y)))
    values, errors = np.array(found).T
    assert 0.7 < errors.mean() / values.std(ddof=1) < 1.4


def test_wide_features_have_no_groups_and_no_error(space: Space) -> None:
    x = statistics(np.random.default_rng(0).standard_normal((300, 257)), space)
    assert x.products.shape == (1, 257, 257)
    assert jackknife_error(x, x) is None


def test_too_few_samples_for_a_covariance_are_no_number(pictures: Maker) -> None:
    samples = pictures().samples["fresh"]
    assert primary(Frechet(), pictures(samples[:17])).status == "ok"
    assert primary(Frechet(), pictures(samples[:16])).status == (
        "not available: 16 samples do not determine a covariance of 16 features; 17 are needed"
    )


# Kernel distance


def test_kernel_distance_with_unit_features_has_a_closed_form() -> None:
    # Features on ±1: products are ±1, so k is 8 or 0 and MMD² follows from the probabilities p and q of +1: 16 (p - q)².
    rng = np.random.default_rng(0)
    x, y = (np.where(rng.random((2000, 1)) < p, 1.0, -1.0) for p in (0.7, 0.4))
    value, error = squared_mmd(gram(polynomial, x), gram(polynomial, y), gram(polynomial, x, y))
    assert abs(value - 16 * 0.3**2) < 4 * error


# Both against other people's code, on the same features


def identity(width: int) -> Any:
    """A network for torchmetrics whose features are its input."""
    torch = pytest.importorskip("torch")

    class Identity(torch.nn.Module):  # type: ignore[misc, name-defined]
        num_features = width

        def forward(self, x: object) -> object:
            return x

    return Identity()


def test_frechet_agrees_with_torchmetrics(space: Space) -> None:
    torch, fid = pytest.importorskip("torch"), pytest.importorskip("torchmetrics.image.fid")
    x, y = correlated(0)
    theirs = fid.FrechetInceptionDistance(feature=identity(24), input_img_size=(24,)).set_dtype(torch.float64)
    theirs.update(torch.from_numpy(x), real=False)
    theirs.update(torch.from_numpy(y), real=True)
    assert between(statistics(x, space), statistics(y, space)) == pytest.approx(float(theirs.compute()), rel=1e-6)


def test_kernel_distance_agrees_with_torchmetrics() -> None:
    torch, kid = pytest.importorskip("torch"), pytest.importorskip("torchmetrics.image.kid")
    x, y = correlated(1, n=200)
    theirs = kid.KernelInceptionDistance(feature=identity(24), subsets=1, subset_size=200).set_dtype(torch.float64)
    theirs.update(torch.from_numpy(x), real=False)
    theirs.update(torch.from_numpy(y), real=True)
    value, _ = squared_mmd(gram(polynomial, x), gram(polynomial, y), gram(polynomial, x, y))
    assert value == pytest.approx(float(theirs.compute()[0]), rel=1e-6)


def test_both_agree_with_torch_fidelity(space: Space, fidelity: Callable[[str], Any]) -> None:
    torch, fid, kid = pytest.importorskip("torch"), fidelity("metric_fid"), fidelity("metric_kid")
    x, y = correlated(2)
    theirs = [{"mu": side.mean(axis=0), "sigma": np.cov(side, rowvar=False)} for side in (x, y)]
    found = fid.fid_statistics_to_metric(*theirs, verbose=False)["frechet_inception_distance"]
    assert between(statistics(x, space), statistics(y, space)) == pytest.approx(found, rel=1e-6)
    tensors = [torch.from_numpy(side) for side in (x, y)]
    found = kid.kid_features_to_metric(*tensors, kid_subsets=1, kid_subset_size=len(x), verbose=False)
    value, _ = squared_mmd(gram(polynomial, x), gram(polynomial, y), gram(polynomial, x, y))
    assert value == pytest.approx(found["kernel_inception_distance_mean"], rel=1e-6)


# What every family in feature spaces does


@pytest.mark.parametrize("family", [Frechet, KernelDistance])
class TestFeatureDistances:
    def test_unequal_numbers_are_made_equal(self, pictures: Maker, family: type[SampleMetric]) -> None:
        evaluation = pictures()
        assert primary(family(), replace(evaluation, samples={"fresh": evaluation.samples["fresh"][:50]})).n == 50
        assert primary(family(), replace(evaluation, test=evaluation.test[:60], cache={})).n == 60

    def test_published_names_are_for_the_inception_network_alone(self, pictures: Maker, family: type[SampleMetric]) -> None:
        rows = {row.metric: row for row in family().compute(pictures())}
        published = "fid" if family is Frechet else "kid"
        assert rows[published].protocol.startswith("inception features (weights 1a2b3c4d), n = 300 samples and 300 of the test split")
        assert all(row.protocol.startswith(metric.split("_")[-1] + " ") for metric, row in rows.items() if metric != published)

    def test_absent_inception_is_reported_once(self, pictures: Maker, space: Space, family: type[SampleMetric]) -> None:
        evaluation = pictures(feature_spaces=(space(),), absent_spaces={"inception": "no file pt_inception.pth"})
        evaluation = replace(evaluation, samples=evaluation.samples | {"noisy": evaluation.samples["fresh"]})
        rows = {row.metric: row.status for row in family().compute(evaluation)}
        published = "fid" if family is Frechet else "kid"
        assert rows.pop(published) == "not available: no file pt_inception.pth"
        assert sorted(rows) == [f"{family.kind}_lenet", f"{family.kind}_lenet@noisy"]  # type: ignore[attr-defined]
        assert set(rows.values()) == {"ok"}

    def test_missing_features_are_no_number(self, pictures: Maker, family: type[SampleMetric]) -> None:
        rows = {row.metric: row.status for row in family().compute(pictures(feature_spaces=()))}
        published = rows.pop("fid" if family is Frechet else "kid")
        assert published == f"not available: {feature_metric.NO_INCEPTION}"
        assert set(rows.values()) == {f"not available: {feature_metric.NO_SPACE}"}

    def test_one_space_without_a_number_leaves_the_others(self, pictures: Maker, space: Space, family: type[SampleMetric]) -> None:
        broken = space(lambda x: np.full((len(x), 16), np.nan), name="inception")
        rows = {row.metric: row.status for row in family().compute(pictures(feature_spaces=(broken, space())))}
        assert sorted(rows.values()) == ["not available: inception features of the samples are not finite", "ok"]

    def test_features_that_are_not_finite_are_no_number(self, pictures: Maker, space: Space, family: type[SampleMetric]) -> None:
        row = primary(family(), pictures(feature_spaces=(space(lambda x: np.full((len(x), 16), np.nan)),)))
        assert row.status == "not available: lenet features of the samples are not finite"

    def test_samples_without_variance_are_no_number(self, pictures: Maker, family: type[SampleMetric]) -> None:
        row = primary(family(), pictures(np.repeat(pictures().test[:1], 100, axis=0)))
        assert row.status == "not available: the features of the samples have no variance"

    def test_features_of_wrong_shape_are_a_fault(self, pictures: Maker, space: Space, family: type[SampleMetric]) -> None:
        with pytest.raises(ValueError, match="features of shape"):
            list(family().compute(pictures(feature_spaces=(space(lambda x: x),))))

    def test_features_are_computed_once_and_shared(self, pictures: Maker, space: Space, family: type[SampleMetric]) -> None:
        seen: list[int] = []
        counting = space(lambda x: seen.append(len(x)) or x.reshape(len(x), -1)[:, :16])  # type: ignore[func-returns-value]
        evaluation = pictures(feature_spaces=(counting,))
        first = list(family().compute(evaluation))
        assert list(family().compute(evaluation)) == first
        list(Frechet().compute(evaluation))
        list(KernelDistance().compute(evaluation))
        assert sum(seen) == 600


def test_the_reference_does_not_depend_on_the_run(pictures: Maker, space: Space) -> None:
    met = []
    for seed in (0, 1):
        found: list[np.ndarray] = []
        keeping = space(lambda x, found=found: found.append(np.array(x)) or x.reshape(len(x), -1)[:, :16])  # type: ignore[misc]
        evaluation = pictures(seed=seed, feature_spaces=(keeping,))
        list(KernelDistance().compute(replace(evaluation, samples={"fresh": evaluation.samples["fresh"][:40]})))
        met.append(found[-1])
    assert met[0].shape == (40, 1, 8, 8)
    assert np.array_equal(met[0], met[1])
