"""Watched training: the likelihood in every row is the metric's, and looking changes nothing."""

import csv
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import COUPLED, PCD, model_bytes, sample_and_evaluate, small

from ebmpipe import watching
from ebmpipe.checking import ConfigError
from ebmpipe.checkpoint import Checkpoint
from ebmpipe.data.prepared import Prepared
from ebmpipe.energies import on_arrays
from ebmpipe.history import WATCHED as COLUMNS
from ebmpipe.loading import load_run
from ebmpipe.methods.base import build
from ebmpipe.methods.pcd import PCD as PCDMethod
from ebmpipe.metrics.base import Evaluation, NotAvailable
from ebmpipe.metrics.estimators.two_sample import gram, squared_mmd
from ebmpipe.metrics.mmd import gaussian_mixture, median_distance
from ebmpipe.metrics.quadrature import normalise
from ebmpipe.optimisation import Diverged
from ebmpipe.planning import Run
from ebmpipe.runs import RunFolder
from ebmpipe.samplers import ULA
from ebmpipe.seeding import numpy_generator
from ebmpipe.validating import make_plan, summary
from ebmpipe.watching import Watch

ROOT = Path(__file__).parents[2]
WATCHED = {
    "pcd": {},
    "normalised": {"label": "normalised", "settings": PCD | {"spectral_norm": 1.5}},
    "hot": {"label": "hot", "settings": PCD | {"kernel": {"name": "ula", "settings": {"step_size": 0.2, "noise_scale": 0.1}}}},
    "unbiased_cd": {"method": "unbiased_cd", "settings": COUPLED, "gradient_evaluations": 6_000},
    "jarzynski": {"method": "jarzynski", "settings": {"batch_size": 16, "walkers": 64}},
    "nce": {"method": "nce"},
    "ncsn": {"method": "ncsn"},
    "flow_contrastive": {"method": "flow_contrastive"},
}
#: Those without persistent chains.
CHAINLESS = ("nce", "ncsn", "flow_contrastive", "unbiased_cd")


def rows(folder):
    """history.csv as text, row by row."""
    return list(csv.DictReader((folder / "history.csv").open()))


def without(found, *names):
    return [{key: value for key, value in row.items() if key not in names} for row in found]


@pytest.fixture
def data(prepared):
    return Prepared(prepared["eight_gaussians"])


def nll(energy, data):
    """The mean of the metric's log density over the validation split, with the metric's own quadrature."""
    examples = data.split("validation").astype(np.float64)
    minus = on_arrays(energy, "cpu")
    evaluation = Evaluation(
        spec=data.spec, test=examples, train=examples[:0], validation=examples[:0], samples={}, primary="fresh",
        rng=lambda name: numpy_generator(0, name), log_unnormalised=lambda x: -minus(x),
    )  # fmt: skip
    return -float(normalise(evaluation)[1].mean())


@pytest.mark.parametrize("name", WATCHED)
def test_it_changes_nothing_but_its_columns(folder_of, prepared, name):
    plain, watched = folder_of(small(**WATCHED[name]), "plain"), folder_of(small(**WATCHED[name], watch=True), "watched")
    assert model_bytes(watched) == model_bytes(plain)
    found = rows(watched)
    assert without(found, "wall_s", *COLUMNS) == without(rows(plain), "wall_s")
    for key in ("training_flops", "gradient_evaluations", "step", "iterations", "statistics", "parameters", "clipped"):
        assert watched.ledger[key] == plain.ledger[key]
    columns = [column for column in COLUMNS if column != "mmd" or name not in CHAINLESS]
    assert set(found[0]) == {*rows(plain)[0], *columns}
    assert all(np.isfinite(float(row[column])) for row in found for column in columns)
    if name == "pcd":
        assert sample_and_evaluate(watched, prepared["eight_gaussians"]) == sample_and_evaluate(plain, prepared["eight_gaussians"])


@pytest.mark.parametrize("name", WATCHED)
def test_the_likelihood_is_the_metrics(folder_of, data, name):
    """Of the energy in training and of its average, the temperature included."""
    folder = folder_of(small(**WATCHED[name], watch=True))
    last, method = rows(folder)[-1], load_run(folder, data, "cpu")
    average, live = (-nll(energy, data) for energy in (method.energy_function(), method.live_energy_function()))
    assert float(last["log_likelihood_average"]) == pytest.approx(average, abs=1e-4)
    assert float(last["log_likelihood"]) == pytest.approx(live, abs=1e-4)
    assert live != average


