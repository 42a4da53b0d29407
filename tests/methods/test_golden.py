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

#: Method -> (revision, then on eight_gaussians and on digits, after ten updates, what `values_of` tells).
METHODS = {
    "cd": (1, 0.09844221, 0.2091228, -0.08030342, 4.687153),
    "conditional_nce": (1, 0.1072791, 0.8629872, -0.01168749, 0.2562238),
    "convergent": (1, 0.1171424, 1.652568, -0.1194766, 17.05038),
    "dsm": (2, 0.1024039, 0.04680212, -0.0365275, 0.6866003),
    "flow_contrastive": (1, 0.06243629, 1.175842, -0.1419285, 18.59109),
    "igebm": (1, -5.102345, 405.9549, 26.16928, 11644.45),
    "improved_cd": (2, 0.1289429, 2.590451, -0.1223431, 17.28099),
    "jarzynski": (1, 0.1251855, 2.312715, -0.1388924, 17.33081),
    "nce": (2, 0.03645367, 1.263658, -0.1805966, 20.09139),
    "ncsn": (1, -0.2039118, 0.4155223, 0.5075942, 2.432947),
    "pcd": (2, 0.1333162, 3.004608, -0.1261924, 18.08886),
    "score_matching": (1, 0.1420508, 0.4544194, -0.1144088, 18.23764),
    "short_run": (1, 0.1281606, 3.750873, -0.1241283, 17.12128),
    "sliced_score_matching": (1, 0.1383895, 0.4498564, -0.1049712, 18.36315),
    "unbiased_cd": (1, 0.113141, 0.8493071, -0.1027538, 14.23263),
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
#: What the defaults need so that ten small updates show what a method does: chains that fit the batch, and a temperature not far from 1.
METHOD_SETTINGS = {
    "igebm": {
        "kernel": {"name": "ula", "settings": {"step_size": 0.5, "noise_scale": 0.15, "clip": 1.0}},
        "energy_penalty": 0.01,
        "spectral_norm": 3.0,
    },
    "pcd": {"chains": 64},
}
#: The same on digits of methods whose energy is made of class logits and trained to classify too.
CLASSIFIERS = {"pcd": (2, -2.307662, 7.403847), "igebm": (1, -48.59281, 23718.3)}
#: What 20 steps need beside a step size of 0.5 to go through all that a sampler does.
SETTINGS = {
    "annealed_langevin": {"width": 3.0, "levels": 3, "steps_per_level": 5},
    "parallel_tempering": {"temperatures": 3, "hottest": 5.0},
}


def test_every_trained_method_and_sampler_is_guarded():
    assert set(METHODS) == {name for name in registry.names("methods") if registry.load("methods", name).trains}
    assert set(SAMPLERS) == set(registry.names("samplers"))


def values_of(name, data, **more):
    """Mean of E less the base's at test points, which the base would outweigh, and the sum of the absolute first moments of gradients."""
    # Defaults of a kind of data may change without a revision: they are part of the runs that start from them.
    config = registry.load("methods", name).Config.model_validate({"batch_size": 32} | METHOD_SETTINGS.get(name, {}) | more)
    method = build(name, data.spec, config, 0, network=NetworkConfig(settings={"width": 16}), iterations=10)
    generator = torch.Generator().manual_seed(0)
    batches = Batches(data, 32, 0, "cpu", method.classifies)
    for step in range(10):
        batch = batches.at(step, generator)
        if method.classifies:
            method.labelled_step(batch, batches.labels_at(step), generator)
        else:
            method.training_step(batch, generator)
    points = torch.from_numpy(data.split("test")[:100]).double()
    if data.spec.levels:
        points = 2 * (points + 0.5) / data.spec.levels - 1
    moments = sum(float(moment.double().abs().sum()) for moment in method.learner.moments("first_moment"))
    # In double precision: the difference is small beside its terms.
    method.double()
    with torch.no_grad():
        return float((method.energy(points) - method.base(points)).mean()), moments


@pytest.mark.parametrize("name", METHODS)
def test_methods(name, prepared):
    values = [value for dataset in ("eight_gaussians", "digits") for value in values_of(name, Prepared(prepared[dataset]))]
    assert (registry.load("methods", name).revision, *values) == pytest.approx(METHODS[name], rel=1e-4)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name, prepared):
    values = values_of(name, Prepared(prepared["digits"]), cross_entropy=1.0)
    assert (registry.load("methods", name).revision, *values) == pytest.approx(CLASSIFIERS[name], rel=1e-4)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers(name):
    kernel = registry.load("samplers", name)
    start = torch.zeros(50, 2)
    x, _ = run(
        kernel(step_size=0.5, **SETTINGS.get(name, {})), lambda v: v.square().sum(1) / 2, start, 20, torch.Generator().manual_seed(0)
    )
    assert (kernel.revision, float(x.square().mean())) == pytest.approx(SAMPLERS[name], rel=1e-4)
