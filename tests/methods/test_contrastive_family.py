"""What single variants of contrastive divergence add, against closed forms."""

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from ebmpipe import registry
from ebmpipe.config import NetworkConfig
from ebmpipe.energies import frozen, gradient
from ebmpipe.methods import build
from ebmpipe.methods.cd import mean_field
from ebmpipe.methods.contrastive import Negatives
from ebmpipe.methods.improved_cd import nearest_neighbour_entropy, through_last_step
from ebmpipe.methods.multigrid import pooled, spread
from ebmpipe.methods.persistence import Drawn
from ebmpipe.optimisation import Diverged, Learner
from ebmpipe.samplers import ULA, run
from ebmpipe.spec import DataSpec
from ebmpipe.supports import Box

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


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def made(name, spec=PLANE, **settings):
    return build(name, spec, settings, network=SMALL, iterations=100)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("spec", [PLANE, IMAGES], ids=["plane", "image"])
def test_every_variant_reports_d_t_and_r_t(name, spec):
    method = made(name, spec, batch_size=8, steps=3)
    report = method.training_step(normal(8, *spec.shape), torch.Generator().manual_seed(0))
    assert float(report["d_t"]) == pytest.approx(float(report["energy_data"] - report["energy_negative"]), abs=1e-4)
    assert float(report["r_t"]) > 0


def test_r_t_is_the_mean_gradient_along_the_chains():
    """With steps so small that chains stand still, it is the mean of ‖∇E‖ where they are."""
    x = normal(500, 3, dtype=torch.float64)
    _, summary = run(ULA(1e-9), Quadratic(2.0), x, 4, torch.Generator().manual_seed(0))
    assert summary.gradient_norm == pytest.approx(float((2 * x).norm(dim=1).mean()), rel=1e-6)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("steps", [1, 4])
def test_methods_report_the_mean_gradient_of_all_their_steps(name, steps):
    """Chains that stand still end where they began: r_t is the mean of ‖∇E‖ at the negatives."""
    kernel = {"name": "ula", "settings": {"step_size": 1e-6, "noise_scale": 1e-6, "clip": None}}
    buffer = {"chains": 64} if "chains" in registry.load("methods", name).Config.model_fields else {}
    method = made(name, batch_size=32, steps=steps, kernel=kernel, **buffer)
    batch = normal(32, 2)
    negatives = method.negatives(batch, torch.Generator().manual_seed(1))
    assert negatives.summary.steps == steps
    assert negatives.summary.gradient_evaluations == 32 * steps
    with frozen(method.live):
        expected = float(gradient(method.live, negatives.x).norm(dim=1).mean())
    report = method.training_step(batch, torch.Generator().manual_seed(1))
    assert float(report["r_t"]) == pytest.approx(expected, rel=1e-4)


