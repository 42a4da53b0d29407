"""What every metric family promises."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brackets import bracket_about
from restored_examples import restored_by

from ebmpipe import registry
from ebmpipe.metrics.base import Evaluation, Measurement, Metric, NotAvailable, SampleMetric
from ebmpipe.spec import DataSpec

FAMILIES: dict[str, type[Metric]] = registry.load_all("metrics")
Maker = Callable[..., Evaluation]


#: The data that each fixture makes, and every family with all fixtures on whose data it means something.
SPECS = {
    "plane": DataSpec("gaussian", "density", (2,), 0.0, 1.0, None, None, None, Path()),
    "states": DataSpec("ising", "binary", (1, 4, 4), 0.0, 1.0, None, None, 0.0, Path()),
    "pictures": DataSpec("blobs", "images", (1, 8, 8), 0.0, 1.0, 17, 10, None, Path()),
}
CASES = [f"{name}-{maker}" for name, family in FAMILIES.items() for maker, spec in SPECS.items() if family().applies(spec)]
SAMPLED = [case for case in CASES if issubclass(FAMILIES[case.split("-")[0]], SampleMetric)]
of_samples = pytest.mark.parametrize("case", SAMPLED, indirect=True)


#: Families some of whose ids depend on the kind of data, or on the sets that are at hand.
PARTLY = {"annealing", "denoising", "inpainting", "out_of_distribution", "reconstruction"}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Metric, Maker]:
    name, maker = request.param.split("-")
    return FAMILIES[name](), request.getfixturevalue(maker)


@pytest.fixture
def family(case: tuple[Metric, Maker]) -> Metric:
    return case[0]


@pytest.fixture
def make(case: tuple[Metric, Maker]) -> Maker:
    family, maker = case
    if family.name != "out_of_distribution":
        return maker
    # With a score, as every run with an energy has; the families that are about nothing else have tests of their own.
    centre = np.array([0.5, -1.0]) if SPECS["plane"].shape == maker().spec.shape else -0.5
    return lambda *given, **fields: maker(*given, **({"score": lambda x: centre - x} | fields))


def noise_like(evaluation: Evaluation, **fields: Any) -> Evaluation:
    """The same evaluation of a run that learnt nothing: wide noise for samples, and its energy if there was one."""
    rng = np.random.default_rng(5)
    # Images as the control `noise` has them: wider ones have a recall of 1, for what is scattered has wide balls.
    width = evaluation.spec.std if evaluation.spec.kind == "images" else 3 * evaluation.spec.std
    samples = evaluation.spec.mean + width * rng.standard_normal(evaluation.test.shape)
    if evaluation.spec.kind == "binary":
        samples = np.sign(samples)  # of states the uniform law, as `wide` is there
    energy, dimension = wide if evaluation.log_unnormalised else None, evaluation.spec.dimension
    known = {"log_unnormalised": energy, "bracket": lambda: bracket_about(dimension / 2 * np.log(2 * np.pi * 9)), "cache": {}}
    if evaluation.class_probabilities is not None:
        known["class_probabilities"] = confident
    known |= {"score": (lambda x: -x / 9) if evaluation.score else None, "restored": restored_by(evaluation.test, 0.0, 3.0)}
    return replace(evaluation, samples={"fresh": samples}, **(known | fields))


def confident(x: np.ndarray) -> np.ndarray:
    """p(y | x) of a classifier that is nearly sure of a class which has nothing to do with the image."""
    return np.asarray(0.01 + 0.9 * np.eye(10)[(1e4 * np.abs(x.reshape(len(x), -1).sum(axis=1))).astype(int) % 10])


def wide(x: np.ndarray) -> np.ndarray:
    """log p up to a constant of N(0, 9 I)."""
    return np.asarray(-(x**2).reshape(len(x), -1).sum(axis=1) / 18)


def test_every_family_applies_somewhere() -> None:
    assert {case.split("-")[0] for case in CASES} == set(FAMILIES)


def test_ids_are_well_formed_and_belong_to_one_family() -> None:
    ids = [i for family in FAMILIES.values() for i in family.ids]
    # In the plane log Z is integrated, of states summed and elsewhere annealed: the same number, of three families.
    twice = {i for i in ids if ids.count(i) > 1}
    assert twice == {"nll", "nll_gap", "log_z"}
    assert all(len({family.ids[i] for family in FAMILIES.values() if i in family.ids}) == 1 for i in twice)
    assert all(re.fullmatch("[a-z][a-z0-9_]*", i) for i in ids)
    assert all(info.description for family in FAMILIES.values() for info in family.ids.values())


@pytest.mark.parametrize("maker", SPECS)
def test_no_id_is_reported_by_two_families(maker: str, request: pytest.FixtureRequest) -> None:
    evaluation = request.getfixturevalue(maker)()
    reported = [i for family in FAMILIES.values() if family().applies(evaluation.spec) for i in family().reports(evaluation)]
    assert len(reported) == len(set(reported))


def test_every_id_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs/metrics.md").read_text(encoding="utf-8")
    ids = [i for family in FAMILIES.values() for i in family.ids]
    forms = {i: (i, f"{i.split('_')[0]}_<network>", f"{'_'.join(i.split('_')[:2])}_<set>") for i in ids}
    assert [i for i in ids if not any(f"`{form}`" in text for form in forms[i])] == []
    assert [name for name in FAMILIES if f"\n## {name}\n" not in text] == []


def test_declared_ids_are_yielded_once_with_their_unit(family: Metric, make: Maker) -> None:
    rows = list(family.compute(make()))
    bare = {row.metric.partition("@")[0] for row in rows}
    assert sorted(row.metric for row in rows) == sorted(family.reports(make()))
    assert bare == set(family.ids) or (family.name in PARTLY and bare < set(family.ids))
    for row in rows:
        assert row.status == "ok"
        assert row.value is not None
        assert np.isfinite(row.value)
        assert row.stderr is None or row.stderr >= 0
        unit = family.ids[row.metric.partition("@")[0]].unit
        assert row.unit in (unit, f"{unit} (not a bound)")
        assert type(row.value) is float


def test_held_out_data_score_better_than_noise(family: Metric, make: Maker) -> None:
    real, noise = ({row.metric: row.value for row in family.compute(evaluation)} for evaluation in (make(), noise_like(make())))
    for metric in real:
        bare, _, source = metric.partition("@")
        info = family.ids[bare]
        # What is said of chains need not be worse where the model is.
        if not info.controlled:
            continue
        if source and source == getattr(family, "baseline", None):
            assert real[metric] == noise[metric], "what is made without a model does not depend on it"
        elif info.better == "lower":
            assert real[metric] < noise[metric]
        elif info.better == "higher":
            # Another score than the energy may tell wide noise apart by either model.
            assert real[metric] > noise[metric] or (source == "typicality" and real[metric] == 1)


def test_the_stream_of_randomness_determines_the_numbers(family: Metric, make: Maker) -> None:
    evaluation = make()
    first = list(family.compute(evaluation))
    assert list(family.compute(evaluation)) == first, "a filled cache changes the numbers"
    assert list(family.compute(make())) == first


def test_inputs_are_left_alone(family: Metric, make: Maker) -> None:
    evaluation = make()
    arrays = [getattr(split, "values", split) for split in (evaluation.test, evaluation.train, evaluation.samples["fresh"])]
    before = [a.copy() for a in arrays]
    list(family.compute(evaluation))
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))


@of_samples
def test_single_precision_samples_are_as_good(family: SampleMetric, make: Maker) -> None:
    evaluation = make()
    single = replace(evaluation, samples={"fresh": evaluation.samples["fresh"].astype(np.float32)}, cache={})
    for row, other in zip(family.compute(evaluation), family.compute(single), strict=True):
        assert other.value == pytest.approx(row.value, rel=1e-3, abs=2e-3)


@of_samples
def test_image_numbers_say_what_they_may_be_compared_under(family: SampleMetric, make: Maker) -> None:
    evaluation = make()
    for row in family.compute(evaluation):
        assert bool(row.protocol) == (evaluation.spec.kind == "images")
        assert not row.protocol or f"n = {row.n} samples" in row.protocol


@of_samples
def test_sources_are_named_and_do_not_change_one_another(family: SampleMetric, make: Maker) -> None:
    evaluation = make()
    alone = list(family.compute(evaluation))
    other = noise_like(evaluation).samples["fresh"]
    rows = list(family.compute(replace(evaluation, samples={"other": other, "fresh": evaluation.samples["fresh"]}, cache={})))
    assert [row for row in rows if "@" not in row.metric] == alone
    assert sorted(row.metric for row in rows if "@" in row.metric) == sorted(f"{i}@other" for i in family.ids)


@of_samples
def test_samples_that_are_not_finite_are_refused_alone(family: SampleMetric, make: Maker) -> None:
    evaluation = make()
    broken = evaluation.samples["fresh"].copy()
    broken[:3].flat[0], broken[7].flat[0] = np.nan, np.inf
    rows = list(family.compute(replace(evaluation, samples=dict(evaluation.samples, broken=broken))))
    good, bad = ([row for row in rows if ("@" in row.metric) is refused] for refused in (False, True))
    assert all(row.status == "ok" for row in good)
    assert {row.metric for row in bad} == {f"{i}@broken" for i in family.ids}
    assert all(row.value is None and row.status == f"not available: 2 of {len(broken)} samples are not finite" for row in bad)


@of_samples
def test_bad_samples_are_refused(family: SampleMetric, make: Maker) -> None:
    evaluation = make()
    with pytest.raises(ValueError, match="event shape"):
        list(family.compare(np.asarray(evaluation.test)[..., :1], evaluation))
    with pytest.raises(ValueError, match="compared with are not finite"):
        list(family.compare(evaluation.test[:], replace(evaluation, test=np.asarray(evaluation.test) * np.nan, cache={})))
    with pytest.raises(NotAvailable, match="too few"):
        list(family.compare(evaluation.test[:1], evaluation))


@of_samples
def test_a_run_without_the_declared_source_says_so_and_its_other_sources_are_measured(family: SampleMetric, make: Maker) -> None:
    evaluation = make()
    rows = {row.metric: row for row in family.compute(replace(evaluation, primary="own"))}
    assert {rows[i].status for i in family.ids} == {"not available: the run has no samples of the source own"}
    alone = {row.metric: row for row in family.compute(make())}
    assert {i: replace(rows[f"{i}@fresh"], metric=i) for i in family.ids} == alone


def test_unavailable_names_every_id_and_the_reason(family: Metric, make: Maker) -> None:
    rows = list(family.unavailable(NotAvailable("the moon is full"), make()))
    assert {row.metric for row in rows} == set(family.reports(make()))
    assert all(row.value is None and row.status == "not available: the moon is full" for row in rows)


def test_no_number_is_never_a_number() -> None:
    family = FAMILIES["mmd"]()
    with pytest.raises(NotAvailable, match="mmd came out as nan"):
        family.measured("mmd", float("nan"))
    assert family.measured("mmd", 1.0, stderr=float("inf")) == Measurement("mmd", 1.0, "MMD²")


def test_metrics_load_without_heavy_libraries() -> None:
    code = (
        "import sys; from ebmpipe import registry; registry.load_all('metrics')\n"
        "print([m for m in ('torch', 'torchmetrics', 'sklearn', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
