"""The contract of an energy network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from ebmpipe import registry
from ebmpipe.activations import Activation
from ebmpipe.config import NetworkConfig
from ebmpipe.derivatives import by_forward_laplacian, by_forward_over_reverse
from ebmpipe.spec import DataSpec, Kind


class NetworkSettings(BaseModel):
    """Base of the settings of a network: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EnergyNetwork(nn.Module, ABC):
    """A network f: (n, *event) -> (n,) on standardised inputs. It may offer ``grad`` and ``value_and_grad`` without autograd.

    Attributes:
        name: id, equal to the file's name.
        revision: bumped when the function it computes from the same weights, or their initialisation, changes.
        kinds: the kinds of data it takes.
        Config: its settings.
        gain: the factor on its input that its first layer's initial weights hold; spectral normalisation leaves it to them.
    """

    name: ClassVar[str]
    revision: ClassVar[int]
    kinds: ClassVar[frozenset[Kind]]
    Config: ClassVar[type[NetworkSettings]]
    gain: float = 1.0

    def __init__(self, shape: tuple[int, ...], config: NetworkSettings) -> None:
        super().__init__()
        self.shape = shape

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """f(x) in nats, shape (n,)."""

    @property
    def smooth(self) -> bool:
        """Whether f is twice differentiable everywhere: of one with kinks second derivatives know nothing."""
        return all(module.smooth for module in self.modules() if isinstance(module, Activation))


def check_smooth(module: nn.Module, name: str) -> None:
    """Raise ValueError if a network in ``module`` is not `EnergyNetwork.smooth`, which the method ``name`` needs."""
    kinked = [type(part).name for part in module.modules() if isinstance(part, EnergyNetwork) and not part.smooth]
    if kinked:
        raise ValueError(
            f"{name} learns from second derivatives, and those of {kinked[0]} with leaky rectifiers are zero wherever there are any: "
            "choose another network, or `activation: silu`"
        )


class HeadedNetwork(EnergyNetwork):
    """f(x) = wᵀh(x) + b with features h; or, with ``classes``, f(x) = -log Σ_y exp l_y(x) of one logit l_y = w_yᵀh(x) + b_y per class.

    The logits then define a joint law of example and class, whose energy is -l_y(x): f is that of x alone, and p(y | x) their softmax
    (Grathwohl et al. 2020, eq. 5 to 8).

    Args:
        shape: event shape.
        config: the network's settings.
        classes: how many classes there are; None: one output, which is f.

    Attributes:
        head: the last, linear layer, which subclasses make.
    """

    head: nn.Linear

    def __init__(self, shape: tuple[int, ...], config: NetworkSettings, classes: int | None = None) -> None:
        super().__init__(shape, config)
        self.classes = classes

    @property
    def outputs(self) -> int:
        """Outputs of the head."""
        return 1 if self.classes is None else self.classes

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """What the head is given, (n, inputs of the head)."""

    @property
    def layers(self) -> Sequence[nn.Module] | None:
        """The whole network as a chain of layers that `by_forward_laplacian` knows, head included; None if it is no such chain."""
        return None

    def slope_and_laplacian(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f(x), ∇f(x) and Δf(x) as `ebmpipe.derivatives.slope_and_laplacian` has them."""
        layers = self.layers if self.classes is None else None
        return by_forward_over_reverse(self, x) if layers is None else by_forward_laplacian(layers, x)

    def outputs_at(self, x: Tensor) -> Tensor:
        """What the head makes of ``x``, (n, outputs)."""
        outputs: Tensor = self.head(self.features(x))
        return outputs

    def with_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f(x) in nats, shape (n,), and the logits that it is made of, (n, classes).

        Raises:
            ValueError: if the head has no classes.
        """
        if self.classes is None:
            raise ValueError("the network's one output is its energy: it was made without classes, and has no logits")
        outputs = self.outputs_at(x)
        return energy_of_logits(outputs), outputs

    def forward(self, x: Tensor) -> Tensor:
        outputs = self.outputs_at(x)
        return outputs.squeeze(1) if self.classes is None else energy_of_logits(outputs)


def energy_of_logits(logits: Tensor) -> Tensor:
    """-log Σ_y exp l_y of logits (n, classes), in nats, (n,)."""
    return -logits.logsumexp(1)


def build_network(config: NetworkConfig, spec: DataSpec, classes: int | None = None) -> EnergyNetwork:
    """The network that ``config`` names, for events of ``spec``; weights from torch's global stream.

    Args:
        config: its name and settings.
        spec: the data.
        classes: how many logits its energy is made of; None: it is the network's one output.

    Raises:
        UnknownMember: if there is no such network.
        ValueError: if it cannot take this kind of data, has no logits though ``classes`` are asked for, or a setting is wrong.
    """
    network = registry.load("nets", config.name)
    if spec.kind not in network.kinds:
        raise ValueError(f"network {config.name!r} takes {', '.join(sorted(network.kinds))}; {spec.name} is {spec.kind}")
    if classes is not None and not issubclass(network, HeadedNetwork):
        raise ValueError(f"network {config.name!r} has no logits to classify with: derive it from HeadedNetwork, or train no classifier")
    more = {} if classes is None else {"classes": classes}
    built: EnergyNetwork = network(spec.shape, network.Config.model_validate(config.settings), **more)
    return built
