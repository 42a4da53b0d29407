"""How chains mix on a learned energy: R-hat, effective sample size and its price, autocorrelation, hops between modes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ebmpipe.metrics.base import Evaluation, Measurement, Metric, MetricInfo, NotAvailable
from ebmpipe.mixing.diagnostics import hops
from ebmpipe.mixing.record import LATENT
from ebmpipe.spec import DataSpec

if TYPE_CHECKING:
    from ebmpipe.mixing.record import KernelRun, LongRun

#: R-hat below which a quantity counts as mixed (Vehtari et al. 2021).
MIXED = 1.01
#: R-hat above which chains disagree so much that their effective sample size is of where they began.
APART = 1.2
#: Gradient evaluations of one chain that rates are stated for.
PER = 1000

#: Why there is nothing to measure.
NOT_MADE = "no long run was made of it; `ebmpipe long-run` makes one"


def long_run_of(evaluation: Evaluation) -> LongRun:
    """The long runs of what is evaluated.

    Raises:
        NotAvailable: if there are none.
    """
    found = evaluation.long_run
    if found is None:
        raise NotAvailable(NOT_MADE)
    if found.reason is not None:
        raise NotAvailable(found.reason)
    return found


class Mixing(Metric):
    """What the chains of long runs say of their own mixing, after the warm-up: the primary kernel's, and ``@kernel`` of others."""

    name = "mixing"
    revision = 3
    ids: ClassVar[dict[str, MetricInfo]] = {
        "rhat": MetricInfo(
            "ratio", "lower", "split rank-normalised R-hat, greatest over coordinates, energy and indicators of modes or classes", False
        ),
        "rhat_energy": MetricInfo("ratio", None, "split rank-normalised R-hat of the energy"),
        "rhat_modes": MetricInfo("ratio", None, "split rank-normalised R-hat, greatest over indicators of modes or classes"),
        "rhat_mixed": MetricInfo("share", None, f"share of coordinates, energy and indicators whose R-hat is below {MIXED}"),
        "ess": MetricInfo("draws", None, "bulk effective sample size of all chains together, least over the same quantities"),
        "ess_tail": MetricInfo("draws", None, "effective sample size of the tails, least over the same quantities"),
        "ess_per_gradient": MetricInfo("per 1,000", "higher", "bulk effective sample size per 1,000 gradient evaluations", False),
        "autocorrelation_time": MetricInfo("gradient evaluations", None, "integrated autocorrelation time of the energy"),
        "mode_hops": MetricInfo("per 1,000", None, "changes of mode or class of a chain per 1,000 gradient evaluations"),
        "acceptance": MetricInfo("probability", None, "mean acceptance probability of the long run"),
        "step_size": MetricInfo("units of x or z", None, "step size that the kernel was adapted to"),
    }

    def applies(self, spec: DataSpec) -> bool:
        return spec.kind != "binary"

    def reports(self, evaluation: Evaluation) -> tuple[str, ...]:
        """Every id for the primary kernel and for each of the others; those of modes where modes or classes are told apart."""
        found = evaluation.long_run
        own, others = self.own(found), list(found.kernels)[1:] if found is not None else []
        return (*own, *(f"{metric}@{kernel}" for kernel in others for metric in own))

    def own(self, found: LongRun | None) -> list[str]:
        """The ids of one kernel."""
        tells = found is None or found.reason is not None or found.modes > 0
        return [metric for metric in self.ids if tells or metric not in ("rhat_modes", "mode_hops")]

    def compute(self, evaluation: Evaluation) -> Iterator[Measurement]:
        found = long_run_of(evaluation)
        for place, (name, kernel) in enumerate(found.kernels.items()):
            protocol = in_words(found, kernel)
            if kernel.lost is not None:
                rows = [self.missing(metric, f"the chains diverged: {kernel.lost}") for metric in self.own(found)]
            else:
                rows = list(self.judged(found, kernel))
            for row in rows:
                said = replace(row, protocol=protocol)
                yield said if place == 0 else said.at(name)

    def judged(self, found: LongRun, kernel: KernelRun) -> Iterator[Measurement]:
        """What the draws of one kernel come to."""
        about, arrays = kernel.about, kernel.arrays
        chains, draws = int(about["chains"]), int(about["draws"])
        n, dimension = chains * draws, len(arrays["rhat"]) - 1 - (found.modes + 1 if found.modes else 0)
        rhat, modes = arrays["rhat"], arrays["rhat"][dimension + 1 :]
        moving = rhat[np.isfinite(rhat)]
        yield self.measured("rhat", moving.max(), n)
        yield self.finite("rhat_energy", rhat[dimension], n, "the energy is constant")
        if found.modes:
            reason = "all chains are in one mode throughout"
            yield self.finite("rhat_modes", np.nanmax(modes) if np.isfinite(modes).any() else np.nan, n, reason)
        yield self.measured("rhat_mixed", (moving < MIXED).mean(), n)
        least = float(np.nanmin(arrays["ess"]))
        yield self.measured("ess", least, n)
        yield self.measured("ess_tail", np.nanmin(arrays["ess_tail"]), n)
        rate, apart = least / (chains * kernel.window / PER), float(moving.max())
        if apart < APART:
            yield self.measured("ess_per_gradient", rate, n)
        else:
            yield self.missing("ess_per_gradient", f"chains disagree, R-hat {apart:.3g}: where they began counts as {rate:.3g}")
        time = kernel.window / (float(arrays["energy_ess"][0]) / chains)
        yield self.finite("autocorrelation_time", time, n, "the energy is constant")
        if found.modes:
            each = hops(arrays["labels"], found.modes) / (kernel.window / PER)
            yield self.measured("mode_hops", each.mean(), chains, each.std(ddof=1) / np.sqrt(chains))
        yield self.measured("acceptance", about["acceptance"], chains)
        yield self.measured("step_size", about["step_size"], chains)

    def finite(self, metric: str, value: float, n: int, reason: str) -> Measurement:
        """``value``, or why there is none where it is no number."""
        return self.measured(metric, value, n) if np.isfinite(value) else self.missing(metric, reason)


def in_words(found: LongRun, kernel: KernelRun) -> str:
    """What a number of mixing depends on."""
    about, per_step = kernel.about, int(kernel.about["gradients_per_step"])
    fixed = {key: value for key, value in about["settings"].items() if key != "step_size"}
    name = about["name"].removeprefix(LATENT) + " in latent space" if about["latent"] else about["name"]
    how = f"{name}{' with ' + ', '.join(f'{key} {value}' for key, value in fixed.items()) if fixed else ''}"
    of_base = about["starts"] == "base"
    of = "the base's" if of_base else "the latent Gaussian's"
    spread = f"{found.settings['dispersion']:g} times {of} deviation{' (uniform on a box)' if of_base else ''}"
    steps = found.settings["steps"] // per_step
    told = f"; {found.told_by}" if found.told_by else ""
    law = "" if about["adjusted"] else " (of a biased law)"
    return (
        f"{how}{law}, step size found for each energy; {about['chains']} chains of {steps:,} steps from {spread}, "
        f"the first {about['warm_up']:,} not judged, then every {ordinal(about['stride'])}{told}"
    )


def ordinal(n: int) -> str:
    """A stride in words.

    >>> ordinal(1), ordinal(4), ordinal(22), ordinal(13)
    ('step', '4th', '22nd', '13th')
    """
    if n == 1:
        return "step"
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"
