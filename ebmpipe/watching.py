"""The likelihood of a model while it is trained: what the rows of a watched history have beside what the method reports.

Looking changes nothing: it draws no random number, writes to no tensor of the method, and its seconds, gradients and operations count in
no number of the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from ebmpipe.data.prepared import Prepared
from ebmpipe.energies import Energy, frozen, on_arrays
from ebmpipe.history import WATCHED
from ebmpipe.methods.base import Method, NoEnergy
from ebmpipe.metrics.base import NotAvailable
from ebmpipe.metrics.estimators.arrays import checked, reference_order
from ebmpipe.metrics.estimators.hints import evaluate
from ebmpipe.metrics.mmd import median_distance, squared_distance
from ebmpipe.metrics.quadrature import FixedGrid, box_about
from ebmpipe.spec import DataSpec

#: Most chains, and most examples that they are compared with.
CHAINS = 1_000


def check_watchable(spec: DataSpec) -> None:
    """Raise ValueError unless likelihoods on these data can be integrated: in the plane."""
    if spec.kind != "density":
        raise ValueError(f"watch: likelihoods are only integrated in the plane, on density; {spec.name} is {spec.kind}")


class Watch:
    """Looks at a method between two updates.

    ``log_likelihood`` is the mean over the validation split of -E/T - log Z in nats per example, with E the live energy and T the method's
    temperature: minus the metric `nll`, of the weights in training and of that split. ``log_likelihood_average`` is the same of the
    averaged weights, which are evaluated when training has ended. log Z is that of a `FixedGrid` about the split. ``mmd`` is the metric
    `mmd` between the persistent chains as they are, at most `CHAINS` of them, evenly spaced, and as many validation examples; its kernels
    have the widths that the validation split gives them.

    Attributes:
        seconds: what all looks took.

    Args:
        method: what is trained.
        data: the prepared data.
        device: where the method lives.

    Raises:
        ValueError: if the data are not of the plane.
    """

    def __init__(self, method: Method, data: Prepared, device: str) -> None:
        begun = time.perf_counter()
        check_watchable(data.spec)
        self.method, self.device = method, device
        self.examples = data.split("validation").astype(np.float64)
        self.order = reference_order("validation", len(self.examples))
        self.grid = FixedGrid(*box_about(self.examples))
        self.median = median_distance(self.examples)
        self._kept: dict[int, dict[str, np.ndarray]] = {}
        self.seconds = time.perf_counter() - begun

    @torch.no_grad()
    def look(self) -> dict[str, float]:
        """The columns `WATCHED` of the model as it is, without those that have no value.

        They have none of a method without an energy or without chains, of energies and of chains that are not finite.
        """
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)  # what training has still to compute is not of this look
        begun = time.perf_counter()
        found: dict[str, float] = {}
        ways: tuple[Callable[[], float | None], ...] = (
            lambda: self.log_likelihood(self.method.live_energy_function()),
            lambda: self.log_likelihood(self.method.energy_function()),
            self.mmd,
        )
        for name, way in zip(WATCHED, ways, strict=True):
            try:
                # Each is frozen by itself: normalised weights are computed once inside, and torch takes those of a network for those of
                # its copy, the average.
                with frozen(self.method):
                    value = way()
            except (NotAvailable, NoEnergy):
                continue
            if value is not None and np.isfinite(value):
                found[name] = value
        self.seconds += time.perf_counter() - begun
        return found

    def log_likelihood(self, energy: Energy | None) -> float | None:
        """Mean log-likelihood of the validation split under exp(-``energy``)/Z, nats per example; None without an energy.

        Raises:
            NotAvailable: if E is NaN or -inf somewhere.
        """
        if energy is None:
            return None
        minus = on_arrays(energy, self.device)
        log_z = self.grid.log_partition(lambda x: -minus(x))
        return float(evaluate(lambda x: -minus(x), self.examples).mean()) - log_z

    def mmd(self) -> float | None:
        """Unbiased squared MMD between the persistent chains and validation examples; None without chains.

        Raises:
            NotAvailable: if some chains are not finite.
        """
        drawn = self.method.chains()
        if drawn is None or not self.median > 0:
            return None
        chains = checked(drawn.x.double().cpu().numpy(), self.examples)
        n = min(len(chains), len(self.examples), CHAINS)
        chosen = chains[np.linspace(0, len(chains) - 1, n).astype(int)]
        kept = self._kept.setdefault(n, {})
        return squared_distance(chosen, self.examples[self.order[:n]], self.median, kept)[0]
