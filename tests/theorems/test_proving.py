"""The stage: what it writes, that it repeats, and what is said of files that are missing or damaged."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from ebmpipe import catalogue, registry
from ebmpipe.files import CorruptFile, read_signed
from ebmpipe.proving import entry, prove
from ebmpipe.report import base, style
from ebmpipe.report.reading import MissingResult
from ebmpipe.report.theorems import proved
from ebmpipe.theorems.base import Theorem
from ebmpipe.verifying import Finding, repair, verify

NAMES = registry.names("theorems")
PANELS = {"limits", "remainders", "flows", "blindness", "rule", "short", "contractions"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    prove(folder)
    return folder


@pytest.fixture
def copy(results, tmp_path):
    """The same, to be damaged."""
    (tmp_path / "theorems").mkdir()
    for path in (results / "theorems").iterdir():
        (tmp_path / "theorems" / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_contract(name, results):
    theorem = registry.load("theorems", name)
    assert issubclass(theorem, Theorem) and theorem.name == name and theorem.revision >= 1
    assert theorem.title and theorem.statement and theorem.source[-4:].isdigit() | ("§" in theorem.source) and theorem.panel in PANELS
    assert entry(theorem) == {"theorem": theorem.revision} | {m: registry.load("methods", m).revision for m in theorem.methods}
    found = proved(results)[name]
    assert all(values.dtype == np.float64 and np.isfinite(values).all() for values in found.arrays.values()) and found.arrays
    for kind in theorem.legend:
        assert any(key.startswith(f"{kind}_") for key in found.arrays)


def test_the_planner_knows_every_revision():
    known = json.loads((Path(__file__).parents[2] / catalogue.CATALOGUE).read_text())["theorems"]
    assert known == {name: entry(registry.load("theorems", name)) for name in NAMES}


def test_the_same_bytes_twice(results, tmp_path):
    prove(tmp_path)
    files = sorted(path.name for path in (tmp_path / "theorems").iterdir())
    assert files == ["theorems.json", "theorems.npz"]
    for name in files:
        assert (tmp_path / "theorems" / name).read_bytes() == (results / "theorems" / name).read_bytes()


def test_the_card_tells_what_was_found(results):
    card = read_signed(results / "theorems/theorems.json")
    numbers = {name: said["numbers"] for name, said in card["theorems"].items()}
    assert numbers["cd_step"]["slope_gradient_3"] == pytest.approx(2, abs=0.03)
    assert numbers["shifted_noise"]["slope_value_1"] == pytest.approx(4, abs=0.03)
    assert numbers["mixture_weights"]["kl_at_8"] == pytest.approx(0.5108, abs=1e-4)
    assert numbers["ratio_rule"]["ratio_whole"] == 1 and numbers["ratio_rule"]["slope_against_j_3"] == pytest.approx(0, abs=0.03)
    assert numbers["short_contraction"]["slope_heat_mixtures"] == pytest.approx(1, abs=0.01)
    assert numbers["coordinate_contraction"]["error_dropped_3"] < 1e-13


def test_the_figure_shows_the_numbers_of_the_file(results, tmp_path):
    with style.applied():
        figure = registry.load("report.figures", "one_gradient")().draw(base.Context(results, None, {}))
    words = [text.get_text() for text in figure.findobj(Text)]
    assert "2.00   CD, one Langevin step" in words and "0.00   the same, sample not detached" in words and "0.511" in words
    assert "1.98   f(a) = exp(−a), against ‖∇E‖² − ΔE" in words and "each coordinate dropped" in words
    limits, *others = figure.axes
    drawn = {line.get_label(): line.get_ydata() for line in limits.lines}
    np.testing.assert_array_equal(drawn["2.00   CD, one Langevin step"], proved(results)["cd_step"].arrays["gradient_1x2x2"])
    # Of contractions the lines are what was taken, the marks the excess of the loss, a quarter of the places each.
    taken = proved(results)["kernel_contraction"].arrays
    drawn = [line.get_ydata() for axes in others for line in axes.lines]
    for values in (taken["one_1x2x2"], taken["one_excess_1x2x2"][::4]):
        assert any(np.array_equal(line, values) for line in drawn)
    base.draw("one_gradient", results, None, {}, tmp_path / "first")
    base.draw("one_gradient", results, None, {}, tmp_path / "second")
    for suffix in ("png", "pdf"):
        assert (tmp_path / f"first.{suffix}").read_bytes() == (tmp_path / f"second.{suffix}").read_bytes()


def test_the_figure_needs_no_torch(results, tmp_path):
    code = (
        "import sys; from pathlib import Path; from ebmpipe.report import base\n"
        "base.draw('one_gradient', Path(sys.argv[1]), None, {}, Path(sys.argv[2])); assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, results, tmp_path / "x"], capture_output=True, text=True, cwd=Path(base.__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr


def test_what_was_not_measured_is_told(tmp_path):
    with pytest.raises(MissingResult, match=r"no file .*theorems\.json: run `ebmpipe theorems` first"):
        base.draw("one_gradient", tmp_path, None, {}, tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["flipped", "lost", "card"])
def test_what_is_damaged_is_refused_found_and_removed(copy, damage):
    arrays, card = copy / "theorems/theorems.npz", copy / "theorems/theorems.json"
    assert not [found for found in verify(copy) if isinstance(found, Finding)]
    if damage == "flipped":
        content = bytearray(arrays.read_bytes())
        content[len(content) // 2] ^= 1
        arrays.write_bytes(content)
    elif damage == "lost":
        arrays.unlink()
    else:
        edited = json.loads(card.read_text())
        edited["theorems"]["cd_step"]["numbers"]["slope_gradient_1"] = 3.0
        card.write_text(json.dumps(edited))
    with pytest.raises(CorruptFile, match=r"theorems\.(npz|json).* run `ebmpipe theorems` again"):
        base.draw("one_gradient", copy, None, {}, copy / "x")
    (finding,) = [found for found in verify(copy) if isinstance(found, Finding)]
    assert "run the workflow again" in repair(finding, copy)
    assert not list((copy / "theorems").iterdir()) and not [found for found in verify(copy) if isinstance(found, Finding)]


#: Theorem -> (revision, an array, its last value): when one changes on purpose, bump the revision, then put the new number here.
GOLDEN = {
    "cd_step": (1, "gradient_3", 0.000229649),
    "conditional_noise": (1, "gradient_3", 0.000405891),
    "coordinate_contraction": (1, "dropped_3", 0.733952),
    "finite_differences": (1, "gradient_3", 0.00020744),
    "heat_flow": (1, "kl_mixtures", 0.168333),
    "kernel_contraction": (1, "one_3", 0.376109),
    "langevin_flow": (1, "kl_mixtures", 0.0741829),
    "mixture_weights": (1, "fisher_noisy", 0.00637113),
    "probability_flow": (1, "gradient_3", 0.000388285),
    "ratio_rule": (1, "gradient_3", 0.000674213),
    "shifted_noise": (1, "gradient_3", 2.62317e-08),
    "short_contraction": (1, "heat_mixtures", 0.00039465),
}


@pytest.mark.parametrize("name", NAMES)
def test_numbers_change_only_with_a_revision(name, results):
    revision, array, value = GOLDEN[name]
    assert registry.load("theorems", name).revision == revision
    assert proved(results)[name].arrays[array][-1] == pytest.approx(value, rel=1e-4)
