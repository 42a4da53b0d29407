"""Adversarial training of an energy and a generator."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ebmpipe.config import MethodConfig, OptimiserConfig
from ebmpipe.derivatives import to_first_order
from ebmpipe.energies import frozen, value_and_gradient
from ebmpipe.event_map import EventMap, EventMapConfig
from ebmpipe.methods.base import ByKind, EnergyMethod, Reference, Samples, Setup
from ebmpipe.methods.f_divergences import DIVERGENCES, Divergence
from ebmpipe.methods.noisy_generator import NoisyGenerator, NoisyGeneratorConfig
from ebmpipe.optimisation import Learner, Update, apply_all
from ebmpipe.spec import DataSpec


def variational_bound(energy_data: Tensor, energy_generated: Tensor, log_density_generated: Tensor) -> Tensor:
    """E_q E - E_data E - H(q), a scalar in nats: an upper bound on the mean log-likelihood of the data, too high by KL(q ‖ p).

    Because log Z is the largest value over q of H(q) - E_q E, found at q = p (Song & Kingma 2021, §6.3).

    Args:
        energy_data: E at data, (n,).
        energy_generated: E at samples of q, (m,).
        log_density_generated: log q at them, (m,).
    """
    return energy_generated.mean() + log_density_generated.mean() - energy_data.mean()


def covariance_loss(energies: Tensor, weights: Tensor) -> Tensor:
    """The covariance of E with w over samples of the model, a scalar, whose gradient in the energy's weights is that of -E_p w, w fixed.

    With w = f*(f'(p_data/p)) it is the gradient of D_f(p_data, p) (Yu et al. 2020).

    Args:
        energies: E at samples of p, (n,).
        weights: w there, (n,), constants.
    """
    return (energies * (weights - weights.mean())).sum() / (len(energies) - 1)


#: Largest log-ratio that a critic can claim, in nats: of larger ones no batch knows, and their exponentials would drown all others.
LARGEST_RATIO = 10.0


class Ratio(nn.Module):
    """h(x), an estimate of log p_data(x)/p(x): a multilayer perceptron on inputs of unit variance, bent to within ±`LARGEST_RATIO`."""

    def __init__(self, spec: DataSpec, config: EventMapConfig) -> None:
        super().__init__()
        self.map, self.mean, self.std = EventMap(spec.dimension, (), config), spec.mean, spec.std

    def forward(self, x: Tensor) -> Tensor:
        """h in nats, (n,)."""
        value: Tensor = self.map((x - self.mean) / self.std)
        return LARGEST_RATIO * (value / LARGEST_RATIO).tanh()


class AdversarialConfig(MethodConfig):
    """Settings of `Adversarial`."""

    batch_size: int = Field(256, ge=2, description="examples per update, and samples of the generator")
    generator: NoisyGeneratorConfig = Field(
        NoisyGeneratorConfig(width=256, gain=8.0, betas=(0.9, 0.99), noise=0.07),
        description="the generator, and how its entropy is estimated; its structure has to become as fine as the data's",
    )
    optimiser: OptimiserConfig = Field(
        OptimiserConfig(learning_rate=1e-3, betas=(0.0, 0.9)),
        description="how the energy network is updated: without momentum, which overshoots",
    )
    divergence: Divergence = Field(
        "kl", description="from the data to the energy's law: kl is maximum likelihood, the others need a critic that tells the two apart"
    )
    critic: EventMapConfig = Field(EventMapConfig(), description="the critic of the others")


class Adversarial(EnergyMethod):
    """max over E, min over q of E_q E - E_data E - H(q): a generator q learns to sample the energy, which learns to tell q from the data.

    The generator stands in for chains; its entropy keeps it from collapsing to the energy's minimum, and its score is estimated from where
    in latent space each sample may have come from (VERA: Grathwohl et al. 2021). The bound on the log-likelihood is an upper one: it is as
    good as the generator, and an energy trained against a weak one can diverge. With another f-divergence the energy's
    gradient is a covariance over samples of the generator with what a critic thinks of them (f-EBM: Yu et al. 2020). The generator is the
    own sampler.
    """

    name = "adversarial"
    revision = 1
    title = "Adversarial (VERA)"
    references = (
        Reference(
            "W. Grathwohl, J. Kelly, M. Hashemi, M. Norouzi, K. Swersky, D. Duvenaud",
            "No MCMC for me: amortized sampling for fast and stable training of energy-based models",
            2021,
            "2010.04230",
        ),
        Reference(
            "L. Yu, Y. Song, J. Song, S. Ermon", "Training deep energy-based models with f-divergence minimization", 2020, "2003.03463"
        ),
        Reference("Y. Song, D. P. Kingma", "How to train your energy-based models", 2021, "2101.03288"),
    )
    Config = AdversarialConfig
    config: AdversarialConfig
    supports = frozenset({"space"})  # the generator reaches beyond every box
    settings_by_kind: ClassVar[ByKind] = {
        # The penalty damps the game, at the price of an energy a little too flat.
        "density": {"energy_penalty": 0.005, "optimiser": {"learning_rate": 2e-4}},
        # As much noise as the data have, nearly: what is left to learn is what lies beneath.
        "images": {
            "batch_size": 128,
            "data_noise": 0.3,
            "generator": {"noise": 0.3, "gain": 1.0, "betas": [0.5, 0.9], "proposals": 2},
            "optimiser": {"learning_rate": 1e-4},
        },
    }

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        config, spec, optimiser = self.config, setup.spec, self.config.optimiser
        generator = NoisyGenerator(spec, config.generator)
        self.generator = Learner(generator, config.generator.optimiser(optimiser), setup.iterations)
        self.critic: Learner | None = None
        if config.divergence != "kl":
            self.critic = Learner(Ratio(spec, config.critic), config.critic.optimiser(optimiser), setup.iterations)

    @property
    def gradient_evaluations_per_step(self) -> int:
        """Every example and every generated sample once, in the weights; and ∇ₓE at the latter, from which the generator learns."""
        return 3 * self.config.batch_size

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        n, network = len(batch), self.generator.network
        assert isinstance(network, NoisyGenerator)
        generated, z = network.sample(n, generator)
        score, log_density = network.score(generated.detach(), z, generator)
        with frozen(self.live):
            values, uphill = value_and_gradient(self.live, generated.detach())
        # E_q E - H(q), by the path of the samples alone: the mean of how log q changes at a fixed point is zero.
        divergence = to_first_order(values + log_density, uphill + score, generated).mean()
        x = torch.cat([batch, generated.detach()])
        energies = self.live(x)
        on_data, on_generated = energies.split(n)
        more = []
        if self.critic is None:
            loss = on_data.mean() - on_generated.mean()
        else:
            f = DIVERGENCES[self.config.divergence]
            here, there = self.critic.network(x).split(n)
            loss = covariance_loss(on_generated, f.on_model(there).detach())
            more = [Update(f.on_model(there).mean() - f.on_data(here).mean(), self.critic)]
        of_energy = self.as_update(loss, energies, x)
        report, of_generator, *of_critic = apply_all(of_energy, Update(divergence, self.generator), *more)
        return {
            **report,
            "bound": variational_bound(on_data.detach(), on_generated.detach(), log_density),
            "entropy": -log_density.mean(),
            "generator_gradient_norm": of_generator["gradient_norm"],
        } | ({"divergence": -of_critic[0]["loss"]} if of_critic else {})

    def own_samples(self, n: int, generator: torch.Generator) -> Samples:
        """``n`` samples of the generator, with averaged weights."""
        network = self.generator.average
        assert isinstance(network, NoisyGenerator)
        with torch.no_grad():
            x, _ = network.sample(n, generator)
        return Samples(self.denoised(x), "generator", before=x if self.denoises else None, gradient_evaluations=n * int(self.denoises))
