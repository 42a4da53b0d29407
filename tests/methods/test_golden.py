"""Numbers that change only with a revision: the guard of minimal reruns.

When one of these fails on purpose, bump the `revision` of the class that changed, then put the new numbers here.
"""

import pytest
import torch

from ebmpipe import registry
from ebmpipe.batches import Batches
from ebmpipe.config import NetworkConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.methods import build
from ebmpipe.samplers import run

#: Method -> (revision, mean energy of 100 test points after ten updates, on eight_gaussians and on digits).
METHODS = {
    "cd": (1, 4.592902, 76.894730),
    "convergent": (1, 4.611602, 76.855568),
    "dsm": (1, 4.596863, 76.938507),
    "igebm": (1, 42770.61, 50392.23),
    "improved_cd": (1, 4.623523, 76.852753),
    "jarzynski": (1, 4.619645, 76.836151),
    "nce": (1, 4.530913, 76.794441),
    "pcd": (2, 4.627776, 76.848854),
    "short_run": (1, 4.622620, 76.850906),
    "unbiased_cd": (1, 4.607601, 76.872292),
}
#: Sampler -> (revision, mean square of 50 chains after 20 steps on a standard Gaussian in the plane).
SAMPLERS = {
    "annealed_langevin": (1, 1.051667),
    "hmc": (1, 0.821447),
    "mala": (1, 1.115556),
    "nuts": (1, 0.932099),
    "parallel_tempering": (1, 1.029564),
    "ula": (1, 0.901884),
    "underdamped_langevin": (1, 0.872392),
}
#: What 20 steps need beside a step size of 0.5 to go through all that a sampler does.
SETTINGS = {
    "annealed_langevin": {"width": 3.0, "levels": 3, "steps_per_level": 5},
    "parallel_tempering": {"temperatures": 3, "hottest": 5.0},
}


def test_every_trained_method_and_sampler_is_guarded():
    assert set(METHODS) == {name for name in registry.names("methods") if registry.load("methods", name).trains}
    assert set(SAMPLERS) == set(registry.names("samplers"))


def value_of(name, data):
    settings = {"batch_size": 32} | ({"chains": 64} if name == "pcd" else {})
    # Defaults of a kind of data may change without a revision: they are part of the runs that start from them.
    config = registry.load("methods", name).Config.model_validate(settings)
    method = build(name, data.spec, config, 0, network=NetworkConfig(settings={"width": 16}), iterations=10)
    generator = torch.Generator().manual_seed(0)
    batches = Batches(data, 32, 0, "cpu")
    for step in range(10):
        method.training_step(batches.at(step, generator), generator)
    points = torch.from_numpy(data.split("test")[:100]).float()
    if data.spec.levels:
        points = 2 * (points + 0.5) / data.spec.levels - 1
    with torch.no_grad():
        return float(method.energy(points).mean())


@pytest.mark.parametrize("name", METHODS)
def test_methods(name, prepared):
    values = [value_of(name, Prepared(prepared[dataset])) for dataset in ("eight_gaussians", "digits")]
    assert (registry.load("methods", name).revision, *values) == pytest.approx(METHODS[name], rel=1e-4)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers(name):
    kernel = registry.load("samplers", name)
    start = torch.zeros(50, 2)
    x, _ = run(
        kernel(step_size=0.5, **SETTINGS.get(name, {})), lambda v: v.square().sum(1) / 2, start, 20, torch.Generator().manual_seed(0)
    )
    assert (kernel.revision, float(x.square().mean())) == pytest.approx(SAMPLERS[name], rel=1e-4)
