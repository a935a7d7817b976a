"""The measurements as a table for people."""

from statistics import median

from tests.bench.measures import Measurement

AIMS = {
    ("1 connection x 1,000", "redcar, readings"): ("ratio", 2.0),
    ("100 connections x 20", "redcar, readings"): ("ratio", 1.0),
    ("whole job, saturated", "CPU per event"): ("most", 25.0),
    ("whole job, saturated", "written per event"): ("most", 300.0),
    ("memory", "idle"): ("most", 60.0),
    ("memory", "after 300,000 events"): ("most", 60.0),
    ("start", "to the first event acknowledged"): ("most", 1.0),
    ("log, 100 per commit", "written per event"): ("most", 300.0),
    ("log of 10,000,000 events", "open and append the first"): ("most", 1.0),
    ("log of 10,000,000 events", "read and decoded"): ("least", 300_000.0),
    ("log, half of it trimmed", "longest commit"): ("most", 50.0),
    ("backlog of 1,000,000, 500/s live, event per message", "times the live rate"): ("least", 5.0),
    ("backlog of 1,000,000, 500/s live, event per message", "live, p99"): ("most", 100.0),
    ("backlog of 1,000,000, 500/s live, event per message", "most memory"): ("most", 60.0),
}
"""ratio: at least so many times mosquitto's median; most, least: no more, no less than that."""


def text(made: list[Measurement]) -> str:
    """One row per quantity, in the order in which they were measured."""
    found: dict[tuple[str, str], list[Measurement]] = {}
    for one in made:
        found.setdefault((one.what, one.who), []).append(one)
    middle = {key: median(one.value for one in ones) for key, ones in found.items()}
    best = {
        key: (max if ones[0].unit.endswith("/s") else min)(one.value for one in ones) for key, ones in found.items()
    }
    rows = [("what", "", "median", "best", "", "beside mosquitto", "aim")]
    for key, ones in found.items():
        other = (key[0], "mosquitto")
        ratio = middle[key] / middle[other] if other in middle and key != other else None
        beside = f"{ratio:.2f} x, best {best[key] / best[other]:.2f} x" if ratio else ""
        rows.append(
            (
                *key,
                _number(middle[key]),
                _number(best[key]) if len(ones) > 1 else "",
                ones[0].unit,
                beside,
                _aim(key, middle[key], ratio),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(_cell(n, text, width) for n, (text, width) in enumerate(zip(row, widths))) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _cell(column: int, text: str, width: int) -> str:
    return text.rjust(width) if column in (2, 3, 5) else text.ljust(width)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _aim(key: tuple[str, str], value: float, ratio: float | None) -> str:
    kind, bound = AIMS.get(key, ("", 0.0))
    if kind == "ratio" and ratio is not None:
        return f">= {bound:g} x: {'reached' if ratio >= bound else 'missed'}"
    if kind == "most":
        return f"<= {bound:g}: {'reached' if value <= bound else 'missed'}"
    if kind == "least":
        return f">= {bound:,g}: {'reached' if value >= bound else 'missed'}"
    return ""
