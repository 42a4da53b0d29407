"""Products by either library are the same, and only large ones on the processors that want it are oneDNN's."""

import pytest
import torch
from torch.nn import functional

from ebmpipe import products
from ebmpipe.config import NetworkConfig
from ebmpipe.flops import FlopCounter
from ebmpipe.nets.base import build_network
from ebmpipe.products import LARGE, Linear, affine, by_onednn, linear
from ebmpipe.spec import DataSpec

there = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")), reason="torch comes without oneDNN"
)


@pytest.fixture(params=[True, False])
def faster(request, monkeypatch):
    monkeypatch.setattr(products, "onednn_is_faster", lambda: request.param)
    return request.param


@there
@pytest.mark.parametrize(("n", "k", "m"), [(1000, 300, 300), (4096, 2, 300), (64, 512, 256), (7, 3, 2)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_the_product_is_that_in_double_precision(n, k, m, transposed, biased, faster):
    generator = torch.Generator().manual_seed(0)
    x, bias = torch.randn(n, k, generator=generator), torch.randn(m, generator=generator) if biased else None
    weight = torch.randn(k, m, generator=generator).t() if transposed else torch.randn(m, k, generator=generator)
    out = torch.full((n, m), torch.nan)
    expected = x.double() @ weight.double().t() + (0 if bias is None else bias.double())
    found = affine(x, weight, bias, out)
    torch.testing.assert_close(found.double(), expected, atol=1e-5 * k**0.5, rtol=1e-5)
    assert (found is out) == (not by_onednn(x, weight))


def test_only_large_products_in_single_precision_are_onednn_s(faster):
    large, weight = torch.empty(LARGE // 128**2, 128), torch.empty(128, 128)
    assert by_onednn(large, weight) == faster
    assert not by_onednn(large[:-1], weight)
    assert not by_onednn(large.double(), weight.double())


@there
@pytest.mark.parametrize("name", ["mlp", "swish_mlp", "leaky_mlp"])
@pytest.mark.parametrize("depth", [1, 3])
def test_gradients_by_hand_are_those_of_autograd(name, depth, faster):
    spec = DataSpec("made_up", "vectors", (6,), 0.0, 1.0, None, None, None, None)
    network = build_network(NetworkConfig(name=name, settings={"width": 256, "depth": depth}), spec)
    x = torch.randn(300, 6, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    value = network(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    for _ in range(2):  # the workspace is used again
        found_value, found = network.value_and_grad(x.detach())
        torch.testing.assert_close(found, slope, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(found_value, value.detach(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(network.grad(x.detach()), slope, atol=1e-6, rtol=1e-4)


def derivatives(multiply, x, weight, bias):
    """x Wᵀ + b, its derivatives, and those of a function of them."""
    x, weight, bias = (each.clone().requires_grad_(True) for each in (x, weight, bias))
    out = multiply(x, weight, bias)
    first = torch.autograd.grad(out.sin().sum(), (x, weight, bias), create_graph=True)
    second = torch.autograd.grad(sum(each.square().sum() for each in first), (x, weight, bias))
    return out, *first, *second


@there
def test_layers_are_differentiated_as_torch_s_are_twice(faster):
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((512, 96), (128, 96), (128,)))
    weight *= 0.1
    for found, expected in zip(derivatives(linear, x, weight, bias), derivatives(functional.linear, x, weight, bias), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.detach().abs().max()), rtol=1e-4)


@there
def test_transforms_of_functions_go_through_layers(faster):
    layer = Linear(128, 128)
    x, direction = torch.randn(2, 256, 128, generator=torch.Generator().manual_seed(0)).unbind()

    def value(points):
        return layer(points).sin().sum(1)

    along = torch.func.jvp(value, (x,), (direction,))[1]
    slopes = torch.func.grad(lambda points: value(points).sum())(x)
    torch.testing.assert_close(along, (slopes * direction).sum(1), atol=1e-4, rtol=1e-4)
    each = torch.vmap(value)(torch.stack([x, direction]))
    torch.testing.assert_close(each, torch.stack([value(x), value(direction)]), atol=1e-5, rtol=1e-5)
    with torch.autograd.forward_ad.dual_level():
        dual = value(torch.autograd.forward_ad.make_dual(x, direction))
        torch.testing.assert_close(torch.autograd.forward_ad.unpack_dual(dual).tangent, along, atol=1e-4, rtol=1e-4)


@there
def test_operations_are_counted_alike(monkeypatch):
    counts = []
    for fast in (True, False):
        monkeypatch.setattr(products, "onednn_is_faster", lambda fast=fast: fast)
        spec = DataSpec("made_up", "vectors", (6,), 0.0, 1.0, None, None, None, None)
        network, x = build_network(NetworkConfig(name="mlp", settings={"width": 256}), spec), torch.randn(300, 6)
        with FlopCounter() as counter:
            network(x).sum().backward()
            network.grad(x)
        counts.append(counter.total)
    assert counts[0] == counts[1] > 0
