"""Input derivatives of energies that can themselves be differentiated in the weights: what losses made of scores need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ebmpipe.activations import Activation
from ebmpipe.products import linear

if TYPE_CHECKING:
    from ebmpipe.energies import Energy

#: Directions along which `by_forward_over_reverse` goes together: events times directions, so that they fit in memory.
ROWS = 8192


def slope(energy: Energy, x: Tensor) -> Tensor:
    """∇E(x), shape of ``x`` (n, *event), as a function of the weights.

    Costs one gradient evaluation per example.
    """
    if not x.requires_grad:
        x = x.detach().requires_grad_(True)
    (result,) = torch.autograd.grad(energy(x).sum(), x, create_graph=True)
    return result


def to_first_order(values: Tensor, slopes: Tensor, x: Tensor) -> Tensor:
    """What a function is of points that move with weights, to first order: E + ∇E·(x - x₀) with x₀ the value of x, shape (n,).

    Its value and its gradient through ``x`` are those of E, whose own weights stay out of it.

    Args:
        values: E at the points, (n,), a constant.
        slopes: ∇E there, shape of ``x``, a constant.
        x: the points (n, *event), functions of the weights that made them.
    """
    return values + (slopes * (x - x.detach())).flatten(1).sum(1)


def slope_and_curvature(energy: Energy, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """∇E(x), shape of ``x`` (n, *event), and vᵀ∇²E(x)v, shape (n,), as functions of the weights.

    The second is d/dx of vᵀ∇E, dotted with v: two gradient evaluations per example in all. Of k directions for each example the curvatures
    are (k, n), and cost one gradient evaluation each; E itself is evaluated once.

    Args:
        energy: E, differentiable twice in x.
        x: examples.
        v: a direction for each, shape of ``x``, or k of them, (k, n, *event); constants.
    """
    x = x.detach().requires_grad_(True)
    first, curvatures = slope(energy, x), []
    for along in v.view(-1, *x.shape):
        # Of an energy that is linear in x the slope is a constant, and its derivative zero.
        (second,) = torch.autograd.grad((first * along).sum(), x, create_graph=True, materialize_grads=True)
        curvatures.append((second * along).flatten(1).sum(1))
    return first, torch.stack(curvatures).view(v.shape[: v.dim() - x.dim() + 1])


def slope_and_laplacian(energy: Energy, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """E(x) (n,), ∇E(x), shape of ``x`` (n, *event), and ΔE(x) (n,), exactly, as functions of the weights.

    Costs 1 + D gradient evaluations per example of D coordinates, by the energy's own ``slope_and_laplacian`` if it offers one, which may
    be faster, else by forward-mode derivatives of the gradient along every coordinate.
    """
    offered: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]] | None = getattr(energy, "slope_and_laplacian", None)
    return by_forward_over_reverse(energy, x) if offered is None else offered(x)


def by_forward_over_reverse(energy: Energy, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`slope_and_laplacian` of any energy: along every coordinate, the forward derivative of its gradient."""
    x = x.detach()
    n, dimension = len(x), x[0].numel()

    def gradient(y: Tensor) -> Tensor:
        result: Tensor = torch.func.grad(lambda z: energy(z).sum())(y)
        return result

    def curvature(direction: Tensor) -> Tensor:
        along = direction.view(1, *x.shape[1:]).expand_as(x)
        change: Tensor = torch.func.jvp(gradient, (x,), (along,))[1]
        return (change * along).flatten(1).sum(1)

    basis = torch.eye(dimension, dtype=x.dtype, device=x.device)
    curvatures = torch.func.vmap(curvature, chunk_size=max(1, ROWS // max(1, n)))(basis)
    points = x.requires_grad_(True)
    value = energy(points)
    (first,) = torch.autograd.grad(value.sum(), points, create_graph=True)
    return value, first, curvatures.sum(0)


def linear_part(layer: Any, x: Tensor) -> Tensor:
    """What a linear layer or a convolution makes of ``x`` without its bias."""
    if isinstance(layer, nn.Linear):
        return linear(x, layer.weight)
    out: Tensor = layer(x)
    return out if layer.bias is None else out - layer.bias.view(-1, 1, 1)


def by_forward_laplacian(layers: Sequence[nn.Module], x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`slope_and_laplacian` of a chain of layers, in one pass: value, Jacobian and Laplacian of each layer from those of the one before.

    A linear layer maps all three; of h = φ(a), elementwise, ∂h = φ'(a) ∂a and Δh = φ'(a) Δa + φ''(a) ‖∂a‖² (Li et al. 2023). No gradient
    is taken, so that weights are differentiated once through this, by backward mode.

    Args:
        layers: linear layers, convolutions, flattenings and activations of `ebmpipe.activations`; the last has one output.
        x: (n, *event).
    """
    n, dimension = len(x), x[0].numel()
    value, laplacian = x.detach(), torch.zeros_like(x)
    basis = torch.eye(dimension, dtype=x.dtype, device=x.device).view(1, dimension, *x.shape[1:])
    # (n, D, *features): derivatives along coordinates are examples to convolutions.
    jacobian = basis.expand(n, *basis.shape[1:])
    for layer in layers:
        if isinstance(layer, Activation):
            value, first, second = layer.to_second_order(value)
            laplacian = first * laplacian + second * jacobian.square().sum(1)
            jacobian = first.unsqueeze(1) * jacobian
        elif isinstance(layer, nn.Flatten):
            value, laplacian, jacobian = value.flatten(1), laplacian.flatten(1), jacobian.flatten(2)
        else:
            jacobian = linear_part(layer, jacobian.flatten(0, 1)).unflatten(0, (n, dimension))
            laplacian = linear_part(layer, laplacian)
            value = layer(value)
    return value.squeeze(1), jacobian.view(n, *x.shape[1:]), laplacian.squeeze(1)
