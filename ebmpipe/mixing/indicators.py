"""Which mode, or which class, a chain is in: what R-hat of the coordinates alone may miss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ebmpipe import registry
from ebmpipe.data.base import Density
from ebmpipe.metrics.modes import cells, level
from ebmpipe.spec import DataSpec


@dataclass(frozen=True)
class Indicator:
    """Tells modes apart.

    Attributes:
        count: number of modes.
        told_by: what tells them apart, in words.
        label: positions (n, *event) float32 -> the mode of each, (n,) integers from 0; ``count`` is none of them.
        gradients: gradient evaluations for each position.
    """

    count: int
    told_by: str
    label: Callable[[np.ndarray], np.ndarray]
    gradients: int = 0


def indicator_of(
    spec: DataSpec, classifier: str | None, features: Path | None, denoise: Callable[[Tensor], Tensor], jumps: bool, device: str
) -> Indicator | None:
    """What tells modes apart on a data set; None where nothing does.

    Densities that say where their modes are have the nearest of them, or none where the true density is lowest, as `metrics.modes` has it.
    Images have the class that a classifier of the data set's own labels takes them for, after the denoising jump if there is one.

    Args:
        spec: the data set.
        classifier: the network whose classes are watched on images; None for none.
        features: folder of the data set's feature networks.
        denoise: the jump.
        jumps: whether it does anything.
        device: where the energy lives.

    Raises:
        ValueError: if ``classifier`` tells no classes apart, or there is no folder to find it in.
    """
    if spec.kind == "density":
        density: Density = registry.load("data", spec.name)()
        return None if density.modes is None else of_density(density, *level(density))
    if classifier is None:
        return None
    if features is None or spec.classes is None:
        raise ValueError(
            f"{classifier} is to tell the classes of {spec.name} apart, but there are no labels or no folder of feature networks"
        )
    space = registry.load("features", classifier)().load(features)
    if space.classes is None:
        raise ValueError(f"{classifier} tells no classes of {spec.name} apart: name a network that was trained on its labels")
    tell = space.classes

    def label(x: np.ndarray) -> np.ndarray:
        return np.asarray(tell(denoise(torch.from_numpy(x).to(device)).cpu().numpy()))

    return Indicator(spec.classes, f"the class that {classifier} takes a chain for", label, int(jumps))


def of_density(density: Density, bound: float, outside: float) -> Indicator:
    """The nearest mode of ``density``, or none where log p is below ``bound``."""
    assert density.modes is not None

    def label(x: np.ndarray) -> np.ndarray:
        return cells(x.astype(np.float64), density, bound)

    return Indicator(len(density.modes), "the nearest mode of the true density", label)
