"""Ways from sample to sample: their law, their ends and their barriers."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from backbones import gaussian_backbone
from small_flows import flow_of

from ebmpipe.flows.law import FlowLaw
from ebmpipe.interpolating import great_circle, interpolator
from ebmpipe.metrics.interpolation import PAIRS, Interpolated, Interpolation
from ebmpipe.scored import Scored
from ebmpipe.spec import DataSpec
from ebmpipe.transport import LatentEnergy, TiltedEnergy

SHAPES = [(2,), (5,), (1, 3, 4)]


def spec_of(shape):
    return DataSpec("made_up", "images" if len(shape) == 3 else "vectors", shape, 0.4, 1.7, None, None, None, None)


def scored_of(shape, tilt):
    """A tilt of a Gaussian, whose own samples are the untilted one's."""
    law = gaussian_backbone(spec_of(shape)).law
    latent = LatentEnergy(tilt, law)
    return Scored({}, "", TiltedEnergy(tilt, law), latent=latent, latent_samples=lambda n, generator: latent.base.sample(n, generator))


def test_every_point_of_a_great_circle_has_the_law_of_its_ends():
    first, last = torch.randn(2, 200_000, 3, generator=torch.Generator().manual_seed(0)).unbind()
    ways = great_circle(first, last, 7)
    assert torch.equal(ways[:, 0], first)
    torch.testing.assert_close(ways[:, -1], last, atol=1e-6, rtol=0)
    for point in range(7):
        torch.testing.assert_close(ways[:, point].T.cov(), torch.eye(3), atol=0.02, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
class TestInterpolated:
    def test_both_ways_have_the_same_ends_and_each_the_energy_of_its_space(self, shape):
        scored = scored_of(shape, lambda x: x.flatten(1).sin().sum(1))
        found = interpolator(scored, "cpu")(5, 9)
        assert found.latent.shape == found.straight.shape == (5, 9, *shape) and found.energy.shape == (2, 5, 9)
        np.testing.assert_allclose(found.latent[:, [0, -1]], found.straight[:, [0, -1]])
        # The map is affine: the energies of z and of x differ by the logarithm of its one determinant.
        x = torch.from_numpy(found.latent).float().flatten(0, 1)
        scale = torch.autograd.functional.jacobian(lambda u: scored.latent.carried(u[None])[0].flatten(), torch.zeros(x[0].numel()))
        determinant = float(torch.linalg.slogdet(scale).logabsdet)
        np.testing.assert_allclose(scored.energy(x).view(5, 9).numpy(), found.energy[0] + determinant, rtol=1e-4)
        np.testing.assert_allclose(found.energy[0][:, [0, -1]] + determinant, found.energy[1][:, [0, -1]], rtol=1e-4)
        np.testing.assert_allclose(found.straight[:, 4], found.straight[:, [0, -1]].mean(axis=1))

    def test_a_convex_energy_has_no_barrier_on_a_straight_line(self, shape):
        found = interpolator(scored_of(shape, lambda x: torch.zeros(len(x))), "cpu")(8, 9)
        np.testing.assert_allclose(found.barriers[1], 0, atol=1e-5)
        assert (found.barriers >= -1e-6).all()


def test_on_the_latent_way_of_a_law_as_it_is_nothing_rises():
    """However a flow bends a Gaussian, untilted latent vectors have the Gaussian's energy, and it is constant on great circles of ends that
    are orthogonal and equally long; -log q along the same way is not."""
    law = FlowLaw(flow_of("glow", (1, 4, 4), {"depth": 2, "width": 4}, shake=0.4), spec_of((1, 4, 4))).eval()
    latent = LatentEnergy(lambda x: torch.zeros(len(x)), law)
    ends = torch.eye(16)[[0, 1, 2, 3]] * 4
    scored = Scored({}, "", law, latent=latent, latent_samples=lambda n, generator: ends)
    found = interpolator(scored, "cpu")(2, 33)
    np.testing.assert_allclose(found.barriers[0], 0, atol=1e-4)
    of_x = law(torch.from_numpy(found.latent).float().flatten(0, 1)).view(2, 33).numpy()
    assert np.abs(of_x - of_x.mean(axis=1, keepdims=True)).max() > 0.1


def test_the_height_of_a_barrier():
    """E = 4 h t (1 - t) above ends that differ by 3 nats rises by h in the middle, and a valley by nothing."""
    times = np.linspace(0, 1, 33)
    line, arch = 2 + 3 * times, 4 * times * (1 - times)
    energy = np.stack([line + 7 * arch, line - 7 * arch])[:, None]
    empty = np.zeros((1, 33, 2))
    np.testing.assert_allclose(Interpolated(empty, empty, energy).barriers, [[7], [0]], atol=1e-12)


def test_rows_are_of_models_with_a_latent_space_alone():
    without = SimpleNamespace(interpolated=None)
    assert Interpolation().reports(without) == () and list(Interpolation().compute(without)) == []
    evaluation = SimpleNamespace(interpolated=interpolator(scored_of((2,), lambda x: 9 * (-x.square().sum(1)).exp()), "cpu"), drawn={})
    rows = {row.metric: row for row in Interpolation().compute(evaluation)}
    assert tuple(rows) == Interpolation().reports(evaluation)
    assert all(row.n == PAIRS and row.value > 0 and row.status == "ok" for row in rows.values())
    assert evaluation.drawn["interpolation/energy"].shape[:2] == (2, PAIRS)
    missing = list(Interpolation().unavailable("so", evaluation))
    assert [row.metric for row in missing] == list(rows) and all(row.value is None for row in missing)
