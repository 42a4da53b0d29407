"""The contract of an energy network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from ebmpipe import registry
from ebmpipe.config import NetworkConfig
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


def build_network(config: NetworkConfig, spec: DataSpec) -> EnergyNetwork:
    """The network that ``config`` names, for events of ``spec``; weights from torch's global stream.

    Raises:
        UnknownMember: if there is no such network.
        ValueError: if it cannot take this kind of data, or a setting is wrong.
    """
    network = registry.load("nets", config.name)
    if spec.kind not in network.kinds:
        raise ValueError(f"network {config.name!r} takes {', '.join(sorted(network.kinds))}; {spec.name} is {spec.kind}")
    built: EnergyNetwork = network(spec.shape, network.Config.model_validate(config.settings))
    return built
