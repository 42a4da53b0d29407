"""pyproject.toml, the constraints and environment.yml name the same packages at the same versions."""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from rattler import MatchSpec

from ebmpipe.features import inception

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONSTRAINTS = [Requirement(line) for line in (ROOT / "requirements" / "constraints.txt").read_text().splitlines()]
BESIDE = [line for line in (ROOT / "requirements" / "no-deps.txt").read_text().splitlines() if not line.startswith("#")]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())

TORCH = "2.13.0"
PYTHONS = ["3.11", "3.12", "3.13"]
#: Where conda-forge and bioconda call a package by another name.
CONDA_NAMES = {"lmdb": "python-lmdb", "matplotlib": "matplotlib-base", "snakemake": "snakemake-minimal", "torch": "pytorch"}
#: What the environment of conda holds besides: what ebmpipe itself is installed with.
CONDA_TOOLS = {"python", "pip", "setuptools"}


def requirements(*extras: str) -> dict[str, Requirement]:
    """What pyproject.toml asks for, by name."""
    lines = PROJECT["project"]["dependencies"] + [line for extra in extras for line in PROJECT["project"]["optional-dependencies"][extra]]
    found = {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)}
    assert len(found) == len(lines), "a package is named twice"
    return found


def pins(python: str) -> dict[str, str]:
    """The version that the constraints allow of each package on one version of Python."""
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    found: dict[str, str] = {}
    for requirement in CONSTRAINTS:
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name not in found, f"two pins of {name} on Python {python}"
            (specifier,) = requirement.specifier
            found[name] = specifier.version
    return found


def needed(requirement: Requirement) -> Iterator[Requirement]:
    """What an installed package needs directly, with the extras that are asked of it."""
    environment = {**default_environment(), "extra": ""}
    for line in requires(requirement.name) or []:
        other = Requirement(line)
        if other.marker is None or any(other.marker.evaluate({**environment, "extra": extra}) for extra in ["", *requirement.extras]):
            yield other


def installed_closure(roots: list[Requirement]) -> set[str]:
    """Names of all installed packages that these lead to."""
    seen: set[tuple[str, tuple[str, ...]]] = set()
    todo = list(roots)
    while todo:
        requirement = todo.pop()
        key = (canonicalize_name(requirement.name), tuple(sorted(requirement.extras)))
        if key not in seen:
            seen.add(key)
            try:
                todo += needed(requirement)
            except PackageNotFoundError:
                pytest.fail(f"{requirement.name} is needed but not installed: make environment")
    return {name for name, _ in seen}


def conda_pins() -> dict[str, str]:
    """Names and versions in environment.yml, each entry read by conda's own grammar."""
    found = {}
    for entry in CONDA["dependencies"]:
        assert isinstance(entry, str), "everything comes from conda; ebmpipe itself is installed afterwards"
        spec = MatchSpec(entry, strict=True)
        assert spec.name is not None
        found[spec.name.normalized] = entry.partition("=")[2]
        assert spec.version in {None, f"{found[spec.name.normalized]}.*"}, f"{entry} is not one version"
    assert len(found) == len(CONDA["dependencies"]), "a package is named twice"
    return found


@pytest.mark.parametrize("requirement", CONSTRAINTS, ids=str)
def test_a_constraint_is_one_exact_version(requirement: Requirement) -> None:
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    assert "*" not in specifier.version
    assert "+" not in specifier.version, "a build of one machine"
    assert requirement.url is None
    assert not requirement.extras


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_lie_in_the_ranges_of_pyproject(python: str) -> None:
    pinned = pins(python)
    wanted = requirements("workflow", "dev")
    assert not wanted.keys() - pinned.keys()
    assert [str(wanted[name]) for name in wanted if pinned[name] not in wanted[name].specifier] == []


def test_every_range_has_an_upper_bound() -> None:
    assert [str(it) for it in requirements("workflow", "dev").values() if not any(s.operator == "<" for s in it.specifier)] == []


