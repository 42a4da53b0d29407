"""What the record of a long run comes to."""

from dataclasses import replace

import numpy as np
import pytest
from long_runs import kernel_run, lost_run, record_of

from ebmpipe.metrics.mixing import Mixing
from ebmpipe.mixing.record import LongRun

CHAINS, DRAWS = 32, 400


def rows_of(evaluation):
    return {row.metric: row for row in Mixing().compute(evaluation)}


def with_kernel(evaluation, kernel, modes=2):
    """The same evaluation with one kernel's record in place of its own."""
    return replace(evaluation, long_run=replace(evaluation.long_run, kernels={"mala": kernel}, modes=modes), cache={})


def test_independent_draws_are_mixed(plane, rng):
    x = rng.standard_normal((CHAINS, DRAWS, 2))
    labels = (x[:, :, 0] > 0).astype(int)
    rows = rows_of(with_kernel(plane(), kernel_run(x, x[:, :, 1] ** 2, labels, 2)))
    assert rows["rhat"].value < 1.01 and rows["rhat_mixed"].value == 1
    assert rows["ess"].value == pytest.approx(CHAINS * DRAWS, rel=0.15)
    # As many effective draws as gradient evaluations, and every second draw of a coin is a hop.
    assert rows["ess_per_gradient"].value == pytest.approx(1000, rel=0.15)
    assert rows["autocorrelation_time"].value == pytest.approx(1, rel=0.15)
    assert rows["mode_hops"].value == pytest.approx(500, rel=0.05)
    assert rows["mode_hops"].stderr == pytest.approx(1000 * np.sqrt(0.25 / DRAWS / CHAINS), rel=0.4)


@pytest.mark.parametrize(("per_step", "stride"), [(1, 1), (3, 1), (3, 4)])
def test_rates_are_per_gradient_evaluation_whatever_a_step_costs(plane, rng, per_step, stride):
    x = rng.standard_normal((CHAINS, DRAWS, 2))
    labels = (x[:, :, 0] > 0).astype(int)
    rows = rows_of(with_kernel(plane(), kernel_run(x, x[:, :, 1] ** 2, labels, 2, per_step=per_step, stride=stride)))
    cost = per_step * stride
    assert rows["ess_per_gradient"].value == pytest.approx(1000 / cost, rel=0.15)
    assert rows["autocorrelation_time"].value == pytest.approx(cost, rel=0.15)
    assert rows["mode_hops"].value == pytest.approx(500 / cost, rel=0.05)


def test_chains_that_keep_to_their_modes_are_seen_in_the_indicators(plane, rng):
    where = np.arange(CHAINS) % 2
    x = rng.standard_normal((CHAINS, DRAWS, 2)) * 0.1
    x[:, :, 0] += 10.0 * where[:, None]
    rows = rows_of(with_kernel(plane(), kernel_run(x, x[:, :, 1] ** 2, np.repeat(where[:, None], DRAWS, 1), 2)))
    assert rows["rhat"].value == rows["rhat_modes"].value == pytest.approx(np.sqrt(CHAINS * DRAWS))
    assert rows["mode_hops"].value == 0
    assert rows["rhat_energy"].value < 1.02
    assert rows["ess_per_gradient"].status.startswith("not available: chains disagree, R-hat 113")
    # Two indicators and a coordinate of the five that vary.
    assert rows["rhat_mixed"].value == pytest.approx(2 / 5)


def test_chains_that_are_all_in_one_mode_leave_the_indicators_out(plane, rng):
    x = rng.standard_normal((CHAINS, DRAWS, 2))
    rows = rows_of(with_kernel(plane(), kernel_run(x, x[:, :, 1] ** 2, np.zeros((CHAINS, DRAWS), int), 2)))
    assert rows["rhat"].value < 1.02
    assert rows["rhat_modes"].status == "not available: all chains are in one mode throughout"


def test_an_energy_that_never_varies_is_left_out(plane, rng):
    x = rng.standard_normal((CHAINS, DRAWS, 2))
    rows = rows_of(with_kernel(plane(), kernel_run(x, np.ones((CHAINS, DRAWS)), (x[:, :, 0] > 0).astype(int), 2)))
    assert rows["rhat"].status == "ok"
    assert rows["rhat_energy"].status == rows["autocorrelation_time"].status == "not available: the energy is constant"


def test_without_modes_there_are_no_rows_of_modes(plane, rng):
    x = rng.standard_normal((CHAINS, DRAWS, 2))
    evaluation = with_kernel(plane(), kernel_run(x, x[:, :, 1] ** 2), modes=0)
    assert not {"rhat_modes", "mode_hops"} & set(rows_of(evaluation))
    assert set(rows_of(evaluation)) == set(Mixing().reports(evaluation))


def test_kernels_have_rows_of_their_own_and_one_that_is_lost_says_why(plane):
    evaluation = plane()
    record = replace(evaluation.long_run, kernels={"mala": evaluation.long_run.kernels["mala"], "hmc": lost_run(16)})
    rows = rows_of(replace(evaluation, long_run=record, cache={}))
    assert rows["rhat"].status == "ok" and rows["rhat"].protocol.startswith("mala, step size found for each energy; 16 chains")
    assert rows["rhat@hmc"].status == "not available: the chains diverged: 3 of 8 have an energy that is not finite"
    assert set(rows) == set(Mixing().reports(replace(evaluation, long_run=record)))


def test_a_kernel_that_accepts_everything_is_said_to_have_another_law(plane):
    evaluation = plane()
    mala = evaluation.long_run.kernels["mala"]
    biased = replace(mala, about={**mala.about, "name": "ula", "adjusted": False})
    rows = rows_of(replace(evaluation, long_run=replace(evaluation.long_run, kernels={"mala": mala, "ula": biased}), cache={}))
    assert rows["rhat@ula"].protocol.startswith("ula (of a biased law), step size found") and "biased" not in rows["rhat"].protocol


def test_why_there_is_nothing(plane):
    assert {row.status for row in Mixing().unavailable("because", plane())} == {"not available: because"}
    from ebmpipe.evaluation import rows_of as rows_with_reasons

    for record, said in ((None, "no long run was made of it"), (LongRun.nothing("the run has no energy", {}), "the run has no energy")):
        rows = rows_with_reasons(Mixing(), plane(long_run=record))
        assert {row.metric for row in rows} == set(Mixing.ids)
        assert all(row.status.startswith(f"not available: {said}") for row in rows)


def test_a_record_survives_the_disk(tmp_path, rng):
    def sample(n):
        return rng.standard_normal((n, 1, 2, 2))

    record = record_of(sample, lambda x: (x**2).sum(axis=(1, 2, 3)), lambda x: (x[:, 0, 0, 0] > 0).astype(int), 2)
    record.write(tmp_path / "a")
    again = LongRun.read(tmp_path / "a")
    again.write(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert list(again.kernels) == ["mala", "hmc"] and again.modes == 2 and again.settings == record.settings
    assert np.array_equal(again.kernels["hmc"].arrays["rhat"], record.kernels["hmc"].arrays["rhat"], equal_nan=True)
