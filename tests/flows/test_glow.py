"""Glow: each of its steps, its levels, where it begins, and how well it inverts in single precision."""

import pytest
import torch
from small_flows import flow_of, points, spec_of

from ebmpipe.config import FlowConfig
from ebmpipe.flows.base import build_flow
from ebmpipe.flows.glow import Glow, GlowConfig, halvings, standard_levels
from ebmpipe.flows.glow_steps import ActNorm, AffineCoupling, InvertibleConvolution, squeezed, unsqueezed


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("depth", [4, 16])
def test_single_precision_inverts_to_a_ten_thousandth(shape, depth):
    flow, x = flow_of("glow", shape, {"depth": depth, "width": 16}, shake=0.02), points(shape, 64, torch.float32)
    flow.initialise(x)
    z, _ = flow(x)
    assert (flow.inverse(z) - x).abs().max() < 1e-4
    assert (flow(flow.inverse(z))[0] - z).abs().max() < 1e-4


class TestInvertibleConvolution:
    def test_begins_as_a_rotation(self):
        torch.manual_seed(0)
        step, x = InvertibleConvolution(6).double(), points((6, 3, 2))
        y, log_det = step(x)
        torch.testing.assert_close(y.square().sum(1), x.square().sum(1), rtol=1e-5, atol=0)
        assert abs(log_det.item()) < 1e-5

    def test_is_a_matrix_at_every_pixel_and_its_determinant_the_scales(self):
        torch.manual_seed(0)
        step, x = InvertibleConvolution(4).double(), points((4, 3, 2))
        for parameter in step.parameters():
            parameter.data.add_(torch.randn_like(parameter))
        lower, upper = step.factors()
        weight = step.permutation @ lower @ upper
        torch.testing.assert_close(step(x)[0], torch.einsum("ij,njhw->nihw", weight, x))
        torch.testing.assert_close(step(x)[1], 6 * torch.linalg.slogdet(weight)[1])


class TestAffineCoupling:
    def test_begins_as_the_identity_and_keeps_half(self):
        step, x = AffineCoupling(4, 8, 1.0).double(), points((4, 3, 3))
        assert torch.equal(step(x)[0], x)
        for parameter in step.parameters():
            parameter.data.add_(torch.randn_like(parameter))
        y, _ = step(x)
        assert torch.equal(y[:, :2], x[:, :2]) and not torch.equal(y[:, 2:], x[:, 2:])

    def test_never_stretches_beyond_its_bound(self):
        step, x = AffineCoupling(2, 8, 0.5).double(), points((2, 3, 3))
        for parameter in step.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=100.0)
        log_scale, _ = step.log_scale_and_shift(x[:, :1])
        assert 0.49 < log_scale.abs().max() <= 0.5


def test_actnorm_begins_where_the_data_are():
    x = 3 + 5 * points((2, 4, 4), 50)
    x[:, 1, :, :] = 7.0  # a channel that does not vary is only shifted
    step = ActNorm(2).double()
    step.fit(x)
    y, log_det = step(x)
    torch.testing.assert_close(y[:, 0].mean(), torch.zeros((), dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(y[:, 0].var(correction=0), torch.ones((), dtype=torch.float64))
    assert torch.equal(y[:, 1], torch.zeros_like(y[:, 1]))
    torch.testing.assert_close(log_det, -16 * x[:, 0].std(correction=0).log())


def test_initialised_on_data_all_that_leaves_has_their_scale_taken_off():
    flow = build_flow(FlowConfig(name="glow", settings={"depth": 3, "width": 4}), spec_of((1, 8, 8)))
    x = -2 + 0.3 * points((1, 8, 8), 200, torch.float32)
    flow.initialise(x)
    z = flow(x)[0].detach()
    assert abs(float(z.mean())) < 1e-4 and float(z.var()) == pytest.approx(1, abs=1e-2)


def test_squeezing_keeps_squares_together():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert squeezed(x)[0, :, 0, 0].tolist() == [0, 1, 4, 5]
    assert torch.equal(unsqueezed(squeezed(x)), x)


class TestLevels:
    @pytest.mark.parametrize(("shape", "expected"), [((1, 8, 8), 3), ((1, 28, 28), 2), ((3, 32, 32), 5), ((3, 6, 8), 1), ((1, 7, 7), 0)])
    def test_sides_halve_while_they_are_even(self, shape, expected):
        assert halvings(shape) == expected

    @pytest.mark.parametrize(
        ("shape", "expected"), [((1, 8, 8), 2), ((1, 28, 28), 2), ((3, 32, 32), 3), ((3, 128, 128), 3), ((1, 7, 7), 0)]
    )
    def test_there_are_up_to_three(self, shape, expected):
        assert standard_levels(shape) == expected

    def test_half_of_the_channels_leaves_at_each_but_the_last(self):
        flow = Glow((3, 32, 32), GlowConfig(depth=1, width=4))
        assert [level.channels for level in flow.levels] == [12, 24, 48]
        assert [level.staying for level in flow.levels] == [6, 12, 0]

    def test_what_leaves_first_is_first_in_z(self):
        """A flow that has not learned only turns channels: the lengths of its parts are those of the image's."""
        flow, x = build_flow(FlowConfig(name="glow", settings={"depth": 1, "width": 4}), spec_of((1, 8, 8))), points((1, 8, 8))
        z, log_det = flow.double()(x)
        torch.testing.assert_close(z.square().sum(1), x.flatten(1).square().sum(1), rtol=1e-5, atol=0)
        assert log_det.abs().max() < 1e-5
        left = flow.levels[0](x)[1].flatten(1)
        torch.testing.assert_close(z[:, : left.shape[1]], left)

    @pytest.mark.parametrize(("shape", "levels"), [((1, 7, 7), None), ((1, 28, 28), 3)])
    def test_more_than_the_sides_allow_is_refused(self, shape, levels):
        with pytest.raises(ValueError, match="halve"):
            Glow(shape, GlowConfig(levels=levels))


def test_it_learns_a_gaussian_with_correlations():
    """Maximum likelihood comes to the entropy of N(0, C) of neighbours that agree: actnorm and turns alone can."""
    torch.manual_seed(0)
    shape, dimension = (1, 4, 4), 16
    index = torch.arange(dimension)
    covariance = 0.8 ** (index[:, None] - index).abs().float()
    root = torch.linalg.cholesky(covariance)
    entropy = dimension / 2 * (1 + torch.log(torch.tensor(2 * torch.pi))) + root.diagonal().log().sum()
    flow = build_flow(FlowConfig(name="glow", settings={"depth": 4, "width": 8}), spec_of(shape))
    generator = torch.Generator().manual_seed(0)

    def batch(n):
        return (torch.randn(n, dimension, generator=generator) @ root.T).view(n, *shape)

    def nll(n):
        z, log_det = flow(batch(n))
        return (z.square().sum(1) / 2 - log_det).mean() + dimension / 2 * torch.log(torch.tensor(2 * torch.pi))

    with torch.no_grad():
        assert nll(4000) - entropy > 2
    optimiser = torch.optim.Adam(flow.parameters(), lr=5e-3)
    for _ in range(300):
        optimiser.zero_grad()
        nll(128).backward()
        optimiser.step()
    with torch.no_grad():
        assert nll(4000) - entropy < 0.5
        # What was learned inverts as well as what was begun with, also where it was never taught.
        for x in (batch(1000), 3 * batch(1000)):
            assert (flow.inverse(flow(x)[0]) - x).abs().max() < 1e-4
