"""A checkout with make-believe interpreters, in which the set-up can be tried in every situation without installing anything."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = "basename cat chmod cksum date dirname echo find grep head make mkdir mktemp mv rm sed sh tail tr"


class Checkout:
    """A copy of the files that set-up reads, and a PATH on which only what a test puts there can be found.

    Attributes:
        root: the checkout's folder.
        path: folders in which commands are looked for, the tools that every machine has apart.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a checkout"
        self.folder = folder
        self.path: list[Path] = []
        requirements = ("requirements/constraints.txt", "requirements/no-deps.txt")
        for name in ("Makefile", "pyproject.toml", *requirements, "scripts/find-python", "scripts/make-environment"):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        tools = folder / "tools"
        tools.mkdir()
        for tool in TOOLS.split():
            found = shutil.which(tool)
            assert found, f"{tool} is missing on this machine"
            (tools / tool).symlink_to(found)
        self.tools = tools
        self.command("uname", "echo Linux", tools)
        self.command("nvidia-smi", "exit 9", tools)

    def command(self, name: str, body: str, folder: Path | None = None) -> Path:
        """A shell script on the PATH."""
        program = (folder or self.new_folder()) / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        return program

    def new_folder(self) -> Path:
        """One more folder at the end of the PATH."""
        folder = self.folder / f"path{len(self.path)}"
        folder.mkdir()
        self.path.append(folder)
        return folder

    def python(self, name: str = "python3", version: tuple[int, int, int] = (3, 11, 9), **settings: object) -> Path:
        """A make-believe interpreter at the end of the PATH; `fake_python.py` says what the settings do."""
        program = self.new_folder() / name
        real = sys._base_executable  # type: ignore[attr-defined]
        program.write_text(f"#!{real} -IS\n" + (ROOT / "tests" / "environment" / "fake_python.py").read_text())
        program.chmod(0o755)
        self.set(program, version=version, calls=str(self.folder / "calls"), **settings)
        return program

    def set(self, program: Path, **settings: object) -> None:
        """Change how a make-believe interpreter behaves."""
        file = program.parent / "fake.json"
        file.write_text(json.dumps({**(json.loads(file.read_text()) if file.exists() else {}), **settings}))

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout's folder, with nothing of this process's environment but a home."""
        path = os.pathsep.join(str(folder) for folder in [*self.path, self.tools])
        environment = {"PATH": path, "HOME": str(self.folder), **variables}
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def make_environment(self, **variables: str) -> tuple[int, str, list[str]]:
        """Exit status, output and the calls of interpreters of one run of the script."""
        calls = self.folder / "calls"
        calls.unlink(missing_ok=True)
        done = self.run("scripts/make-environment", **variables)
        return done.returncode, done.stdout + done.stderr, calls.read_text().splitlines() if calls.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A checkout on a machine without any Python."""
    return Checkout(tmp_path)
