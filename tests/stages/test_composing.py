"""The compose stage: of true energies nothing is lost, of trained ones what they are off by, and what cannot be composed is told."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from ebmpipe import composing, registry
from ebmpipe.composing import ComposedDensity, compose
from ebmpipe.composition import Difference, Product
from ebmpipe.config import CompositionConfig, RunConfig, SamplingConfig
from ebmpipe.data.base import Density
from ebmpipe.energies import TrueEnergy
from ebmpipe.files import CorruptFile, read_json
from ebmpipe.metrics.estimators import rejection
from ebmpipe.report import base
from ebmpipe.report.compositions import COLUMNS, Composed, collect, collected
from ebmpipe.runs import RunFolder
from ebmpipe.training import give_up, train
from ebmpipe.verifying import Finding, repair, verify

SAMPLING = SamplingConfig(n=100, steps=20)


class Round(Density):
    """N(mean, sd² I)."""

    name = "round"
    reach = 6.0

    def __init__(self, mean, sd):
        self.mean, self.sd = np.array(mean), sd

    def sample(self, n, rng):
        return self.mean + self.sd * rng.standard_normal((n, 2))

    def log_density(self, x):
        return -((x - self.mean) ** 2).sum(axis=1) / (2 * self.sd**2) - np.log(2 * np.pi * self.sd**2)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(composing, "TEST", 1000)
    monkeypatch.setattr(composing, "GRID", 30)
    monkeypatch.setattr(rejection, "CELLS", 150)


@pytest.fixture(scope="module")
def results(prepared, tmp_path_factory):
    """Results with the control `data`, whose energy is the true one, and a short run of NCE, both on eight Gaussians."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "data").mkdir()
    (folder / "data/eight_gaussians").symlink_to(prepared["eight_gaussians"])
    for label, method in (("truth", "data"), ("nce", "nce")):
        given = {"dataset": "eight_gaussians", "label": label, "method": method, "gradient_evaluations": 200_000}
        given |= {"network": {"settings": {"width": 16, "gain": 4.0}}}
        train(RunConfig.model_validate(given), prepared["eight_gaussians"], folder, "cpu")
    return folder


def made(results, by, one="truth", other="truth", name="both", **more):
    config = CompositionConfig(of=[f"eight_gaussians/{one}", f"eight_gaussians/{other}"], by=by, **more)
    folder = compose(name, config, 0, results, SAMPLING, "cpu")
    rows = json.loads((folder / "metrics.json").read_text())["rows"]
    return folder, {row["metric"]: row for row in rows}


@pytest.mark.parametrize(("by", "weight"), [("product", None), ("product", 0.5), ("mixture", None), ("difference", 0.3)])
def test_of_the_true_energies_nothing_is_lost(results, by, weight):
    """A density times, beside and over itself: p^(1 + w), p, p^(1 - w)."""
    _, rows = made(results, by, weight=weight)
    assert rows["nll_gap"]["value"] == pytest.approx(0, abs=1e-4)
    assert rows["nll_gap@truth"]["value"] == pytest.approx(0, abs=1e-6)
    assert rows["log_z"]["value"] == pytest.approx(rows["log_z@truth"]["value"], abs=1e-4)
    if by == "mixture":
        assert rows["log_z"]["value"] == pytest.approx(0, abs=1e-4)
    if by == "product" and weight is None:
        # ∫ p²: eight equal Gaussians that hardly overlap, (1/8) N(0; 0, 2 s²).
        assert rows["log_z"]["value"] == pytest.approx(np.log(1 / 8 / (4 * np.pi * 0.125)), abs=0.02)
    for metric in ("mmd", "energy_distance"):
        assert abs(rows[f"{metric}@exact"]["value"]) < 5 * rows[f"{metric}@exact"]["stderr"] + 1e-3


def test_of_trained_energies_the_error_is_that_of_both(results):
    folder, rows = made(results, "product", "nce", "truth")
    assert rows["nll_gap"]["value"] > 0.05
    assert rows["nll_gap@truth"]["value"] == pytest.approx(0, abs=1e-6)
    again = [(folder / name).read_bytes() for name in composing.FILES]
    folder, _ = made(results, "product", "nce", "truth")
    assert [(folder / name).read_bytes() for name in composing.FILES] == again


def test_the_product_of_gaussians_is_drawn_as_the_gaussian_that_it_is():
    one, other = Round([1.0, 0.0], 0.8), Round([-0.5, 1.0], 1.2)
    precision = 1 / 0.8**2 + 1 / 1.2**2
    mean = (one.mean / 0.8**2 + other.mean / 1.2**2) / precision
    points = np.concatenate([density.sample(500, np.random.default_rng(0)) for density in (one, other)])
    composed = ComposedDensity("both", Product(TrueEnergy(one), TrueEnergy(other)), (one, other), points)
    x = composed.sample(20_000, np.random.default_rng(1))
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=4 / np.sqrt(precision * len(x)))
    np.testing.assert_allclose(x.var(axis=0), 1 / precision, rtol=0.05)
    np.testing.assert_allclose(composed.log_density(x[:50]), Round(mean, precision**-0.5).log_density(x[:50]), atol=2e-4)
    np.testing.assert_allclose(composed.score(x[:50]), -precision * (x[:50] - mean), atol=1e-5)


