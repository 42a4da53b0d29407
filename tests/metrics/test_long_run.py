"""Energy and quality along chains that are made up."""

from dataclasses import replace

import numpy as np
import pytest
from long_runs import lost_run, record_of

from ebmpipe.evaluation import quality_arrays
from ebmpipe.metrics.energy_distance import EnergyDistance
from ebmpipe.metrics.long_run import LongRuns, quality_along


def rows_of(evaluation):
    return {row.metric: row for row in LongRuns().compute(evaluation)}


def along(evaluation, frames):
    """The evaluation with these frames of its long run."""
    energies = np.stack([-evaluation.log_unnormalised(frame) for frame in frames])
    record = replace(evaluation.long_run, frames=np.stack(frames).astype(np.float32), frame_energies=energies)
    return replace(evaluation, long_run=record, cache={})


def frames_of(evaluation, rng, *spreads, n=200):
    """Frames of the Gaussian of the plane with so many times its deviation."""
    density = evaluation.density
    return [density.mean + spread * density.sd * rng.standard_normal((n, 2)) for spread in spreads]


def test_chains_that_come_and_stay_do_not_decay(plane, rng):
    rows = rows_of(along(plane(), frames_of(plane(), rng, 6, 3, 1, 1)))
    assert rows["quality_best_step"].value in (10, 100)
    assert 0 <= rows["quality_decay"].value <= 3 * max(rows["quality_decay"].stderr, 1e-9) + 1e-9
    assert abs(rows["energy_drift"].value) < 5 * rows["energy_drift"].stderr


@pytest.mark.parametrize(("last", "sign"), [(0.2, -1), (4.0, 1)])
def test_chains_that_decay_are_seen_by_distance_and_energy(plane, rng, last, sign):
    rows = rows_of(along(plane(), frames_of(plane(), rng, 6, 1, 0.8, last)))
    assert rows["quality_best_step"].value in (1, 10)
    assert rows["quality_decay"].value > 5 * rows["quality_decay"].stderr
    assert sign * rows["energy_drift"].value > 5 * rows["energy_drift"].stderr


def test_the_drift_is_in_deviations_of_the_test_energies(plane, rng):
    """E = r²/(2 sd²) + c has mean 1 and deviation 1 under the data, and mean a² for chains a times as wide."""
    rows = rows_of(along(plane(n=5000), frames_of(plane(), rng, 6, 3, 2, 1.5, n=20_000)))
    assert rows["energy_drift"].value == pytest.approx(1.5**2 - 1, abs=0.06)
    assert rows["energy_drift"].stderr == pytest.approx(np.sqrt(1.5**4 / 20_000 + 1 / 5000), rel=0.1)


def test_energies_of_smoothed_data_are_compared_with_smoothed_data(plane, rng):
    evaluation = along(plane(), frames_of(plane(), rng, 6, 3, 2, np.sqrt(2)))
    smoothed = np.random.default_rng(3).standard_normal(evaluation.test.shape) * evaluation.density.sd
    rows = rows_of(replace(evaluation, smoothed=lambda part: evaluation.test[part] + smoothed[part]))
    assert abs(rows["energy_drift"].value) < 5 * rows["energy_drift"].stderr
    assert rows_of(evaluation)["energy_drift"].value > 5 * rows["energy_drift"].stderr


def test_the_distance_is_the_metric_of_that_name(plane, pictures, rng):
    evaluation = along(plane(), frames_of(plane(), rng, 6, 3, 2, 1))
    (quality,) = quality_along(evaluation)
    (row,) = EnergyDistance().compare(evaluation.long_run.frames[2], evaluation)
    assert quality.metric == "energy_distance" and (quality.values[2], quality.errors[2]) == (row.value, row.stderr)
    assert [one.metric for one in quality_along(pictures())] == ["kernel_lenet", "energy_distance"]


def test_chains_in_latent_space_are_judged_by_their_own_frames(plane, rng):
    evaluation = along(plane(), frames_of(plane(), rng, 6, 1, 0.8, 4))
    own = evaluation.long_run.primary
    latent = replace(own, about={**own.about, "name": "latent_hmc", "latent": True, "gradients_per_step": 3})
    frames = np.stack(frames_of(plane(), rng, 6, 3, 1, 1)).astype(np.float32)
    latent = replace(latent, arrays={**latent.arrays, "frames": frames, "frame_steps": np.array([0, 2, 20, 200])})
    evaluation = replace(evaluation, long_run=replace(evaluation.long_run, kernels={"mala": own, "latent_hmc": latent}), cache={})
    rows = rows_of(evaluation)
    assert set(rows) == set(LongRuns().reports(evaluation)) and "energy_drift@latent_hmc" not in rows
    assert rows["quality_best_step"].value in (1, 10) and rows["quality_best_step@latent_hmc"].value in (20, 200)
    assert rows["quality_decay"].value > 5 * rows["quality_decay"].stderr
    assert 0 <= rows["quality_decay@latent_hmc"].value <= 5 * rows["quality_decay@latent_hmc"].stderr
    found = quality_arrays(evaluation)
    assert {"long_run/energy_distance", "latent_hmc/energy_distance_stderr"} <= set(found)


def test_chains_that_broke_off_have_their_frames_measured(plane, rng):
    evaluation = along(plane(), frames_of(plane(), rng, 6, 1))
    record = replace(evaluation.long_run, kernels={"mala": lost_run(200)}, frame_steps=np.array([0, 1]))
    rows = rows_of(replace(evaluation, long_run=record, cache={}))
    assert rows["energy_drift"].status == "not available: the chains diverged: 3 of 8 have an energy that is not finite"
    assert rows["quality_best_step"].value == 1 and rows["quality_decay"].value == 0


def test_chains_of_no_variance_have_no_distance_in_features(pictures, rng):
    evaluation = pictures()
    flat = [np.full((16, 1, 8, 8), 0.1)] * 4
    rows = rows_of(along(evaluation, flat))
    assert rows["energy_drift"].status == "ok"
    assert rows["quality_decay"].value is None and rows["quality_decay"].status.startswith("not available: ")


def test_frames_are_of_the_record(rng):
    record = record_of(lambda n: rng.standard_normal((n, 2)), lambda x: (x**2).sum(axis=1))
    assert len(record.frames) == len(record.frame_steps) == len(record.frame_energies)
