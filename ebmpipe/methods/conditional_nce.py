"""Conditional noise contrastive estimation."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from ebmpipe.methods.base import Reference
from ebmpipe.methods.neighbours import Neighbours


def conditional_contrast(energy_data: Tensor, energy_noisy: Tensor) -> Tensor:
    """2 log(1 + exp(E(x) - E(x'))) for each example, shape (n,), in nats.

    How badly the energy tells an example x from x', noise about it of a law that is symmetric in the two, so that its density cancels, as
    do Z and any constant of E (Ceylan & Gutmann 2018, eq. 13). For x' = x + εz with ε → 0 it is 2 log 2 + (ε²/2)(½ ‖∇E‖² - ΔE).

    Args:
        energy_data: E(x), (n,).
        energy_noisy: E(x'), (n,).
    """
    return 2 * functional.softplus(energy_data - energy_noisy)


class ConditionalNCE(Neighbours):
    """Tells each example from itself with noise, by the energies of the two: no log Z, and no density of the noise.

    Consistent whatever the noise, in principle; little noise compares energies nearby alone, and makes it score matching, which is blind to
    the weights of modes further apart than it reaches (Ceylan & Gutmann 2018; Song & Kingma 2021, §5).
    """

    name = "conditional_nce"
    revision = 1
    title = "Conditional NCE"
    references = (
        Reference("C. Ceylan, M. U. Gutmann", "Conditional noise-contrastive estimation of unnormalised models", 2018, "1806.03664"),
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
    )
    loss = staticmethod(conditional_contrast)
