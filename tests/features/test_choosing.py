"""Which feature networks serve a data set: in the plan, which knows the catalogue, and by hand, which knows the classes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ebmpipe.checking import ConfigError
from ebmpipe.config import EvaluationConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.features import inception
from ebmpipe.features.autoencoder import AutoencoderFeatures
from ebmpipe.features.choosing import absent_spaces, by_default, entries, load_spaces
from ebmpipe.features.lenet import LeNetFeatures
from ebmpipe.features.making import make_network
from ebmpipe.files import CorruptFile
from ebmpipe.planning import Plan, Run

ROOT = Path(__file__).parents[2]
SCHEMA, CATALOGUE = (json.loads((ROOT / "workflow/schemas" / name).read_text()) for name in ("config.schema.json", "catalogue.json"))


def plan(evaluation: dict[str, Any] | None = None, catalogue: dict[str, Any] = CATALOGUE, **changes: Any) -> Plan:
    """The tiny comparison, with something else measured on digits."""
    config = yaml.safe_load((ROOT / "tests/workflow/config.yaml").read_text())
    config["datasets"]["digits"]["evaluation"] = evaluation or {}
    return Plan(config | changes, SCHEMA, catalogue)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file of the name of the Inception network's weights, and the package that runs it."""
    (tmp_path / "prefix" / inception.BESIDE / inception.MODULE).mkdir(parents=True)
    monkeypatch.setattr(inception.sys, "prefix", str(tmp_path / "prefix"))
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / inception.WEIGHTS.file).write_bytes(b"")
    return folder


def test_the_catalogue_says_what_the_classes_say() -> None:
    assert CATALOGUE["features"] == entries()


def test_what_serves_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    unlabelled = copy.deepcopy(CATALOGUE)
    unlabelled["datasets"]["digits"]["classes"] = None
    assert plan().features("digits") == ["lenet"]
    assert plan(catalogue=unlabelled).features("digits") == ["autoencoder"]
    assert plan().features("eight_gaussians") == []
    # A folder of weights is named by the config, or by the environment.
    assert plan(weights=str(weights)).features("digits") == ["lenet", "inception"]
    monkeypatch.setenv("EBMPIPE_WEIGHTS_DIR", str(weights))
    assert plan(catalogue=unlabelled).features("digits") == ["autoencoder", "inception"]
    assert plan().features("eight_gaussians") == []


def test_what_is_said_is_taken_in_its_order(weights: Path) -> None:
    settings = plan({"features": ["inception", "autoencoder", "lenet"]}, weights=str(weights)).evaluation_settings("digits")
    assert EvaluationConfig.model_validate(settings).features == ["inception", "autoencoder", "lenet"]
    assert plan({"features": []}).features("digits") == []


def test_where_weights_lie_changes_no_setting(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EBMPIPE_WEIGHTS_DIR", "")
    made = plan({"features": ["lenet"]}, weights=str(weights))
    made.export_folders()
    assert inception.unavailable_reason() is None, "the jobs find them"
    plain = plan({"features": ["lenet"]})
    assert made.evaluation_settings("digits") == plain.evaluation_settings("digits")
    assert made.run_settings(Run("digits", "dsm", 0)) == plain.run_settings(Run("digits", "dsm", 0))


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        ({"features": ["lennet"]}, "datasets.digits.evaluation.features: 'lennet' is unknown. Did you mean 'lenet'?"),
        ({"features": ["lenet", "lenet"]}, "has non-unique elements"),
        ({"features": "lenet"}, r"expected a list or nothing \(null\), got text 'lenet'; write \[lenet\]"),
        ({"features": ["inception"]}, "'inception' is not available: .*EBMPIPE_WEIGHTS_DIR"),
    ],
)
def test_what_cannot_be_is_refused(evaluation: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan(evaluation)


def test_networks_must_take_the_data() -> None:
    unlabelled = copy.deepcopy(CATALOGUE)
    unlabelled["datasets"]["digits"]["classes"] = None
    with pytest.raises(ConfigError, match="'lenet' takes labelled images; digits is unlabelled images"):
        plan({"features": ["lenet"]}, unlabelled)
    with pytest.raises(ConfigError, match="'lenet' takes labelled images; eight_gaussians is density"):
        plan(datasets={"eight_gaussians": {"evaluation": {"features": ["lenet"]}}})


def test_the_layer_to_blame_is_named() -> None:
    defaults = yaml.safe_load((ROOT / "tests/workflow/config.yaml").read_text())["defaults"]
    defaults["density"]["evaluation"] = {"features": ["lenet"]}
    with pytest.raises(ConfigError, match=r"^defaults\.density\.evaluation\.features: 'lenet' takes") as error:
        plan(defaults=defaults)
    assert error.value.key == ("defaults", "density", "evaluation", "features", 0)


def test_by_hand_what_was_made_serves(make_squares: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for network in (LeNetFeatures, AutoencoderFeatures):
        monkeypatch.setitem(network.settings, "steps", 2)
        monkeypatch.setitem(network.settings, "epochs", 0)
    results = tmp_path / "results"
    labelled = Prepared(make_squares(results / "data/squares")).spec
    unlabelled = Prepared(make_squares(tmp_path / "unlabelled", classes=None)).spec
    out = results / "features/squares"
    assert load_spaces(None, labelled, out) == load_spaces(None, labelled, None) == ()
    assert make_network("squares", None, results, 0).startswith("lenet: test accuracy")
    assert make_network("squares", "autoencoder", results, 0).startswith("autoencoder: test reconstruction error")
    assert [space.name for space in load_spaces(None, labelled, out)] == ["lenet"]
    assert [space.name for space in load_spaces(None, unlabelled, out)] == ["autoencoder"]
    assert [space.name for space in load_spaces(["autoencoder", "lenet"], labelled, out)] == ["autoencoder", "lenet"]
    assert load_spaces([], labelled, out) == ()
    with pytest.raises(ValueError, match="lenet takes labelled images, which squares has not"):
        load_spaces(["lenet"], unlabelled, out)
    with pytest.raises(ValueError, match="no folder of feature networks"):
        load_spaces(["lenet"], labelled, None)
    with pytest.raises(CorruptFile, match=r"inception\.json does not exist; make it with `ebmpipe features`"):
        load_spaces(["inception"], labelled, out)
    with pytest.raises(ValueError, match="lenet is trained here: it has no weights to download"):
        make_network("squares", "lenet", results, 0, download=True)


def test_what_is_absent_is_absent_for_a_reason(make_squares: Callable[..., Path], tmp_path: Path, weights: Path) -> None:
    spec = Prepared(make_squares(tmp_path / "data")).spec
    assert set(absent_spaces((), spec)) == {"inception"}
    assert absent_spaces((), spec)["inception"] == inception.unavailable_reason()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EBMPIPE_WEIGHTS_DIR", str(weights))
        assert absent_spaces((), spec)["inception"] == "inception is not among the feature networks that the config names"


@pytest.mark.parametrize("classes", [10, None])
def test_no_published_network_comes_first_by_default(classes: int | None) -> None:
    known = entries()
    chosen = by_default(known, "images", classes, lambda name: None)
    assert not known[chosen[0]]["published"]
    assert by_default(known, "vectors", classes, lambda name: None) == []
