"""Rounding."""

from __future__ import annotations

import pytest

from ebmpipe.report.dialects import LATEX
from ebmpipe.report.numbers import duration, letters, quantity, significant


@pytest.mark.parametrize(
    ("mean", "sd", "text"),
    [
        (0.01234, 0.00567, "0.012 ± 0.006"),
        (1.23456, 0.0123, "1.235 ± 0.012"),
        (-0.0004, 0.0123, "0.000 ± 0.012"),
        (-1.5, 0.5, "\N{MINUS SIGN}1.5 ± 0.5"),
        (1234567.0, 45678.0, "(1.23 ± 0.05)×10⁶"),
        (0.00012, 0.00003, "(1.20 ± 0.30)×10⁻⁴"),
        (12.0, 345.0, "12 ± 345"),
        (2.5, 0.0, "2.500 ± 0"),
        (0.0021821, 0.0000025, "0.002182 ± 0.000003"),
        (2.843412, 0.0000025, "2.843 ± <0.001"),
        (1.3e-8, 0.0, "0 ± 0"),
        (1.3e-8, None, "0"),
        (0.98765, None, "0.988"),
        (0.0, None, "0"),
        (0.5, 0.0967, "0.50 ± 0.10"),
    ],
)
def test_the_spread_decides_the_digits(mean: float, sd: float | None, text: str) -> None:
    assert quantity(mean, sd).plain() == text


@pytest.mark.parametrize(
    ("mean", "sd", "known_to", "text"),
    [
        (0.0021821, 0.0000025, 0.00056, "0.0022 ± <0.0001"),
        (2.8435975, 0.0000025, 0.007, "2.844 ± <0.001"),
        (0.30826, 0.0036, 0.122, "0.31 ± <0.01"),
        (4.644, 0.1984, 0.6, "4.6 ± 0.2"),
        (1.23456, 0.0123, 0.001, "1.235 ± 0.012"),
        (2.5, 0.0, 0.2, "2.50 ± 0"),
        (2.8434, None, 0.007, "2.843"),
        (0.00001, 0.000002, 0.05, "0.00 ± <0.01"),
        (1234.5, 0.5, 60.0, "(1.23 ± <0.01)×10³"),
        (-0.0000645, None, 0.00017, "\N{MINUS SIGN}0.6×10⁻⁴"),
        (1.3e-8, 0.0, 5e-10, "0 ± 0"),
    ],
)
def test_the_larger_of_spread_and_standard_error_decides(mean: float, sd: float | None, known_to: float, text: str) -> None:
    assert quantity(mean, sd, known_to).plain() == text


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="no result"):
        quantity(float("nan"))


@pytest.mark.parametrize(("x", "text"), [(0, "0"), (2_000_000, "2.0×10⁶"), (999_999, "1.0×10⁶"), (41.23, "41"), (5.55e12, "5.5×10¹²")])
def test_costs(x: float, text: str) -> None:
    assert significant(x).plain() == text


@pytest.mark.parametrize(("seconds", "text"), [(0.84, "0.8 s"), (41, "41 s"), (200, "3.3 min"), (90_000, "25 h")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_footnote_marks() -> None:
    assert [letters(i) for i in (0, 25, 26, 27)] == ["a", "z", "aa", "ab"]


def test_latex_takes_any_text() -> None:
    assert LATEX.text("50 % of a_b & σ² ≠ 漢 {x}\\") == r"50 \% of a\_b \& $\sigma$$^2$ = ? \{x\}\textbackslash{}"
