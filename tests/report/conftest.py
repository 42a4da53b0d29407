"""Results folders that look like the workflow's, made up in no time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebmpipe import registry
from ebmpipe.files import read_arrays, read_signed, sha256, write_arrays, write_json, write_signed
from ebmpipe.metrics.base import MetricInfo
from ebmpipe.report import ranking, style

REASON = "not available: the method has no energy"
REASONS = {
    "train": "loss is not finite",
    "sample": "sampling: 3 of 200 fresh samples are not finite",
    "evaluate": "evaluation: the energy of test data is not finite",
}


def density_data(results: Path, dataset: str, n: int = 2000) -> None:
    """Prepared data of a registered density."""
    rng = np.random.default_rng(0)
    density = registry.load("data", dataset)()
    splits = {split: density.sample(n, rng).astype(np.float32) for split in ("train", "validation", "test")}
    write_arrays(results / "data" / dataset / "data.safetensors", splits)
    card(results, dataset, "density", (2,), None)


def image_data(results: Path, dataset: str, images: np.ndarray | None = None) -> None:
    """Prepared images (n, c, h, w) of 16 grey levels: blobs unless given."""
    if images is None:
        rng = np.random.default_rng(0)
        x, y = np.meshgrid(np.arange(8), np.arange(8))
        centres = rng.uniform(2, 5, (300, 2, 1, 1))
        images = (15 * np.exp(-((x - centres[:, :1]) ** 2 + (y - centres[:, 1:]) ** 2) / 4)).astype(np.uint8)
    third = len(images) // 3
    splits = {"train": images[:third], "validation": images[third : 2 * third], "test": images[2 * third :]}
    write_arrays(results / "data" / dataset / "data.safetensors", splits)
    card(results, dataset, "images", images.shape[1:], 16)


def vector_data(results: Path, dataset: str) -> None:
    """Prepared vectors of five coordinates."""
    rng = np.random.default_rng(0)
    splits = {split: rng.normal(size=(500, 5)).astype(np.float32) * [3, 2, 1, 1, 1] for split in ("train", "validation", "test")}
    write_arrays(results / "data" / dataset / "data.safetensors", {key: value.astype(np.float32) for key, value in splits.items()})
    card(results, dataset, "vectors", (5,), None)


def card(results: Path, dataset: str, kind: str, shape: Sequence[int], levels: int | None) -> None:
    """A data card."""
    known = {
        "name": dataset,
        "kind": kind,
        "shape": list(shape),
        "mean": 0.0,
        "std": 1.0,
        "levels": levels,
        "classes": None,
        "entropy": None,
        "revision": 1,
        "data_sha256": sha256(results / "data" / dataset / "data.safetensors"),
    }
    write_signed(results / "data" / dataset / "card.json", known)


def run(
    results: Path,
    dataset: str,
    label: str,
    seed: int,
    metrics: Mapping[str, float | str | None],
    *,
    method: str | None = None,
    diverged: bool = False,
    lost_in: str = "train",
    step: int = 1234,
    train_s: float = 30.0,
    budget: int = 2_000_000,
    history: Mapping[str, np.ndarray] | None = None,
    samples: np.ndarray | None = None,
    arrays: Mapping[str, np.ndarray] | None = None,
    stderr: float | None = None,
    temperature: float = 1.0,
    clipped: float = 0.0,
    protocols: Mapping[str, str] | None = None,
    source: str = "fresh",
    made: Mapping[str, str] | None = None,
) -> Path:
    """One run folder. A metric's value is a number, or the text of its status.

    Of a run that diverged, in the stage ``lost_in``, all values are null, and it has nothing that later stages would have made.
    """
    folder = results / "runs" / dataset / label / f"seed{seed}"
    folder.mkdir(parents=True)
    config: dict[str, Any] = {"dataset": dataset, "label": label, "method": method or label, "seed": seed, "gradient_evaluations": budget}
    write_json(folder / "config.json", config)
    trains = (method or label) not in ("data", "noise")
    stage = {"startup_s": 1.5, "device": "cpu", "peak_memory_mb": 300.0}
    stages: dict[str, Any] = {"train": stage | {"wall_s": train_s if trains else 0.0}}
    if not diverged or lost_in != "train":
        stages["sample"] = stage | {"wall_s": 4.0, "sampler_steps": 500, "sources": made or {"fresh": "long chains"}}
    stages["evaluate"] = stage | {"wall_s": 2.0, "source": source}
    reason = REASONS[lost_in] if diverged else None
    for place, name in enumerate(stages):
        # What follows a stage that diverged has diverged with it.
        lost = diverged and place >= list(stages).index(lost_in)
        stages[name] |= {"status": "diverged" if lost else "finished", "reason": reason if lost else None}
    ledger = {
        "status": "diverged" if diverged else "finished", "reason": reason, "step": step,
        "stages": stages, "parameters": 50_000,
        "training_flops": int(budget * 1.5e5) if trains else 0, "gradient_evaluations": budget if trains else 0,
        "temperature": None if diverged else temperature, "clipped": None if diverged else clipped, "versions": {}, "commit": None,
    }  # fmt: skip
    rows = []
    for metric, value in metrics.items():
        number = value if isinstance(value, float) and not diverged else None
        status = "diverged" if diverged else "ok" if number is not None else str(value)
        error, unit = None if number is None else stderr, "nats" if "nll" in metric else ""
        rows.append({"metric": metric, "value": number, "stderr": error, "n": 1000, "status": status, "unit": unit})
        if protocols and metric in protocols:
            rows[-1]["protocol"] = protocols[metric]
    write_json(folder / "metrics.json", {"status": ledger["status"], "rows": rows})
    lines = {} if history is None else dict(history)
    with (folder / "history.csv").open("w") as file:
        names = ["step", "gradient_evaluations", "wall_s", *lines]
        file.write(",".join(names) + "\n")
        length = len(next(iter(lines.values()))) if lines else 0
        for index in range(length):
            clock = [index * 100, int(budget * (index + 1) / 60), index * 0.5]
            file.write(",".join(map(str, [*clock, *(values[index] for values in lines.values())])) + "\n")
    if samples is not None and not diverged:
        write_arrays(folder / "samples.safetensors", {"fresh": samples.astype(np.float32), "persistent": samples[:5].astype(np.float32)})
    elif samples is None or diverged:
        write_arrays(folder / "samples.safetensors", {})
    np.savez(folder / "arrays.npz", **dict(arrays if arrays and not diverged else {}))
    sign(folder, ledger)
    return folder


def sign(folder: Path, ledger: Mapping[str, Any] | None = None) -> None:
    """Vouch for the files as they are."""
    ledger = read_signed(folder / "run.json") if ledger is None else ledger
    files = {path.name: sha256(path) for path in folder.iterdir() if path.name != "run.json"}
    write_signed(folder / "run.json", {**ledger, "files": files})


def curves(rng: np.random.Generator, level: float, special: str | None = None, length: int = 60) -> dict[str, np.ndarray]:
    """A plausible training history."""
    t = np.linspace(0, 1, length)
    noise = rng.normal(size=(4, length)) * 0.1
    found = {
        "loss": level + np.exp(-5 * t) + noise[0] * 0.3, "gradient_norm": np.exp(1.5 - 2 * t + noise[1] * 2),
        "energy_data": 2 + noise[2], "energy_negative": 2.3 - 2 * np.exp(-6 * t) + noise[3],
    }  # fmt: skip
    if special:
        # Of a method that trains with a Markov chain.
        found |= {
            special: 0.6 + 0.1 * t + noise[0] * 0.1,
            "d_t": found["energy_data"] - found["energy_negative"],
            "r_t": np.exp(t + noise[1]),
        }
    return found


def plane_run(results: Path, dataset: str, label: str, seed: int, badness: float, grid: int = 80, **options: Any) -> None:
    """A run on a density whose model is the truth mixed with a broad Gaussian."""
    rng = np.random.default_rng([seed, *label.encode()])
    density = registry.load("data", dataset)()
    weight = float(np.clip(badness * np.exp(rng.normal() * 0.2), 1e-4, 1))
    x = np.linspace(-6, 6, grid)

    def log_p(points: np.ndarray) -> np.ndarray:
        broad = -(points**2).sum(1) / 18 - np.log(2 * np.pi * 9)
        return np.asarray(np.logaddexp(np.log1p(-weight + 1e-12) + density.log_density(points), np.log(weight) + broad))

    data, broad = density.sample(1000, rng), rng.normal(size=(1000, 2)) * 3
    samples = np.where(rng.uniform(size=(1000, 1)) < weight, broad, density.sample(1000, rng))
    log_density = log_p(np.stack(np.meshgrid(x, x), -1).reshape(-1, 2)).reshape(grid, grid)
    gap = float(-np.log1p(-weight + 1e-6))
    metrics: dict[str, float | str] = {
        "nll_gap": gap, "nll": 2.1 + gap, "mmd": 0.01 + weight / 5, "sliced_wasserstein": 0.05 + weight, "log_z": 0.3,
        "mmd@persistent": 0.5,
    }  # fmt: skip
    arrays: dict[str, np.ndarray] = {"grid_x": x, "grid_y": x, "log_density": log_density}
    uniform = rng.uniform(-6, 6, (1000, 2))
    arrays |= {
        "energy_data": 3 - log_p(data),
        "energy_samples": 3 - log_p(samples),
        "energy_noise": 3 - log_p(uniform),
    }
    arrays |= {"ood_energy_test": arrays["energy_data"], "ood_energy_noise": arrays["energy_noise"], "ood_energy_rings": 3 - log_p(broad)}
    control = options.get("method")
    if control:
        metrics |= {"nll_gap": REASON, "nll": REASON, "log_z": REASON}
        samples, arrays = data if control == "data" else uniform, {}
    length = 20 if options.get("diverged") and options.get("lost_in", "train") == "train" else 60
    history = None if control or options.get("step") == 0 else curves(rng, gap, "acceptance" if "cd" in label else None, length)
    run(results, dataset, label, seed, metrics, samples=samples, arrays=arrays, **{"history": history} | options)


def picture_run(results: Path, dataset: str, label: str, seed: int, badness: float, **options: Any) -> None:
    """A run on images whose samples are noisy training images."""
    rng = np.random.default_rng([seed, *label.encode()])
    data = read_arrays(results / "data" / dataset / "data.safetensors")[0]
    source = data["test" if options.get("method") == "data" else "train"]
    clean = 2 * source[rng.integers(len(source), size=120)] / 15 - 1
    samples = clean * (1 - min(1, badness)) + rng.normal(size=clean.shape) * badness
    quality = badness * float(np.exp(rng.normal() * 0.1))
    metrics: dict[str, float | str] = {
        "frechet_lenet": 300 * quality + 1.5, "kernel_lenet": quality, "nn_distance_ratio": 1 + quality,
        "bits_per_dim": "not available: improper", "precision": 1 - min(quality, 0.9), "recall": 0.9 - min(quality, 0.8),
    }  # fmt: skip
    energies = {f"energy_{key}": rng.normal(level, 3, 500) for key, level in (("data", 0), ("samples", 30 * badness), ("noise", 900))}
    energies |= {
        "ood_energy_test": energies["energy_data"],
        "ood_energy_noise": np.full(500, np.inf),
        "ood_energy_dark": -energies["energy_data"],
    }
    for task in ("denoising", "inpainting"):
        missing = np.where(np.arange(8) < 4, np.nan, 1.0) if task == "inpainting" else 1.0
        parts = {"clean": clean, "observed": clean * missing, "sample": samples, "mean": (clean + samples) / 2}
        energies |= {f"{task}_{name}": values[:10] for name, values in parts.items()}
    control = options.get("method")
    history = None if control else curves(rng, 1.0, None, 20 if options.get("diverged") else 60)
    run(results, dataset, label, seed, metrics, samples=samples, arrays={} if control else energies, history=history, **options)


KNOWN = {
    "nll_gap": MetricInfo("nats", "lower", "gap"), "nll": MetricInfo("nats", "lower", "nll"), "mmd": MetricInfo("", "lower", "mmd"),
    "sliced_wasserstein": MetricInfo("", "lower", "distance"), "log_z": MetricInfo("nats", None, "log-partition"),
    "frechet_lenet": MetricInfo("", "lower", "distance"), "kernel_lenet": MetricInfo("", "lower", "distance"),
    "nn_distance_ratio": MetricInfo("ratio", None, "ratio"), "bits_per_dim": MetricInfo("bits", "lower", "bits"),
    "precision": MetricInfo("", "higher", "precision"), "recall": MetricInfo("", "higher", "recall"),
}  # fmt: skip
BADNESS = {"data": 0.0005, "noise": 1.0, "nce": 0.3, "pcd": 0.02, "pcd_twin": 0.021, "cd": 0.1, "dsm": 0.06}


def theorems(results: Path) -> None:
    """Measured theorems: two limits, of which one has a second curve, a remainder, two flows, the blindness, a rule and contractions."""
    steps, times, places = 0.4 / 2.0 ** np.arange(5), np.linspace(0, 1, 21), np.linspace(0, 8, 17)
    limits = {f"{kind}_{shape}": steps**2 for kind in ("gradient", "attached") for shape in ("1", "1x2x2")}
    decay = {f"{key}_{law}": np.exp(-times) for key in ("kl", "fisher") for law in ("mixtures", "gaussians")}
    decay |= {f"rate_{law}": -np.exp(-times) for law in ("mixtures", "gaussians")}
    slopes = {f"slope_{key}": 2.0 for key in limits}
    taken = ("kl", "gibbs", "gibbs_excess")
    blind = {"kl_at_8": 0.511, "fisher_at_8": 4e-14, "noise": 4.0, "data_weight": 0.5, "model_weight": 0.9}
    made: dict[str, tuple[str, dict[str, float], dict[str, np.ndarray]]] = {
        "cd_step": ("limits", slopes, {"steps": steps} | limits),
        "conditional_noise": ("limits", slopes, {"steps": steps} | limits),
        "shifted_noise": ("remainders", slopes, {"steps": steps} | limits),
        "heat_flow": ("flows", {"factor": 1.0}, {"times": times} | decay),
        "langevin_flow": ("flows", {"factor": 2.0}, {"times": times} | decay),
        "ratio_rule": ("rule", slopes, {"steps": steps} | limits),
        "kernel_contraction": (
            "contractions",
            {},
            {"places": np.linspace(0, 1, 11)} | {f"{key}_1x2x2": np.linspace(0, 1, 11) for key in taken},
        ),
        "short_contraction": (
            "short",
            {},
            {"times": steps} | {f"{key}_{law}": steps for key in ("blur",) for law in ("mixtures", "gaussians")},
        ),
        "mixture_weights": ("blindness", blind, {"places": places} | {key: np.exp(-places) for key in ("kl", "fisher", "fisher_noisy")}),
    }
    folder = results / "theorems"
    folder.mkdir()
    np.savez(folder / "theorems.npz", **{f"{name}.{key}": values for name, (*_, found) in made.items() for key, values in found.items()})
    legends = {
        "cd_step": [["gradient", "CD"], ["attached", "attached"]],
        "kernel_contraction": [["gibbs", "one Gibbs step"]],
        "short_contraction": [["blur", "blur of both"]],
    }
    said = {
        name: {"title": name, "panel": panel, "numbers": numbers, "legend": legends.get(name, [["gradient", name]])}
        for name, (panel, numbers, _) in made.items()
    }
    write_signed(folder / "theorems.json", {"theorems": said, "files": {"theorems.npz": sha256(folder / "theorems.npz")}})


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Directions of the made-up metrics, whatever the package measures; small pictures."""
    monkeypatch.setattr(ranking, "known_metrics", lambda: KNOWN)
    monkeypatch.setattr(style, "DPI", 50)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """`run` in a fresh results folder, on the data set ``plane``."""
    return partial(run, tmp_path, "plane")


