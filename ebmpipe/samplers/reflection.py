"""Sampling inside a box, with any kernel: the walls are mirrors."""

from __future__ import annotations

from torch import Tensor

from ebmpipe.energies import Energy, gradient, value_and_gradient
from ebmpipe.supports import Box


class Reflected:
    """E ∘ fold: the energy continued over the whole space by its mirror images, so that chains need know no walls.

    A chain that crosses a wall of the box is, seen through `Box.fold`, one that was reflected there. The continued energy is invariant
    under every reflection, and so is a kernel that treats space evenly; the folded chain is therefore a Markov chain with the law
    exp(-E) in the box, exactly if the kernel is exact. Positions stay unfolded until a run ends.

    Args:
        energy: E on the box.
        box: its support.
    """

    support = None

    def __init__(self, energy: Energy, box: Box) -> None:
        self.energy, self.box = energy, box
        if hasattr(energy, "at_width"):
            self.at_width = lambda width: Reflected(energy.at_width(width), box)

    def __call__(self, x: Tensor) -> Tensor:
        return self.energy(self.box.fold(x))

    def grad(self, x: Tensor) -> Tensor:
        """∇(E ∘ fold), which points the other way in every mirrored coordinate."""
        return gradient(self.energy, self.box.fold(x)) * self.box.orientation(x)

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        value, slope = value_and_gradient(self.energy, self.box.fold(x))
        return value, slope * self.box.orientation(x)


def reflected(energy: Energy) -> tuple[Energy, Box | None]:
    """``energy`` as kernels may sample it anywhere, and the box to fold positions into, if it declares one as its support.

    Raises:
        TypeError: if what it declares is no `Box`.
    """
    box = getattr(energy, "support", None)
    if not (box is None or isinstance(box, Box)):
        raise TypeError(f"the support of an energy must be an ebmpipe.supports.Box, or None for the whole space; got {box!r}")
    return (energy, None) if box is None else (Reflected(energy, box), box)
