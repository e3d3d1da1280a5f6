"""How numbers are written in reports: one way everywhere, and a dash for what is not known."""

from math import isfinite

NOTHING = "–"
MINUS = "\N{MINUS SIGN}"


def number(value: float | None, digits: int = 3) -> str:
    """0.1234 as "0.123"; None and NaN as a dash."""
    if value is None or not isfinite(value):
        return NOTHING
    return f"{value:z.{digits}f}".replace("-", MINUS)


def signed(value: float | None, digits: int = 3) -> str:
    """0.0123 as "+0.012", with a real minus sign below zero; what rounds to 0 has no sign."""
    if value is None or not isfinite(value):
        return NOTHING
    sign = "+" if round(value, digits) else ""
    return f"{value:{sign}z.{digits}f}".replace("-", MINUS)


def percent(value: float | None, digits: int = 1) -> str:
    """0.1234 as "12.3 %"."""
    if value is None or not isfinite(value):
        return NOTHING
    return f"{100 * value:z.{digits}f} %".replace("-", MINUS)


def count(value: int | None) -> str:
    """1234567 as "1,234,567"."""
    return NOTHING if value is None else f"{value:,}"


def counted(value: int, things: str) -> str:
    """How many there are of what `things` names in the plural: "1,234 texts", "1 value of film"."""
    first, *rest = things.split(" ", 1)
    return " ".join([f"{value:,}", first.removesuffix("s") if value == 1 else first, *rest])


def size(value: float | None) -> str:
    """A number of bytes as "1.2 MB" (powers of 1000)."""
    if value is None or not isfinite(value):
        return NOTHING
    for unit in ("B", "kB", "MB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """A pair as "0.812 to 0.861"."""
    if low is None or high is None:
        return NOTHING
    return f"{number(low, digits)} to {number(high, digits)}"
