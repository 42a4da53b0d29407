"""The long-run stage: chains of the same kernels on every method's energy, from over-dispersed starts."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ebmpipe.checkpoint import Checkpoint, checkpoint_key, latest, remove_checkpoints
from ebmpipe.config import LongRunConfig, SamplingConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.energies import Energy, Law, frozen
from ebmpipe.files import CorruptFile
from ebmpipe.interruption import Interrupted, Overdue, StopSignals
from ebmpipe.loading import load_run
from ebmpipe.methods.base import Method, NoEnergy
from ebmpipe.mixing.chains import Course, Timetable, Walk, courses_of, energy_stops
from ebmpipe.mixing.diagnostics import diagnose
from ebmpipe.mixing.indicators import Indicator, indicator_of
from ebmpipe.mixing.record import FILE, KernelRun, LongRun
from ebmpipe.progress import Progress
from ebmpipe.provenance import Stopwatch, choose_device, device_name
from ebmpipe.runs import RunFolder
from ebmpipe.seeding import torch_generator
from ebmpipe.transported_law import TransportedLaw

#: Bumped when the numerics of this stage change.
LONG_RUN_REVISION = 4
#: Seconds between checkpoints.
CHECKPOINT_PERIOD = 30.0
#: Where they lie in the run's folder; training clears away its own.
CHECKPOINTS = "long_run"
#: Positions per call of what tells modes apart.
CHUNK = 1024


@dataclass
class Journey:
    """A long run under way: the energy, what is known of the kernels that are done, and where checkpoints go.

    Attributes:
        method: what is run.
        config: how.
        courses: the kernels, the primary one first.
        indicator: what tells modes apart.
        seed: of the run.
        device: where.
        path: of the checkpoint.
        period: seconds between checkpoints.
        done: records of the kernels that are done.
        frames: the first kernel's chains at its frames before any jump, (frames, chains, *event), and their energies, (frames, chains).
    """

    method: Method
    config: LongRunConfig
    courses: list[Course]
    indicator: Indicator | None
    seed: int
    device: str
    path: Path
    period: float = CHECKPOINT_PERIOD
    done: dict[str, KernelRun] = field(default_factory=dict)
    frames: tuple[np.ndarray, np.ndarray] | None = None
    saved_at: float = field(default_factory=time.monotonic)

    def checkpoint(self, walk: Walk | None, generator: torch.Tensor) -> Checkpoint:
        """All that the next stop depends on."""
        tensors = {} if walk is None else {f"walk/{name}": value for name, value in walk.tensors().items()}
        if self.frames is not None:
            tensors |= {"frames": torch.from_numpy(self.frames[0]), "frame_energies": torch.from_numpy(self.frames[1])}
        for name, kernel in self.done.items():
            tensors |= {f"done/{name}/{key}": torch.from_numpy(np.ascontiguousarray(value)) for key, value in kernel.arrays.items()}
        extra = {"walk": None if walk is None else walk.numbers(), "done": [dict(kernel.about) for kernel in self.done.values()]}
        return Checkpoint.of(0 if walk is None else walk.step, tensors, generator, [], extra)

    def restore(self, saved: Checkpoint, generator: torch.Generator) -> Walk | None:
        """Take up what `checkpoint` kept; returns the walk of the kernel at hand, if it had begun."""
        if "frames" in saved.model:
            self.frames = saved.model["frames"].numpy(), saved.model["frame_energies"].numpy()
        for about in saved.extra["done"]:
            start = f"done/{about['name']}/"
            arrays = {key.removeprefix(start): value.numpy() for key, value in saved.model.items() if key.startswith(start)}
            self.done[about["name"]] = KernelRun(about, arrays)
        generator.set_state(saved.generator)
        if saved.extra["walk"] is None:
            return None
        kernel = self.courses[len(self.done)].kernel
        own = {key.removeprefix("walk/"): value for key, value in saved.model.items() if key.startswith("walk/")}
        return Walk.resumed(kernel, Timetable.of(self.config, kernel), own, saved.extra["walk"], self.device)

    @property
    def length(self) -> int:
        """Gradient evaluations of a chain of every kernel together."""
        return sum(map(self.length_of, self.courses))

    def length_of(self, course: Course) -> int:
        """Those of one kernel."""
        return Timetable.of(self.config, course.kernel).steps * course.kernel.gradients_per_step

    def behind(self, walk: Walk | None) -> int:
        """How many of them are done."""
        whole = sum(self.length_of(course) for course in self.courses if course.name in self.done)
        return whole + (0 if walk is None else walk.step * walk.kernel.gradients_per_step)

    def run(self, title: str) -> None:
        """Go through all kernels, from the last checkpoint if there is one.

        Raises:
            Interrupted: on SIGTERM or SIGINT, after a checkpoint.
        """
        saved, walk = latest(self.path), None
        generator = torch_generator(self.seed, "sampling", "long_run", self.courses[0].name, device=self.device)
        if saved is not None:
            walk = self.restore(saved, generator)
        with Progress(title, self.length, self.behind(walk)) as progress, StopSignals() as signals, frozen(self.method):
            try:
                for course in self.courses[len(self.done) :]:
                    energy, law = space_of(self.method, course)
                    if walk is None:
                        generator = torch_generator(self.seed, "sampling", "long_run", course.name, device=self.device)
                        walk = Walk.begin(course.kernel, energy, law, self.config, generator)
                    # Finding a step size, and judging the kernel before, are no steps of these chains.
                    progress.skip()
                    while not walk.done:
                        self.save_if_due(course, walk, generator, signals)
                        steps = walk.advance(energy, generator, self.config.energy_bound)
                        mean = float(walk.energies[-1].mean()) if walk.energies else 0.0
                        progress.advance({"energy": mean}, steps * course.kernel.gradients_per_step)
                    self.save_if_due(course, walk, generator, signals, due=True)
                    self.finish(course, walk, title)
                    walk = None
            except Overdue:
                raise stopped(title, signals.asked or 0) from None

    def save_if_due(self, course: Course, walk: Walk, generator: torch.Generator, signals: StopSignals, due: bool = False) -> None:
        """Write a checkpoint when it is time, and when asked to stop. What is asked while chains move waits for their next stop; if that
        takes too long, what was written last is gone back to."""
        if due or signals.asked or time.monotonic() - self.saved_at > self.period:
            signals.heard()
            self.checkpoint(walk, generator.get_state()).save(self.path)
            self.saved_at = time.monotonic()
        if signals.asked:
            raise stopped(f"{course.name} at step {walk.step:,}", signals.asked)

    def carried(self, course: Course, kept: list[torch.Tensor]) -> torch.Tensor:
        """Positions of ``kept``, one or more of (chains, …), in data space: (len(kept), chains, *event) on the CPU."""
        latent = self.method.latent_energy() if course.latent else None
        if latent is None:
            return torch.stack(kept)
        moved = [latent.carried(part.to(self.device)).float().cpu() for z in kept for part in z.split(CHUNK)]
        return torch.cat(moved).view(len(kept), -1, *self.method.spec.shape)

    def finish(self, course: Course, walk: Walk, title: str) -> None:
        """Judge the draws of a kernel that is done, and let go of them."""
        primary = not self.done
        found = self.judged(course, walk, title)
        if primary or course.latent:
            chosen = [place for place, stop in enumerate(energy_stops(walk)) if stop in walk.table.frames]
            shape = (0, self.config.chains)
            frames = (
                self.carried(course, walk.frames).numpy() if walk.frames else np.empty((*shape, *self.method.spec.shape), np.float32),
                torch.stack([walk.energies[place] for place in chosen]).numpy() if chosen else np.empty(shape, np.float32),
            )
            if primary:
                self.frames = frames
            else:
                found = KernelRun(found.about, {**found.arrays, "frames": self.jumped(frames[0]), "frame_steps": frame_steps(walk)})
        self.done[course.name] = found

    def jumped(self, frames: np.ndarray) -> np.ndarray:
        """Frames (frames, chains, *event) after the denoising jump, if there is one."""
        after = [self.method.denoised(torch.from_numpy(part).to(self.device)).cpu().numpy() for part in frames]
        return np.stack(after) if after else frames

    def judged(self, course: Course, walk: Walk, title: str) -> KernelRun:
        """The record of a kernel's chains."""
        kernel, table = walk.kernel, walk.table
        chains = self.config.chains
        about: dict[str, Any] = {
            "name": course.name,
            "settings": dict(course.settings),
            "latent": course.latent,
            "adjusted": kernel.adjusted,
            "starts": "latent vectors" if course.latent or isinstance(self.method.start, TransportedLaw) else "base",
            "step_size": kernel.step_size,
            "acceptance": walk.acceptance / walk.step if walk.step else 0.0,
            "chains": chains,
            "steps": walk.step,
            "gradients_per_step": kernel.gradients_per_step,
            "gradient_evaluations": walk.evaluations,
            "warm_up": table.warm_up,
            "stride": table.stride,
            "draws": table.draws,
            "slowest": -1,
            "lost": walk.lost,
        }
        arrays = {
            "energy_steps": np.array(energy_stops(walk), dtype=np.int64),
            "energy": torch.stack(walk.energies).numpy() if walk.energies else np.empty((0, chains), np.float32),
        }
        if walk.lost is not None:
            return KernelRun(about, arrays)
        draws = self.carried(course, walk.draws).transpose(0, 1).contiguous().numpy()
        stops = {stop: place for place, stop in enumerate(energy_stops(walk))}
        drawn = [stops[step] for step in range(table.warm_up + table.stride, table.steps + 1, table.stride)]
        labels, count = None, 0
        if self.indicator is not None:
            count, flat = self.indicator.count, draws.reshape(-1, *self.method.spec.shape)
            told = [self.indicator.label(flat[start : start + CHUNK]) for start in range(0, len(flat), CHUNK)]
            labels = np.concatenate(told).reshape(draws.shape[:2]).astype(np.int32)
            about["gradient_evaluations"] += self.indicator.gradients * len(flat)
            arrays["labels"] = labels
        flat = draws.reshape(*draws.shape[:2], -1)
        with Progress(f"{title}, judging {course.name}", flat.shape[2] + 1 + (0 if labels is None else count + 1)) as progress:
            found = diagnose(flat, arrays["energy"][drawn].T, labels, count, progress.advance)
        about["slowest"] = found.slowest
        arrays |= {"rhat": found.rhat, "ess": found.ess, "ess_tail": found.ess_tail}
        arrays |= {"autocorrelation": found.autocorrelation, "energy_ess": np.array([found.energy_ess])}
        return KernelRun(about, arrays)

    def record(self) -> LongRun:
        """What the file holds when all is done."""
        assert self.frames is not None
        raw, energies = self.frames
        steps = Timetable.of(self.config, self.courses[0].kernel).frames[: len(raw)]
        return LongRun(
            self.done,
            np.array(steps, dtype=np.int64),
            self.jumped(raw),
            energies,
            0 if self.indicator is None else self.indicator.count,
            "" if self.indicator is None else self.indicator.told_by,
            self.config.model_dump(mode="json"),
        )


