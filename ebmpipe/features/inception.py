"""The Inception network of the Fréchet Inception distance, run by torch-fidelity; the space of ``fid``, ``kid`` and ``inception_score``.

torch is imported when the network is: whether it is at hand can be asked without.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import sys
import types
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ebmpipe.data.prepared import Prepared
from ebmpipe.features.base import FeatureNetwork, FeatureSpace, read_card, write_card
from ebmpipe.features.choosing import Labelling
from ebmpipe.features.published import Published
from ebmpipe.files import CorruptFile

#: Weights of 2015-12-05, which published values of FID rest on, converted from TensorFlow for PyTorch (Apache License 2.0).
WEIGHTS = Published(
    network="inception",
    file="weights-inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    size=96,
    urls=("https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",),
)

#: The package that runs it. It asks for torchvision, which what we use of it does without: so it is installed with --no-deps, and into a
#: folder of its own, because other packages that found it would import all of it.
PACKAGE, MODULE = "torch-fidelity", "torch_fidelity"
BESIDE = "no-deps"

#: Images whose features are remembered, so that logits after features cost nothing.
REMEMBERED = 10_000


def unavailable_reason(folder: Path | None = None) -> str | None:
    """Why the network cannot be used here, and what to do; None if it can, unless its weights turn out to be damaged. Imports no torch.

    Args:
        folder: where the user keeps published weights; `EBMPIPE_WEIGHTS_DIR` if None.
    """
    if package_folder() is None:
        return f"{PACKAGE} is not installed; `make environment` installs it, as does pip install {PACKAGE} with its torchvision"
    return WEIGHTS.missing(folder)


def package_folder() -> Path | None:
    """The folder of torch-fidelity's modules: that beside the environment's packages, or wherever it is installed."""
    beside = Path(sys.prefix) / BESIDE / MODULE
    if beside.is_dir():
        return beside
    found = importlib.util.find_spec(MODULE)
    return Path(found.submodule_search_locations[0]) if found and found.submodule_search_locations else None


@cache
def extractor_module() -> Any:
    """torch-fidelity's module of the network.

    The package itself is not run: it imports torchvision. While the module is imported, an empty package stands in its place.

    Raises:
        ValueError: if it is not installed.
    """
    folder = package_folder()
    if folder is None:
        raise ValueError(f"the inception network is not available: {unavailable_reason()}")
    name, present = f"{MODULE}.feature_extractor_inceptionv3", sys.modules.get(MODULE)
    if present is None:
        sys.modules[MODULE] = types.ModuleType(MODULE)
        sys.modules[MODULE].__path__ = [str(folder)]
    try:
        return importlib.import_module(name)
    finally:
        if present is None:
            # Whoever looks for the package later must not find an empty one.
            for loaded in [one for one in sys.modules if one.partition(".")[0] == MODULE]:
                del sys.modules[loaded]


def package_version() -> str:
    """Version of torch-fidelity."""
    folder = package_folder()
    places = [] if folder is None else [str(folder.parent)]
    return next((one.version for one in metadata.distributions(name=PACKAGE, path=places)), "unknown")


def as_bytes(x: np.ndarray, levels: int) -> np.ndarray:
    """Images in model space (n, channels, height, width) as the bytes (n, 3, height, width) that the network takes.

    Each value is clipped to [-1, 1] and put on the level of the data whose middle is nearest, which undoes the dequantisation of real
    images exactly; the levels become round(255 v / (levels - 1)). Grey is repeated in three channels.

    Raises:
        ValueError: if values are not finite, or the images are neither grey nor coloured.
    """
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(f"the inception network takes images of 1 or 3 channels, not events of shape {x.shape[1:]}")
    values = np.asarray(x, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("the inception network takes finite images")
    level = np.clip(np.floor((values + 1) / 2 * levels), 0, levels - 1)
    return np.repeat(np.rint(level * (255 / (levels - 1))).astype(np.uint8), 3 // x.shape[1], axis=1)


def network_of(content: bytes) -> Any:
    """torch-fidelity's network with the weights in the bytes of a checked file, read by a reader that runs no code of the file's."""
    import torch

    module = extractor_module()
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    with torch.random.fork_rng(devices=[]):
        fetch = module.load_state_dict_from_url
        # Given a path, it would unpickle the file without a check.
        module.load_state_dict_from_url = lambda *_, **__: state
        try:
            return module.FeatureExtractorInceptionV3("inception", ["2048"])
        finally:
            module.load_state_dict_from_url = fetch


class Pooled:
    """Features of images, each computed once as long as it is remembered.

    Images go through the network one by one: at this size a batch is no faster on a processor, and nothing depends on it then.
    """

    def __init__(self, network: Any) -> None:
        self.network = network
        self._known: dict[bytes, np.ndarray] = {}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Bytes (n, 3, height, width) -> (n, 2048) float64."""
        return np.array([self._of(image) for image in images], dtype=np.float64).reshape(len(images), InceptionFeatures.dimension)

    def _of(self, image: np.ndarray) -> np.ndarray:
        import torch

        key = image.tobytes()
        if key not in self._known:
            while len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            with torch.no_grad():
                self._known[key] = self.network(torch.from_numpy(image[None]))[0][0].numpy()
        return self._known[key]


