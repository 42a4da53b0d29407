"""Minimum KL contraction: blur is score matching, dropped coordinates are pseudolikelihood, the model's chain is contrastive divergence."""

import itertools
import math

import numpy as np
import pytest
import torch

from ebmpipe.flips import value_and_flips
from ebmpipe.samplers.gibbs import Gibbs
from ebmpipe.theorems.contractions import Pair, gibbs_matrices, law, pair, state_divergence, without
from ebmpipe.theorems.coordinate_contraction import CoordinateContraction
from ebmpipe.theorems.examples import Waves
from ebmpipe.theorems.flows import START, TARGET, gaussian_divergence, gaussian_fisher_divergence, gaussians
from ebmpipe.theorems.heat_flow import HeatFlow
from ebmpipe.theorems.kernel_contraction import CHAINS, KernelContraction, after, gradients_in_weights
from ebmpipe.theorems.laws import divergence, fisher_divergence, grid
from ebmpipe.theorems.limits import SHAPES, named
from ebmpipe.theorems.short_contraction import ShortContraction

ON_STATES = [CoordinateContraction, KernelContraction]
#: Shapes of events, among them the figure's.
DIMENSIONS = [(1,), (2,), (3,), (1, 2, 2), (6,)]


def laws_of(shape, place=1.0):
    with torch.no_grad():
        example = pair(shape, place)
        return example, law(example.truth, example.x), law(example.model, example.x)


class TestShort:
    def test_the_error_is_of_first_order_in_time(self):
        found = ShortContraction().measure()
        for flow, laws in itertools.product(("heat", "langevin"), ("mixtures", "gaussians")):
            assert found.numbers[f"slope_{flow}_{laws}"] == pytest.approx(1, abs=0.01)
            errors = found.arrays[f"{flow}_{laws}"]
            assert errors[-1] < 1e-3 and errors[-3] / errors[-1] == pytest.approx(2**2, rel=0.02)

    def test_nothing_is_ever_given_back(self):
        found = ShortContraction().measure()
        assert all(value > 0 for key, value in found.numbers.items() if key.startswith("least_"))

    def test_the_blur_of_gaussians_in_closed_form(self):
        q, p = gaussians()
        fisher = float(gaussian_fisher_divergence(q, p))
        for t in (1e-2, 1e-3, 1e-4):
            moved = HeatFlow().moved(q, p, torch.tensor(t, dtype=torch.float64))
            taken = float(gaussian_divergence(q, p) - gaussian_divergence(*moved))
            assert 0 < taken < t * fisher and taken / t == pytest.approx(fisher, rel=3 * t)

    def test_the_blur_of_mixtures_by_quadrature_in_space(self):
        """The convolution itself on a grid, which no formula for mixtures enters."""
        x, h = grid(-9, 9, 1201)
        t = 4e-3
        kernel = torch.exp(-(x - x.T).square() / (2 * t)) / math.sqrt(2 * math.pi * t) * h
        q, p = START.log_density(x).exp(), TARGET.log_density(x).exp()
        blurred_q, blurred_p = kernel @ q, kernel @ p
        before = float(divergence(START, TARGET, x, h))
        after_blur = float((blurred_q * (blurred_q / blurred_p).log()).sum() * h)
        fisher = fisher_divergence(q, START.score(x), TARGET, x, h)
        assert before - after_blur == pytest.approx(t * fisher, rel=3 * t) and before > after_blur
        exact = float(divergence(START.widened(t), TARGET.widened(t), x, h))
        assert after_blur == pytest.approx(exact, abs=1e-9)