def stopped(where: str, number: int) -> Interrupted:
    """The exit of a long run that a signal ended."""
    print(f"stopped {where}; the same command goes on from its last checkpoint", file=sys.stderr)
    return Interrupted(128 + number)


def frame_steps(walk: Walk) -> np.ndarray:
    """The steps of a walk's frames, (frames,)."""
    return np.array(walk.table.frames[: len(walk.frames)], dtype=np.int64)


def space_of(method: Method, course: Course) -> tuple[Energy, Law]:
    """The energy that a course's chains move under, and the law whose widening they start from: of one that a map makes of latent vectors,
    what it makes of wider ones."""
    latent = method.latent_energy() if course.latent else None
    return (method.energy_function(), method.start) if latent is None else (latent, latent.base)


def run_on(method: Method, courses: list[Course], device: str) -> tuple[list[Course], str | None]:
    """Those of ``courses`` that a method can be run on, and if there are none, why."""
    reason, in_data_space = None, True
    try:
        method.energy(torch.full((1, *method.spec.shape), method.spec.mean, device=device))
    except NoEnergy as missing:
        reason, in_data_space = f"the run has no energy: {missing}", False
    in_latent_space = method.latent_energy() is not None
    found = [course for course in courses if (in_latent_space if course.latent else in_data_space)]
    return found, None if found else reason


