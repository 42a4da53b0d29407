"""Flows as laws: normalised, sampled as they say, differentiated rightly; and one fitted to a data set as the start of annealing."""

import json
import shutil

import pytest
import torch
from annealing_targets import Gaussian

from ebmpipe import flow_base
from ebmpipe.data.prepared import Prepared
from ebmpipe.energies import on_arrays
from ebmpipe.files import CorruptFile
from ebmpipe.flow_base import NoFlow, fit_base, load_base
from ebmpipe.flows.base import build_flow
from ebmpipe.flows.law import FlowLaw
from ebmpipe.flows.standard import standard_flow
from ebmpipe.metrics.quadrature import log_partition
from ebmpipe.partition import Bridge, adapted_ladder, forward
from ebmpipe.preparing import prepare
from ebmpipe.samplers import HMC
from ebmpipe.spec import DataSpec
from ebmpipe.verifying import Finding, repair, verify


def spec(shape):
    return DataSpec("made", "vectors", shape, 0.4, 1.7, None, None, None, None)


def law(shape, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        flow = build_flow(standard_flow(spec(shape).dimension), spec(shape))
        with torch.no_grad():  # away from the identity
            for parameter in flow.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1 if spec(shape).dimension < 256 else 0.01)
    return FlowLaw(flow, spec(shape)).requires_grad_(False)


def test_the_density_integrates_to_one():
    log_z, _ = log_partition(lambda x: -on_arrays(law((2,)), "cpu")(x), (0.4, 0.4), 16.0)
    assert log_z == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("shape", [(2,), (11,), (1, 17, 17)])
def test_samples_are_the_inverse_of_what_the_density_sees(shape):
    flow, generator = law(shape), torch.Generator().manual_seed(0)
    x = flow.sample(20, generator)
    z = torch.randn(20, spec(shape).dimension, generator=torch.Generator().manual_seed(0))
    found = flow.latent(x)[0]
    torch.testing.assert_close(found, z, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(2,), (11,), (1, 4, 4), (1, 17, 17)])
def test_the_gradient_is_that_of_minus_the_log_density(shape):
    generator = torch.Generator().manual_seed(0)
    flow, x = law(shape).double(), 0.4 + 1.7 * torch.randn(7, *shape, generator=generator, dtype=torch.float64)
    value, slope = flow.value_and_grad(x)
    assert value.shape == (7,) and slope.shape == x.shape and not value.requires_grad
    torch.testing.assert_close(value, flow(x))
    torch.testing.assert_close(slope, flow.grad(x))
    direction = 1e-6 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    change = (flow(x + direction) - flow(x - direction)) / 2
    torch.testing.assert_close((slope * direction).flatten(1).sum(1), change, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("shape", [(2,), (1, 4, 4)])
def test_samples_follow_the_density_and_the_generator_alone(shape):
    """Importance weights of a known Gaussian under the flow's samples have its log Z."""
    flow = law(shape)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    x = flow.sample(20_000, torch.Generator().manual_seed(1))
    assert torch.equal(torch.random.get_rng_state(), state), "torch's global stream was touched"
    assert torch.equal(x[:10], flow.sample(20_000, torch.Generator().manual_seed(1))[:10]) and x.shape == (20_000, *shape)
    narrow = Gaussian(torch.full(shape, 0.4), torch.full(shape, 1.2))
    weights = (flow(x).double() - narrow(x).double()).exp()
    error = float(weights.std() / len(x) ** 0.5 / weights.mean())
    assert float(weights.mean().log()) == pytest.approx(narrow.log_z, abs=4 * error) and error < 0.1


def test_annealing_from_a_flow():
    target = Gaussian(torch.linspace(-1, 1, 11), torch.linspace(0.7, 1.5, 11))
    bridge = Bridge(law((11,)), target)
    ladder = adapted_ladder(bridge, HMC(0.4, 3), 200, torch.Generator().manual_seed(0), variance=0.3)
    estimate, _ = forward(bridge, ladder, HMC(0.4, 3), 16, 32, torch.Generator().manual_seed(1))
    assert abs(estimate.log_z - target.log_z) < 4 * estimate.stderr < 0.3


@pytest.fixture(scope="module", params=["two_moons", "digits"])
def fitted(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    prepare(request.param, folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(flow_base.SETTINGS, "steps", 150)
        noise = 0.3 if request.param == "digits" else 0.0
        cards = [fit_base(folder / "data", folder / name, seed, noise) for name, seed in (("one", 0), ("same", 0), ("other", 1))]
    return folder, cards


def test_a_fitted_flow_is_closer_to_the_data_than_a_gaussian(fitted):
    folder, (card, same, other) = fitted
    assert card["nll"]["validation"] < card["nll_gaussian"]["validation"] - 0.1
    assert card["weights_sha256"] == same["weights_sha256"] != other["weights_sha256"]
    data = Prepared(folder / "data")
    assert flow_base.nll(load_base(folder / "one", data, card["noise"]), data, "validation", card["noise"]) == pytest.approx(
        card["nll"]["validation"]
    )


def test_a_flow_that_is_missing_damaged_or_of_other_data_is_refused(fitted, tmp_path):
    folder, (card, *_) = fitted
    data, noise = Prepared(folder / "data"), card["noise"]
    for nowhere in (tmp_path, None):
        with pytest.raises(NoFlow, match=f"make it with `ebmpipe base --dataset {data.spec.name} --noise {noise:g}`"):
            load_base(nowhere, data, noise)
    with pytest.raises(CorruptFile, match=f"was fitted with noise {noise:g}, not 0.7: run `ebmpipe base"):
        load_base(folder / "one", data, 0.7)
    for name in ("flow.safetensors", "flow.json"):
        (tmp_path / name).write_bytes((folder / "one" / name).read_bytes())
    known = data.card
    data.card = {**known, "data_sha256": "0" * 64}
    with pytest.raises(CorruptFile, match="fitted to other data"):
        load_base(tmp_path, data, noise)
    data.card = known
    weights = bytearray((tmp_path / "flow.safetensors").read_bytes())
    weights[-5] ^= 1
    (tmp_path / "flow.safetensors").write_bytes(weights)
    with pytest.raises(CorruptFile, match="not the file that"):
        load_base(tmp_path, data, noise)
    (tmp_path / "flow.json").write_text(json.dumps({"name": "flow"}))
    with pytest.raises(CorruptFile):
        load_base(tmp_path, data, noise)
    assert load_base(folder / "one", data, noise)(torch.zeros(1, *data.spec.shape)).isfinite().all()


def test_a_damaged_flow_is_found_and_removed_to_be_made_again(fitted, tmp_path):
    folder, _ = fitted
    results = tmp_path / "results"
    shutil.copytree(folder / "one", results / "bases" / "made")
    assert [item for item in verify(results) if isinstance(item, Finding)] == []
    with (results / "bases/made/flow.safetensors").open("ab") as file:
        file.write(b"!")
    (finding,) = [item for item in verify(results) if isinstance(item, Finding)]
    assert "flow.safetensors is not the file that flow.json describes" in finding.problem
    assert "run the workflow again" in repair(finding, results)
    assert not list((results / "bases/made").iterdir())
