"""The rule file of the whole job: twenty rules of the kinds that plants have, over the three metrics of the load.

One of them is always at work: each device's temperature crosses 29 °C once in 200 readings, so that about one reading in a
hundred raises or clears an alarm. The others look at every reading and stay quiet.
"""

CLAUSES = {
    "hot": ("temperature > 29 °C", "temperature < 27 °C"),
    **{f"warm_{n}": (f"temperature > {n} °C for 10s", f"temperature < {n - 2} °C") for n in (35, 40, 45, 50)},
    **{f"cold_{n}": (f"temperature < {n} °C", f"temperature > {n + 1} °C") for n in (10, 5, 0)},
    **{f"damp_{n}": (f"humidity > {n} % for 1m", f"humidity < {n - 5} %") for n in (70, 80, 90)},
    **{f"dry_{n}": (f"humidity < {n} %", f"humidity > {n + 5} %") for n in (30, 20)},
    **{f"low_{n}": (f"pressure < {n} hPa", f"pressure > {n + 5} hPa") for n in (960, 940)},
    "muggy": ("temperature > 35 °C and humidity > 70 %", ""),
    "swings": ("spread(temperature, 10m) > 20 K", ""),
    "falling": ("rate(pressure, 1h) < -5 hPa/h", ""),
    "damp_for_long": ("avg(humidity, 1h) > 65 %", ""),
    "silent": ("age() > 5m", ""),
}


def text() -> str:
    """The file."""
    assert len(CLAUSES) == 20
    parts = []
    for name, (when, clear) in CLAUSES.items():
        parts.append(f'[rule.{name}]\non = "*"\nwhen = "{when}"')
        if clear:
            parts.append(f'clear = "{clear}"')
    return "\n".join([*parts, ""])
