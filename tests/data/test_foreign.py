"""What energies are to tell from their data: the sets that serve, and their examples in the shape and levels of the data."""

from pathlib import Path

import numpy as np
import pytest

from ebmpipe import registry
from ebmpipe.data.prepared import Prepared, UnusableData
from ebmpipe.files import sha256, write_arrays, write_signed
from ebmpipe.foreign.choosing import applying, by_default, needs_preparing
from ebmpipe.foreign.sets import load_foreign
from ebmpipe.preparing import prepare

KNOWN = {name: {"kind": registry.load("data", name).kind} for name in registry.names("data")}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with digits, photographs, a density and vectors, prepared."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("digits", "photos", "eight_gaussians"):
        prepare(name, folder / name)
    splits = {
        split: np.random.default_rng(0).normal(0, [1, 100, 0.1], (50, 3)).astype(np.float32) for split in ("train", "validation", "test")
    }
    write_arrays(folder / "made_up" / "data.safetensors", splits)
    known = {"name": "made_up", "kind": "vectors", "shape": [3], "mean": 0.0, "std": 1.0, "levels": None, "classes": None, "entropy": None}
    digest = sha256(folder / "made_up" / "data.safetensors")
    write_signed(folder / "made_up" / "card.json", known | {"revision": 1, "data_sha256": digest})
    return folder


def test_the_sets_that_serve() -> None:
    assert by_default(KNOWN, "eight_gaussians", "density", []) == ["noise", "rings", "two_moons"]
    assert by_default(KNOWN, "rings", "density", ["digits"]) == ["noise", "two_moons", "eight_gaussians"]
    assert by_default(KNOWN, "digits", "images", []) == ["noise", "constant", "photos"]
    assert sorted(by_default(KNOWN, "digits", "images", ["mnist", "digits"])) == ["constant", "mnist", "noise", "photos"]
    assert by_default(KNOWN, "photos", "images", []) == ["noise", "constant"]
    assert by_default({}, "made_up", "vectors", ["digits"]) == ["noise"]
    assert set(applying(KNOWN, "mnist", "images")) >= {"noise", "constant", "digits", "fashion_mnist", "photos"}
    assert "mnist" not in applying(KNOWN, "mnist", "images")
    assert needs_preparing(KNOWN, "digits")
    assert not any(needs_preparing(KNOWN, name) for name in ("noise", "constant", "rings"))


@pytest.mark.parametrize(("dataset", "names"), [("digits", ["noise", "constant", "photos"]), ("photos", ["noise", "constant", "digits"])])
def test_images_have_the_shape_and_the_levels_of_the_data(data: Path, dataset: str, names: list[str]) -> None:
    prepared = Prepared(data / dataset)
    sets = load_foreign(None, prepared)
    assert list(sets) == names
    for foreign in sets.values():
        x = foreign.first(20)
        assert x.shape == (20, *prepared.spec.shape)
        assert x.dtype == np.float64
        assert ((x >= -1) & (x < 1)).all()
        np.testing.assert_array_equal(x, foreign.first(20))
        # Dequantised, so that no two pixels are alike and the place in a level is uniform.
        place = (x + 1) / 2 * prepared.spec.levels % 1
        assert place.mean() == pytest.approx(0.5, abs=5 / np.sqrt(12 * x.size))
        assert len(np.unique(x)) == x.size


def test_noise_constants_and_others_are_what_they_say(data: Path) -> None:
    sets = load_foreign(None, Prepared(data / "digits"))
    levels = {name: np.floor((foreign.first(300) + 1) / 2 * 17).astype(int) for name, foreign in sets.items()}
    assert np.bincount(levels["noise"].ravel(), minlength=17) / levels["noise"].size == pytest.approx(np.full(17, 1 / 17), abs=0.01)
    assert (levels["constant"] == levels["constant"][:, :, :1, :1]).all()
    assert len(np.unique(levels["constant"])) == 17
    photos = levels["photos"].reshape(300, -1)
    assert (photos.std(axis=1) > 0.3).mean() > 0.8
    assert sets["photos"].size == 1_000
    # Digits of 17 levels beside photographs of 256: their background is as black as black can be, and their strokes as white.
    (up,) = load_foreign(["digits"], Prepared(data / "photos")).values()
    shades = np.floor((up.first(100) + 1) / 2 * 256).astype(int)
    assert (shades.min(), shades.max()) == (0, 255) and (shades == 0).mean() > 0.2
    of_colours = load_foreign(["constant"], Prepared(data / "photos"))["constant"].first(50)
    colours = np.floor((of_colours + 1) / 2 * 256)[:, :, 0, 0]
    assert (colours[:, 0] != colours[:, 1]).mean() > 0.9


def test_densities_and_vectors(data: Path) -> None:
    sets = load_foreign(None, Prepared(data / "eight_gaussians"))
    assert list(sets) == ["noise", "rings", "two_moons"]
    test = Prepared(data / "eight_gaussians").split("test")
    noise = sets["noise"].first(5_000)
    assert noise.shape == (5_000, 2)
    assert (noise.min(axis=0) >= test.min(axis=0)).all() and (noise.max(axis=0) <= test.max(axis=0)).all()
    np.testing.assert_allclose(noise.std(axis=0), (test.max(axis=0) - test.min(axis=0)) / 12**0.5, rtol=0.05)
    rings = registry.load("data", "rings")()
    assert rings.log_density(sets["rings"].first(500)).min() > -30
    (vectors,) = load_foreign(None, Prepared(data / "made_up")).values()
    assert vectors.first(7).shape == (7, 3)
    # A box as wide in each column as the data are there.
    sides, drawn = Prepared(data / "made_up").split("test"), vectors.first(5_000)
    assert (sides.max(axis=0) - sides.min(axis=0))[1] > 50
    np.testing.assert_allclose(drawn.min(axis=0), sides.min(axis=0), atol=0.01 * np.ptp(sides, axis=0).max())
    np.testing.assert_allclose(np.ptp(drawn, axis=0), np.ptp(sides, axis=0), rtol=0.01)


def test_what_cannot_be_told_apart_is_refused(data: Path) -> None:
    digits, eight, vectors = (Prepared(data / name) for name in ("digits", "eight_gaussians", "made_up"))
    for prepared, name, message in (
        (digits, "mnist", "does not exist; make it with"),
        (digits, "digits", "is no other image data set than digits"),
        (digits, "eight_gaussians", "is no other image data set"),
        (eight, "digits", "is no other density than eight_gaussians"),
        (eight, "eight_gaussians", "is no other density"),
        (vectors, "rings", "is vectors, which only noise is told from"),
    ):
        with pytest.raises((ValueError, UnusableData), match=message):
            load_foreign([name], prepared)
    assert load_foreign([], digits) == {}
