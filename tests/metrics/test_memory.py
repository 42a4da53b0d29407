"""Fifty thousand images are measured in two gigabytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

#: Cheap features, a fixed random projection of pooled pixels, on as many images as CIFAR-10 has, samples included.
CODE = """
import re
from pathlib import Path
import numpy as np
from ebmpipe.data.dequantised import Dequantised
from ebmpipe.features.base import FeatureSpace
from ebmpipe.metrics.base import Evaluation
from ebmpipe.metrics.density_coverage import DensityCoverage
from ebmpipe.metrics.frechet import Frechet
from ebmpipe.metrics.kernel_distance import KernelDistance
from ebmpipe.metrics.precision_recall import PrecisionRecall
from ebmpipe.seeding import numpy_generator
from ebmpipe.spec import DataSpec

n, shape, rng = 50_000, (3, 32, 32), np.random.default_rng(0)
projection = rng.standard_normal((3 * 64, 64)) / 14
pooled = lambda x: x.reshape(len(x), 3, 8, 4, 8, 4).mean(axis=(3, 5), dtype=np.float64).reshape(len(x), -1)
space = FeatureSpace("lenet", 64, "0" * 64, "pooled", lambda x: pooled(x) @ projection)
levels = rng.integers(256, size=(n, *shape), dtype=np.uint8)
samples = np.empty((n, *shape), dtype=np.float32)
for start in range(0, n, 1000):
    samples[start : start + 1000] = rng.random((1000, *shape), dtype=np.float32) * 2 - 1
splits = [Dequantised(levels, 256, name) for name in ("test", "train", "validation")]
spec = DataSpec("squares", "images", shape, 0.0, 0.6, 256, 10, None, Path())
evaluation = Evaluation(
    spec, *splits, {"fresh": samples}, "fresh", lambda name: numpy_generator(0, name), feature_spaces=(space,),
)
for family in (Frechet(), KernelDistance(), PrecisionRecall(), DensityCoverage()):
    for row in family.compute(evaluation):
        print(row.metric, row.n, row.status)
print("peak", re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory a process has used at most")
def test_fifty_thousand_colour_images_fit_in_two_gigabytes() -> None:
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    *rows, peak = result.stdout.splitlines()
    measured = {line.split()[0]: line.split()[1] for line in rows if line.endswith(" ok")}
    assert measured.pop("frechet_lenet") == "50000"
    assert measured == dict.fromkeys(("kernel_lenet", "precision", "recall", "density", "coverage"), "5000")
    assert int(peak.removeprefix("peak ")) < 2_000_000
