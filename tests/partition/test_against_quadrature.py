"""In the plane log Z is known by quadrature: annealing finds it for networks on a base, the energies that methods train."""

import pytest
import torch

from ebmpipe.config import NetworkConfig, PartitionConfig
from ebmpipe.energies import BasedEnergy, GaussianLaw, frozen, on_arrays, tempered
from ebmpipe.flows.base import build_flow
from ebmpipe.flows.law import FlowLaw
from ebmpipe.flows.standard import standard_flow
from ebmpipe.metrics.quadrature import log_partition
from ebmpipe.nets.base import build_network
from ebmpipe.partition.bracket import bracket
from ebmpipe.spec import DataSpec

SPEC = DataSpec("made", "density", (2,), 0.0, 2.0, None, None, 2.8, None)
CONFIG = PartitionConfig(chains=96)


def energy_of(seed, temperature):
    """A network with hills of several nats on the scale of the data, as training makes them, on the Gaussian base."""
    torch.manual_seed(seed)
    network = build_network(NetworkConfig(name="mlp", settings={"width": 64, "depth": 2, "gain": 6.0}), SPEC)
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.mul_(2.0)
    return BasedEnergy(network, SPEC, temperature=temperature)


@pytest.mark.parametrize(("seed", "temperature"), [(0, 1.0), (1, 1.0), (2, 0.3)])
def test_annealing_agrees_with_quadrature(seed, temperature):
    with torch.random.fork_rng():
        module = energy_of(seed, temperature)
        flow = FlowLaw(build_flow(standard_flow(2), SPEC), SPEC).requires_grad_(False)
    energy = tempered(module, temperature)
    with frozen(module):
        exact, _ = log_partition(lambda x: -on_arrays(energy, "cpu")(x), half_width=16.0)
        assert abs(exact) > 0.1, "no base is its own model"
        bases = {"gaussian": GaussianLaw.of(SPEC), "flow": flow}
        found = bracket(bases, energy, None, CONFIG, torch.Generator().manual_seed(seed))
    assert found.base == "gaussian", "an untrained flow is farther from everything than the base is"
    for name, estimate in found.estimates.items():
        if name != "importance":
            assert abs(estimate.log_z - exact) < 0.02, name
    # Where few weights decide, the standard error of importance sampling says nothing.
    if found.importance.ess > 0.1:
        assert found.importance.log_z == pytest.approx(exact, abs=4 * found.importance.stderr)
