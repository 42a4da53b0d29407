"""Single flips, the Boltzmann energy and the uniform base of states."""

import math
from pathlib import Path

import pytest
import torch

from ebmpipe.config import NetworkConfig
from ebmpipe.energies import BasedEnergy, UniformStates, base_law
from ebmpipe.flips import all_sites, flipped, value_and_flips
from ebmpipe.nets.base import build_network
from ebmpipe.spec import DataSpec
from ebmpipe.states import MOST, all_states

SHAPES = [(1,), (3,), (1, 2, 3)]


def spec_of(shape):
    return DataSpec("made_up", "binary", shape, 0.3, 0.9, None, None, None, Path())


def energy_of(name, shape):
    """An energy with random weights, in double precision."""
    torch.manual_seed(0)
    energy = BasedEnergy(build_network(NetworkConfig(name=name), spec_of(shape)), spec_of(shape)).double()
    with torch.no_grad():
        for parameter in energy.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return energy


def coins(n, shape, seed=1):
    return torch.randint(2, (n, *shape), generator=torch.Generator().manual_seed(seed)).double() * 2 - 1


def one_by_one(energy, x, sites):
    """The definition."""
    found = torch.empty(sites.shape, dtype=x.dtype)
    for i, row in enumerate(sites.tolist()):
        for j, site in enumerate(row):
            other = x[i : i + 1].clone()
            other.view(-1)[site] *= -1
            found[i, j] = energy(other)[0] - energy(x[i : i + 1])[0]
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["boltzmann", "mlp"])
@pytest.mark.parametrize("some", [False, True])
class TestFlips:
    def sites(self, shape, some):
        """Of each example a choice of its own, or None."""
        keys = torch.rand(7, math.prod(shape), generator=torch.Generator().manual_seed(4))
        return keys.topk(max(1, math.prod(shape) // 2), 1).indices if some else None

    def test_changes_are_those_of_the_definition(self, name, shape, some):
        energy, x, sites = energy_of(name, shape), coins(7, shape), self.sites(shape, some)
        value, changes = value_and_flips(energy, x, sites)
        torch.testing.assert_close(value, energy(x))
        torch.testing.assert_close(changes, one_by_one(energy, x, all_sites(x) if sites is None else sites))

    def test_the_fast_way_equals_the_plain_one_gradients_included(self, name, shape, some):
        energy, x, sites = energy_of(name, shape), coins(7, shape), self.sites(shape, some)
        found = []
        for way in (energy, lambda x: energy(x)):  # a function offers no way of its own
            value, changes = value_and_flips(way, x, sites)
            loss = value.square().sum() + changes.sin().sum()
            found.append((value, changes, *torch.autograd.grad(loss, list(energy.parameters()), materialize_grads=True)))
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other)


def test_chunks_change_nothing(monkeypatch):
    energy, x = energy_of("mlp", (6,)), coins(9, (6,))
    whole = value_and_flips(energy, x)
    monkeypatch.setattr("ebmpipe.flips.CHUNK", 4)
    for one, other in zip(whole, value_and_flips(energy, x), strict=True):
        torch.testing.assert_close(one, other)


def test_a_flip_undoes_itself():
    x = coins(5, (1, 2, 2))
    sites = torch.tensor([[0], [3], [1], [2], [0]])
    once = flipped(x, sites).squeeze(1)
    assert ((once != x).flatten(1).sum(1) == 1).all()
    assert torch.equal(flipped(once, sites).squeeze(1), x)


def test_the_boltzmann_energy_is_the_quadratic_form():
    net, x = energy_of("boltzmann", (5,)).network, coins(20, (5,))
    with torch.no_grad():
        assert torch.equal(net.couplings, net.couplings.t()) and not net.couplings.diagonal().any()
        expected = -torch.einsum("ni,ij,nj->n", x, net.couplings, x) / 2 - x @ net.fields
        torch.testing.assert_close(net(x), expected)


def test_boltzmann_starts_as_the_uniform_law_on_states_as_they_are():
    """No mean is taken off, no scale divided by: weights are couplings of -1 and 1."""
    energy = BasedEnergy(build_network(NetworkConfig(name="boltzmann"), spec_of((4,))), spec_of((4,)))
    x = torch.from_numpy(all_states((4,))).float()
    torch.testing.assert_close(energy(x), torch.full((16,), 4 * math.log(2)))
    assert float((-energy(x)).logsumexp(0).detach()) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        energy.network.fields[2] = 1.5
    torch.testing.assert_close(energy(x).detach() - 4 * math.log(2), -1.5 * x[:, 2])


def test_the_uniform_law_on_states():
    law = base_law(spec_of((1, 2, 2)), "space")
    assert isinstance(law, UniformStates) and law.support is None
    x = law.sample(40_000, torch.Generator().manual_seed(0))
    assert x.shape == (40_000, 1, 2, 2) and set(x.unique().tolist()) == {-1.0, 1.0}
    share = torch.bincount(((x.flatten(1) > 0) * 2 ** torch.arange(4)).sum(1), minlength=16) / len(x)
    assert ((share - 1 / 16).abs() < 5 * math.sqrt(15 / 256 / len(x))).all()
    assert not law.grad(x).any()
    with pytest.raises(ValueError, match="leave it at `support: space` there"):
        base_law(spec_of((3,)), "box")


def test_all_states_are_there_once():
    x = all_states((2, 3))
    assert x.shape == (64, 2, 3) and len({row.tobytes() for row in x}) == 64 and set(x.ravel()) == {-1, 1}
    assert (all_states((3,))[5] == [1, -1, 1]).all()
    with pytest.raises(ValueError, match=f"at most {MOST} coordinates"):
        all_states((MOST + 1,))
