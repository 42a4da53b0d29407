"""What every training method must do, the template included."""

import json

import numpy as np
import pytest
import torch
from backbones import required_of

from ebmpipe import registry
from ebmpipe.batches import Batches
from ebmpipe.config import KINDS, NetworkConfig, SamplingConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.energies import BasedEnergy, gradient
from ebmpipe.energy_change import EnergyChange
from ebmpipe.flows.law import FlowLaw
from ebmpipe.latent_codes import LatentCodes
from ebmpipe.latent_variable import LatentVariableLaw
from ebmpipe.methods import NoEnergy, build
from ebmpipe.methods.pd_galerkin import PDGalerkin
from ebmpipe.noise_levels import NoisyEnergies
from ebmpipe.optimisation import Diverged
from ebmpipe.transport import Tilt

SMALL = NetworkConfig(name="mlp", settings={"width": 16, "depth": 2})
DATASETS = ["eight_gaussians", "digits", "ising"]
IDS = [*registry.names("methods"), "ebmpipe.methods.template:Template"]
TRAINED = [name for name in IDS if registry.load("methods", name).trains]
#: Methods whose energy may be made of class logits, with the classifier on: the same contract holds.
CLASSIFIERS = [f"{name}+classifier" for name in TRAINED if "cross_entropy" in registry.load("methods", name).Config.model_fields]
#: Methods that do something else once a flow has been fitted, here by two updates; the fourth deceives the energy.
FLOWS = {
    "nce+flow": {"noise": "flow", "flow": {"fit": 0.03}},
    "flow_contrastive+deceiving": {"flow": {"fit": 0.03}},
}
#: What a pass of a flow counts as in the budget is not what it is.
COUNTED = {name: {"counts_as": 1} for name in ("flow", "neural_transport", "neural_transport_nce")}
#: Methods whose base is learned along: plain chains, chains that are differentiated through, and walkers whose log Z is counted from it.
BASES = {f"{name}+base": {"learned_base": True} for name in ("pcd", "improved_cd", "jarzynski")}


@pytest.fixture(params=DATASETS)
def data(request, prepared):
    return Prepared(prepared[request.param])


def made(name, data, seed=0, iterations=50, **settings):
    settings = (FLOWS | BASES).get(name, {}) | settings
    name, _, variant = name.partition("+")
    method = registry.load("methods", name)
    if variant == "classifier":
        if data.spec.classes is None:
            pytest.skip(f"{data.spec.name} has no labels")
        settings["cross_entropy"] = 1.0
    if data.spec.kind not in method.kinds:
        pytest.skip(f"{name} does not take {data.spec.kind}")
    required = required_of(name, data.spec)
    return build(name, data.spec, {"batch_size": 32} | settings, seed, network=SMALL, iterations=iterations, required=required)


def trained(method, data, first=0, last=3, generator=None):
    generator = generator or torch.Generator().manual_seed(5)
    batches = Batches(data, method.config.batch_size, 0, "cpu", method.classifies)
    for step in range(first, last):
        batch = batches.at(step, generator)
        if method.classifies:
            report = method.labelled_step(batch, batches.labels_at(step), generator)
        else:
            report = method.training_step(batch, generator)
        assert "loss" in report
    return generator


def reached(outputs):
    """The leaves that a result, or several, depend on: their ids."""
    several = outputs if isinstance(outputs, list | tuple) else [outputs]
    left, nodes, leaves = [each.grad_fn for each in several], set(), set()
    while left:
        node = left.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            leaves.add(id(getattr(node, "variable", None)))
            left += [parent for parent, _ in node.next_functions]
    return leaves


