"""Every normative statement of MQTT 5.0 is held by a test that cites it, or stands here with the reason why not."""

import re
from pathlib import Path

LAST = {
    "1.5.4": 3, "1.5.5": 1, "1.5.7": 1, "2.1.3": 1, "2.2.1": 6, "2.2.2": 1, "3.1.0": 2, "3.1.2": 30, "3.1.3": 12,
    "3.1.4": 6, "3.2.0": 2, "3.2.2": 22, "3.3.1": 13, "3.3.2": 20, "3.3.4": 10, "3.4.2": 3, "3.5.2": 3, "3.6.1": 1,
    "3.6.2": 3, "3.7.2": 3, "3.8.1": 1, "3.8.3": 5, "3.8.4": 8, "3.9.2": 2, "3.9.3": 2, "3.10.1": 1, "3.10.3": 2,
    "3.10.4": 6, "3.11.2": 2, "3.11.3": 2, "3.12.4": 1, "3.14.0": 1, "3.14.1": 1, "3.14.2": 4, "3.14.4": 3, "3.15.1": 1,
    "3.15.2": 3, "4.1.0": 2, "4.2": 1, "4.3.1": 1, "4.3.2": 5, "4.3.3": 13, "4.4.0": 2, "4.5.0": 2, "4.6.0": 6,
    "4.7.0": 1, "4.7.1": 2, "4.7.2": 1, "4.7.3": 4, "4.8.2": 6, "4.9.0": 3, "4.12.0": 7, "4.12.1": 2, "4.13.1": 1,
    "4.13.2": 1, "6.0.0": 4,
}  # fmt: skip
"""The last statement of each section (appendix B)."""

NO_SUCH = {"2.2.1-1"}

EXCUSED = {
    "it binds clients": "3.1.2-20 3.1.2-21 3.1.2-30 3.2.2-4 3.2.2-5 3.2.2-11 3.2.2-14 3.2.2-15 3.2.2-17 3.2.2-18 3.2.2-21"
    " 3.3.2-9 3.3.2-10 3.3.4-8 4.5.0-2 4.6.0-2 4.6.0-3 4.6.0-4 4.12.0-3 4.12.0-7 4.12.1-1",
    "it is for servers that can't do what ours can": "3.2.2-9 3.2.2-10 3.2.2-12 3.2.2-13",
    "no authentication in several steps is offered": "3.15.2-1 3.15.2-2 3.15.2-3 4.12.0-2 4.12.0-4 4.12.0-5 4.12.1-2",
    "acknowledgements bear neither words nor user properties": "3.2.2-20 3.4.2-2 3.4.2-3 3.5.2-2 3.5.2-3 3.6.2-2 3.6.2-3"
    " 3.7.2-2 3.7.2-3 3.9.2-1 3.9.2-2 3.11.2-1 3.11.2-2 3.14.2-4",
    "a client gets one copy": "3.3.4-5",
    "it says that there is a transport": "4.2-1",
}

_ID = r"\[MQTT-([\d.]+)-(\d+)\]"


def cited() -> set[str]:
    """What the tests cite; "[MQTT-4.3.3-8] to [MQTT-4.3.3-12]" is five."""
    found = set()
    for file in Path(__file__).parent.glob("*.py"):
        text = file.read_text()
        found |= {f"{section}-{number}" for section, number in re.findall(r"MQTT-([\d.]+)-(\d+)", text)}
        for section, first, _, last in re.findall(f"{_ID} to {_ID}", text):
            found |= {f"{section}-{number}" for number in range(int(first), int(last) + 1)}
    return found


def test_every_statement_is_held_or_excused() -> None:
    all = {f"{section}-{number}" for section, last in LAST.items() for number in range(1, last + 1)} - NO_SUCH
    excused = {one for ids in EXCUSED.values() for one in ids.split()}
    held = cited()
    assert all - held - excused == set()
    assert excused & held == set(), "no excuse is needed"
    assert held - all == set(), "there is no such statement in 5.0"