def test_improved_cd_counts_its_last_step_in_r_t():
    """Its chains move: the mean over all three steps, from a run of the kernel with the same noise."""
    method = made("improved_cd", batch_size=32, chains=32, steps=3, restart=0.0, kernel={"name": "ula", "settings": {"step_size": 1.0}})
    negatives = method.negatives(normal(32, 2), torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    drawn = method.persistence.draw(32, generator)
    x, summary = method.moved(drawn.x, generator)
    torch.testing.assert_close(negatives.x, x)
    assert negatives.summary.gradient_norm == pytest.approx(summary.gradient_norm, rel=1e-5)


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
    moved, slope_at_x = through_last_step(energy, x, z, step, step)
    torch.testing.assert_close(slope_at_x, precision * x)
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


def test_neighbours_can_be_left_out():
    """Points on a line: without the one that a row names, the next nearest counts."""
    x, others = torch.tensor([[0.0], [10.0]]), torch.tensor([[1.0], [4.0], [12.0]])
    assert float(nearest_neighbour_entropy(x, others)) == pytest.approx((math.log(1) + math.log(2)) / 2)
    without = nearest_neighbour_entropy(x, others, torch.tensor([0, 2]))
    assert float(without) == pytest.approx((math.log(4) + math.log(6)) / 2)


@pytest.mark.parametrize("kl_weight", [1.0, -1.0])
@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_improved_cd_adds_what_its_parts_say(kl_weight, temperature):
    """One update's gradient against autograd through the whole step, E's own weights held fixed by a copy, neighbours found one by one."""
    step, noise = 0.2, 0.2 * math.sqrt(temperature)
    settings = {
        "batch_size": 16,
        "chains": 24,
        "steps": 1,
        "kernel": {"name": "ula", "settings": {"step_size": step, "noise_scale": noise}},
        "restart": 0.0,
        "kl_weight": kl_weight,
        "entropy_weight": 0.7,
        "optimiser": {"betas": (0.0, 0.0)},
    }
    method, held = made("improved_cd", **settings), made("improved_cd", **settings).live
    batch, generator = normal(16, 2, seed=5), torch.Generator().manual_seed(3)
    slots = torch.randperm(24, generator=generator)[:16]
    buffer = method.persistence.positions.clone()
    z = torch.randn(16, 2, generator=generator)
    moved, _ = through_last_step(method.live, buffer[slots], z, step, noise)
    distances = [
        torch.stack([(x - buffer[other]).norm() for other in range(24) if other != slot]).min()
        for x, slot in zip(moved, slots.tolist(), strict=True)
    ]
    entropy = 2 * torch.stack(distances).log().mean()
    divergence = held(moved).mean() - 0.7 * temperature * entropy
    loss = method.live(batch).mean() - method.live(moved.detach()).mean() + kl_weight * divergence
    expected = torch.autograd.grad(loss, list(method.live.parameters()), materialize_grads=True)
    method.training_step(batch, torch.Generator().manual_seed(3))
    for ours, theirs in zip(method.learner.moments("first_moment"), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_improved_cd_is_at_rest_where_chains_follow_the_model(temperature):
    """Of q = N(0, c² T/λ), E_q[E] - T H(q) is least at c = 1: λ c² D T/(2 λ) - T D log c. Sample and neighbours are scaled alike."""
    precision, dimension, n = 1.7, 5, 200
    kernel = {"name": "ula", "settings": {"step_size": 0.2, "noise_scale": 0.2 * math.sqrt(temperature)}}
    method = made("improved_cd", batch_size=n, chains=n, kernel=kernel)
    method.learner.network = Quadratic(precision)
    x, others = normal(n, dimension, dtype=torch.float64), normal(n, dimension, seed=1, dtype=torch.float64)
    x = x * math.sqrt(dimension * temperature / precision / float(x.square().sum(1).mean()))
    for c, slope in ((1.0, 0.0), (2.0, 2 - 1 / 2), (0.5, 1 / 2 - 2)):
        scale = torch.tensor(c, dtype=torch.float64, requires_grad=True)
        method.persistence.positions = scale * others
        drawn = Drawn(torch.arange(n), x, torch.zeros(n), torch.zeros(n))
        negatives = Negatives((scale * x).detach(), None, drawn, through=scale * x)
        value = method.loss_beside(x, negatives, torch.Generator())
        (found,) = torch.autograd.grad(value, scale)
        assert float(found) == pytest.approx(method.config.kl_weight * dimension * temperature * slope, abs=1e-9)


def test_improved_cd_needs_a_neighbour():
    with pytest.raises(ValueError, match="at least 2 chains"):
        made("improved_cd", batch_size=1, chains=1)


@pytest.mark.parametrize(
    "kernel", [{"name": "mala", "settings": {"step_size": 0.2}}, {"name": "ula", "settings": {"step_size": 0.2, "clip": 1.0}}]
)
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


def test_mean_field_follows_the_smoothed_gradient():
    """Of E = Σ x⁴/4 the mean of ∇E over N(m, w²) is m³ + 3 m w²: three times as much again at m = w = 1."""
    n, step = 40_000, 0.4
    start = torch.ones(n, 1, dtype=torch.float64)
    x = mean_field(lambda v: v.pow(4).sum(1) / 4, start.float(), 1, step, 1.0, torch.Generator().manual_seed(0)).double()
    assert abs(float(x.mean()) - (1 - step**2 / 2 * 4)) < 5 * float(x.std()) / math.sqrt(n)


def test_mean_field_stays_in_the_box():
    """Pushed against a wall: energies are asked for inside alone, and the sample lies there. Without a wall in reach, none is noticed."""
    asked = []

    class Boxed:
        support = Box(-1.0, 1.0)

        def __call__(self, x):
            asked.append(x.detach())
            return -30 * x.sum(1)

    start = 0.9 * (2 * torch.rand(500, 3, generator=torch.Generator().manual_seed(1)) - 1)
    x = mean_field(Boxed(), start, 5, 0.3, 0.5, torch.Generator().manual_seed(0))
    assert len(asked) == 5
    assert all(Boxed.support.contains(points).all() for points in [*asked, x])
    assert x.std() > 0.1
    free = mean_field(lambda v: -0.1 * v.sum(1), 0 * start, 2, 0.3, 0.01, torch.Generator().manual_seed(0))
    Boxed.__call__ = lambda self, v: -0.1 * v.sum(1)
    torch.testing.assert_close(mean_field(Boxed(), 0 * start, 2, 0.3, 0.01, torch.Generator().manual_seed(0)), free)


def test_short_run_samples_start_at_the_base():
    """With one step that does not move, they have the base's law."""
    n = 5000
    method = made("short_run", IMAGES, steps=1, kernel={"name": "ula", "settings": {"step_size": 1e-6}})
    samples = method.own_samples(n, torch.Generator().manual_seed(0))
    assert samples.sampler == "short run"
    values = samples.x.flatten().double()
    assert abs(float(values.mean()) - method.base.mean) < 5 * method.base.std / math.sqrt(len(values))
    assert float(values.std()) == pytest.approx(method.base.std, rel=5 / math.sqrt(2 * len(values)))
    torch.testing.assert_close(samples.x, method.base.sample(n, torch.Generator().manual_seed(0)), atol=1e-4, rtol=0)


def test_short_chains_follow_the_averaged_weights():
    method, start = made("short_run", steps=5), normal(50, 2)
    with torch.no_grad():
        for parameter in method.live.parameters():
            parameter.add_(normal(*parameter.shape, seed=2))
    ours = method.short_chains(start, torch.Generator().manual_seed(0)).x
    with frozen(method):
        average, live = (
            run(method.kernel, energy, start, 5, torch.Generator().manual_seed(0))[0] for energy in (method.learner.average, method.live)
        )
    assert torch.equal(ours, average)
    assert not torch.equal(ours, live)


def test_cd_starts_at_the_data_and_short_run_in_noise():
    for name, far in (("cd", False), ("short_run", True)):
        method = made(name, steps=1, kernel={"name": "ula", "settings": {"step_size": 1e-4}}, batch_size=64)
        negatives = method.negatives(torch.full((64, 2), 7.0), torch.Generator().manual_seed(0))
        assert bool(((negatives.x - 7).abs() < 0.01).all()) is not far


def test_cd_is_pcd_whose_chains_all_begin_at_the_batch():
    """From the same start and with the same noise: the same negatives, the same update."""
    settings = {"batch_size": 16, "steps": 3, "kernel": {"name": "ula", "settings": {"step_size": 0.2}}}
    cd, pcd = made("cd", **settings), made("pcd", **settings, chains=16, restart=1.0, restart_from="data")
    batch = normal(16, 2)
    drawn = pcd.drawn(batch, torch.Generator().manual_seed(1))
    assert torch.equal(drawn.x, batch)
    # What the draw itself took from the generator is no part of the comparison.
    pcd.drawn = lambda batch, generator: drawn
    negatives = cd.negatives(batch, torch.Generator().manual_seed(0)).x
    before = cd.live(batch).detach()
    for method in (cd, pcd):
        method.training_step(batch, torch.Generator().manual_seed(0))
    assert torch.equal(pcd.persistence.positions[drawn.slots], negatives)
    assert not torch.equal(cd.live(batch), before)
    for ours, theirs in zip(cd.learner.state_dict().values(), pcd.learner.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


class TestMultigrid:
    def test_pooling_undoes_spreading(self):
        x = normal(5, 3, 2, 2)
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
        samples = method.own_samples(200, generator)
        assert samples.sampler == "from coarse to fine"
        assert samples.x.shape == (200, 1, 8, 8)
        assert float(samples.x.mean()) == pytest.approx(0.8, abs=0.15)

    def test_remembers_grey_values(self):
        method = made("cd", IMAGES, start="multigrid", batch_size=8)
        values = torch.linspace(-1, 1, 8)
        images = values.view(8, 1, 1, 1) + torch.linspace(-0.5, 0.5, 64).view(1, 1, 8, 8)
        method.multigrid.remember(images, 3)
        torch.testing.assert_close(method.multigrid.coarsest[24:32].flatten(), values)
        assert (method.multigrid.coarsest[:24] == IMAGES.mean).all()
        for update in range(128):
            method.multigrid.remember(images, update)
        drawn = method.multigrid.remembered(4000, torch.Generator().manual_seed(0)).flatten()
        counts = (drawn[:, None] - values).abs().lt(1e-5).sum(0)
        assert int(counts.sum()) == 4000
        assert (abs(counts - 500) < 5 * math.sqrt(4000 / 8 * 7 / 8)).all()

    def test_energy_penalty_is_paid_on_every_grid(self):
        """What it adds to the gradient is that of the mean square of every coarser energy beyond its base."""
        settings = {"start": "multigrid", "batch_size": 8, "steps": 2, "data_noise": 0.0, "optimiser": {"betas": (0.0, 0.0)}}
        batch, gradients = normal(8, 1, 8, 8), []
        for penalty in (0.0, 0.7):
            method = made("cd", IMAGES, energy_penalty=penalty, **settings)
            names = [name for name, _ in method.live.named_parameters()]
            method.training_step(batch, torch.Generator().manual_seed(0))
            gradients.append(dict(zip(names, method.learner.moments("first_moment"), strict=True)))
        method = made("cd", IMAGES, **settings)
        negatives = method.negatives(batch, torch.Generator().manual_seed(0))
        for index, (side, energy) in enumerate(zip((2, 4), method.live.coarser, strict=True)):
            x = torch.cat([pooled(batch, side), negatives.grids[index]])
            penalty = 0.7 * energy.network((x - IMAGES.mean) / IMAGES.std).square().mean()
            names, parameters = zip(*energy.named_parameters(), strict=True)
            expected = torch.autograd.grad(penalty, parameters)
            assert any(part.abs().max() > 1e-3 for part in expected)
            for name, part in zip(names, expected, strict=True):
                key = f"coarser.{index}.{name}"
                torch.testing.assert_close(gradients[1][key] - gradients[0][key], part, atol=1e-4, rtol=1e-3)

    @pytest.mark.parametrize("grid", [0, 1])
    def test_a_coarser_energy_beyond_the_bound_is_divergence(self, grid):
        """A constant cancels in the contrast: of what the loss is made from, nothing but the energies tells."""
        method = made("cd", IMAGES, start="multigrid", batch_size=8, steps=1, optimiser={"energy_bound": 1e4})
        with torch.no_grad():
            list(method.live.coarser[grid].parameters())[-1].fill_(2e4)
        before = {key: value.clone() for key, value in method.state_dict().items()}
        with pytest.raises(Diverged, match="coarser grid"):
            method.training_step(normal(8, 1, 8, 8), torch.Generator().manual_seed(0))
        for key, value in method.state_dict().items():
            assert torch.equal(value, before[key]), key

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
