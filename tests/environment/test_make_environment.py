"""scripts/make-environment installs once, the right torch, and never takes a half-made environment for a whole one."""

import shutil
from pathlib import Path

import pytest

AT_HAND = "-m pip install --quiet --no-index --no-deps torch=="
BACKEND = "-m uv pip install"
DEFAULT = "-m pip install -c requirements/constraints.txt torch=="
PACKAGE = "-e .[workflow,dev]"
BESIDE = "-r requirements/no-deps.txt"

has_driver = Path("/proc/driver/nvidia/version").exists()


def steps(calls: list[str]) -> list[str]:
    """The calls in short."""
    kinds = {"-m venv": "venv", AT_HAND: "at hand", BACKEND: "backend", DEFAULT: "default", PACKAGE: "package", BESIDE: "beside"}
    return [name for call in calls for part, name in kinds.items() if part in call]


def test_installs_once(checkout) -> None:
    checkout.python(wheel="2.13.0+cpu")
    status, output, calls = checkout.make_environment(TORCH="cpu")
    assert status == 0
    assert steps(calls) == ["venv", "at hand", "package", "beside"]
    assert [line[:16] for line in output.splitlines()] == [f"environment: {it}" for it in ("1/3", "2/3", "3/3", "rea")]
    assert checkout.make_environment(TORCH="cpu") == (0, "", [])
    for file in ("pyproject.toml", "requirements/constraints.txt", "requirements/no-deps.txt"):
        (checkout.root / file).touch()
    assert checkout.make_environment(TORCH="auto") == (0, "", [])


def test_what_would_bring_torchvision_lies_beside_the_packages(checkout) -> None:
    checkout.python(wheel="2.13.0+cpu")
    *_, last = checkout.make_environment(TORCH="cpu")[2]
    assert last == f"-m pip install -qq --no-deps --upgrade --target {checkout.root}/.venv/no-deps {BESIDE}"


@pytest.mark.parametrize("file", ["pyproject.toml", "requirements/constraints.txt", "requirements/no-deps.txt"])
def test_a_changed_list_is_installed_into_the_same_environment(checkout, file: str) -> None:
    checkout.python(wheel="2.13.0+cpu")
    checkout.make_environment(TORCH="cpu")
    with (checkout.root / file).open("a") as lines:
        print("# changed", file=lines)
    assert steps(checkout.make_environment()[2]) == ["at hand", "package", "beside"]
    assert checkout.make_environment()[2] == []


def test_an_interrupted_installation_starts_anew(checkout) -> None:
    base = checkout.python(wheel="2.13.0+cpu", installation="is killed")
    assert checkout.make_environment(TORCH="cpu")[0] != 0
    assert (checkout.root / ".venv" / "bin" / "python").exists()
    checkout.set(base, installation="works")
    status, _, calls = checkout.make_environment(TORCH="cpu")
    assert (status, steps(calls)) == (0, ["venv", "at hand", "package", "beside"])


def test_a_failed_installation_goes_on(checkout) -> None:
    checkout.python(wheel="2.13.0+cpu", installation="fails")
    assert checkout.make_environment(TORCH="cpu")[0] != 0
    checkout.set(checkout.root / ".venv" / "bin" / "python", installation="works")
    status, _, calls = checkout.make_environment(TORCH="cpu")
    assert (status, steps(calls)) == (0, ["at hand", "package", "beside"])


def test_a_moved_checkout_gets_a_new_environment(checkout) -> None:
    checkout.python(wheel="2.13.0+cpu")
    checkout.make_environment(TORCH="cpu")
    moved = checkout.folder / "moved"
    shutil.move(checkout.root, moved)
    checkout.root = moved
    assert steps(checkout.make_environment()[2]) == ["venv", "at hand", "package", "beside"]


def test_another_python_gets_a_new_environment(checkout) -> None:
    checkout.python("python3", wheel="2.13.0+cpu")
    checkout.python("other", version=(3, 12, 0), wheel="2.13.0+cpu")
    checkout.make_environment(TORCH="cpu")
    assert steps(checkout.make_environment(PYTHON="other")[2]) == ["venv", "at hand", "package", "beside"]
    assert checkout.make_environment(PYTHON="other")[2] == []
    assert checkout.make_environment()[2] == []
    assert "venv" in steps(checkout.make_environment(PYTHON="python3")[2])


def test_an_environment_of_the_users_own_is_kept(checkout) -> None:
    base = checkout.python(wheel="2.13.0+cpu")
    checkout.run(str(base), "-m", "venv", str(checkout.root / ".venv"))
    assert steps(checkout.make_environment(TORCH="cpu")[2]) == ["at hand", "package", "beside"]


