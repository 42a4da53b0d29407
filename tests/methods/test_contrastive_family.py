"""What single variants of contrastive divergence add, against closed forms."""

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from ebmpipe import registry
from ebmpipe.config import NetworkConfig
from ebmpipe.methods import build
from ebmpipe.methods.cd import mean_field
from ebmpipe.methods.improved_cd import nearest_neighbour_entropy, through_last_step
from ebmpipe.methods.multigrid import pooled, spread
from ebmpipe.optimisation import Learner
from ebmpipe.samplers import ULA, run
from ebmpipe.spec import DataSpec

PLANE = DataSpec("made_up", "density", (2,), 0.0, 1.0, None, None, None, Path())
IMAGES = DataSpec("made_up", "images", (1, 8, 8), 0.0, 0.5, 17, None, None, Path())
SMALL = NetworkConfig(settings={"width": 8})
FAMILY = ["cd", "pcd", "igebm", "short_run", "convergent", "improved_cd"]


class Quadratic(torch.nn.Module):
    """E = λ ‖x‖²/2."""

    def __init__(self, precision):
        super().__init__()
        self.precision = torch.nn.Parameter(torch.tensor(precision, dtype=torch.float64))

    def forward(self, x):
        return self.precision * x.flatten(1).square().sum(1) / 2


def made(name, spec=PLANE, **settings):
    return build(name, spec, settings, network=SMALL, iterations=100)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("spec", [PLANE, IMAGES], ids=["plane", "image"])
def test_every_variant_reports_d_t_and_r_t(name, spec):
    method = made(name, spec, batch_size=8, steps=3)
    report = method.training_step(torch.randn(8, *spec.shape), torch.Generator().manual_seed(0))
    assert float(report["d_t"]) == pytest.approx(float(report["energy_data"] - report["energy_negative"]), abs=1e-4)
    assert float(report["r_t"]) > 0


def test_r_t_is_the_mean_gradient_along_the_chains():
    """With steps so small that chains stand still, it is the mean of ‖∇E‖ where they are."""
    x = torch.randn(500, 3, dtype=torch.float64)
    _, summary = run(ULA(1e-9), Quadratic(2.0), x, 4, torch.Generator().manual_seed(0))
    assert summary.gradient_norm == pytest.approx(float((2 * x).norm(dim=1).mean()), rel=1e-6)


@pytest.mark.parametrize("shape", [(3,), (10,), (1, 2, 3)])
def test_omitted_term_completes_the_gradient_of_contrastive_divergence(shape):
    """∂λ [KL(q₀‖p) - KL(q₁‖p)] on Gaussians, q₁ one Langevin step from q₀ = N(0, D): its parts by sampling against closed forms."""
    precision, start, step, n = 1.2, 0.6, 0.6, 200_000
    dimension = math.prod(shape)
    slope = 1 - step**2 / 2 * precision
    after = slope**2 * start + step**2
    d_after = -(step**2) * slope * start

    def divergence(variance, precision):
        return dimension / 2 * (precision * variance - 1 - math.log(precision * variance))

    h = 1e-6
    exact = [divergence(start, p) - divergence((1 - step**2 / 2 * p) ** 2 * start + step**2, p) for p in (precision - h, precision + h)]
    contrast = dimension / 2 * (start - after)
    omitted = -dimension / 2 * (precision - 1 / after) * d_after
    assert contrast + omitted == pytest.approx((exact[1] - exact[0]) / (2 * h), rel=1e-5)

    # The method's own terms, with the entropy's share in closed form: E_q[E] through the step has gradient D λ/2 · dv/dλ.
    energy, generator = Quadratic(precision), torch.Generator().manual_seed(0)
    x = math.sqrt(start) * torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    z = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    moved = through_last_step(energy, x, z, step, step)
    held = precision * moved.detach()
    per_example = (held * moved).flatten(1).sum(1)
    (through,) = torch.autograd.grad(per_example.mean(), energy.precision)
    expected = dimension / 2 * precision * d_after
    error = float(per_example.detach().std()) / math.sqrt(n)
    assert float(through) == pytest.approx(expected, abs=5 * error + 5 * abs(expected) * math.sqrt(2 / (n * dimension)))
    assert omitted == pytest.approx(-(expected - dimension / 2 / after * d_after), rel=1e-9)