@pytest.fixture
def make_plane(tmp_path: Path) -> Callable[..., None]:
    """`plane_run` in a fresh results folder, on ``eight_gaussians``."""
    density_data(tmp_path, "eight_gaussians")
    return partial(plane_run, tmp_path, "eight_gaussians")


@pytest.fixture
def make_pictures(tmp_path: Path) -> Callable[..., Path]:
    """`run` in a fresh results folder, on the images ``blobs``."""
    image_data(tmp_path, "blobs")
    return partial(run, tmp_path, "blobs")


@pytest.fixture
def vouch() -> Callable[[Path], None]:
    """`sign`, for tests that change a file and want it believed."""
    return sign


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, list[int]]]]:
    """Results on a density, on images and on vectors: all seeds of cd diverged, one of dsm's, and the vectors have one seed."""
    results = tmp_path_factory.mktemp("results")
    density_data(results, "eight_gaussians")
    image_data(results, "blobs")
    vector_data(results, "cloud")
    theorems(results)
    rng = np.random.default_rng(0)
    labels = {"eight_gaussians": list(BADNESS), "blobs": ["data", "noise", "nce", "pcd", "cd", "dsm"], "cloud": ["pcd", "data", "nce"]}
    runs = {name: {label: [0] if name == "cloud" else [0, 1] for label in chosen} for name, chosen in labels.items()}
    for dataset, label, seed in [(name, label, seed) for name in runs for label, seeds in runs[name].items() for seed in seeds]:
        badness, control = BADNESS[label], label if label in ("data", "noise") else None
        lost = label == "cd" or (label == "dsm" and seed == 1)
        if dataset == "cloud":
            metrics = {"mmd": badness, "nll": REASON if control else 2 + badness}
            history = None if control else curves(rng, 1.0)
            run(results, dataset, label, seed, metrics, method=control, samples=rng.normal(size=(200, 5)), history=history)
        else:
            one = plane_run if dataset == "eight_gaussians" else picture_run
            one(results, dataset, label, seed, badness, method=control, diverged=lost)
    return results, runs
