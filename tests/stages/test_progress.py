"""The bar of a terminal and the lines of a log, each as its reader sees it."""

import re
import sys

import pytest
from terminals import on_terminal

from ebmpipe import progress
from ebmpipe.progress import Progress

NUMBERS = {"loss": -0.04079, "gradient_norm": 1.153, "energy_data": 10.33, "age": 31360.0}


def bar(columns, rows=24, title="two_moons/pcd/seed0", total=300):
    """The states of one line that a bar goes through."""
    script = (
        "import time; from ebmpipe.progress import Progress\n"
        f"with Progress({title!r}, {total}) as progress:\n"
        f" for step in range({total or 50}): time.sleep(0.002); progress.advance({NUMBERS!r} | {{'loss': step / 10}})\n"
    )
    written, code = on_terminal([sys.executable, "-c", script], columns, rows)
    assert code == 0
    return [state.rstrip("\r\n") for state in written.split("\r") if state.strip()]


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 24), (0, 0)])
def test_a_bar_lives_in_one_line(columns, rows):
    states = bar(columns, rows)
    assert len(states) > 3
    assert all("\n" not in state and len(state) < (columns or 80) for state in states)
    losses = [re.search(r"loss (\S+)", state) for state in states]
    assert len({found.group(1).rstrip(",") for found in losses if found}) > 2, "the numbers are live"
    assert "100%" in states[-1] and "300/300" in states[-1] and "it/s" in states[-1] and "00:00 left" in states[-1]
    assert ("gradient norm" in states[-1]) == (columns == 120), "numbers are shown where there is room"


def test_a_narrow_terminal_does_without_numbers():
    states = bar(45)
    assert all(len(state) < 45 for state in states)
    assert "100%" in states[-1]


def test_work_of_unknown_length_has_no_bar():
    states = bar(80, total=None)
    assert states[-1].startswith("two_moons/pcd/seed0: 50, ")
    assert "%" not in states[-1]


def test_a_log_gets_plain_lines_soon_and_then_rarely(monkeypatch, capsys):
    now = [96.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress("run", 1000) as shown:
        for step in range(1000):
            now[0] += 0.125
            shown.advance({"loss": 0.5} if step % 100 == 0 else None)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "run: 16/1000 in 2 s, 123 s left, loss 0.5"
    assert [int(re.search(r"(\d+)/", line).group(1)) for line in lines] == [*range(16, 1000, 120), 1000]
    assert lines[-1] == "run: 1000/1000 in 125 s, 0 s left, loss 0.5"
    assert not any("\r" in line for line in lines)


def test_time_left_is_of_what_is_counted(monkeypatch, capsys):
    """Taken up at step 2000, with a step size to find before the first step: that took 30 s, each step takes a hundredth."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress("run", 4000, 2000) as shown:
        now[0] += 30
        shown.skip()
        for _ in range(200):
            now[0] += 0.01
            shown.advance()
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == "run: 2001/4000 in 30 s, 20 s left"
    assert last == "run: 2200/4000 in 32 s, 18 s left"


def test_a_bar_survives_what_is_not_counted():
    script = (
        "import time; from ebmpipe.progress import Progress\n"
        "with Progress('run', 300, 200) as progress:\n"
        " time.sleep(1.0); progress.skip()\n"
        " for step in range(100): time.sleep(0.002); progress.advance()\n"
    )
    written, code = on_terminal([sys.executable, "-c", script], 80, 24)
    assert code == 0 and "300/300" in written


@pytest.mark.parametrize(("total", "start"), [(0, 0), (10, 10)])
def test_nothing_to_do_is_nothing_to_say(capsys, total, start):
    with Progress("run", total, start):
        pass
    assert capsys.readouterr().err == ""