def test_true_densities_that_make_no_law_are_told():
    narrow, wide = Round([0.0, 0.0], 0.5), Round([0.0, 0.0], 1.0)
    points = wide.sample(500, np.random.default_rng(0))
    with pytest.raises(ValueError, match="of the true densities: quadrature did not converge"):
        ComposedDensity("reverse", Difference(TrueEnergy(wide), TrueEnergy(narrow), 0.5), (wide, narrow), points)


def test_what_is_no_law_is_a_result_that_says_why(results, tmp_path):
    """After two trainings nobody wants the workflow to break off: table and figure are made, and have the bound of the weight."""
    folder, rows = made(results, "difference", "nce", "nce", name="nothing", weight=1.0)
    why = "far out the difference rises, as its second energy, times 1, outgrows the first; set its weight below 1, the ratio"
    assert all(row["value"] is None and row["status"].startswith(f"not available: no law: {why}") for row in rows.values())
    assert {"nll_gap", "log_z", "mmd", "energy_distance"} <= set(rows)
    found = Composed(folder, "nothing", 0)
    assert found.ledger["status"] == read_json(folder / "metrics.json")["status"] == rows["mmd"]["status"]
    assert found.samples == found.arrays == {}
    table = pd.read_csv(collect(results, {"nothing": [0]}))
    assert table["value"].isna().all() and set(table["status"]) == {rows["mmd"]["status"]}
    assert "no law: far out the difference rises" in picture(results)
    base.draw("compositions", results, None, {}, tmp_path / "picture")
    assert not [found for found in verify(results) if isinstance(found, Finding)]


def picture(results):
    """The words of the figure."""
    figure = registry.load("report.figures", "compositions")().draw(base.Context(results, None, {}))
    return " ".join(" ".join(text.get_text().split()) for text in figure.findobj(Text))


def test_true_densities_that_make_no_law_are_a_result_too(results, monkeypatch):
    """They have bounds of their own, which only quadrature knows."""
    monkeypatch.setattr(composing, "check_proper", lambda *given: None)
    folder, rows = made(results, "difference", "nce", "nce", name="flat", weight=1.0)
    assert rows["nll_gap"]["status"].startswith("not available: no law: of the true densities: quadrature did not converge")
    assert Composed(folder, "flat", 0).ledger["status"] == rows["nll_gap"]["status"]


@pytest.mark.parametrize(("name", "other"), [("../outside", "truth"), ("a/b", "truth"), ("Both", "truth"), ("", "truth"), ("both", "none")])
def test_what_is_refused_leaves_nothing_behind(results, name, other):
    before = sorted(results.rglob("*"))
    message = "is no id: lower-case letters" if other == "truth" else "ebmpipe train"
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        made(results, "product", "truth", other, name=name)
    assert sorted(results.rglob("*")) == before


def test_what_is_made_of_a_diverged_run_has_diverged(results):
    lost = RunFolder.of(results, "eight_gaussians", "lost", 0)
    lost.path.mkdir(parents=True)
    give_up(lost, RunConfig(dataset="eight_gaussians", label="lost", method="nce"), "the wheel came off", "cpu")
    folder, rows = made(results, "product", "lost", "truth", name="lost")
    assert {row["status"] for row in rows.values()} == {"diverged"} and rows["nll_gap"]["value"] is None
    assert "the wheel came off" in Composed(folder, "lost", 0).ledger["reason"]
    collect(results, {"lost": [0]})
    base.draw("compositions", results, None, {}, folder / "picture")


def test_the_table_and_the_figure_are_of_what_was_made(results, tmp_path):
    made(results, "mixture", "nce", "truth", name="mixed", weight=0.25)
    table = pd.read_csv(collect(results, {"mixed": [0]}))
    assert list(table) == COLUMNS
    assert set(table["law"]) == {"0.75 eight_gaussians/nce + 0.25 eight_gaussians/truth"}
    assert {"nll_gap", "nll_gap@truth", "mmd", "mmd@truth", "mmd@exact"} <= set(table["metric"])
    assert list(collected(results)) == ["mixed"]
    base.draw("compositions", results, None, {}, tmp_path / "first")
    base.draw("compositions", results, None, {}, tmp_path / "second")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_an_altered_file_is_found_and_removed_with_all_that_was_made_of_it(results):
    folder, _ = made(results, "product", name="altered")
    collect(results, {"altered": [0]})
    assert not [found for found in verify(results) if isinstance(found, Finding)]
    (folder / "metrics.json").write_text("{}")
    with pytest.raises(CorruptFile, match="run `ebmpipe compose` again"):
        _ = Composed(folder, "altered", 0).rows
    (finding,) = [found for found in verify(results) if isinstance(found, Finding)]
    assert str(folder / "metrics.json") in finding.problem
    assert "run the workflow again" in repair(finding, results)
    assert not list(folder.iterdir()) and not (results / "tables/compositions.csv").exists()
    assert read_json(Path(results / "runs/eight_gaussians/nce/seed0/config.json"))["label"] == "nce"