def test_of_a_larger_network_that_learned_something_too(folder_of, data):
    """Many updates at a large rate: the density has eight peaks and hardly any mass between them."""
    settings = {"batch_size": 128, "optimiser": {"learning_rate": 1e-2}}
    network = {"settings": {"width": 64, "depth": 2, "gain": 6.0}}
    folder = folder_of(small(method="nce", settings=settings, network=network, gradient_evaluations=256 * 600, watch=True))
    last, method = rows(folder)[-1], load_run(folder, data, "cpu")
    exact = -nll(method.live_energy_function(), data)
    assert float(last["log_likelihood"]) == pytest.approx(exact, abs=1e-3)
    assert exact > -data.spec.entropy - 0.3


def test_it_is_of_the_weights_in_training_and_the_average_remembers(folder_of):
    settings = PCD | {"optimiser": {"average_decay": 0.0}}
    forgetful = rows(folder_of(small(settings=settings, watch=True), "forgetful"))
    assert all(row["log_likelihood"] == row["log_likelihood_average"] for row in forgetful)
    remembering = rows(folder_of(small(watch=True), "remembering"))
    assert all(row["log_likelihood"] != row["log_likelihood_average"] for row in remembering[1:])


def test_the_live_energy_is_divided_by_the_temperature(data):
    method = build("pcd", data.spec, WATCHED["hot"]["settings"])
    assert method.temperature == ULA(0.2, noise_scale=0.1).temperature != 1
    x = torch.randn(5, 2)
    torch.testing.assert_close(method.live_energy_function()(x), method.live(x) / method.temperature)


def test_of_a_gaussian_it_is_the_closed_form(data):
    """A row without weights: its energy is that of the Gaussian base, of which the mean log density is a sum of squares."""
    found = Watch(build("noise", data.spec), data, "cpu").look()
    x, width = data.split("validation").astype(np.float64) - data.spec.mean, 1.5 * data.spec.std
    exact = -(x**2).sum(axis=1).mean() / (2 * width**2) - np.log(2 * np.pi * width**2)
    assert found == {"log_likelihood_average": pytest.approx(exact, abs=1e-5)}


def test_weights_that_are_normalised_are_those_of_each_network(data):
    """The average is a copy of the network, and what is computed once of the one must not be taken for the other's."""
    method = build("pcd", data.spec, WATCHED["normalised"]["settings"])
    watch, at_first = Watch(method, data, "cpu"), Watch(method, data, "cpu").look()
    assert at_first["log_likelihood"] == at_first["log_likelihood_average"]
    with torch.no_grad():
        for parameter in method.live.parameters():
            parameter.add_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
    changed = watch.look()
    assert changed["log_likelihood_average"] == at_first["log_likelihood_average"]
    assert changed["log_likelihood"] == pytest.approx(-nll(method.live_energy_function(), data), abs=1e-4)
    assert abs(changed["log_likelihood"] - at_first["log_likelihood"]) > 0.01


@pytest.mark.parametrize("chains", [32, 1024, 3000])
def test_mmd_is_the_metrics_of_chains_and_as_many_examples(data, chains):
    method = build("pcd", data.spec, PCD | {"chains": chains})
    watch = Watch(method, data, "cpu")
    n = min(chains, 1000)
    examples, every = data.split("validation").astype(np.float64), method.chains().x.double().numpy()
    x, y = every[np.linspace(0, chains - 1, n).astype(int)], examples[watch.order[:n]]
    kernel = gaussian_mixture(median_distance(examples))
    expected, error = squared_mmd(gram(kernel, x), gram(kernel, y), gram(kernel, x, y))
    assert watch.look()["mmd"] == pytest.approx(expected, rel=1e-9) == watch.look()["mmd"]
    # The chains begin at a Gaussian half as wide again as the data, which the metric tells from them.
    assert expected > 5 * error or n < 100


def test_mmd_of_examples_is_nothing(data, monkeypatch):
    method = build("pcd", data.spec, PCD | {"chains": 1000})
    drawn = torch.from_numpy(data.split("test")[:1000].copy())
    monkeypatch.setattr(PCDMethod, "chains", lambda self: replace(plain(self), x=drawn))
    assert abs(Watch(method, data, "cpu").look()["mmd"]) < 2e-3


plain = PCDMethod.chains


