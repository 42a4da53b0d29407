"""Plays a Python interpreter for the tests of scripts/: claims any version, makes environments and "installs" in no time.

It is copied to where a python3 is looked for, under a first line that starts a real interpreter, and next to a settings file.
Every call is one line of the calls file, so that tests see what was asked of it.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType


def main(program: Path, arguments: Sequence[str]) -> int:
    settings = json.loads((program.parent / "fake.json").read_text())
    if settings.get("broken"):
        return 127
    home = program.parent.parent
    torch = home / "torch-version"

    match list(arguments):
        case ["--version"]:
            print("Python " + ".".join(map(str, settings["version"])))
            return 0
        case ["-c", code, *rest]:
            sys.argv = ["-c", *rest]
            sys.version_info = (*settings["version"], "final", 0)  # type: ignore[assignment]
            sys.version = str(program if settings.get("own_version") else settings["version"])
            sys.modules.update(dict.fromkeys(settings.get("missing", []), None))  # type: ignore[arg-type]
            if "importlib.metadata" in code:
                sys.modules["importlib.metadata"] = metadata = ModuleType("metadata")
                metadata.version = lambda name: torch.read_text()  # type: ignore[attr-defined]
            exec(code, {"__name__": "__main__"})
            return 0

    with Path(settings["calls"]).open("a") as calls:
        print(*arguments, file=calls)
    match list(arguments):
        case ["-m", "venv", folder]:
            make_environment(Path(folder), program, settings)
        case ["-m", "uv", "pip", "install", *_, wanted]:
            if not settings.get("uv_works"):
                return 2
            torch.write_text(wanted.removeprefix("torch==") + settings["uv_works"])
        case ["-m", "pip", "install", *options, wanted] if wanted.startswith("torch"):
            here = torch.read_text() if torch.exists() else None
            offered = settings.get("wheel") if "--no-index" in options else "2.13.0"
            suitable = [v for v in (here, offered) if v and accepts(wanted, v)]
            if not suitable:
                return 1
            torch.write_text(suitable[0])
        case ["-m", "pip", "install", *_, wanted] if wanted.startswith(".["):
            pins = Path(arguments[arguments.index("-c") + 1])
            (home / "pins-used").write_text(pins.read_text())
            outcome = settings.get("installation", "works")
            if outcome == "is killed":  # together with the script that started it, as a closed terminal does
                os.kill(os.getppid(), signal.SIGKILL)
            if outcome != "works":
                return 1
    return 0


def accepts(wanted: str, version: str) -> bool:
    """The part of PEP 440 that the script relies on, for one version with and without a local suffix."""
    for specifier in wanted.removeprefix("torch").split(","):
        operator, bound = specifier[:2], specifier[2:]
        same = version == bound or (version.partition("+")[0] == bound)
        if same != (operator == "=="):
            return False
    return True


def make_environment(folder: Path, program: Path, settings: dict[str, object]) -> None:
    commands = folder / "bin"
    commands.mkdir(parents=True, exist_ok=True)
    for name in ("python", "pip"):
        (commands / name).write_text(program.read_text())
        (commands / name).chmod(0o755)
    (commands / "pip").write_text(f"#!{commands}/python\n")
    (commands / "fake.json").write_text(json.dumps(settings))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[0]), sys.argv[1:]))
