"""The Ising grid is what it says: couplings, log Z, entropy and samples."""

import itertools
import math

import numpy as np
import pytest

from ebmpipe.data.binary_digits import BinaryDigits
from ebmpipe.data.digits import Digits
from ebmpipe.data.ising import Ising
from ebmpipe.states import all_states


def grid(coupling, field, side=4):
    """The same law with other numbers."""
    return type("Grid", (Ising,), {"side": side, "shape": (1, side, side), "coupling": coupling, "field": field})()


def by_transfer_matrix(side, coupling, field):
    """log Z of the torus: rows are the states of a chain whose matrix holds half of a row's weight on either side of a row of bonds."""
    rows = np.array(list(itertools.product([-1, 1], repeat=side)))
    within = coupling * (rows * np.roll(rows, 1, axis=1)).sum(axis=1) + field * rows.sum(axis=1)
    matrix = np.exp(coupling * rows @ rows.T + (within[:, None] + within) / 2)
    return math.log(np.trace(np.linalg.matrix_power(matrix, side)))


@pytest.mark.parametrize(("side", "coupling", "field"), [(4, 0.3, 0.1), (4, -0.5, 0.7), (3, 0.44, 0.0), (3, 1.0, -0.2)])
def test_log_z_is_that_of_the_transfer_matrix(side, coupling, field):
    assert grid(coupling, field, side).log_z == pytest.approx(by_transfer_matrix(side, coupling, field), rel=1e-12)


def test_spins_without_couplings_are_independent():
    law = grid(0.0, 0.4)
    p = 1 / (1 + math.exp(-0.8))
    assert law.log_z == pytest.approx(16 * math.log(2 * math.cosh(0.4)))
    assert law.entropy() == pytest.approx(-16 * (p * math.log(p) + (1 - p) * math.log(1 - p)))


def test_couplings_are_the_bonds_of_a_torus():
    law = Ising()
    found = law.couplings.reshape(4, 4, 4, 4)
    assert (law.couplings == law.couplings.T).all() and ((law.couplings > 0).sum(axis=1) == 4).all()
    for i, j, k, m in itertools.product(range(4), repeat=4):
        steps = sorted((min((i - k) % 4, (k - i) % 4), min((j - m) % 4, (m - j) % 4)))
        assert found[i, j, k, m] == (law.coupling if steps == [0, 1] else 0)


def test_the_log_density_is_the_sum_over_bonds_and_adds_up_to_one():
    law, x = Ising(), all_states((1, 4, 4))
    p = np.exp(law.log_density(x))
    assert p.sum() == pytest.approx(1)
    bonds = sum((x * np.roll(x, 1, axis)).sum(axis=(1, 2, 3), dtype=float) for axis in (2, 3))
    expected = law.coupling * bonds + law.field * x.sum(axis=(1, 2, 3), dtype=float) - law.log_z
    np.testing.assert_allclose(law.log_density(x), expected, atol=1e-12)
    assert law.entropy() == pytest.approx(-(p * np.log(p)).sum())


def test_samples_have_its_moments():
    law, n = Ising(), 100_000
    x, states = law.sample(n, np.random.default_rng(1)).reshape(n, -1), all_states((16,)).astype(float)
    p = np.exp(law.log_density(all_states(law.shape)))
    assert set(np.unique(x)) == {-1.0, 1.0}
    for found, expected in ((x.T @ x / n, states.T * p @ states), (x.mean(axis=0), p @ states)):
        assert (np.abs(found - expected) < 5 / math.sqrt(n)).all()
    assert -law.log_density(x.reshape(n, *law.shape)).mean() == pytest.approx(law.entropy(), abs=0.05)


def test_binary_digits_are_the_digits_with_ink_where_half_of_it_is():
    found, levels = BinaryDigits().arrays(), Digits().arrays()
    assert set(found) == {"train", "validation", "test"}
    for split, x in found.items():
        assert ((x == 1) == (levels[split] >= 8)).all() and ((x == -1) == (levels[split] < 8)).all()
