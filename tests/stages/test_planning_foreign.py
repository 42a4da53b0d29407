"""What the sets that energies are to tell from their data make of a config: which serve, what is prepared for them, what is refused."""

import copy
import json
from pathlib import Path

import pytest

from ebmpipe.planning import ConfigError, Plan

SCHEMAS = Path(__file__).parents[2] / "workflow/schemas"
SCHEMA, CATALOGUE = (json.loads((SCHEMAS / name).read_text()) for name in ("config.schema.json", "catalogue.json"))


def plan(datasets, catalogue=CATALOGUE, **more):
    return Plan({"methods": {"dsm": {}}, "datasets": datasets, **more}, SCHEMA, catalogue)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No raw data are at hand."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("EBMPIPE_DATA_DIR", raising=False)


def foreign(made, dataset):
    return made.evaluation_settings(dataset)["out_of_distribution"]


def test_images_are_told_from_photographs_and_from_the_config_s_other_images():
    made = plan({"digits": {}, "fashion_mnist": {}, "eight_gaussians": {}})
    assert foreign(made, "digits") == ["noise", "constant", "fashion_mnist", "photos"]
    assert made.foreign("digits") == ["fashion_mnist", "photos"]
    assert made.foreign("fashion_mnist") == ["digits", "photos"]
    assert foreign(made, "eight_gaussians") == ["noise", "rings", "two_moons"]
    assert made.foreign("eight_gaussians") == [], "densities are drawn from their formula"


@pytest.mark.parametrize("place", ["datasets", "defaults"])
def test_an_optional_set_that_is_not_there_serves_nobody(place):
    datasets = {"digits": {}, "mnist": {"optional": True} if place == "datasets" else {}}
    more = {"defaults": {"images": {"optional": True}}} if place == "defaults" else {}
    made = plan(datasets, raw_data="/nowhere", **more)
    assert "mnist" in made.left_out
    assert foreign(made, "digits") == ["noise", "constant", "photos"]


def test_what_is_named_is_what_is_measured_and_prepared():
    made = plan({"digits": {"evaluation": {"out_of_distribution": ["mnist", "noise"]}}})
    assert foreign(made, "digits") == ["mnist", "noise"]
    assert made.foreign("digits") == ["mnist"], "a set of no run of its own is prepared, and may be downloaded"
    assert plan({"digits": {"evaluation": {"out_of_distribution": []}}}).foreign("digits") == []
    unasked = plan({"digits": {"evaluation": {"metrics": ["mmd"]}}})
    assert unasked.foreign("digits") == []


@pytest.mark.parametrize(
    ("dataset", "named", "message"),
    [
        ("digits", ["digits"], "'digits' is the data set itself; choose from noise, constant"),
        ("digits", ["rings"], "'rings' is density, and digits images"),
        ("digits", ["mnits"], "mnist"),
        ("rings", ["constant"], "constant"),
        ("rings", ["digits"], "'digits' is images, and rings density"),
    ],
)
def test_what_does_not_fit_is_refused(dataset, named, message):
    with pytest.raises(ConfigError, match=r"datasets\.\w+\.evaluation\.out_of_distribution") as error:
        plan({dataset: {"evaluation": {"out_of_distribution": ["noise", *named]}}})
    assert message in str(error.value)


def test_a_named_set_that_cannot_be_had_is_refused():
    catalogue = copy.deepcopy(CATALOGUE)
    catalogue["datasets"]["mnist"] |= {"downloads": False}
    with pytest.raises(ConfigError, match=r"out_of_distribution: 'mnist' cannot be had: .* is in none of /nowhere"):
        plan({"digits": {"evaluation": {"out_of_distribution": ["mnist"]}}}, catalogue, raw_data="/nowhere")


def test_revisions_of_what_numbers_are_made_from():
    made = plan({"eight_gaussians": {}, "digits": {}})
    of_plane, of_images = (made.evaluation_revisions(name) for name in ("eight_gaussians", "digits"))
    assert {"foreign", "restoration", "data:rings", "data:two_moons"} <= set(of_plane)
    assert "data:photos" not in of_images, "prepared sets are inputs of their own"
    assert {"foreign", "restoration", "sampler:mala", "metric:out_of_distribution", "metric:denoising"} <= set(of_images)
    few = plan({"digits": {"evaluation": {"metrics": ["mmd"]}}}).evaluation_revisions("digits")
    assert set(few) == {"evaluation", "metric:mmd"}