def check_cost(method, data, monkeypatch):
    """Examples whose energy is differentiated, by hand or by autograd, counted while one update runs, whose report this returns."""
    counted, seen, by_hand = [], [], []

    def once(plain, cost=lambda x: len(x)):
        """``plain`` counted by its points; what it differentiates itself is no more than that."""

        def watched(self, x, *more):
            counted.append(cost(x))
            by_hand.append(plain)
            try:
                return plain(self, x, *more)
            finally:
                by_hand.pop()

        return watched

    for energy in (BasedEnergy, NoisyEnergies, Tilt):
        for hand in ("grad", "value_and_grad"):
            monkeypatch.setattr(energy, hand, once(getattr(energy, hand)))
    # Derivatives by forward mode, which autograd.grad does not see: of energies in their weights, of features along every coordinate.
    monkeypatch.setattr(EnergyChange, "along", once(EnergyChange.along))
    monkeypatch.setattr(PDGalerkin, "of_the_head", once(PDGalerkin.of_the_head, torch.numel))
    energies = [(BasedEnergy, "forward"), (BasedEnergy, "with_logits"), (NoisyEnergies, "forward"), (Tilt, "forward")]
    # Elsewhere a flow is noise beside the energy; here it may be the energy.
    energies += [
        (law, passes)
        for law, passes in ((FlowLaw, "forward"), (LatentVariableLaw, "bound"), (LatentVariableLaw, "misfit"))
        if isinstance(method.live, law)
    ]
    for energy, passes in energies:
        plain = getattr(energy, passes)

        def watched(self, x, *level, plain=plain):
            if torch.is_grad_enabled():
                seen.append(x)
            elif isinstance(self, Tilt):  # a step of independence Metropolis
                counted.append(len(x))
            return plain(self, x, *level)

        monkeypatch.setattr(energy, passes, watched)
    # Chains of latent vectors are of -log p(x, z), where that is what is learned; of others they are passes of a generator alone.
    revise = LatentCodes.revised

    def watched_chains(self, *arguments):
        before = len(seen)
        by_hand.append(revise)
        try:
            z, summary = revise(self, *arguments)
        finally:
            by_hand.pop()
        del seen[before:]
        if isinstance(method.live, LatentVariableLaw):
            counted.append(summary.gradient_evaluations)
        return z, summary

    monkeypatch.setattr(LatentCodes, "revised", watched_chains)
    exact = BasedEnergy.slope_and_laplacian

    def watched_laplacian(self, x):
        # ∇ₓE and a second derivative along every coordinate, then the weights' gradient like that of any other pass.
        found = exact(self, x)
        counted.append(len(x) * (1 + x[0].numel()))
        seen.append(x)
        return found

    monkeypatch.setattr(BasedEnergy, "slope_and_laplacian", watched_laplacian)
    grad, of_energy = torch.autograd.grad, {id(weight) for weight in method.live.parameters()}

    def live_weights():
        return any(weight.requires_grad for weight in method.live.parameters())

    def watched_grad(outputs, inputs, *args, **kwargs):
        # What is differentiated in the weights of another network alone does not go through E, and neither do derivatives of a critic in x.
        several = inputs if isinstance(inputs, list | tuple) else [inputs]
        parameters = [each for each in several if isinstance(each, torch.nn.Parameter)]
        through = not parameters and (not live_weights() or bool(reached(outputs) & of_energy))
        of_weights = any(id(each) in of_energy for each in parameters)
        if not by_hand and (through or of_weights):
            # A derivative in examples is of the energies of these alone, one in the weights of all since the last that ended a graph.
            of_these = [x for x in seen if any(x is each for each in several)]
            counted.append(sum(map(len, of_these or seen)))
            if of_weights and not (kwargs.get("retain_graph") or kwargs.get("create_graph")):
                seen.clear()
        return grad(outputs, inputs, *args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", watched_grad)
    update, reports = "labelled_step" if method.classifies else "training_step", []
    step = getattr(method, update)
    monkeypatch.setattr(method, update, lambda *args: reports.append(step(*args)) or reports[-1])
    trained(method, data, 0, 1)
    (report,) = reports
    assert ("gradient_evaluations" in report) == method.random_cost
    assert sum(counted) == report.get("gradient_evaluations", method.gradient_evaluations_per_step)
    return report


@pytest.mark.parametrize("name", IDS)
class TestEveryMethod:
    def test_says_what_it_is(self, name):
        method = registry.load("methods", name)
        assert method.revision >= 1
        assert method.title
        assert method.__doc__
        assert method.control or method.references
        for field, info in method.Config.model_fields.items():
            assert info.description, f"{name}.{field} has no description"
        assert method.Config().model_dump(mode="json") == json.loads(method.Config().model_dump_json())

    def test_unknown_settings_are_refused(self, name, data):
        if data.spec.kind not in registry.load("methods", name).kinds:
            pytest.skip(f"{name} does not take {data.spec.kind}")
        with pytest.raises(ValueError, match="no_such_setting"):
            build(name, data.spec, {"no_such_setting": 1}, required=required_of(name, data.spec))

    def test_the_seed_decides(self, name, data):
        first, same, other = made(name, data, 1), made(name, data, 1), made(name, data, 2)
        pairs = zip(first.state_dict().values(), same.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        floating = [
            (a, b) for a, b in zip(first.state_dict().values(), other.state_dict().values(), strict=True) if a.double().abs().sum() > 0
        ]
        assert not floating or any(not torch.equal(a, b) for a, b in floating)

    def test_building_leaves_the_global_stream_alone(self, name, data):
        torch.manual_seed(3)
        expected = torch.rand(1)
        torch.manual_seed(3)
        made(name, data)
        assert torch.equal(torch.rand(1), expected)

    def test_samples(self, name, data):
        method = made(name, data)
        method.sampling = SamplingConfig(n=40, steps=5, kernel=KINDS[data.spec.kind].sampling.kernel)
        first, second = (method.sample(40, torch.Generator().manual_seed(4)) for _ in range(2))
        assert first.x.shape == (40, *data.spec.shape)
        assert first.x.isfinite().all()
        assert first.x.dtype == torch.float32
        assert torch.equal(first.x, second.x)

    def test_energy_has_one_value_per_example_and_a_gradient(self, name, data):
        method = made(name, data)
        x = torch.randn(6, *data.spec.shape)
        if name == "data" and data.spec.kind == "images":
            with pytest.raises(NoEnergy, match="unknown"):
                method.energy(x)
            return
        value = method.energy(x)
        assert value.shape == (6,)
        assert value.isfinite().all()
        torch.testing.assert_close(method.energy_function()(x), value)
        if name != "data":
            assert gradient(method.energy_function(), x).shape == x.shape

    def test_its_live_energy_is_that_of_the_weights_in_training(self, name, data):
        """Before the first update they are their own average; then only the live energy is that of an average without memory."""
        method, x = made(name, data), torch.randn(6, *data.spec.shape)
        if not method.trains:
            assert method.live_energy_function() is None
            return
        torch.testing.assert_close(method.live_energy_function()(x), method.energy(x))
        trained(method, data)
        forgetful = made(name, data, optimiser={"average_decay": 0.0})
        trained(forgetful, data)
        torch.testing.assert_close(method.live_energy_function()(x), forgetful.energy(x))


@pytest.mark.parametrize("name", [*TRAINED, *CLASSIFIERS, *FLOWS, *BASES])
class TestEveryTrainedMethod:
    def test_state_dict_holds_all_that_the_next_update_depends_on(self, name, data):
        whole, first, second = made(name, data), made(name, data), made(name, data, seed=9)
        trained(whole, data, 0, 6)
        generator = trained(first, data, 0, 3)
        second.load_state_dict(first.state_dict())
        trained(second, data, 3, 6, generator)
        for key, value in whole.state_dict().items():
            assert torch.equal(value, second.state_dict()[key]), key

    @pytest.mark.parametrize("fault", ["nan", "inf", "beyond the bound"])
    def test_an_energy_that_is_none_is_divergence_and_changes_nothing(self, name, data, fault):
        """Of the weights, moments, averages, chains and ages, all are those of the last good update."""
        # Splines stay bounded whatever numbers make them.
        bounded = {"architecture": {"name": "affine", "settings": {}}} if name == "flow" else {}
        method = made(name, data, **bounded)
        generator = trained(method, data)
        with torch.no_grad():
            head = min(method.live.parameters(), key=torch.numel)  # the last bias: one number for each output
            head.fill_({"nan": torch.nan, "inf": torch.inf, "beyond the bound": 1e20}[fault])
        before = {key: value.clone() for key, value in method.state_dict().items()}
        with pytest.raises(Diverged):
            trained(method, data, 3, 4, generator)
        for key, value in method.state_dict().items():
            assert torch.equal(value.nan_to_num(), before[key].nan_to_num()), key

    def test_cost_is_as_declared(self, name, data, monkeypatch):
        check_cost(made(name, data, **COUNTED.get(name, {})), data, monkeypatch)

    def test_learns_the_sign_of_the_energy(self, name, prepared):
        """After a short training data have lower energy than noise, relative to the base from which training started."""
        kinds = registry.load("methods", name.partition("+")[0]).kinds
        data = Prepared(prepared["digits" if name in CLASSIFIERS else "eight_gaussians" if "density" in kinds else "ising"])
        updates = 30 if name in CLASSIFIERS else 300
        # A kernel sees hardly a pair of a small batch.
        more = {"batch_size": 256} if name == "kernel_stein" else {}
        method = made(name, data, iterations=updates, optimiser={"learning_rate": 0.01, "sgd_learning_rate": 0.5}, **more)
        trained(method, data, 0, updates)
        x = torch.from_numpy(data.model_space("test", np.random.default_rng(0))[:2000]).float()
        # Where chains begin at a generator's samples, these are all the noise that the energy has seen.
        begun = made(name, data).generator_samples if method.revises else None
        noise = begun(2000, torch.Generator().manual_seed(0)).x if begun else method.base.sample(2000, torch.Generator().manual_seed(0))
        with torch.no_grad():
            gap = (method.energy(noise) - method.base(noise)).mean() - (method.energy(x) - method.base(x)).mean()
        assert gap > 0.1

    def test_evaluates_the_average_not_the_live_weights(self, name, data):
        method = made(name, data)
        trained(method, data)
        x = torch.randn(3, *data.spec.shape)
        with torch.no_grad():
            before = method.energy(x)
            for parameter in method.learner.network.parameters():
                parameter.add_(1.0)
        assert torch.equal(method.energy(x), before)


#: A kernel whose cost is random: what an update reports, and not what it declares, is then what it took.
NUTS = {"name": "nuts", "settings": {"step_size": 0.3}}


@pytest.mark.parametrize(
    "kernel", [*({"name": name, "settings": {"step_size": 0.2}} for name in ("ula", "mala")), NUTS], ids=lambda k: k["name"]
)
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *(("cd", {}), ("cd", {"start": "mean_field"}), ("cd", {"start": "multigrid"}), ("pcd", {}), ("short_run", {}), ("jarzynski", {})),
        *(("cd+classifier", {"start": "multigrid"}), ("jarzynski+classifier", {})),
        *(("diffusion_recovery", {}), ("energy_matching", {"warm_up": 0.0}), ("energy_matching", {"warm_up": 0.0, "fade_out": 0.0})),
    ],
    ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values())) or "default",
)
def test_cost_is_as_declared_whatever_the_start_and_the_kernel(name, settings, kernel, prepared, monkeypatch):
    if name == "diffusion_recovery" and not registry.load("samplers", kernel["name"]).one_point_per_chain:
        pytest.skip(f"{name} does not take {kernel['name']}")
    data = Prepared(prepared["digits"])
    check_cost(made(name, data, steps=2, kernel=kernel, **settings), data, monkeypatch)


