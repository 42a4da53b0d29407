"""Updates: Adam as torch has it, schedule, clipping, average, divergence."""

import math

import pytest
import torch
from torch import nn

from ebmpipe.config import OptimiserConfig
from ebmpipe.optimisation import Diverged, Learner, Update, apply_all, apply_gradients


def learner(iterations=100, **settings):
    torch.manual_seed(0)
    return Learner(nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 1)), OptimiserConfig(**settings), iterations)


def loss_of(network, x):
    return network(x).square().mean()


def test_equals_torch_adam():
    ours = learner(learning_rate=0.01, betas=(0.9, 0.99), weight_decay=0.1, schedule="constant")
    plain = learner().network
    optimiser = torch.optim.Adam(plain.parameters(), lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    for _ in range(20):
        x = torch.randn(16, 3)
        apply_gradients(loss_of(ours.network, x), ours)
        optimiser.zero_grad()
        loss_of(plain, x).backward()
        optimiser.step()
    for a, b in zip(ours.network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_of_another_layout_than_their_weights_move_the_right_ones():
    """Weights of convolutions in channels-last layout, and gradients that went through them twice, which are not."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.SiLU(), nn.Conv2d(4, 3, 3), nn.Flatten(), nn.Linear(12, 1))
    ours = Learner(network.to(memory_format=torch.channels_last), OptimiserConfig(betas=(0.0, 0.0), schedule="constant"), 10)
    x = torch.randn(5, 2, 4, 4, requires_grad=True)

    def matching(f):
        return torch.autograd.grad(f(x).sum(), x, create_graph=True)[0].square().sum(1).mean()

    gradients = torch.autograd.grad(matching(ours.network), list(ours.network.parameters()), materialize_grads=True)
    assert any(g.stride() != p.stride() for g, p in zip(gradients, ours.network.parameters(), strict=True)), "nothing is tested"
    apply_gradients(matching(ours.network), ours)
    for moment, gradient in zip(ours.moments("first_moment"), gradients, strict=True):
        torch.testing.assert_close(moment, gradient)


@pytest.mark.parametrize("shared", [True, False])
def test_learners_may_share_a_loss(shared):
    """In one pass the same as in two, each clipped by its own norm."""
    made = [learner(learning_rate=0.01, gradient_clip=clip) for clip in (0.1, None)]
    with torch.no_grad():
        made[1].network[0].weight.mul_(2.0)
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
    before = [[p.clone().requires_grad_(True) for p in member.network.parameters()] for member in made]

    def loss():
        return (made[0].network(x) * made[1].network(x)).square().mean()

    one = loss()
    reports = apply_all(*(Update(one if shared else loss(), member) for member in made))
    values = [
        torch.func.functional_call(m.network, dict(zip(dict(m.network.named_parameters()), w, strict=True)), (x,))
        for m, w in zip(made, before, strict=True)
    ]
    expected = torch.autograd.grad((values[0] * values[1]).square().mean(), [*before[0], *before[1]])
    for member, report, gradients in zip(made, reports, (expected[:4], expected[4:]), strict=True):
        norm = float(torch.cat([g.flatten() for g in gradients]).norm())
        assert report["gradient_norm"] == pytest.approx(norm, rel=1e-5) and report["loss"] == pytest.approx(float(one.detach()))
        factor = (1 - member.config.betas[0]) * min(1.0, (member.config.gradient_clip or math.inf) / norm)
        for moment, gradient in zip(member.moments("first_moment"), gradients, strict=True):
            torch.testing.assert_close(moment, factor * gradient)


def test_cosine_schedule_with_warmup():
    member = learner(iterations=10, learning_rate=1.0, warmup=1)
    rates = []
    for _ in range(10):
        rates.append(member.learning_rate())
        apply_gradients(loss_of(member.network, torch.randn(4, 3)), member)
    cosine = [0.5 * (1 + math.cos(math.pi * step / 10)) for step in range(10)]
    assert rates == pytest.approx([0.5, *cosine[1:]])


def test_clipping_scales_the_gradient_and_reports_its_norm_before():
    free, clipped = learner(betas=(0.0, 0.0)), learner(betas=(0.0, 0.0), gradient_clip=1e-3)
    x = torch.randn(64, 3)
    assert apply_gradients(loss_of(free.network, x), free) == apply_gradients(loss_of(clipped.network, x), clipped)
    moments = torch.cat([m.flatten() for m in clipped.moments("first_moment")])
    assert float(moments.norm()) == pytest.approx(1e-3, rel=1e-4)


def test_the_average_is_the_plain_mean_first_and_exponential_later():
    member = learner(average_decay=0.5, schedule="constant")
    start = [p.clone() for p in member.network.parameters()]
    expected = start
    for count in range(1, 30):
        apply_gradients(loss_of(member.network, torch.randn(8, 3)), member)
        decay = min(0.5, count / (count + 10))
        expected = [decay * e + (1 - decay) * p.detach() for e, p in zip(expected, member.network.parameters(), strict=True)]
    for a, b in zip(member.average.parameters(), expected, strict=True):
        torch.testing.assert_close(a.detach(), b.detach())


def test_a_restored_learner_goes_on_to_the_bit():
    x = torch.randn(40, 8, 3)
    whole, first, second = learner(), learner(), learner()
    for batch in x:
        apply_gradients(loss_of(whole.network, batch), whole)
    for batch in x[:17]:
        apply_gradients(loss_of(first.network, batch), first)
    second.load_state_dict(first.state_dict())
    for batch in x[17:]:
        apply_gradients(loss_of(second.network, batch), second)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e9])
def test_divergence_leaves_the_last_good_weights(bad):
    member = learner()
    apply_gradients(loss_of(member.network, torch.randn(4, 3)), member)
    before = {name: value.clone() for name, value in member.state_dict().items()}
    with pytest.raises(Diverged, match="loss"):
        apply_gradients(loss_of(member.network, torch.randn(4, 3)) * 0 + bad, member)
    assert all(torch.equal(before[name], value) for name, value in member.state_dict().items())


def test_a_non_finite_gradient_is_divergence():
    member = learner()
    x = torch.zeros(1, requires_grad=True)
    with pytest.raises(Diverged, match="gradient"):
        apply_gradients((member.network[0].weight.sum() * 0 + x * 0).abs().sqrt().sum(), member)


def test_a_gradient_beyond_the_bound_is_divergence():
    x = torch.randn(4, 3)
    member = learner()
    size = apply_gradients(loss_of(member.network, x), member)["gradient_norm"]
    apply_gradients(loss_of((kept := learner(gradient_bound=size * 1.01)).network, x), kept)
    lost = learner(gradient_bound=size * 0.99)
    with pytest.raises(Diverged, match=r"the gradient's norm, .* is beyond the bound"):
        apply_gradients(loss_of(lost.network, x), lost)
    assert int(lost.updates) == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -101.0, 101.0])
def test_an_energy_that_is_none_or_too_large_is_divergence(bad):
    """Although the loss itself is fine: it may be made of differences or of gradients."""
    member = learner(energy_bound=100.0)
    x = torch.randn(4, 3)
    apply_gradients(loss_of(member.network, x), member, torch.tensor([1.0, -100.0]))
    before = {name: value.clone() for name, value in member.state_dict().items()}
    with pytest.raises(Diverged, match="the largest energy"):
        apply_gradients(loss_of(member.network, x), member, torch.tensor([1.0, bad, 2.0]))
    assert all(torch.equal(before[name], value) for name, value in member.state_dict().items())


def test_a_parameter_that_the_loss_does_not_see_stays():
    member = learner()
    bias = member.network[2].bias.clone()
    x = torch.randn(4, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(member.network(x).sum(), x, create_graph=True)
    apply_gradients(slope.square().sum(), member)
    assert torch.equal(member.network[2].bias, bias)
