"""A training that is interrupted on a GPU goes on there to the same bits."""

import pytest
import torch

from ebmpipe import registry
from ebmpipe.batches import Batches
from ebmpipe.checkpoint import Checkpoint
from ebmpipe.config import NetworkConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.methods import build

TRAINED = [name for name, method in registry.load_all("methods").items() if method.trains and not method.requires]


def trained(method, data, gpu, first, last, generator):
    batches = Batches(data, method.config.batch_size, 0, gpu)
    for step in range(first, last):
        batch = batches.at(step, generator)
        method.training_step(method.smoothed(batch, method.config.data_noise, generator), generator)


@pytest.mark.parametrize("name", TRAINED)
def test_three_updates_and_three_more_are_six(name, prepared, gpu, tmp_path):
    of_images = "images" in registry.load("methods", name).kinds
    data = Prepared(prepared["digits" if of_images else "ising"])
    network = NetworkConfig(name="conv" if of_images else "boltzmann")
    whole, first, second = (build(name, data.spec, {"batch_size": 32}, seed, network=network, device=gpu) for seed in (0, 0, 9))
    trained(whole, data, gpu, 0, 6, torch.Generator(gpu).manual_seed(5))
    generator = torch.Generator(gpu).manual_seed(5)
    trained(first, data, gpu, 0, 3, generator)
    Checkpoint.of(3, first.state_dict(), generator.get_state(), [], {}).save(tmp_path / "checkpoint.safetensors")
    saved, other = Checkpoint.load(tmp_path / "checkpoint.safetensors"), torch.Generator(gpu)
    second.load_state_dict(saved.model)
    other.set_state(saved.generator)
    trained(second, data, gpu, 3, 6, other)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


def test_convolutions_and_products_are_not_rounded_to_tf32(gpu):
    """Against double precision: TF32 keeps 10 bits, which would be an error of about 1e-3."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    assert ((a.to(gpu) @ b.to(gpu)).cpu() - exact).norm() / exact.norm() < 1e-5
    x, weight = torch.randn(8, 32, 16, 16, generator=generator), torch.randn(32, 32, 3, 3, generator=generator)
    exact = torch.nn.functional.conv2d(x.double(), weight.double())
    assert (torch.nn.functional.conv2d(x.to(gpu), weight.to(gpu)).cpu() - exact).norm() / exact.norm() < 1e-5