class InceptionFeatures(FeatureNetwork):
    """The pooled features, and the logits without bias, of the network that published FID, KID and Inception Scores are defined by."""

    name = "inception"
    revision = 1
    title = "Inception network of 2015 with its published weights, 2048 features"
    takes: ClassVar[frozenset[Labelling]] = frozenset({"labelled", "unlabelled"})
    default_on: ClassVar[frozenset[Labelling]] = frozenset({"labelled", "unlabelled"})
    published = True
    dimension: ClassVar[int] = 2048

    @classmethod
    def unavailable_reason(cls, folder: Path | None = None) -> str | None:
        return unavailable_reason(folder)

    @classmethod
    def download(cls) -> Path:
        return WEIGHTS.download()

    def make(self, prepared_folder: Path, out: Path, seed: int) -> dict[str, Any]:
        data = Prepared(prepared_folder)
        spec = data.spec
        if (reason := unavailable_reason()) is not None:
            raise ValueError(f"the inception network is not available: {reason}")
        if spec.levels is None or spec.shape[0] not in (1, 3) or not self.applies(spec):
            raise ValueError(f"the inception network takes images of 1 or 3 channels; {spec.name} has none")
        network_of(WEIGHTS.content())
        about = {
            "revision": self.revision,
            "dataset": spec.name,
            "data_sha256": data.card["data_sha256"],
            "shape": list(spec.shape),
            "levels": spec.levels,
            "dimension": self.dimension,
            "published": WEIGHTS.file,
            "weights_sha256": WEIGHTS.sha256,
            "package": f"{PACKAGE} {package_version()}",
        }
        return write_card(out, self.name, about)

    def load(self, folder: Path) -> FeatureSpace:
        about = read_card(folder, self.name)
        if about["weights_sha256"] != WEIGHTS.sha256:
            raise CorruptFile(f"{folder / self.name}.json is of other weights than {WEIGHTS.file}; run `ebmpipe features` again")
        network = network_of(WEIGHTS.content())
        shape, levels = tuple(about["shape"]), about["levels"]
        pooled, head = Pooled(network), network.fc.weight.numpy().astype(np.float64)

        def extract(x: np.ndarray) -> np.ndarray:
            if x.shape[1:] != shape:
                raise ValueError(f"these features are of events of shape {shape}, not {x.shape[1:]}")
            return pooled(as_bytes(x, levels))

        preprocessing = (
            f"images clipped to [-1, 1], put on the {levels} levels of the data and these on 0 to 255"
            + (", grey repeated in 3 channels" if shape[0] == 1 else "")
            + f", resized to 299 x 299 bilinearly as TensorFlow 1 does ({PACKAGE} {package_version()})"
        )
        return FeatureSpace(
            self.name, self.dimension, WEIGHTS.sha256, preprocessing, extract, logits=lambda x: np.asarray(extract(x) @ head.T)
        )

    def told(self, card: Mapping[str, Any]) -> str:
        return f"{card['published']} is the published file"
