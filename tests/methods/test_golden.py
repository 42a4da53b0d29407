"""Numbers that change only with a revision: the guard of minimal reruns.

When one of these fails on purpose, bump the `revision` of the class that changed, then put the new numbers here.
"""

import pytest
import torch
from backbones import required_of

from ebmpipe import registry
from ebmpipe.batches import Batches
from ebmpipe.config import NetworkConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.methods import build
from ebmpipe.samplers import run

#: Method -> (revision, then on eight_gaussians and, if it takes images, on digits, after ten updates, what `values_of` tells).
METHODS = {
    "adversarial": (1, -0.01227326695, 2.544704461, -0.1623583249, 21.24753929),
    "cd": (1, -0.004748608, 0.4380127, -0.1855878, 5.933711),
    "conditional_nce": (1, -0.003436312, 0.432391, -0.1276933, 0.3141223),
    "convergent": (1, -0.005158836, 2.772711, -0.2419311, 21.29265),
    "cooperative": (1, -0.02031409083, 3.658079396, -0.1669227212, 19.449755),
    "diffusion_recovery": (1, -0.000503072969, 0.399565729811, 0.166865383185, 2.4660907867),
    "dsm": (2, -0.01842185, 0.06025631, -0.134129, 0.6415627),
    "divergence_triangle": (1, -0.03685841165, 2.156655465, -0.1605420309, 9.527084529),
    "dual_mcmc": (1, -0.02429766152, 1.872986423, -0.1613442771, 17.70525589),
    "energy_discrepancy": (1, -0.00750923109, 0.7379454667, -0.1348241317, 0.008230670188),
    "energy_matching": (1, 0.00351646205054, 1.70720706537, -0.261036590827, 14.6207021316),
    "flow": (1, -0.2545978133, 21.93377401, -10.06076185, 301.5949373),
    "flow_contrastive": (1, -0.002534215, 1.296968, -0.2503164, 21.36524),
    "generator_abp": (1, 0.6354174553, 378.5440254, 2396.372012, 1029.70773),
    "igebm": (1, 5.797598, 424.3021, 35.96658, 13293.62),
    "improved_cd": (2, -0.004108, 1.975369, -0.2466257, 21.71257),
    "jarzynski": (1, 0.009782208, 2.886924, -0.2657991, 21.61334),
    "kernel_stein": (1, -0.01609565148, 0.0689571046, -0.2639743547, 0.6777337149),
    "learned_stein": (1, -0.009716846565, 0.1382555825, -0.1417031972, 3.799473478),
    "minimum_probability_flow": (1, -0.001685712016, 0.2316461002, -0.1234008333, 0.180635278),
    "nce": (2, -0.04540886, 1.236858, -0.3188626, 22.48159),
    "ncsn": (1, 0.002709171, 0.1996883, 0.06188909, 3.666602),
    "neural_transport": (3, -0.08269472256, 4.201723729, -2.226836182, 21.63522016),
    "neural_transport_nce": (3, -0.07724027318, 1.613225927, -2.194833881, 10.66226462),
    "pcd": (2, 0.007662173, 2.060512, -0.2625887, 24.83691),
    "pd_alpha": (1, 0.008851906391, 2.806534241, -0.2661593831, 21.52927931),
    "pd_beta": (1, 0.008851973089, 2.806537192, -0.2661526447, 21.52676432),
    "pd_delta": (1, 0.008851042395, 2.835488094),
    "pd_galerkin": (1, 0.00900283333, 2.65037192),
    "pd_gamma": (1, 0.01208330421, 0.0, -0.09094490661, 0.0),
    "pd_stein": (1, 0.008873612328, 2.823257097, -0.2662340841, 21.5783285),
    "score_matching": (1, 0.01387529, 0.4487374, -0.2283665, 22.33755),
    "short_run": (1, 0.001203181, 2.058689, -0.2524773, 21.85326),
    "sliced_score_matching": (1, 0.01221587, 0.4742918, -0.221485, 22.71916),
    "unbiased_cd": (1, -0.01004818, 1.374415, -0.227283, 17.37882),
    "vae": (1, 0.2215783031, 342.0156517, 19.87373957, 368.7514079),
}
#: Methods of states -> (revision, then the same on ising).
OF_STATES = {
    "minimum_probability_flow": (1, 0.1566289836, 0.5998198923),
    "pseudolikelihood": (1, 0.1272080273, 10.35465787),
    "ratio_matching": (1, 0.1272076058, 5.175398672),
}
#: Sampler -> (revision, mean square of 50 chains after 20 steps on a standard Gaussian in the plane).
SAMPLERS = {
    "annealed_langevin": (1, 0.9950895),
    "hmc": (1, 1.063717),
    "mala": (1, 1.097566),
    "nuts": (1, 0.9338624),
    "parallel_tempering": (1, 0.9205178),
    "ula": (1, 0.883448),
    "underdamped_langevin": (1, 0.9913317),
}
#: Sampler of states -> (revision, mean of 50 chains of two coordinates after 20 steps on fields of 0.5).
SAMPLERS_OF_STATES = {"gibbs": (1, 0.4)}
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
CLASSIFIERS = {"pcd": (2, -2.376381, 10.44469), "igebm": (1, -60.34956, 29782.31)}
#: What 20 steps need beside a step size of 0.5 to go through all that a sampler does.
SETTINGS = {
    "annealed_langevin": {"width": 3.0, "levels": 3, "steps_per_level": 5},
    "parallel_tempering": {"temperatures": 3, "hottest": 5.0},
}


