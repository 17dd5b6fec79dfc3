"""Numbers and times for people: three significant figures, SI prefixes, two units of time at most; in UTC."""

from datetime import UTC, datetime

# Non-breaking space between number and unit, and a real minus sign.
NB = " "
MINUS = "−"
_PREFIXES = ("", "k", "M", "G", "T", "P", "E")
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
EXACT_UP_TO = 99_999


def amount(value: float, unit: str = "") -> str:
    """Return a value with an SI prefix, such as `1.21 Gbit/s`."""
    place = 0
    while abs(value) >= 999.5 and place < len(_PREFIXES) - 1:
        value /= 1000
        place += 1
    unit = _PREFIXES[place] + unit
    return three_figures(value, keeps_zeros=place > 0) + (NB + unit if unit else "")


def three_figures(value: float, keeps_zeros: bool = False) -> str:
    """Return a value below 1,000 with three significant figures; whole numbers have no decimals."""
    size = abs(value)
    text = f"{value:.0f}" if size >= 99.95 else f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"
    return text if keeps_zeros or "." not in text else text.rstrip("0").rstrip(".")


def count(number: float) -> str:
    """Return a count: exact up to 99,999, above that with a prefix."""
    return f"{number:,.0f}" if number <= EXACT_UP_TO else amount(number)


def share(part: float, whole: float) -> str:
    """Return a share in percent: 100 % and 0 % only if exact."""
    if not whole or not part:
        return f"0{NB}%"
    percent = 100 * part / whole
    if percent < 0.01:
        return f"<{NB}0.01{NB}%"
    if part < whole and percent >= 99.995:
        return f">{NB}99.99{NB}%"
    if 99 <= percent < 100:
        return f"{percent:.2f}{NB}%"
    return f"{three_figures(percent) if percent < 1 else f'{percent:.1f}' if percent < 9.95 else f'{percent:.0f}'}{NB}%"


def change(now: float, before: float) -> str:
    """Return how a value changed: in percent, from threefold on as a factor; "" without a value before."""
    if not before:
        return ""
    if now >= 3 * before:
        return f"{three_figures(now / before)}{NB}×"
    percent = round(100 * (now - before) / before)
    return f"{'+' if percent > 0 else MINUS if percent < 0 else ''}{abs(percent)}{NB}%"


def length(seconds: float) -> str:
    """Return a duration: `1.4 s`, `34 min`, `6 h 37 min`, `41 d`."""
    if 0 < seconds < 0.9995:
        return f"{three_figures(seconds * 1000)}{NB}ms"
    if seconds < 120:
        return f"{three_figures(seconds) if seconds < 10 else f'{seconds:.0f}'}{NB}s"
    for place, (unit, size) in enumerate(_UNITS):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            smaller, step = _UNITS[place + 1]
            more = round(rest / step) if unit != "d" or whole < 7 else 0
            if unit == "min" or not more:
                return f"{whole:.0f}{NB}{unit}"
            return f"{whole:.0f}{NB}{unit}{NB}{more}{NB}{smaller}"
    raise AssertionError("a second is the last unit")


def date(at: float) -> str:
    """Return a day: `18 November 2026`."""
    when = datetime.fromtimestamp(at, UTC)
    return f"{when.day} {when:%B %Y}"


def weekday(at: float) -> str:
    """Return the day of the week and the time: `Wednesday 14:02`."""
    return f"{datetime.fromtimestamp(at, UTC):%A %H:%M}"


def dates(since: float, until: float) -> str:
    """Return a time from its first day to its last: `12 – 18 November 2026`."""
    first, last = datetime.fromtimestamp(since, UTC), datetime.fromtimestamp(max(since, until - 1), UTC)
    if first.date() == last.date():
        return date(since)
    same_month = (first.year, first.month) == (last.year, last.month)
    begin = f"{first.day}" if same_month else f"{first.day} {first:%B}" + (f" {first.year}" * (first.year != last.year))
    return f"{begin} – {last.day} {last:%B %Y}"


_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def several(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, up to twelve in words: `one origin`, `37 sessions`."""
    text = _WORDS[number] if number < len(_WORDS) else count(number)
    return f"{text} {noun if number == 1 else plural or noun + 's'}"


def listed(names: "list[str] | tuple[str, ...]", most: int = 3) -> str:
    """Join names into one text: `a, b and c`; of many only the first ones."""
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1]))) if shown else ""