class Clock:
    """A clock that stands but for what it is told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize("killed", [False, True])
def test_its_seconds_are_none_of_trainings(folder_of, monkeypatch, killed):
    """On a clock on which an update takes a quarter of a second, and a look two thousand."""
    clock, step, look, save = Clock(), PCDMethod.training_step, Watch.mmd, Checkpoint.save

    def slow_step(self, *given):
        clock.now += 0.25
        return step(self, *given)

    def slow_look(self):
        clock.now += 1000.0
        found = look(self)
        clock.now += 1000.0
        return found

    def dying(self, path):
        save(self, path)
        if self.step == 17:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "perf_counter", clock)
    monkeypatch.setattr(PCDMethod, "training_step", slow_step)
    monkeypatch.setattr(Watch, "mmd", slow_look)
    if killed:
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoint, "save", dying)
            with pytest.raises(KeyboardInterrupt):
                folder_of(small(watch=True), checkpoint_period=0.0)
    folder = folder_of(small(watch=True))
    assert clock.now > 100_000
    assert [float(row["wall_s"]) for row in rows(folder)] == [0.25 * (index + 1) for index in range(60)]
    assert folder.ledger["stages"]["train"]["wall_s"] == 15.0


def test_resume_is_exact(folder_of, monkeypatch):
    whole, save = folder_of(small(watch=True), "whole"), Checkpoint.save

    def dying(self, path):
        save(self, path)
        if self.step == 17:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", dying)
    with pytest.raises(KeyboardInterrupt):
        folder_of(small(watch=True), "resumed", checkpoint_period=0.0)
    monkeypatch.undo()
    resumed = folder_of(small(watch=True), "resumed")
    assert model_bytes(resumed) == model_bytes(whole)
    assert without(rows(resumed), "wall_s") == without(rows(whole), "wall_s")


def test_the_last_row_of_a_diverged_run_has_it_too(folder_of, data, monkeypatch):
    """Of more updates than rows, the last one before divergence has a row of its own."""
    step = PCDMethod.training_step

    def training_step(self, *given):
        if int(self.learner.updates) == 13:
            raise Diverged("enough")
        return step(self, *given)

    monkeypatch.setattr(PCDMethod, "training_step", training_step)
    folder = folder_of(small(updates=1000, watch=True))
    assert (folder.ledger["status"], folder.ledger["step"]) == ("diverged", 13)
    found = rows(folder)
    assert [int(row["step"]) for row in found] == [5, 10, 13]
    assert all(np.isfinite(float(row[column])) for row in found for column in COLUMNS)
    assert float(found[-1]["log_likelihood"]) == Watch(load_run(folder, data, "cpu"), data, "cpu").look()["log_likelihood"]


def test_what_has_no_value_is_absent(data, monkeypatch):
    method = build("pcd", data.spec, PCD)
    method.live.network.head.bias.data.fill_(torch.nan)
    assert set(Watch(method, data, "cpu").look()) == {"log_likelihood_average", "mmd"}
    method = build("pcd", data.spec, PCD)
    method.chains().x[3] = torch.inf
    assert set(Watch(method, data, "cpu").look()) == {"log_likelihood", "log_likelihood_average"}

    def refused(*_):
        raise NotAvailable("no")

    monkeypatch.setattr(watching, "evaluate", refused)
    assert Watch(method, data, "cpu").look() == {}


def test_only_the_plane_is_watched(folder_of, tmp_path):
    configuration = small("digits", "dsm", watch=True)
    with pytest.raises(ValueError, match="watch: likelihoods are only integrated in the plane, on density; digits is images"):
        folder_of(configuration)
    assert not RunFolder.of(tmp_path / "results", "digits", "dsm", 0).path.exists()
    with pytest.raises(ConfigError, match=r"defaults\.images\.watch: likelihoods are only integrated in the plane.* images") as caught:
        make_plan({"methods": {"pcd": {}}, "defaults": {"images": {"watch": True}}, "datasets": {"rings": {}}}, ROOT)
    assert caught.value.key == ("defaults", "images", "watch")
    config = {"methods": {"pseudolikelihood": {}}, "datasets": {"ising": {"watch": True}}}
    with pytest.raises(ConfigError, match=r"datasets\.ising\.watch: likelihoods are only integrated in the plane.* binary"):
        make_plan(config, ROOT)


def test_a_data_set_is_watched_where_its_own_or_its_kinds_settings_say_so():
    config = {"methods": {"pcd": {}}, "defaults": {"density": {"watch": True}}}
    made = make_plan(config | {"datasets": {"two_moons": {"watch": False}, "rings": {}, "digits": {}}}, ROOT)
    assert [made.watched(name) for name in made.datasets] == [False, True, False]
    assert made.run_settings(Run("rings", "pcd", 0))["watch"] is True
    assert made.run_settings(Run("digits", "pcd", 0))["watch"] is False
    assert [line for line in summary(made, []).splitlines() if "watched" in line] == ["rings: seeds 0, 1; watched"]