class TestOnStates:
    @pytest.mark.parametrize("theorem", ON_STATES, ids=lambda theorem: theorem.name)
    @pytest.mark.parametrize("shape", DIMENSIONS, ids=named)
    @pytest.mark.parametrize("place", [0.1, 0.5, 1.0])
    def test_what_is_taken_is_the_excess_and_not_negative(self, theorem, shape, place):
        example, *_ = laws_of(shape, place)
        with torch.no_grad():
            for kind, (taken, excess) in theorem().of(example).items():
                torch.testing.assert_close(taken, excess, rtol=1e-11, atol=1e-14, msg=kind)
                assert float(taken) > 0

    @pytest.mark.parametrize("theorem", ON_STATES, ids=lambda theorem: theorem.name)
    def test_at_the_truth_nothing_is_taken(self, theorem):
        example, *_ = laws_of((3,), 0.0)
        with torch.no_grad():
            for taken, excess in theorem().of(example).values():
                assert abs(float(taken)) < 1e-14 and abs(float(excess)) < 1e-14

    @pytest.mark.parametrize("theorem", ON_STATES, ids=lambda theorem: theorem.name)
    def test_the_stage_has_every_digit(self, theorem):
        found = theorem().measure()
        for shape, kind in itertools.product(SHAPES, theorem.legend):
            assert found.numbers[f"error_{kind}_{named(shape)}"] < 1e-13 and found.numbers[f"least_{kind}_{named(shape)}"] > 1e-4

    def test_laws_far_apart_lose_nothing_either(self):
        """Random tables of energies, in place of smooth ones."""
        generator = torch.Generator().manual_seed(0)
        example, *_ = laws_of((3,))
        for _ in range(50):
            tables = 3 * torch.randn(2, 8, generator=generator, dtype=torch.float64)

            def looked_up(table):
                return lambda x: table[((x > 0).long() * 2 ** torch.arange(3)).sum(1)]

            of_tables = Pair(example.x, *map(looked_up, tables))
            for theorem in ON_STATES:
                for taken, excess in theorem().of(of_tables).values():
                    torch.testing.assert_close(taken, excess)
                    assert float(taken) > 0


class TestCoordinates:
    def test_marginals_by_adding_up(self):
        example, q, _ = laws_of((3,))
        states = [tuple(row) for row in example.x.long().tolist()]
        for i in range(3):
            rests = list(dict.fromkeys(s[:i] + s[i + 1 :] for s in states))
            wanted = [sum(float(w) for s, w in zip(states, q, strict=True) if s[:i] + s[i + 1 :] == rest) for rest in rests]
            np.testing.assert_allclose(without(q, i).numpy(), wanted, rtol=1e-12)

    def test_the_chain_rule_coordinate_by_coordinate(self):
        """KL less that of the marginals is the mean divergence of the conditionals, which here come from the laws alone."""
        _, q, p = laws_of((1, 2, 2))
        here = torch.arange(len(q))
        for i in range(4):
            there = here ^ (1 << i)
            of_q, of_p = q / (q + q[there]), p / (p + p[there])
            taken = state_divergence(q, p) - state_divergence(without(q, i), without(p, i))
            torch.testing.assert_close(taken, (q * (of_q / of_p).log()).sum())

    def test_a_coordinate_drawn_afresh_leaves_the_divergence_of_the_others(self):
        """Φq is then the data's marginal times the model's conditional, so that both operators take the same from every coordinate."""
        example, q, p = laws_of((3,))
        with torch.no_grad():
            for i, matrix in enumerate(gibbs_matrices(example.model, example.x)):
                torch.testing.assert_close(state_divergence(q @ matrix, p), state_divergence(without(q, i), without(p, i)))
                torch.testing.assert_close(without(q @ matrix, i), without(q, i))

    def test_one_coordinate_is_maximum_likelihood(self):
        example, q, p = laws_of((1,))
        with torch.no_grad():
            torch.testing.assert_close(CoordinateContraction().of(example)["dropped"][1], state_divergence(q, p))