@pytest.mark.parametrize("torch", ["bogus", "CPU", "cpu "])
def test_an_unknown_build_is_refused(checkout, torch: str) -> None:
    checkout.python()
    assert checkout.make_environment(TORCH=torch) == (
        1,
        f"environment: there is no TORCH={torch}: use TORCH=auto, TORCH=cpu or TORCH=cuda.\n",
        [],
    )


def test_cpu_build_comes_by_the_backend_if_not_at_hand(checkout) -> None:
    checkout.python(uv_works="+cpu")
    _, output, calls = checkout.make_environment(TORCH="cpu")
    assert steps(calls) == ["venv", "at hand", "backend", "package", "beside"]
    assert "--torch-backend=cpu torch==2.13.0" in "\n".join(calls)
    assert "out of reach" not in output


def test_cpu_build_out_of_reach_is_said(checkout) -> None:
    checkout.python()
    status, output, calls = checkout.make_environment(TORCH="cpu")
    assert (status, steps(calls)) == (0, ["venv", "at hand", "backend", "default", "package", "beside"])
    assert "a download of about 3 GB" in output
    assert checkout.make_environment(TORCH="cpu")[2] == []


def test_cuda_never_takes_the_cpu_wheel(checkout) -> None:
    checkout.python(wheel="2.13.0+cpu", uv_works="+cu126")
    checkout.command("nvidia-smi", "exit 0", checkout.tools)
    _, _, calls = checkout.make_environment(TORCH="cuda")
    assert steps(calls) == ["venv", "at hand", "backend", "package", "beside"]
    assert "--torch-backend=auto torch==2.13.0" in "\n".join(calls)
    pins = (checkout.root / ".venv" / "pins-used").read_text()
    assert "torch==2.13.0\n" in pins
    assert "numpy==" in pins
    assert "nvidia-" not in pins, "this build's own CUDA libraries must not be overruled"


@pytest.mark.skipif(has_driver, reason="this machine has an NVIDIA driver")
def test_cuda_without_a_driver_is_the_default_build(checkout) -> None:
    checkout.python(wheel="2.13.0+cpu", uv_works="+cpu")
    _, output, calls = checkout.make_environment(TORCH="cuda")
    assert steps(calls) == ["venv", "at hand", "default", "package", "beside"]
    assert "out of reach" not in output
    assert "nvidia-cublas==" in (checkout.root / ".venv" / "pins-used").read_text()


@pytest.mark.skipif(has_driver, reason="this machine has an NVIDIA driver")
@pytest.mark.parametrize(("driver", "build"), [("exit 0", "cuda"), ("exit 9", "cpu")])
def test_auto_looks_for_a_driver(checkout, driver: str, build: str) -> None:
    checkout.python(uv_works="+cpu" if build == "cpu" else "+cu130")
    checkout.command("nvidia-smi", driver, checkout.tools)
    assert f"TORCH={build}" in checkout.make_environment()[1]


def test_auto_keeps_the_build_that_is_there_and_a_choice_changes_it(checkout) -> None:
    checkout.python(wheel="2.13.0+cpu", uv_works="+cu130")
    checkout.command("nvidia-smi", "exit 0", checkout.tools)
    checkout.make_environment(TORCH="cpu")
    assert checkout.make_environment()[2] == []
    (checkout.root / "pyproject.toml").write_text("# changed\n")
    assert "TORCH=cpu" in checkout.make_environment()[1]
    assert steps(checkout.make_environment(TORCH="cuda")[2]) == ["at hand", "backend", "package", "beside"]
    assert checkout.make_environment()[2] == []


def test_macos_has_one_build(checkout) -> None:
    checkout.python()
    checkout.command("uname", "echo Darwin", checkout.tools)
    _, output, calls = checkout.make_environment(TORCH="cpu")
    assert steps(calls) == ["venv", "at hand", "default", "package", "beside"]
    assert "3 GB" not in output.split("environment: 3/3")[0].split("\n", 2)[2]


def test_uv_makes_the_environment_where_venv_is_missing(checkout) -> None:
    base = checkout.python(missing=["ensurepip"], wheel="2.13.0+cpu")
    status, output, calls = checkout.make_environment(TORCH="cpu")
    assert (status, calls) == (1, [])
    assert "apt-get install python3.11-venv" in output
    checkout.command("uv", f'for folder; do :; done\nexec {base} -m venv "$folder"')
    assert checkout.make_environment(TORCH="cpu")[0] == 0
    assert checkout.make_environment(TORCH="cpu")[2] == []
