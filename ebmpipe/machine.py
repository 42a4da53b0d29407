"""The machine and the software on it, as `ebmpipe doctor` sees them: no examination here needs anything that may be missing."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from ebmpipe.findings import Finding, State
from ebmpipe.provenance import commit, versions
from ebmpipe.writable import writable

#: Distributions that are imported by another name.
MODULES = {"scikit-learn": "sklearn", "pyyaml": "yaml", "pillow": "PIL", "arviz-stats": "arviz_stats"}
#: What the extras of pyproject.toml are for; a part that is missing from ``dev`` hinders nobody who only runs things.
EXTRAS = {"": "software", "workflow": "software of the workflow", "dev": "software of developers"}
#: GB below which a disk is as good as full.
LITTLE = 2.0


def release(version: str) -> tuple[int, ...]:
    """The numbers at the start of a version, for comparison.

    >>> release("2.13.0+cpu") < release("2.14")
    True
    """
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def within(version: str, limits: str) -> bool:
    """Whether ``version`` keeps ``limits`` such as ``>=2.8,<2.14``, the only operators that pyproject.toml uses.

    >>> within("2.13.0+cpu", "<2.14,>=2.8"), within("2.14.1", "<2.14,>=2.8"), within("3.0", "<3,>=2.0")
    (True, False, False)
    """

    def pad(parts: tuple[int, ...]) -> tuple[int, ...]:
        return parts + (0,) * (6 - len(parts))

    found = pad(release(version))
    for limit in filter(None, limits.split(",")):
        operator, bound = re.match(r"\s*(>=|<)\s*(.*)", limit).groups()  # type: ignore[union-attr]
        if found < pad(release(bound)) if operator == ">=" else found >= pad(release(bound)):
            return False
    return True


def ebmpipe_itself() -> Iterator[Finding]:
    """Versions of ebmpipe and Python, the platform and the commit."""
    known = versions()
    yield Finding("ebmpipe", "version", known["ebmpipe"])
    yield Finding("ebmpipe", "commit", commit() or "not a git checkout")
    yield Finding("ebmpipe", "folder", str(Path(__file__).parent))
    yield Finding("ebmpipe", "python", f"{known['python']} ({sys.executable})")
    yield Finding("ebmpipe", "platform", known["platform"])


def software() -> Iterator[Finding]:
    """Every direct dependency: the installed version, the supported range, and whether it can be imported."""
    for line in metadata.requires("ebmpipe") or []:
        match = re.match(r"([\w.-]+)(\[[\w,]*\])?\s*([^;]*?)\s*(?:;\s*extra\s*==\s*[\"'](\w+)[\"'])?$", line)
        if not match:
            yield Finding(EXTRAS[""], line, "a requirement of a form unknown here", "warning")
            continue
        name, _, limits, extra = match.groups(default="")
        state: State = "warning" if extra == "dev" else "broken"
        section, wanted = EXTRAS.get(extra, f"software of {extra}"), f"{name} {limits}"
        remedy = "`make environment`" + f", or pip install 'ebmpipe[{extra}]'" * (extra not in ("", "dev"))
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            advice = f"install {wanted} ({'only for `make test` and `make lint`; ' * (extra == 'dev')}{remedy})"
            yield Finding(section, name, f"not installed; {limits} is needed", state, advice)
            continue
        if not within(version, limits):
            advice = f"{name} {version} is outside the supported range {limits}: {remedy}"
            yield Finding(section, name, f"{version}, outside the supported range {limits}", "warning", advice)
        elif trouble := "" if extra == "dev" else trouble_with(MODULES.get(name, name)):
            advice = f"reinstall {name} ({remedy}): {trouble}"
            yield Finding(section, name, f"{version}, but it cannot be imported: {trouble}", state, advice)
        else:
            yield Finding(section, name, f"{version} (supported: {limits})")


def trouble_with(module: str) -> str:
    """Why a module cannot be imported; empty if it can."""
    try:
        importlib.import_module(module)
    except Exception as error:
        return (f"{type(error).__name__}: {error}".strip().splitlines() or ["?"])[0]
    return ""


def tools() -> Iterator[Finding]:
    """Commands that the project uses where they are there."""
    for name, without in (("git", "runs are recorded without the commit"), ("snakemake", ""), ("conda", "not needed: `make` uses .venv")):
        beside = Path(sys.executable).parent / name
        found = shutil.which(name) or (str(beside) if beside.is_file() else None)
        if found or name != "snakemake":
            yield Finding("tools", name, found or f"not found ({without})")
        else:
            advice = "install the workflow's software (`make environment`); single runs work without it"
            yield Finding("tools", name, "not found: the workflow cannot run", "broken", advice)


def processor() -> Iterator[Finding]:
    """Cores, threads and memory."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("machine", "processor", f"{platform.machine()}, {os.cpu_count()} cores, {usable} of them for this process")
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    yield Finding("machine", "OMP_NUM_THREADS", f"{threads} (ebmpipe takes 1 where it is not set)")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.is_file() else "max"
    shown = f", {int(allowed) / 2**30:.1f} GB of it for this container" if allowed.isdigit() else ""
    yield Finding("machine", "memory", f"{pages:.1f} GB{shown}")


def has_nvidia_driver() -> bool:
    """Whether an NVIDIA driver is loaded, whatever torch makes of it."""
    if Path("/proc/driver/nvidia/version").exists():
        return True
    try:
        return subprocess.run(["nvidia-smi"], capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def devices() -> Iterator[Finding]:
    """What torch can compute on."""
    driver = has_nvidia_driver()
    yield Finding("machine", "NVIDIA driver", "there" if driver else "none")
    if trouble := trouble_with("torch"):
        yield Finding("machine", "torch", f"cannot be imported: {trouble}", "broken", f"reinstall torch (`make environment`): {trouble}")
        return
    import torch

    yield Finding("machine", "torch threads", str(torch.get_num_threads()))
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "ROCm" if torch.version.hip else "CPU"
    yield Finding("machine", "torch build", f"{torch.__version__}, {build}")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            yield Finding("machine", f"cuda:{index}", f"{about.name}, {about.total_memory / 2**30:.1f} GB")
    elif driver and build == "CPU":
        advice = "an NVIDIA driver is there but this torch is a CPU build: make environment TORCH=cuda"
        yield Finding("machine", "device", "cpu, although there is a GPU", "warning", advice)
    elif driver:
        advice = f"torch for {build} sees no GPU although the driver is there: is CUDA_VISIBLE_DEVICES empty, or the driver too old?"
        yield Finding("machine", "device", "cpu, although there is a GPU", "warning", advice)
    else:
        yield Finding("machine", "device", "cpu")


def folder_for_results(results: Path) -> Iterator[Finding]:
    """Whether results can be written, and the room for them."""
    there, reason = writable(results)
    if reason is not None:
        advice = f"{results} cannot be written ({there}: {reason}): name another folder by --results, or `results:` in the config"
        yield Finding("results", "folder", f"{results} cannot be written: {reason}", "broken", advice)
        return
    yield Finding("results", "folder", f"{results}, {'can be written' if there == results.absolute() else 'will be made'}")
    free = shutil.disk_usage(there).free / 1e9
    advice = f"make room for {results}: {free:.1f} GB are free" if free < LITTLE else ""
    yield Finding("results", "disk", f"{free:.1f} GB free", "warning" if advice else "ok", advice)