@torch.no_grad()
def long_run(
    folder: RunFolder,
    data_folder: Path,
    config: LongRunConfig,
    features: Path | None = None,
    device: str = "auto",
    checkpoint_period: float = CHECKPOINT_PERIOD,
) -> None:
    """Write long_run.safetensors of a trained run, or go on with an interrupted one.

    Chains that are lost are a result, which the record states; a run that has no energy, or whose training diverged, has a record that
    says so. It works beside the sample stage, which knows nothing of it.

    Args:
        folder: the run.
        data_folder: its prepared data set.
        config: kernels, chains and their length.
        features: folder of the data set's feature networks, where `LongRunConfig.classifier` is looked for.
        device: as in training.
        checkpoint_period: seconds between checkpoints.

    Raises:
        Interrupted: on SIGTERM or SIGINT, after a checkpoint.
        ValueError: if a kernel cannot be used.
        CorruptFile: if the model was trained anew in the meantime.
    """
    device, courses = choose_device(device), courses_of(config)
    with folder.locked("long_run"):
        stopwatch, model = Stopwatch(device), folder.ledger["files"].get("model.safetensors")
        settings = config.model_dump(mode="json")
        reason, path = folder.training_divergence, None
        if reason is None:
            data = Prepared(data_folder)
            for course in courses:
                if not course.latent and data.spec.kind not in course.kernel.kinds:
                    raise ValueError(f"long runs are of chains whose step size adapts, and {course.name} does not take {data.spec.kind}")
            method = load_run(folder, data, device)
            courses, reason = run_on(method, courses, device)
        if reason is None:
            method.sampling = SamplingConfig(denoise=config.denoise)
            indicator = indicator_of(data.spec, config.classifier, features, method.denoised, method.denoises, device)
            machine = {"device": device_name(device), "threads": str(torch.get_num_threads()), "torch": torch.__version__}
            made_from = {"model": str(model), "data": data.card["data_sha256"]}
            path = folder / f"{CHECKPOINTS}/{checkpoint_key(settings | {'revision': LONG_RUN_REVISION}, made_from, machine)}.safetensors"
            seed, title = folder.config.seed, "/".join(folder.path.parts[-3:])
            journey = Journey(method, config, courses, indicator, seed, device, path, checkpoint_period)
            journey.run(f"long run of {title}")
            record = journey.record()
        else:
            record = LongRun.nothing(reason, settings)
        with folder.locked():
            if folder.ledger["files"].get("model.safetensors") != model:
                raise CorruptFile(f"{folder.path} was trained anew while its long run was under way: run `ebmpipe long-run` for it again")
            record.write(folder / FILE)
            folder.record("long_run", stopwatch.record() | entry_of(record))
        if path is not None:
            remove_checkpoints(path.parent)
            path.parent.rmdir()


def entry_of(record: LongRun) -> dict[str, Any]:
    """What the ledger says of a long run: its cost, and what became of its chains."""
    jumps = record.frames.shape[0] * record.frames.shape[1] if record.settings["denoise"] and record.kernels else 0
    return {
        "sampler_steps": sum(int(kernel.about["steps"]) for kernel in record.kernels.values()),
        "gradient_evaluations": sum(int(kernel.about["gradient_evaluations"]) for kernel in record.kernels.values()) + jumps,
        "chains": {name: kernel.lost or "whole" for name, kernel in record.kernels.items()} or record.reason,
    }
