"""What an update of the weights did to an energy: the difference of two energies as a function of x."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ebmpipe.energies import frozen, value_and_gradient


class EnergyChange:
    """ΔE(x) = E_new(x) - E_old(x), where old is what ``energy`` was when `remember` was last called.

    What networks keep beside their weights, such as the singular vectors of spectral normalisation, is no part of the change: both
    energies are evaluated with that of the new one, so that equal weights are equal energies, to the last bit.

    Args:
        energy: E, a module that is updated in place, (n, *event) -> (n,) in nats.

    Attributes:
        new: that module.
        old: its copy with the weights before.
    """

    def __init__(self, energy: nn.Module) -> None:
        self.new, self.old = energy, copy.deepcopy(energy)

    @torch.no_grad()
    def remember(self) -> None:
        """Take the weights as they are for the old ones: to be called before an update."""
        torch._foreach_copy_(list(self.old.parameters()), list(self.new.parameters()))

    @torch.no_grad()
    def settle(self) -> None:
        """Give the old energy what the new one keeps beside its weights: to be called after an update."""
        for kept, new in zip(self.old.buffers(), self.new.buffers(), strict=True):
            kept.copy_(new)

    def weights(self) -> list[Tensor]:
        """Δθ, in the order of the parameters: what the optimiser did, constants."""
        return [new.detach() - old.detach() for new, old in zip(self.new.parameters(), self.old.parameters(), strict=True)]

    def value_and_slope(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """ΔE(x) in nats (n,) and ∇ΔE(x), shape of ``x`` (n, *event); two gradient evaluations per example."""
        # One after the other: what weights are functions of is computed once in each block, and found again by where it stood before a copy
        # was made, so that in a common block both energies would have the first one's normalised weights.
        with frozen(self.new):
            value, slope = value_and_gradient(self.new, x)
        with frozen(self.old):
            value_old, slope_old = value_and_gradient(self.old, x)
        return value - value_old, slope - slope_old

    def slope_to_first_order(self, x: Tensor) -> Tensor:
        """∇ₓ⟨∇_θE(x), Δθ⟩ at the new weights, shape of ``x``: ∇ΔE(x) but for O(|Δθ|²). Two gradient evaluations per example."""
        parameters, x = list(self.new.parameters()), x.detach().requires_grad_(True)
        with torch.enable_grad(), parametrize.cached():
            by_weights = torch.autograd.grad(self.new(x).sum(), parameters, create_graph=True, materialize_grads=True)
            total = sum(((g * d).sum() for g, d in zip(by_weights, self.weights(), strict=True)), start=x.new_zeros(()))
            (slope,) = torch.autograd.grad(total, x, materialize_grads=True)
        return slope

    def along(self, x: Tensor, direction: list[Tensor]) -> Tensor:
        """⟨∇_θE(x), U⟩ at the new weights, (n,), for U in the order of the parameters; one gradient evaluation per example."""
        names = [name for name, _ in self.new.named_parameters()]

        def at(*weights: Tensor) -> Tensor:
            value: Tensor = torch.func.functional_call(self.new, dict(zip(names, weights, strict=True)), (x,))
            return value

        primals = tuple(parameter.detach() for parameter in self.new.parameters())
        with torch.no_grad():
            result: Tensor = torch.func.jvp(at, primals, tuple(direction))[1]
        return result
