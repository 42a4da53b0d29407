"""What the comparison of a GPU with a CPU relies on. Without a CUDA GPU everything here is skipped."""

from dataclasses import dataclass

import pytest
import torch
from same_noise import same_noise

from ebmpipe.provenance import exact

DEVICE = "cuda"


@dataclass(frozen=True)
class Precision:
    """A type, and how close a GPU comes to a CPU in it: sums are added up in another order, and single precision has 24 bits."""

    dtype: torch.dtype
    rtol: float
    atol: float

    def check(self, on_gpu, on_cpu, what="", scale=1.0):
        """Assert that numbers agree, to ``scale`` times the tolerances."""
        assert on_gpu.dtype == on_cpu.dtype, what
        torch.testing.assert_close(
            on_gpu.cpu(), on_cpu, rtol=scale * self.rtol, atol=scale * self.atol, equal_nan=True, msg=lambda text: f"{what}: {text}"
        )


DOUBLE = Precision(torch.float64, 1e-9, 1e-9)
SINGLE = Precision(torch.float32, 2e-4, 2e-4)


@pytest.fixture(scope="session", autouse=True)
def gpu():
    """The device, set up as the commands set it up."""
    if DEVICE == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA GPU here to compare with the CPU")
    exact()
    return DEVICE


@pytest.fixture(params=[DOUBLE, SINGLE], ids=["float64", "float32"])
def precision(request):
    """A precision, which is that of all tensors that are made without another, and the same noise on both devices."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param.dtype)
    try:
        with same_noise():
            yield request.param
    finally:
        torch.set_default_dtype(before)
