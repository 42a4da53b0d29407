"""Numbers as people read them: what a number is known to decides its digits."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, isfinite, log10

#: Metrics are of order one; a value below this is the error of double precision or of a quadrature.
NOTHING = 1e-6
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Quantity:
    """A rounded mean and, if there is one, the standard deviation it is known by: (mean ± sd) 10^exponent."""

    mean: str
    sd: str | None
    exponent: int

    def plain(self) -> str:
        """Unicode text."""
        mean = self.mean.replace("-", "\N{MINUS SIGN}")
        text = mean if self.sd is None else f"{mean} ± {self.sd}"
        if not self.exponent:
            return text
        power = f"×10{str(self.exponent).translate(SUPERSCRIPTS)}"
        return f"{text}{power}" if self.sd is None else f"({text}){power}"

    def latex(self, bold: bool = False) -> str:
        """Math mode, dollars included."""
        text = self.mean if self.sd is None else f"{self.mean} \\pm {self.sd}"
        if self.exponent:
            text = f"{text if self.sd is None else f'({text})'} \\times 10^{{{self.exponent}}}"
        return f"$\\mathbf{{{text}}}$" if bold else f"${text}$"


@dataclass(frozen=True)
class Interval:
    """The two rounded ends of an interval."""

    low: str
    high: str

    def plain(self) -> str:
        """Unicode text."""
        return " – ".join(end.replace("-", "\N{MINUS SIGN}") for end in (self.low, self.high))

    def latex(self, bold: bool = False) -> str:
        """Math mode, dollars included; an interval is never bold, as it competes for nothing."""
        return f"${self.low}$ -- ${self.high}$"


def magnitude(x: float) -> int:
    """Exponent of the leading decimal digit; 0 for zero."""
    return floor(log10(abs(x))) if x else 0


def spread_decimals(sd: float) -> int:
    """Decimals that a standard deviation deserves: two significant digits if they lie between 10 and 35, else one."""
    leading = abs(sd) / 10 ** (magnitude(sd) - 1)
    return (1 if leading < 35.5 else 0) - magnitude(sd)


def quantity(mean: float, sd: float | None = None, known_to: float | None = None) -> Quantity:
    """Round ``mean ± sd`` to what the larger of ``sd`` and ``known_to`` deserves, and to four significant digits at most.

    The spread of two or three seeds is small by chance now and then; it does not make a mean known to seven digits that each run knows to
    two. A spread that vanishes in the rounding is written as an upper bound. Without either the mean keeps three significant digits. What
    is below 1e-6, spread and all, is rounding error and written as 0.

    Args:
        mean: mean over seeds.
        sd: standard deviation over seeds, None if there are fewer than two.
        known_to: standard error of one run's value.
    """
    if not isfinite(mean):
        raise ValueError(f"{mean} is no result")
    spread = max(sd or 0.0, known_to or 0.0)
    size = max(abs(mean), spread)
    if size < NOTHING:
        return Quantity("0", None if sd is None else "0", 0)
    # Digits before the point can only be left out by a power of ten.
    coarse = spread > (sd or 0.0) and spread_decimals(spread) < 0
    exponent = magnitude(size) if coarse or not 1e-3 <= size < 1e5 else 0
    mean, spread, size = (x / 10**exponent for x in (mean, spread, size))
    decimals = max(0, (2 if sd is None and not spread else 3) - magnitude(size))
    if spread:
        decimals = min(decimals, max(0, spread_decimals(spread)))
    return Quantity(zeroless(f"{mean:.{decimals}f}"), None if sd is None else bounded(sd / 10**exponent, decimals), exponent)


def interval(low: float, high: float) -> Interval:
    """``low`` and ``high`` to two significant digits of the interval's width; to three of their own if it has none."""
    if not (isfinite(low) and isfinite(high)) or low > high:
        raise ValueError(f"{low} to {high} is no interval")
    size = max(abs(low), abs(high))
    decimals = max(0, 1 - magnitude(high - low) if high > low else 2 - magnitude(size))
    return Interval(*(zeroless(f"{end:.{decimals}f}") for end in (low, high)))


def bounded(sd: float, decimals: int) -> str:
    """``sd`` to ``decimals``, or the bound that it lies below if that leaves nothing of it."""
    rounded = f"{sd:.{decimals}f}"
    return "0" if not sd else rounded if float(rounded) else f"<{10.0**-decimals:.{decimals}f}"


def zeroless(text: str) -> str:
    """``text`` without the sign of a negative zero."""
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text


def significant(x: float, digits: int = 2) -> Quantity:
    """A count or a cost: ``digits`` significant digits, as a power of ten from a hundred thousand."""
    if not x:
        return Quantity("0", None, 0)
    exponent = magnitude(x)
    if abs(x) >= 1e5 or abs(x) < 1e-4:
        mantissa = f"{x / 10**exponent:.{digits - 1}f}"
        return quantity_of(mantissa, exponent)
    return Quantity(f"{x:.{max(0, digits - 1 - exponent)}f}", None, 0)


def quantity_of(mantissa: str, exponent: int) -> Quantity:
    """A mantissa that rounding may have carried to 10."""
    if abs(float(mantissa)) >= 10:
        mantissa, exponent = f"{float(mantissa) / 10:.{len(mantissa.partition('.')[2])}f}", exponent + 1
    return Quantity(mantissa, None, exponent)


def duration(seconds: float) -> str:
    """Seconds for a reader: ``0.8 s``, ``41 s``, ``3.2 min``, ``5.0 h``."""
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (float("inf"), 3600, "h")):
        if seconds < limit:
            value = seconds / divisor
            return f"{value:.{1 if value < 10 else 0}f} {unit}"
    raise ValueError(f"{seconds} is no duration")


def letters(index: int) -> str:
    """The mark of footnote ``index``: a, b, … z, aa, ab, …"""
    return (letters(index // 26 - 1) if index >= 26 else "") + chr(ord("a") + index % 26)