class TestKernel:
    def test_the_matrices_are_laws_and_leave_the_model_unchanged(self):
        example, _, p = laws_of((3,))
        with torch.no_grad():
            for matrix in gibbs_matrices(example.model, example.x):
                torch.testing.assert_close(matrix.sum(1), torch.ones(8, dtype=torch.float64))
                torch.testing.assert_close(p @ matrix, p)
                torch.testing.assert_close(p[:, None] * matrix, (p[:, None] * matrix).T)  # detailed balance

    def test_they_are_the_kernel_that_chains_are_run_with(self):
        """Frequencies of `gibbs` from every state, each within five standard errors."""
        example, *_ = laws_of((2,))
        count = 40_000
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            wanted = gibbs_matrices(example.model, example.x).mean(0)
            for k in range(4):
                start = example.x[k : k + 1].repeat(count, 1)
                kernel = Gibbs()
                state, _ = kernel.step(example.model, kernel.init(example.model, start), generator)
                places = ((state.x > 0).long() * torch.tensor([1, 2])).sum(1)
                found = torch.bincount(places, minlength=4) / count
                assert ((found - wanted[k]).abs() <= 5 * (wanted[k] * (1 - wanted[k]) / count).sqrt()).all()

    @pytest.mark.parametrize("shape", [(2,), (1, 2, 2)], ids=named)
    def test_longer_chains_take_more_and_in_the_end_all(self, shape):
        example, q, p = laws_of(shape)
        with torch.no_grad():
            matrix = gibbs_matrices(example.model, example.x).mean(0)
            left = [float(state_divergence(after(q, matrix, steps), p)) for steps in (0, 1, 2, 5, 20)]
            assert left == sorted(left, reverse=True) and float(state_divergence(after(q, matrix, 2000), p)) < 1e-12

    def test_a_random_coordinate_takes_at_least_the_mean_of_what_each_takes(self):
        """KL is convex: D times the contraction of `gibbs` is no less than pseudolikelihood's excess."""
        for shape, place in itertools.product(DIMENSIONS, (0.3, 1.0)):
            example, *_ = laws_of(shape, place)
            with torch.no_grad():
                one, excess = KernelContraction().of(example)["one"][0], CoordinateContraction().of(example)["dropped"][1]
            assert float(one) * math.prod(shape) >= float(excess) * (1 - 1e-12)

    @pytest.mark.parametrize("shape", [(3,), (1, 2, 2)], ids=named)
    def test_cd_is_its_gradient_with_the_chain_held_fixed_and_that_is_not_the_whole(self, shape):
        for steps in CHAINS.values():
            whole, fixed, followed = gradients_in_weights(shape, steps)
            torch.testing.assert_close(fixed, followed, rtol=0, atol=1e-12)
            assert float((whole - followed).abs().max()) > 1e-3 * float(whole.abs().max())
        ones, tens = (KernelContraction().measure().numbers[f"neglected_{kind}_{named(shape)}"] for kind in CHAINS)
        assert ones > 0.3 > 0.1 > tens

    def test_the_whole_gradient_against_finite_differences(self):
        """In one weight, of the contraction that is computed anew from the energy."""
        x = pair((3,), 1.0).x
        whole, *_ = gradients_in_weights((3,), 1)
        model, h, found = Waves((3,), seed=1), 1e-5, []
        q = law(Waves((3,), seed=0), x).detach()
        place = [name for name, weight in model.named_parameters() for _ in range(weight.numel())].index("phase")
        for sign in (1, -1):
            with torch.no_grad():
                model.phase[0] += sign * h
                p, matrix = law(model, x), gibbs_matrices(model, x).mean(0)
                found.append(float(state_divergence(q, p) - state_divergence(q @ matrix, p)))
                model.phase[0] -= sign * h
        assert (found[0] - found[1]) / (2 * h) == pytest.approx(float(whole[place]), rel=1e-7)


def test_states_have_flips_where_the_matrices_look_for_them():
    """The changes of E by flips are differences of the table of energies at bits turned over."""
    x = pair((1, 2, 2), 0.0).x
    energy = Waves((1, 2, 2))
    with torch.no_grad():
        table, (_, changes) = energy(x), value_and_flips(energy, x)
        for i in range(4):
            torch.testing.assert_close(changes[:, i], table[torch.arange(16) ^ (1 << i)] - table)
