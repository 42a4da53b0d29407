"""scripts/find-python takes the first interpreter that works, and says what is wrong when none does."""

import pytest


def test_prefers_python3_and_tries_every_folder(checkout) -> None:
    checkout.python("python3.11")
    checkout.python("python3", broken=True)
    chosen = checkout.python("python3", version=(3, 13, 0))
    done = checkout.run("scripts/find-python")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{chosen}\n", "")


@pytest.mark.parametrize("unsuitable", [{"version": (3, 10, 13)}, {"version": (3, 14, 0)}, {"broken": True}, {"missing": ["ensurepip"]}])
def test_goes_on_after_an_unsuitable_one(checkout, unsuitable) -> None:
    checkout.python("python3", **unsuitable)
    checkout.python("python3.11", broken=True)
    chosen = checkout.python("python3.12", version=(3, 12, 1))
    assert checkout.run("scripts/find-python").stdout == f"{chosen}\n"


def test_a_name_is_not_believed(checkout) -> None:
    checkout.python("python3.12", version=(3, 9, 18))
    done = checkout.run("scripts/find-python")
    assert done.returncode == 1
    assert "CPython 3.11 to 3.13" in done.stderr
    assert done.stdout == ""


def test_names_the_missing_package(checkout) -> None:
    checkout.python("python3", version=(3, 12, 1), missing=["venv"])
    done = checkout.run("scripts/find-python")
    assert done.returncode == 3
    assert "apt-get install python3.12-venv" in done.stderr


def test_a_named_one_is_taken_or_refused(checkout) -> None:
    checkout.python("python3")
    chosen = checkout.python("mine", version=(3, 13, 1))
    old = checkout.python("old", version=(3, 10, 2))
    assert checkout.run("scripts/find-python", PYTHON="mine").stdout == f"{chosen}\n"
    refused = checkout.run("scripts/find-python", PYTHON=str(old))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Python 3.10.2" in refused.stderr
    assert "no such command" in checkout.run("scripts/find-python", PYTHON="absent").stderr


def test_never_takes_the_environment_itself(checkout) -> None:
    base = checkout.python("python3")
    assert checkout.make_environment()[0] == 0
    checkout.path.insert(0, checkout.root / ".venv" / "bin")
    (checkout.root / ".venv" / "bin" / "python3").symlink_to("python")
    assert checkout.run("scripts/find-python").stdout == f"{base}\n"