def test_cost_of_diffusion_recovery_is_as_reported_where_it_is_random(prepared, monkeypatch):
    """By a kernel all of whose chains take the same random number: nuts, of which each takes its own, it refuses."""
    data = Prepared(prepared["digits"])
    kernel = {"name": "random_kernel:Dice", "settings": {"step_size": 0.2}}
    check_cost(made("diffusion_recovery", data, steps=2, kernel=kernel), data, monkeypatch)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("dsm", {"control_variate": True}),
        ("score_matching", {"form": "explicit"}),
        *(("sliced_score_matching", {"estimator": kind}) for kind in ("variance_reduced", "plain", "finite_difference")),
        *(("sliced_score_matching", {"estimator": kind, "projections": 3}) for kind in ("variance_reduced", "plain", "finite_difference")),
        ("sliced_score_matching", {"projection": "gaussian"}),
    ],
    ids=str,
)
def test_cost_is_as_declared_of_every_form_of_score_matching(name, settings, prepared, monkeypatch):
    data = Prepared(prepared["eight_gaussians"])
    check_cost(made(name, data, **settings), data, monkeypatch)


@pytest.mark.parametrize("name", FLOWS)
def test_cost_is_as_declared_once_the_flow_is_the_noise(name, prepared, monkeypatch):
    data = Prepared(prepared["eight_gaussians"])
    method = made(name, data)
    trained(method, data, 0, 2)
    report = check_cost(method, data, monkeypatch)
    assert report["gradient_evaluations"] == method.gradient_evaluations_per_step  # the most that an update costs
