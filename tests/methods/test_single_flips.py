"""Losses of single flips are what they are called, the truth is their optimum, couplings are recovered."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ebmpipe.config import KINDS, NetworkConfig
from ebmpipe.data.ising import Ising
from ebmpipe.flips import value_and_flips
from ebmpipe.methods import build
from ebmpipe.methods.conditional_nce import ConditionalNCE
from ebmpipe.methods.minimum_probability_flow import probability_flow
from ebmpipe.methods.pseudolikelihood import minus_log_conditional
from ebmpipe.methods.ratio_matching import squared_miss
from ebmpipe.nets.boltzmann import Boltzmann, BoltzmannConfig
from ebmpipe.spec import DataSpec
from ebmpipe.states import all_states

LOSSES = {
    "minimum_probability_flow": lambda changes: probability_flow(torch.zeros_like(changes), changes),
    "pseudolikelihood": minus_log_conditional,
    "ratio_matching": squared_miss,
}
#: Those that take all flips of an example, or some, in an update.
OF_ALL_FLIPS = ["pseudolikelihood", "ratio_matching"]
#: What each sums over coordinates, as a function of the probability of x_i given all others.
DEFINITIONS = {
    "minimum_probability_flow": lambda p: ((1 - p) / p).sqrt(),
    "pseudolikelihood": lambda p: -p.log(),
    "ratio_matching": lambda p: (1 - p).square(),
}
BOLTZMANN = NetworkConfig(name="boltzmann")


def spec_of(shape):
    return DataSpec("made_up", "binary", shape, 0.1, 0.9, None, None, None, Path())


def machine(dimension, seed=0, scale=0.6):
    """A Boltzmann energy with random weights, in double precision."""
    net = Boltzmann((dimension,), BoltzmannConfig()).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return net


def states(dimension):
    return torch.from_numpy(all_states((dimension,))).double()


def conditionals(p, x):
    """p(x_i | all others) of every state ``x`` (n, D) and coordinate, by summing the law ``p`` (n,) over x_i, (n, D)."""
    place = {tuple(row): k for k, row in enumerate(x.tolist())}
    found = torch.empty_like(x)
    for k, row in enumerate(x.tolist()):
        for i in range(x.shape[1]):
            other = [-value if j == i else value for j, value in enumerate(row)]
            found[k, i] = p[k] / (p[k] + p[place[tuple(other)]])
    return found


def risk(name, net, p, x):
    """The loss in expectation under ``p``."""
    return (p * LOSSES[name](value_and_flips(net, x)[1]).sum(1)).sum()


@pytest.mark.parametrize("name", LOSSES)
class TestLosses:
    @pytest.mark.parametrize("dimension", [1, 2, 5])
    def test_it_is_its_definition_by_enumeration(self, name, dimension):
        net, x = machine(dimension), states(dimension)
        with torch.no_grad():
            p = torch.softmax(-net(x), 0)
            found = LOSSES[name](value_and_flips(net, x)[1])
            torch.testing.assert_close(found, DEFINITIONS[name](conditionals(p, x)))

    @pytest.mark.parametrize("dimension", [1, 2, 3, 6])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_the_truth_is_stationary_and_the_loss_curves_upwards_there(self, name, dimension, seed):
        net, x = machine(dimension, seed), states(dimension)
        p = torch.softmax(-net(x), 0).detach()
        weights = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])

        def at(weights):
            parts = dict(zip(dict(net.named_parameters()), weights.split([q.numel() for q in net.parameters()]), strict=True))

            def energy(x):
                return torch.func.functional_call(net, parts, (x,))

            return (p * LOSSES[name](value_and_flips(energy, x)[1]).sum(1)).sum()

        slope = torch.func.grad(at)(weights)
        torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-12, rtol=0)
        assert float(torch.linalg.eigvalsh(torch.func.hessian(at)(weights)).min()) > 1e-3, "another energy does as well nearby"

    def test_elsewhere_it_is_not(self, name):
        net, other, x = machine(4, 0), machine(4, 1), states(4)
        p = torch.softmax(-other(x), 0).detach()
        slopes = torch.autograd.grad(risk(name, net, p, x), list(net.parameters()))
        assert max(float(slope.abs().max()) for slope in slopes) > 0.05
        with torch.no_grad():
            assert risk(name, net, p, x) > risk(name, other, p, x)

    def test_the_excess_is_a_distance_of_the_conditionals(self, name):
        if name not in OF_ALL_FLIPS:
            pytest.skip("its distance is of odds, which have no name")
        """Σ_i of the Kullback-Leibler divergence, or of the squared difference, of p(x_i = 1 | others): 0 only where all of them agree."""
        truth, net, x = machine(4, 0), machine(4, 1), states(4)
        with torch.no_grad():
            p, q = (torch.softmax(-each(x), 0) for each in (truth, net))
            of_truth, of_model = conditionals(p, x), conditionals(q, x)
            distance = {
                "pseudolikelihood": (of_truth / of_model).log(),
                "ratio_matching": (of_truth - of_model).square(),
            }[name]
            excess = risk(name, net, p, x) - risk(name, truth, p, x)
        torch.testing.assert_close(excess, (p[:, None] * distance).sum())

    def test_a_subset_of_flips_is_unbiased(self, name):
        """The mean over every subset of two of four coordinates, each times 4/2, is the sum over all."""
        net, x = machine(4), states(4)
        pairs = [(i, j) for i in range(4) for j in range(i)]
        with torch.no_grad():
            whole = LOSSES[name](value_and_flips(net, x)[1]).sum(1)
            parts = [LOSSES[name](value_and_flips(net, x, torch.tensor(pair).expand(16, 2))[1]).mean(1) * 4 for pair in pairs]
        torch.testing.assert_close(torch.stack(parts).mean(0), whole)


def test_conditional_nce_with_flips_for_noise_is_twice_pseudolikelihood():
    """What differs in space is the noise alone: `conditional_nce` compares an example with itself and noise, here with its flips."""
    net, x = machine(4), states(4)
    with torch.no_grad():
        value, changes = value_and_flips(net, x)
        here = value[:, None].expand_as(changes)
        torch.testing.assert_close(ConditionalNCE.loss(here, here + changes), 2 * minus_log_conditional(changes))


def update_of(name, batch, **settings):
    """The loss that one update reports, and the gradient of the weights that it was made with."""
    method = build(name, spec_of((6,)), {"batch_size": len(batch), **settings}, 0, network=NetworkConfig(settings={"width": 8}))
    report = method.training_step(batch, torch.Generator().manual_seed(3))
    return report, method


@pytest.mark.parametrize("name", OF_ALL_FLIPS)
class TestUpdates:
    def batch(self):
        return torch.randint(2, (32, 6), generator=torch.Generator().manual_seed(1)).float() * 2 - 1

    def test_the_loss_reported_is_the_sum_over_coordinates(self, name):
        report, _ = update_of(name, self.batch())
        fresh = build(name, spec_of((6,)), {}, 0, network=NetworkConfig(settings={"width": 8}))
        with torch.no_grad():
            expected = LOSSES[name](value_and_flips(fresh.live, self.batch())[1]).sum(1).mean()
        assert report["loss"] == pytest.approx(float(expected), rel=1e-6)

    @pytest.mark.parametrize("flips", [1, 2, 5])
    def test_the_loss_reported_of_some_flips_is_their_sum_times_the_inverse_of_their_share(self, name, flips):
        report, _ = update_of(name, self.batch(), flips=flips)
        fresh = build(name, spec_of((6,)), {"flips": flips}, 0, network=NetworkConfig(settings={"width": 8}))
        sites = fresh.sites(self.batch(), torch.Generator().manual_seed(3))
        assert sites.shape == (32, flips)
        with torch.no_grad():
            of_these = LOSSES[name](value_and_flips(fresh.live, self.batch(), sites)[1]).sum(1).mean()
        assert report["loss"] == pytest.approx(6 / flips * float(of_these), rel=1e-6)

    @pytest.mark.parametrize("flips", [1, 3, 6, None])
    def test_cost_is_that_of_the_examples_and_their_flips(self, name, flips):
        _, method = update_of(name, self.batch(), flips=flips)
        assert method.gradient_evaluations_per_step == 32 * (1 + (flips or 6))

    def test_all_flips_by_number_are_all_flips(self, name):
        (first, one), (second, other) = (update_of(name, self.batch(), flips=flips) for flips in (None, 6))
        assert first["loss"] == second["loss"]
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))

    def test_sites_are_drawn_without_replacement_and_evenly(self, name):
        method = build(name, spec_of((6,)), {"flips": 2}, 0, network=BOLTZMANN)
        sites = method.sites(torch.ones(30_000, 6), torch.Generator().manual_seed(0))
        assert (sites[:, 0] != sites[:, 1]).all()
        counts = torch.bincount(sites.flatten(), minlength=6) / 30_000
        assert ((counts - 1 / 3).abs() < 5 * math.sqrt(2 / 9 / 30_000)).all()

    def test_the_energy_penalty_is_of_the_examples(self, name):
        plain, _ = update_of(name, self.batch())
        penalised, _ = update_of(name, self.batch(), energy_penalty=2.0)
        fresh = build(name, spec_of((6,)), {}, 0, network=NetworkConfig(settings={"width": 8}))
        with torch.no_grad():
            excess = fresh.live(self.batch()) - fresh.base(self.batch())
        assert penalised["loss"] == pytest.approx(plain["loss"] + 2 * float(excess.square().mean()), rel=1e-5)

    def test_what_makes_no_sense_of_states_is_refused(self, name):
        for settings, message in (
            ({"data_noise": 0.1}, "set `data_noise: 0`"),
            ({"flips": 7}, "more than the 6 coordinates"),
            ({"support": "box"}, "cannot train an energy on a box"),
        ):
            with pytest.raises(ValueError, match=message):
                build(name, spec_of((6,)), settings, 0, network=BOLTZMANN)
        with pytest.raises(ValueError, match="takes binary; plane is density"):
            build(name, DataSpec("plane", "density", (2,), 0.0, 1.0, None, None, 0.0, Path()), {}, 0)
        with pytest.raises(ValueError, match="takes density, images, vectors; made_up is binary"):
            build("dsm", spec_of((6,)), {}, 0)


def test_the_neighbours_of_minimum_probability_flow_are_flips_at_even_odds():
    method = build("minimum_probability_flow", spec_of((6,)), {}, 0, network=BOLTZMANN)
    x = torch.randint(2, (30_000, 6), generator=torch.Generator().manual_seed(1)).float() * 2 - 1
    turned = method.neighbours(x, torch.Generator().manual_seed(0)) != x
    assert (turned.sum(1) == 1).all()
    assert ((turned.float().mean(0) - 1 / 6).abs() < 5 * math.sqrt(5 / 36 / 30_000)).all()


@pytest.mark.parametrize(
    ("name", "flips"), [("minimum_probability_flow", 1), *((name, flips) for name in OF_ALL_FLIPS for flips in (None, 4))]
)
def test_couplings_and_fields_of_the_ising_grid_are_recovered(name, flips):
    """From 50,000 exact samples; the estimators themselves, minimised to the end, are 5 % off the truth with so many."""
    law, updates = Ising(), 2300 if flips != 1 else 10_000
    x = torch.from_numpy(law.sample(50_000, np.random.default_rng(0))).float()
    spec = DataSpec("ising", "binary", law.shape, 0.2, 0.97, None, None, law.entropy(), Path())
    assert KINDS["binary"].network == BOLTZMANN
    settings = {"flips": flips} if name in OF_ALL_FLIPS else {}
    method = build(name, spec, settings, 0, network=BOLTZMANN, iterations=updates)
    generator = torch.Generator().manual_seed(0)
    for _ in range(updates):
        method.training_step(x[torch.randint(len(x), (256,), generator=generator)], generator)
    net = method.learner.average.network
    found = net.couplings.numpy()
    assert np.linalg.norm(found - law.couplings) < 0.08 * np.linalg.norm(law.couplings)
    assert np.abs(net.fields.numpy() - law.fields).max() < 0.05
    neighbours = law.couplings > 0
    between = ~neighbours & ~np.eye(16, dtype=bool)
    assert found[neighbours].min() > 3 * np.abs(found[between]).max(), "every bond of the grid is seen, and no other"
