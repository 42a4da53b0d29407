"""What denoising and inpainting metrics ask of an energy: test examples restored by sampling it given what was observed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ebmpipe.config import RestorationConfig
from ebmpipe.energies import Energy, GaussianLaw, frozen, gradient, support_of
from ebmpipe.metrics.base import Events, NotAvailable
from ebmpipe.metrics.estimators.arrays import reference_order
from ebmpipe.optimisation import Diverged
from ebmpipe.restoration.conditional import Masked, Observed, for_rows
from ebmpipe.restoration.posterior import posterior, resampled
from ebmpipe.restoration.restored import Restored, Restorer, Task
from ebmpipe.scored import Scored
from ebmpipe.seeding import numpy_generator, torch_generator
from ebmpipe.spec import DataSpec
from ebmpipe.tensors import doubles


def missing_of(spec: DataSpec, which: Literal["centre", "lower"]) -> np.ndarray:
    """The mask of what is missing of an event, (*event) bool: a part of an image, else the later half of the coordinates."""
    mask = np.zeros(spec.shape, dtype=bool)
    if spec.kind != "images":
        mask[spec.shape[0] // 2 :] = True
        return mask
    (_, height, width), quarter = spec.shape, 4
    if which == "lower":
        mask[:, height // 2 :] = True
    else:
        mask[:, height // quarter : height - height // quarter, width // quarter : width - width // quarter] = True
    return mask


def restorer(scored: Scored, spec: DataSpec, test: Events, config: RestorationConfig, device: str) -> Restorer | None:
    """What restores test examples when it is called; None without an energy. An energy that is none, NaN or -inf, has `Diverged`.

    Args:
        scored: the energy, the noise in its data, its base.
        spec: the data set.
        test: its test split.
        config: how.
        device: where.
    """
    energy = scored.energy
    if energy is None:
        return None

    def restore(task: Task) -> Restored:
        order = reference_order("test", len(test))[: config.n]
        clean = np.asarray(test[order], dtype=np.float64)
        make = denoised if task == "denoising" else inpainted
        with torch.no_grad(), frozen(scored.module) if scored.module else nullcontext():
            at_data = energy(torch.from_numpy(clean).float().to(device))
            if lost := int((at_data.isnan() | (at_data == -torch.inf)).sum()):
                raise Diverged(f"the energy is not finite at {lost} of {len(at_data)} points")
            try:
                found = make(energy, scored, spec, clean, config, device)
            except ValueError as reason:
                raise NotAvailable(f"the chains broke down: {reason}") from reason
        for name, values in (("mean", found.means), ("sample", found.sample)):
            if not np.isfinite(values).all():
                raise NotAvailable(f"the chains ended where the {name} of the restored examples is not finite")
        return found

    return restore


def told(config: RestorationConfig, scored: Scored) -> str:
    """How the chains ran, for a protocol."""
    jump = f", ended by the jump x - σ²∇E with σ = {scored.noise_level:g}" if scored.noise_level else ""
    return (
        f"{config.chains} chains of {config.adaptation_steps + config.steps} steps of {config.kernel} each, "
        f"{config.draws} draws of the last half{jump}"
    )


def jump_of(energy: Energy, scored: Scored) -> Callable[[Tensor], Tensor]:
    """What ends a draw: the mean of the clean example given the smoothed one (Miyasawa 1961), in the box if there is one."""
    sigma, box = scored.noise_level, support_of(energy)

    def jump(x: Tensor) -> Tensor:
        x = x - sigma**2 * gradient(energy, x) if sigma else x
        return box.nearest(x) if box else x

    return jump


def denoised(energy: Energy, scored: Scored, spec: DataSpec, clean: np.ndarray, config: RestorationConfig, device: str) -> Restored:
    """Examples with Gaussian noise, restored by chains whose starts are chosen among draws of the likelihood.

    Raises:
        NotAvailable: if there is no more noise than the energy's own.
    """
    tau, sigma = config.noise, scored.noise_level
    if tau <= sigma:
        raise NotAvailable(f"the noise to be taken off, {tau:g}, is no more than that of the data which the energy models, {sigma:g}")
    observed = clean + tau * numpy_generator(0, "evaluation", "denoising").standard_normal(clean.shape)
    y, box = torch.from_numpy(observed).float().to(device), support_of(energy)
    generator = torch_generator(scored.seed, "evaluation", "denoising", device=device)
    law = Observed(energy, y, (tau**2 - sigma**2) ** 0.5)

    def propose() -> tuple[Tensor, Tensor]:
        x = for_rows(y, config.chains * len(y))
        x = x + law.s * torch.randn(x.shape, generator=generator, device=device)
        x = box.nearest(x) if box else x
        return x, -energy(x)

    start = resampled(propose, config.candidates, generator)
    found = posterior(law, start, config, generator, jump_of(energy, scored), title="denoising", keep=spec.kind != "images")
    protocol = f"noise τ = {tau:g}, {told(config, scored)}"
    return Restored(clean, observed, doubles(found.means), doubles(found.last), None, doubles(found.draws), tau, protocol)


def inpainted(energy: Energy, scored: Scored, spec: DataSpec, clean: np.ndarray, config: RestorationConfig, device: str) -> Restored:
    """Examples of which a part is missing, completed by chains in the missing coordinates, whose starts are chosen among draws of the base.

    An energy of smoothed data can only be told what was seen of a smoothed example: each chain holds the known coordinates with noise σ of
    its own, drawn once, and in the end they are put back as they were.
    """
    mask = missing_of(spec, config.missing)
    missing = torch.from_numpy(mask).to(device)
    generator = torch_generator(scored.seed, "evaluation", "inpainting", device=device)
    x = torch.from_numpy(clean).float().to(device)
    x = x.repeat(config.chains, *[1] * (x.dim() - 1))
    known = scored.smooth(x, generator) if scored.smooth else x
    base = scored.base or GaussianLaw.of(spec)
    law, jump = Masked(energy, known, missing), jump_of(energy, scored)

    def propose() -> tuple[Tensor, Tensor]:
        part = law.part(base.sample(len(x), generator).to(x))
        whole = law.whole(part)
        return part, base(whole) - energy(whole)  # the base's coordinates are independent: those that are known are a constant

    start = resampled(propose, config.candidates, generator)

    def finish(part: Tensor) -> Tensor:
        return torch.where(missing, jump(law.whole(part)), x)

    found = posterior(law, start, config, generator, finish, title="inpainting", keep=spec.kind != "images")
    where = {"centre": "the middle square of half the side", "lower": "the lower half"}[config.missing] if spec.kind == "images" else "x₂"
    protocol = f"{where} missing, {told(config, scored)}"
    observed = np.where(mask, np.nan, clean)
    return Restored(clean, observed, doubles(found.means), doubles(found.last), mask, doubles(found.draws), 0.0, protocol)
