"""The contract of a training method."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ebmpipe import registry, samplers
from ebmpipe.config import KernelConfig, MethodConfig, NetworkConfig, SamplingConfig
from ebmpipe.energies import BasedEnergy, Energy, Law, base_law, frozen, gradient, support_of, tempered
from ebmpipe.latent_codes import LatentCodes
from ebmpipe.layers import merged
from ebmpipe.nets.base import build_network
from ebmpipe.nets.spectral import spectrally_normalised
from ebmpipe.optimisation import Learner, Update, apply_gradients
from ebmpipe.sample_revision import SampleRevision
from ebmpipe.samplers.adaptation import adapt, check_adaptable
from ebmpipe.samplers.base import check_reaches_target
from ebmpipe.seeding import derive
from ebmpipe.spec import DataSpec, Kind

if TYPE_CHECKING:
    from ebmpipe.transport import LatentEnergy

#: Chains that move together when sampling: their activations still fit the cache.
CHUNK = 1024
#: Settings that differ by kind of data.
ByKind = Mapping[Kind, Mapping[str, Any]]


@dataclass(frozen=True)
class Reference:
    """A publication."""

    authors: str
    title: str
    year: int
    arxiv: str | None = None


class NoEnergy(Exception):
    """Raised by `Method.energy` where there is none; the text says why and is what tables print."""


class NoClassifier(Exception):
    """Raised by `Method.class_probabilities` where a method learns no classes."""


@dataclass
class Samples:
    """Positions (n, *event) and how they were made.

    Attributes:
        x: the samples.
        sampler: what drew them, in a word or two.
        before: the same chains before the denoising jump, if there was one.
        acceptance: mean acceptance probability, None where nothing is rejected.
        sampler_steps: steps of each chain.
        gradient_evaluations: input gradients, over all chains.
        temperature: as in `ebmpipe.samplers.Summary`.
        notes: anything else worth keeping with the samples.
    """

    x: Tensor
    sampler: str = "long chains"
    before: Tensor | None = None
    acceptance: float | None = None
    sampler_steps: int = 0
    gradient_evaluations: int = 0
    temperature: float = 1.0
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Setup:
    """What a method is made from.

    Attributes:
        spec: the data.
        config: the method's settings.
        network: the energy network.
        iterations: length of the learning-rate schedule in updates.
        generator: the ``init`` stream, for chains; weights come from torch's global stream.
        required: the trained methods it builds on, by role.
    """

    spec: DataSpec
    config: MethodConfig
    network: NetworkConfig
    iterations: int
    generator: torch.Generator
    required: Mapping[str, Method]


def build_kernel(config: KernelConfig, steps: int | None = None, kind: Kind | None = None) -> samplers.Kernel:
    """The Markov kernel that ``config`` names.

    Args:
        config: its name and settings.
        steps: how long its runs will be, where that is known.
        kind: the kind of data whose law it will move on, where that is known.

    Raises:
        UnknownMember: if there is no such kernel.
        ValueError: if a setting is unknown, missing or out of range, runs of ``steps`` would end before they come to its target, or it
            does not take ``kind``.
    """
    kernel = registry.load("samplers", config.name)
    if kind is not None and kind not in kernel.kinds:
        raise ValueError(f"kernel {config.name!r} takes {', '.join(sorted(kernel.kinds))}, not {kind}")
    built: samplers.Kernel = kernel(**kernel.settings_model().model_validate(config.settings).model_dump())
    if steps is not None:
        check_reaches_target(built, steps)
    return built


def build_sampling_kernel(config: SamplingConfig, kind: Kind | None = None) -> samplers.Kernel:
    """The Markov kernel of fresh samples, as `build_kernel` makes it.

    Raises:
        ValueError: also if its step size is to be adapted and cannot be.
    """
    kernel = build_kernel(config.kernel, config.steps, kind)
    if config.adaptation_steps:
        check_adaptable(kernel)
    return kernel


def long_chains(energy: Energy, law: Law, settings: SamplingConfig, n: int, generator: torch.Generator) -> Samples:
    """``n`` samples of ``energy`` by long chains from ``law``, as ``settings`` say, without a denoising jump.

    A step size that is to be adapted is so on chains of its own, which start like those of the first chunk; the samples' chains all
    start afresh with the step size found, so they are independent of each other but for that one number.
    """
    kernel = build_sampling_kernel(settings)
    positions, acceptance, evaluations = [], 0.0, 0
    notes: dict[str, Any] = {}
    if settings.adaptation_steps:
        start = law.sample(min(CHUNK, n), generator)
        kernel, _, search = adapt(kernel, energy, start, settings.adaptation_steps, generator)
        evaluations += search.gradient_evaluations
        notes["adaptation"] = {"step_size": kernel.step_size, "acceptance": search.acceptance}
    for first in range(0, n, CHUNK):
        start = law.sample(min(CHUNK, n - first), generator)
        x, summary = samplers.run(kernel, energy, start, settings.steps, generator)
        acceptance += summary.acceptance * len(x) / n
        evaluations += summary.gradient_evaluations
        positions.append(x)
    return Samples(
        torch.cat(positions),
        acceptance=acceptance if kernel.adjusted else None,
        sampler_steps=settings.steps,
        gradient_evaluations=evaluations,
        temperature=kernel.temperature,
        notes=notes,
    )


class Method(nn.Module, ABC):
    """A way to train an energy. Its state dict holds everything that the next update depends on.

    Attributes:
        name: id, equal to the file's name.
        revision: bumped when its numerics change.
        title: what tables and figures call it.
        references: where it comes from.
        Config: its settings, every field described, defaults from the source.
        kinds: the kinds of data it takes.
        requires: roles of other runs it builds on, such as ``backbone``; they arrive trained in `Setup.required`.
        supports: where its energy may be defined, see `MethodConfig.support`.
        settings_by_kind: defaults of its settings that differ by kind of data, laid over those of ``Config``.
        trains: False for controls, which run no update.
        control: True for rows that only give the tables their scale.
        latent_space: whether it has a `latent_energy`.
        generates: whether it has `latent_codes`.
        revises: whether it has a `sample_revision`.
        exact_sampler: whether `sample` draws exactly from the law of `energy`, independently.
    """

    name: ClassVar[str]
    revision: ClassVar[int]
    title: ClassVar[str]
    references: ClassVar[tuple[Reference, ...]]
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    kinds: ClassVar[frozenset[Kind]] = frozenset({"density", "vectors", "images"})
    requires: ClassVar[tuple[str, ...]] = ()
    supports: ClassVar[frozenset[str]] = frozenset({"space", "box"})
    settings_by_kind: ClassVar[ByKind] = {}
    trains: ClassVar[bool] = True
    control: ClassVar[bool] = False
    exact_sampler: ClassVar[bool] = False
    latent_space: ClassVar[bool] = False
    generates: ClassVar[bool] = False
    revises: ClassVar[bool] = False

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self.spec, self.config = setup.spec, setup.config
        self.base = self.base_of(setup)
        self.sampling = SamplingConfig()

    def base_of(self, setup: Setup) -> Law:
        """`base`: the law, the same throughout the training, that chains start from and that the energy penalty takes off."""
        return base_law(setup.spec, setup.config.support)

    @property
    def tilted(self) -> Law:
        """The normalised law that `energy` tilts, so that log Z = 0 where the network is 0: `base`, unless the energy's is learned."""
        return self.base

    @property
    def start(self) -> Law:
        """The law that chains of `energy` in data space start from, where nothing else is said: `base`, unless the energy tilts another.

        Far from where a map's law reaches, minus the logarithm of its density is so steep that no step is short enough.
        """
        return self.base

    @property
    def gradient_evaluations_at_start(self) -> int:
        """Gradient evaluations that setting up costs."""
        return 0

    @property
    @abstractmethod
    def gradient_evaluations_per_step(self) -> int:
        """Gradient evaluations of one `training_step`: one example's gradient of E, in x or in the weights, is one."""

    @property
    def random_cost(self) -> bool:
        """Whether updates cost a random number of gradient evaluations.

        Each then reports its own as ``gradient_evaluations``, and `gradient_evaluations_per_step` is a number to plan with: the least or
        the most that one may cost, as it says of itself.
        """
        return False

    @property
    def classifies(self) -> bool:
        """Whether it learns p(y | x) from labels: then updates are those of `labelled_step`, and `class_probabilities` are there."""
        return False

    @property
    def noise_level(self) -> float:
        """σ of the Gaussian noise in the data that the energy models; 0 if it models the data themselves."""
        return self.config.data_noise

    @property
    def temperature(self) -> float:
        """T at which the negative samples were drawn, 1 unless a kernel's noise and drift disagree; `energy` is divided by it."""
        return 1.0

    def smoothed(self, x: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
        """Examples ``x`` (n, *event) with Gaussian noise of standard deviation ``sigma``; on a box, the walls reflect it."""
        if not sigma:
            return x
        noisy = x.add(torch.randn(x.shape, generator=generator, device=x.device), alpha=sigma)
        return self.base.support.fold(noisy) if self.base.support else noisy

    @abstractmethod
    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        """One whole update from ``batch`` (n, *event) in model space; returns losses and diagnostics.

        These are scalars, or functions of nothing that return one, which are called when a row of the history is written.
        """

    def labelled_step(self, batch: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Any]:
        """`training_step` of a method that `classifies`: one whole update from ``batch`` (n, *event) and its classes ``labels`` (n,)."""
        raise NotImplementedError(f"{self.name} learns no classes")

    @property
    def follows_examples(self) -> bool:
        """Whether it keeps something of each training example: then updates are those of `followed_step`."""
        return False

    def followed_step(self, batch: Tensor, chosen: Tensor, generator: torch.Generator) -> dict[str, Any]:
        """`training_step` of a method that follows examples: ``batch`` (n, *event) and which of the training split they are, (n,) int64."""
        raise NotImplementedError(f"{self.name} keeps nothing of single examples")

    @abstractmethod
    def energy(self, x: Tensor) -> Tensor:
        """E(x) of the trained model in nats, shape (n,): averaged weights, base and temperature included.

        The law that it describes is the one that training matched with the data: exp(-E/T) of the network's E, if T is the temperature of
        the chains.

        Raises:
            NoEnergy: if the row has none.
        """

    def energy_function(self) -> Energy:
        """The same energy as an object that may offer input gradients by hand."""
        return self.energy

    def live_energy_function(self) -> Energy | None:
        """The same with the weights in training in place of their average; None if the method keeps no such weights."""
        return None

    def class_probabilities(self, x: Tensor) -> Tensor:
        """p(y | x) of the trained model at ``x`` (n, *event), averaged weights: (n, classes) float64, rows summing to 1.

        Raises:
            NoClassifier: if it learns none.
        """
        raise NoClassifier(f"{self.name} learns no classes")

    def chains(self) -> Samples | None:
        """The persistent chains of training as they are, and how they came about, if the method has any."""
        return None

    def log_partition(self) -> tuple[float, float] | None:
        """log Z of `energy` in nats as training estimated it on its way, and its standard error, if the method does."""
        return None

    def statistics(self) -> dict[str, Any]:
        """What the whole of training came to that no row of its history tells, for run.json."""
        return {}

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Samples:
        """``n`` fresh samples by `long_chains` from `start`, as ``self.sampling`` says, with the denoising jump."""
        build_sampling_kernel(self.sampling, self.spec.kind)
        with frozen(self):
            drawn = long_chains(self.energy_function(), self.start, self.sampling, n, generator)
        return replace(
            drawn,
            x=self.denoised(drawn.x),
            before=drawn.x if self.denoises else None,
            gradient_evaluations=drawn.gradient_evaluations + n * int(self.denoises),
        )

    def own_samples(self, n: int, generator: torch.Generator) -> Samples | None:
        """Samples by the method's own sampler, which they name (`Samples.sampler`); None if it has no other than long chains.

        They are the source ``own``, beside those of `sample`, by which all methods are compared. Like those, they end with the denoising
        jump, the positions before it being in `Samples.before`.
        """
        return None

    def generated_samples(self, n: int, generator: torch.Generator) -> Samples | None:
        """``n`` samples of the generator whose samples the own sampler revises, as they are: the source ``generated``; None without one."""
        return None

    def sample_revision(self) -> SampleRevision | None:
        """How the own sampler revises a generator's samples under the energy, averaged weights; None if it does not."""
        return None

    def latent_codes(self) -> LatentCodes | None:
        """What latent vectors of its generator examples may have come from, averaged weights; None without a generator."""
        return None

    def latent_energy(self) -> LatentEnergy | None:
        """The law of `energy` in the latent space of what it tilts, averaged weights; None if it has no such space."""
        return None

    def latent_samples(self, n: int, generator: torch.Generator) -> Samples | None:
        """``n`` samples of `latent_energy` by the method's own sampler, (n, dimension); None without a latent space."""
        return None

    @property
    def denoises(self) -> bool:
        """Whether samples end with a denoising jump."""
        return self.sampling.denoise and self.noise_level > 0

    def denoised(self, x: Tensor) -> Tensor:
        """x - σ²∇E(x): the posterior mean of the clean example (Miyasawa 1961) if so configured, else ``x``.

        On a box the formula holds a few σ away from the walls. What it carries beyond them is brought back to the nearest point of the
        box, which is nearer to every clean example.
        """
        if not self.denoises:
            return x
        energy = self.energy_function()
        with frozen(self):
            x = torch.cat([part - self.noise_level**2 * gradient(energy, part) for part in x.split(CHUNK)])
        box = support_of(energy)
        return box.nearest(x) if box else x


class Control(Method):
    """A row that trains nothing and gives the tables their scale."""

    references = ()
    trains = False
    control = True

    @property
    def gradient_evaluations_per_step(self) -> int:
        """None are spent."""
        return 0

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        """Nothing is learned."""
        return {"loss": 0.0}


class EnergyMethod(Method):
    """A method that trains one energy network on top of its base."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.learner = Learner(self.made(setup), setup.config.optimiser, setup.iterations)

    def network(self, setup: Setup, spec: DataSpec) -> nn.Module:
        """A new network over events of ``spec``, its weights normalised if so configured."""
        network: nn.Module = build_network(setup.network, spec, self.classes)
        return network if setup.config.spectral_norm is None else spectrally_normalised(network, setup.config.spectral_norm)

    def made(self, setup: Setup) -> nn.Module:
        """What is optimised: the energy, or a module around it."""
        return BasedEnergy(self.network(setup, setup.spec), setup.spec, self.base, self.temperature)

    @property
    def classes(self) -> int | None:
        """How many logits the energy is made of; None: it is the network's one output."""
        return None

    @property
    def classifies(self) -> bool:
        return self.classes is not None

    @torch.no_grad()
    def class_probabilities(self, x: Tensor) -> Tensor:
        if not self.classifies:
            return super().class_probabilities(x)
        _, logits = self.learner.average.with_logits(x)  # type: ignore[operator]
        probabilities: Tensor = logits.double().softmax(1)
        return probabilities

    @property
    def live(self) -> nn.Module:
        """The energy with the weights in training."""
        return self.learner.network

    def as_update(self, loss: Tensor, energies: Tensor, x: Tensor, base: Tensor | None = None) -> Update:
        """The update of the energy that minimises ``loss``, with the energy penalty added.

        Args:
            loss: a scalar, in nats.
            energies: E (n,) at every example that the loss was made from.
            x: those examples, (n, *event).
            base: minus the base's log-density at each, (n,), where theirs is not `base`.
        """
        if self.config.energy_penalty:
            base = self.base(x.detach()) if base is None else base.detach()
            loss = loss + self.config.energy_penalty * (energies - self.temperature * base).square().mean()
        return Update(loss, self.learner, energies)

    def update(self, loss: Tensor, energies: Tensor, x: Tensor, base: Tensor | None = None) -> dict[str, Any]:
        """Make the update that `as_update` describes, as `apply_gradients` does."""
        return dict(apply_gradients(*self.as_update(loss, energies, x, base)))

    def energy(self, x: Tensor) -> Tensor:
        value: Tensor = self.energy_function()(x)
        return value

    def modelled(self, energy: nn.Module) -> Energy:
        """The energy of the law that training matches with the data, made of ``energy``: what is learned, live or averaged."""
        return tempered(energy, self.temperature)

    def energy_function(self) -> Energy:
        return self.modelled(self.learner.average)

    def live_energy_function(self) -> Energy | None:
        return self.modelled(self.live)


def settings_of(method: type[Method], kind: Kind, given: Mapping[str, Any]) -> MethodConfig:
    """The settings of ``method`` on a kind of data: its defaults, those of the kind, then what is given; later ones win.

    What says every key, as a run's config.json does, is taken as it is: of a kernel that was chosen nothing else shows through.

    Raises:
        ValueError: if a setting is unknown or out of range.
    """
    if not set(method.Config.model_fields) <= set(given):
        given = merged(method.Config().model_dump(mode="json"), method.settings_by_kind.get(kind), given)
    return method.Config.model_validate(given)


def build(
    name: str,
    spec: DataSpec,
    config: MethodConfig | dict[str, Any] | None = None,
    seed: int = 0,
    *,
    network: NetworkConfig | None = None,
    iterations: int = 1000,
    required: Mapping[str, Method] | None = None,
    device: str = "cpu",
) -> Method:
    """Make a method, initialised from the ``init`` stream of ``seed``.

    Args:
        name: id of a method, or ``module:Class``.
        spec: the data.
        config: its settings; those that a dictionary lacks are its defaults on this kind of data.
        seed: root seed of the run.
        network: the energy network; an MLP if None.
        iterations: length of the learning-rate schedule in updates.
        required: the trained methods it builds on, by role.
        device: where it lives.

    Raises:
        UnknownMember: if there is no such method.
        ValueError: if it cannot take this kind of data or this support, a role is missing or unknown, or a setting is wrong.
    """
    method = registry.load("methods", name)
    if spec.kind not in method.kinds:
        raise ValueError(f"method {name!r} takes {', '.join(sorted(method.kinds))}; {spec.name} is {spec.kind}")
    if set(required or {}) != set(method.requires):
        raise ValueError(
            f"method {name!r} requires {', '.join(method.requires) or 'no other run'}; given: {', '.join(required or {}) or 'none'}"
        )
    settings = config if isinstance(config, MethodConfig) else settings_of(method, spec.kind, config or {})
    if settings.data_noise and spec.kind == "binary":
        raise ValueError(f"{spec.name} is binary, and Gaussian noise makes other data of it: set `data_noise: 0`")
    if settings.support not in method.supports:
        raise ValueError(f"method {name!r} cannot train an energy on a {settings.support}: set `support: {min(method.supports)}`")
    # Networks draw their initial weights from torch's global stream: give it the run's, and put the old one back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "init", "weights"))
        generator = torch.Generator().manual_seed(derive(seed, "init", "chains"))
        built: Method = method(Setup(spec, settings, network or NetworkConfig(), iterations, generator, required or {}))
    if not 0 < built.temperature < math.inf:
        raise ValueError(
            f"{name} samples at temperature {built.temperature:g}, and there is no law exp(-E/T) for it to learn: give its kernel noise"
        )
    return built.to(device)