def test_constraints_cover_all_that_is_installed() -> None:
    installed = installed_closure(list(requirements("workflow", "dev").values()))
    # Another build of torch brings its own CUDA libraries.
    without_cuda = {name for name in installed if not name.startswith(("cuda-", "nvidia-", "triton"))}
    assert without_cuda - {canonicalize_name(requirement.name) for requirement in CONSTRAINTS} == set()


def test_torch_has_one_version_everywhere() -> None:
    assert {pins(python)["torch"] for python in PYTHONS} == {TORCH}
    assert conda_pins()["pytorch"] == TORCH


def test_torchvision_stays_out() -> None:
    installed = installed_closure(list(requirements("workflow", "dev").values()))
    in_files = {*pins("3.11"), *requirements(*PROJECT["project"]["optional-dependencies"]), *conda_pins()}
    assert not {"torchvision", "torchaudio", "torch-fidelity"} & (installed | in_files)


def test_what_lies_beside_the_packages_is_pinned_and_is_no_package_of_theirs() -> None:
    for requirement in map(Requirement, BESIDE):
        (specifier,) = requirement.specifier
        assert specifier.operator == "==" and requirement.marker is None and not requirement.extras
    names = {canonicalize_name(Requirement(line).name) for line in BESIDE}
    assert names == {canonicalize_name(inception.PACKAGE)}
    assert not names & {*pins("3.11"), *conda_pins(), *requirements("workflow", "dev")}
    for script in ("scripts/make-environment", "environment.post-deploy.sh"):
        (command,) = (line for line in (ROOT / script).read_text().splitlines() if "--target" in line)
        assert "--no-deps" in command and f"/{inception.BESIDE}" in command


def test_what_lies_beside_the_packages_is_installed_at_its_pin() -> None:
    folder = Path(sys.prefix) / inception.BESIDE
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: `make environment` makes it")
    found = {canonicalize_name(one.name): one.version for one in distributions(path=[str(folder)])}
    assert found == {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in map(Requirement, BESIDE)}


def test_conda_has_the_same_packages_at_the_same_versions() -> None:
    in_conda = conda_pins()
    pinned = pins(in_conda["python"])
    wanted = requirements("workflow")
    names = set(wanted)
    for requirement in wanted.values():  # snakemake[reports] is no package of conda, but what the extra adds is
        if requirement.extras:
            plain = {it.name for it in needed(Requirement(requirement.name))}
            names |= {canonicalize_name(it.name) for it in needed(requirement) if it.name not in plain}
    expected = {CONDA_NAMES.get(name, name): pinned[name] for name in names}
    assert {name: version for name, version in in_conda.items() if name not in CONDA_TOOLS} == expected
    assert in_conda["setuptools"] == pinned["setuptools"]


def test_conda_takes_nothing_from_the_default_channels() -> None:
    assert CONDA["channels"] == ["conda-forge", "bioconda", "nodefaults"]


def test_the_range_of_python_is_the_same_everywhere() -> None:
    allowed = SpecifierSet(PROJECT["project"]["requires-python"])
    assert [f"3.{minor}" for minor in range(5, 30) if f"3.{minor}" in allowed] == PYTHONS
    assert [c for c in PROJECT["project"]["classifiers"] if re.search(r":: 3\.", c)] == [
        f"Programming Language :: Python :: {python}" for python in PYTHONS
    ]
    finder = (ROOT / "scripts" / "find-python").read_text()
    assert f"\nlowest={PYTHONS[0]}\nhighest={PYTHONS[-1]}\n" in finder
    assert "for name in python3 " + " ".join(f"python{python}" for python in PYTHONS) + ";" in finder
    assert PROJECT["tool"]["mypy"]["python_version"] == PYTHONS[0]
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + PYTHONS[0].replace(".", "")
    assert conda_pins()["python"] in PYTHONS