def test_every_trained_method_and_sampler_is_guarded():
    assert METHODS.keys() | OF_STATES.keys() == {name for name in registry.names("methods") if registry.load("methods", name).trains}
    assert SAMPLERS.keys() | SAMPLERS_OF_STATES.keys() == set(registry.names("samplers"))


def values_of(name, data, **more):
    """Mean of E less the base's at test points, which the base would outweigh, and the sum of the absolute first moments of gradients."""
    # Defaults of a kind of data may change without a revision: they are part of the runs that start from them.
    config = registry.load("methods", name).Config.model_validate({"batch_size": 32} | METHOD_SETTINGS.get(name, {}) | more)
    required = required_of(name, data.spec)
    method = build(name, data.spec, config, 0, network=NetworkConfig(settings={"width": 16}), iterations=10, required=required)
    generator = torch.Generator().manual_seed(0)
    batches = Batches(data, 32, 0, "cpu", method.classifies)
    for step in range(10):
        batch = batches.at(step, generator).double()
        if method.classifies:
            method.labelled_step(batch, batches.labels_at(step), generator)
        else:
            method.training_step(batch, generator)
    points = torch.from_numpy(data.split("test")[:100]).double()
    if data.spec.levels:
        points = 2 * (points + 0.5) / data.spec.levels - 1
    moments = sum(float(moment.double().abs().sum()) for moment in method.learner.moments("first_moment"))
    with torch.no_grad():
        return float((method.energy(points) - method.base(points)).mean()), moments


@pytest.fixture(autouse=True)
def double_precision():
    """In single precision one processor rounds an acceptance probability to where its coin accepts, and another does not."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", METHODS)
def test_methods(name, prepared):
    every = [Prepared(prepared[dataset]) for dataset in ("eight_gaussians", "digits")]
    values = [value for data in every if data.spec.kind in registry.load("methods", name).kinds for value in values_of(name, data)]
    assert (registry.load("methods", name).revision, *values) == pytest.approx(METHODS[name], rel=1e-6)


@pytest.mark.parametrize("name", OF_STATES)
def test_methods_of_states(name, prepared):
    values = values_of(name, Prepared(prepared["ising"]))
    assert (registry.load("methods", name).revision, *values) == pytest.approx(OF_STATES[name], rel=1e-6)


@pytest.mark.parametrize("name", SAMPLERS_OF_STATES)
def test_samplers_of_states(name):
    kernel = registry.load("samplers", name)
    x, _ = run(kernel(), lambda v: -v.sum(1) / 2, torch.ones(50, 2), 20, torch.Generator().manual_seed(0))
    assert (kernel.revision, float(x.mean())) == pytest.approx(SAMPLERS_OF_STATES[name], rel=1e-6)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name, prepared):
    values = values_of(name, Prepared(prepared["digits"]), cross_entropy=1.0)
    assert (registry.load("methods", name).revision, *values) == pytest.approx(CLASSIFIERS[name], rel=1e-6)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers(name):
    kernel = registry.load("samplers", name)
    start = torch.zeros(50, 2)
    x, _ = run(
        kernel(step_size=0.5, **SETTINGS.get(name, {})), lambda v: v.square().sum(1) / 2, start, 20, torch.Generator().manual_seed(0)
    )
    assert (kernel.revision, float(x.square().mean())) == pytest.approx(SAMPLERS[name], rel=1e-6)