@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_nearest_neighbour_entropy_measures_scale(dimension):
    """Scaling a sample by c adds d log c exactly; moving a sample outwards is rewarded as the entropy of its law is."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3000, dimension, generator=generator, dtype=torch.float64)
    base = nearest_neighbour_entropy(x, x)
    assert float(nearest_neighbour_entropy(3 * x, 3 * x) - base) == pytest.approx(dimension * math.log(3), rel=1e-9)
    # d/dc of the entropy of c x at c = 1 is d; only the points move, not the others, which stand for the density.
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    if dimension >= 3:  # in fewer dimensions the gradient's variance is infinite
        (growth,) = torch.autograd.grad(nearest_neighbour_entropy(scale * x, x), scale)
        assert float(growth) == pytest.approx(dimension, rel=0.25)


def test_improved_cd_adds_what_its_parts_say():
    """One update's gradient against autograd through the whole step with the energy's own weights held fixed by a copy."""
    kernel = {"name": "ula", "settings": {"step_size": 0.2}}
    method = made(
        "improved_cd",
        batch_size=16,
        chains=16,
        steps=1,
        kernel=kernel,
        restart=0.0,
        kl_weight=1.0,
        entropy_weight=0.0,
        optimiser={"betas": (0.0, 0.0)},
    )
    batch, held = torch.randn(16, 2), made("improved_cd", batch_size=16, chains=16).live
    held.load_state_dict(method.live.state_dict())
    generator = torch.Generator().manual_seed(3)
    slots = torch.randperm(16, generator=generator)
    z = torch.randn(16, 2, generator=generator)
    moved = through_last_step(method.live, method.persistence.positions[slots], z, 0.2, 0.2)
    loss = method.live(batch).mean() - method.live(moved.detach()).mean() + held(moved).mean()
    expected = torch.autograd.grad(loss, list(method.live.parameters()), materialize_grads=True)
    method.training_step(batch, torch.Generator().manual_seed(3))
    for ours, theirs in zip(method.learner.moments("first_moment"), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kernel", [{"name": "mala"}, {"name": "ula", "settings": {"step_size": 0.2, "clip": 1.0}}])
def test_improved_cd_refuses_kernels_that_it_cannot_differentiate(kernel):
    with pytest.raises(ValueError, match="ula without clip"):
        made("improved_cd", kernel=kernel)


def test_mean_field_relaxes_to_the_mean_of_a_gaussian():
    """For a Gaussian energy the best factorised Gaussian sits at its mean, whatever its correlations."""
    precision = torch.tensor([[2.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
    mean = torch.tensor([1.0, -2.0], dtype=torch.float64)

    def energy(x):
        return ((x - mean) @ precision * (x - mean)).sum(1) / 2

    start = torch.full((4000, 2), 5.0)
    x = mean_field(lambda v: energy(v.double()).float(), start, 400, 0.3, 0.1, torch.Generator().manual_seed(0))
    torch.testing.assert_close(x.mean(0).double(), mean, atol=0.02, rtol=0)
    one = mean_field(lambda v: energy(v.double()).float(), start, 1, 0.3, 1e-6, torch.Generator().manual_seed(0))
    torch.testing.assert_close(one.double(), start.double() - 0.3**2 / 2 * (start.double() - mean) @ precision, atol=1e-4, rtol=1e-4)


def test_cd_starts_at_the_data_and_short_run_in_noise():
    for name, far in (("cd", False), ("short_run", True)):
        method = made(name, steps=1, kernel={"name": "ula", "settings": {"step_size": 1e-4}}, batch_size=64)
        negatives = method.negatives(torch.full((64, 2), 7.0), torch.Generator().manual_seed(0))
        assert bool(((negatives.x - 7).abs() < 0.01).all()) is not far


def test_long_cd_is_pcd_of_restarted_chains():
    """A persistent chain that always begins anew at the batch is contrastive divergence: the same negatives, the same update."""
    settings = {"batch_size": 16, "steps": 3, "kernel": {"name": "ula", "settings": {"step_size": 0.2}}}
    pcd = made("pcd", **settings, chains=16, restart=1.0, restart_from="data")
    batch = torch.randn(16, 2)
    assert torch.equal(pcd.drawn(batch, torch.Generator().manual_seed(0)).x, batch)


class TestMultigrid:
    def test_pooling_undoes_spreading(self):
        x = torch.randn(5, 3, 2, 2)
        torch.testing.assert_close(pooled(spread(x, (3, 8, 8)), 2), x)
        assert torch.equal(spread(x, (3, 8, 8)), functional.interpolate(x, size=(8, 8), mode="nearest"))

    @pytest.mark.parametrize("grids", [(3,), (4, 2), (2, 8), (2, 2)])
    def test_grids_that_do_not_fit_are_refused(self, grids):
        with pytest.raises(ValueError, match="do not fit"):
            made("cd", IMAGES, start="multigrid", grids=grids)

    @pytest.mark.parametrize("other", [{"support": "box"}, {"spectral_norm": 1.0}])
    def test_what_the_coarser_energies_lack_is_refused(self, other):
        with pytest.raises(ValueError, match="coarser energies"):
            made("cd", IMAGES, start="multigrid", **other)

    def test_densities_have_no_grids(self):
        with pytest.raises(ValueError, match="needs images"):
            made("cd", start="multigrid")

    def test_every_grid_learns_its_own_grey_values(self):
        """Images with a mean far from the base's: the coarse energies must come to prefer it, and samples to have it."""
        method = made(
            "cd",
            IMAGES,
            start="multigrid",
            steps=5,
            batch_size=32,
            data_noise=0.3,
            optimiser={"learning_rate": 0.003, "schedule": "constant"},
        )
        generator = torch.Generator().manual_seed(0)
        for _ in range(150):
            method.training_step(0.8 + 0.3 * torch.randn(32, 1, 8, 8, generator=generator), generator)
        for side, energy in zip((2, 4), method.learner.average.coarser, strict=True):
            ours, other = (torch.full((1, 1, side, side), value) for value in (0.8, -0.8))
            assert float(energy(ours)) < float(energy(other))
        source, samples = method.own_samples(200, generator)
        assert source == "multigrid"
        assert samples.x.shape == (200, 1, 8, 8)
        assert float(samples.x.mean()) == pytest.approx(0.8, abs=0.15)

    def test_cost_counts_every_grid(self):
        """k steps and two halves of the contrast on the image and on two grids."""
        method = made("cd", IMAGES, start="multigrid", steps=5, batch_size=10, kernel={"name": "ula", "settings": {"step_size": 0.2}})
        assert method.gradient_evaluations_per_step == 3 * 10 * (5 + 2)


