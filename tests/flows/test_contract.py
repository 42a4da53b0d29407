"""What every flow has to be: invertible, with the determinant of its own Jacobian, and normalised."""

from math import prod
from pathlib import Path

import pytest
import torch
from small_flows import CASES, SHAPES, SMALL, flow_of, points, spec_of

from ebmpipe import registry
from ebmpipe.config import FlowConfig
from ebmpipe.flows.base import build_flow
from ebmpipe.flows.law import FlowLaw
from ebmpipe.spec import DataSpec


def test_the_cases_are_all_flows():
    assert set(SMALL) == set(SHAPES) == set(registry.names("flows"))


@pytest.mark.parametrize(("name", "shape", "settings"), CASES)
class TestFlows:
    def test_forth_and_back(self, name, shape, settings):
        flow, x = flow_of(name, shape, settings).double(), points(shape)
        z, log_det = flow(x)
        assert z.shape == (len(x), prod(shape)) and log_det.shape == (len(x),)
        torch.testing.assert_close(flow.inverse(z), x)

    def test_the_determinant_is_that_of_the_jacobian(self, name, shape, settings):
        flow, x = flow_of(name, shape, settings).double(), points(shape, 3)
        jacobians = torch.stack([torch.autograd.functional.jacobian(lambda at: flow(at[None])[0][0], one).flatten(1) for one in x])
        log_det = flow(x)[1]
        assert log_det.abs().max() > 0.1
        torch.testing.assert_close(torch.linalg.slogdet(jacobians)[1], log_det)

    def test_examples_know_nothing_of_each_other(self, name, shape, settings):
        flow, x = flow_of(name, shape, settings).double(), points(shape)
        for a, b in zip(flow(x), (torch.cat(parts) for parts in zip(*map(flow, x.split(1)), strict=True)), strict=True):
            torch.testing.assert_close(a, b)

    def test_the_law_is_that_of_what_the_inverse_makes_of_a_gaussian(self, name, shape, settings):
        """By the change of variables, written out."""
        law = FlowLaw(flow_of(name, shape, settings), spec_of(shape)).double()
        z = points((prod(shape),), 3)
        x = law.carried(z)
        found = torch.stack([torch.autograd.functional.jacobian(lambda at: law.carried(at[None]).flatten(), one) for one in z])
        expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1) - torch.linalg.slogdet(found)[1]
        torch.testing.assert_close(-law(x), expected)
        torch.testing.assert_close(law.latent(x)[0], z)

    def test_samples_are_functions_of_the_weights(self, name, shape, settings):
        law = FlowLaw(flow_of(name, shape, settings), spec_of(shape)).requires_grad_(True)
        x = law.reparametrised(4, torch.Generator().manual_seed(0))
        assert x.shape == (4, *shape) and x.requires_grad
        assert not law.sample(4, torch.Generator().manual_seed(0)).requires_grad
        torch.testing.assert_close(law.sample(4, torch.Generator().manual_seed(0)), x.detach())


@pytest.mark.parametrize(("kind", "name"), [("vectors", "glow"), ("density", "glow"), ("binary", "affine")])
def test_a_flow_refuses_data_that_it_cannot_take(kind, name):
    spec = DataSpec("made_up", kind, (2,), 0.0, 1.0, None, None, None, Path())
    with pytest.raises(ValueError, match=f"flow '{name}' takes .*made_up is {kind}"):
        build_flow(FlowConfig(name=name), spec)
