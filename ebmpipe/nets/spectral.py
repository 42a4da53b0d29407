"""Spectral normalisation: weights of a fixed spectral norm, so that the network's slope is bounded."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

#: Singular vectors that are followed together, and powers of WᵀW that they are multiplied with at every update.
FOLLOWED, POWERS = 4, 3


class SpectralNorm(nn.Module):
    """W ↦ bound · W / σ(W), with σ(W) the largest singular value of W as a matrix (out, everything else).

    σ = uᵀWv with the leading singular vectors u, v, which count as constants: then ∂σ/∂W = uvᵀ, as it should be (Miyato, Kataoka, Koyama &
    Yoshida 2018, eq. 8 to 12). They are exact at the start and are kept up once per update of the weights (`iterate`), never by a forward
    pass: evaluating an energy changes nothing.

    One step of power iteration per update, as in that paper, lags where another singular value overtakes the first, as happens while a
    network is young: in the first hundred updates with Adam, norms were up to 30 % too large. A few steps of block Krylov iteration (Musco
    & Musco 2015), which follow the leading vectors together, keep them within 0.1 %.

    Of a convolution it is the matrix that is normalised, as is usual, not the operator, whose norm may be larger by up to the root of the
    number of taps per output.

    Args:
        weight: W as it is at first.
        bound: the spectral norm that weights get.
    """

    u: Tensor
    v: Tensor
    followed: Tensor

    def __init__(self, weight: Tensor, bound: float) -> None:
        super().__init__()
        self.bound = bound
        left, values, right = torch.linalg.svd(weight.detach().flatten(1), full_matrices=False)
        if not values[0] > 0:
            raise ValueError("spectral_norm cannot normalise a weight matrix that is zero: start it from small random weights")
        self.register_buffer("u", left[:, 0].contiguous())
        self.register_buffer("v", right[0].contiguous())
        # On the shorter side of the matrix, where it is cheaper.
        shorter = left if len(left) < right.shape[1] else right.t()
        self.register_buffer("followed", shorter[:, :FOLLOWED].contiguous())

    def norm(self, weight: Tensor) -> Tensor:
        """σ(W) as u and v know it, a scalar."""
        return self.u @ (weight.flatten(1) @ self.v)

    def forward(self, weight: Tensor) -> Tensor:
        """The normalised weight, shape of ``weight``."""
        return weight * (self.bound / self.norm(weight))

    @torch.no_grad()
    def iterate(self, weight: Tensor) -> None:
        """A step towards the leading singular vectors of ``weight``, from those of the weight before it."""
        matrix, blocks = weight.flatten(1), [self.followed]
        turned_over = len(matrix) < matrix.shape[1]
        if turned_over:
            matrix = matrix.t()
        for _ in range(POWERS):
            block = matrix.t() @ (matrix @ blocks[-1])
            blocks.append(block / torch.linalg.matrix_norm(block))
        basis = torch.linalg.qr(torch.cat(blocks, dim=1))[0]
        # The directions in their span that the matrix stretches most (Rayleigh-Ritz); ascending, as `eigh` has them.
        images = matrix @ basis
        turned = basis @ torch.linalg.eigh(images.t() @ images)[1]
        self.followed.copy_(turned[:, -self.followed.shape[1] :])
        near, far = turned[:, -1], functional.normalize(matrix @ turned[:, -1], dim=0)
        self.u.copy_(near if turned_over else far)
        self.v.copy_(far if turned_over else near)


def spectrally_normalised(network: nn.Module, bound: float) -> nn.Module:
    """``network``, every weight of which that is a matrix (linear) or more (convolutions) now has the spectral norm ``bound``.

    That of the first layer is ``bound`` times the network's ``gain``: a factor on the input is a choice of its unit, not of its weights.

    Raises:
        ValueError: if it has no such weight, or one is zero.
    """
    weights = [(m, name) for m in list(network.modules()) for name, p in m.named_parameters(recurse=False) if p.dim() > 1]
    if not weights:
        raise ValueError(f"spectral_norm is set, but {type(network).__name__} has no weight matrix")
    for index, (module, name) in enumerate(weights):
        own = bound if index else bound * float(getattr(network, "gain", 1.0))
        parametrize.register_parametrization(module, name, SpectralNorm(getattr(module, name), own))
    return network


def follow_weights(network: nn.Module) -> None:
    """One step of iteration for every normalised weight of ``network``: to be called after each update of the weights."""
    for module in network.modules():
        if isinstance(module, parametrize.ParametrizationList):
            for parametrization in module:
                if isinstance(parametrization, SpectralNorm):
                    parametrization.iterate(module.original)