def test_igebm_has_its_stabilisers():
    config = registry.load("methods", "igebm").Config()
    assert config.restart == 0.05
    assert config.energy_penalty > 0
    assert config.spectral_norm
    assert config.kernel.settings["clip"]
    assert registry.load("methods", "igebm")(made_setup("igebm")).temperature < 0.1


def made_setup(name):
    from ebmpipe.methods.base import Setup

    method = registry.load("methods", name)
    return Setup(PLANE, method.Config(), SMALL, 10, torch.Generator().manual_seed(0), {})


def test_energy_penalty_is_the_mean_square_of_the_networks_part():
    gradients = []
    for penalty in (0.0, 0.7):
        method = made("cd", batch_size=16, steps=1, energy_penalty=penalty, optimiser={"betas": (0.0, 0.0)})
        method.training_step(torch.linspace(-1, 1, 32).view(16, 2), torch.Generator().manual_seed(0))
        gradients.append(torch.cat([m.flatten() for m in method.learner.moments("first_moment")]))
    method = made("cd", batch_size=16, steps=1)
    batch = torch.linspace(-1, 1, 32).view(16, 2)
    x = torch.cat([batch, method.negatives(batch, torch.Generator().manual_seed(0)).x])
    penalty = 0.7 * (method.live(x) - method.base(x)).square().mean()
    expected = torch.autograd.grad(penalty, list(method.live.parameters()))
    torch.testing.assert_close(gradients[1] - gradients[0], torch.cat([g.flatten() for g in expected]), atol=1e-5, rtol=1e-3)


def test_sgd_takes_over_where_it_is_told():
    """Before, a step of Adam; after, the gradient times the learning rate, and moments that stand still."""
    network = torch.nn.Linear(2, 1)
    config = made("convergent").config.optimiser.model_copy(update={"sgd_after": 0.5, "sgd_learning_rate": 0.1, "schedule": "constant"})
    learner = Learner(network, config, 4)
    for step in range(4):
        before = [p.detach().clone() for p in network.parameters()]
        moment = learner.moments("first_moment")[0].clone()
        learner.update([torch.full_like(p, 3.0) for p in network.parameters()])
        moved = [float((b - p.detach()).abs().max()) for b, p in zip(before, network.parameters(), strict=True)]
        if step < 2:
            assert max(moved) < 0.01
        else:
            assert moved == pytest.approx([0.3, 0.3])
            assert torch.equal(moment, learner.moments("first_moment")[0])
