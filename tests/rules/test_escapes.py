"""Two hundred ways out of the language, all of them refused before anything runs."""

import re
from pathlib import Path

import pytest

from rules.check import Checker
from rules.compile import compile_rule
from rules.tokens import ClauseError
from tests.rules.story import Device

LINES = (Path(__file__).parent / "escapes.txt").read_text().splitlines()
ATTEMPTS = [
    *[re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), line) for line in LINES],
    "temperature\0 > 1",
    "temperature > 1\r",
    "(" * 3000 + "temperature" + ")" * 3000,
    "not " * 900 + "temperature > 1",
    "-" * 3000 + "temperature > 1",
    "temperature > " + "9" * 3900,
    "abs(" * 900 + "temperature" + ")" * 900,
    " or ".join(["temperature > 1"] * 200),
    "+".join(["temperature"] * 300) + " > 1",
    "temperature > 1" + " " * 4000,
]  # fmt: skip


def test_there_are_two_hundred() -> None:
    assert len(set(ATTEMPTS)) >= 200


@pytest.mark.parametrize("text", ATTEMPTS, ids=lambda text: text[:30])
def test_refused(text: str) -> None:
    with pytest.raises(ClauseError):
        Checker(None, "extremes", 0).condition(text)


@pytest.mark.parametrize("name", ["numbers0", "t1", "active", "now", "devices", "found", "it0", "None", "self", "exec"])
def test_no_name_of_ours_can_be_reached(name: str) -> None:
    """A metric may be called like a variable of the compiled function: it is a key in quotes there."""
    condition = Checker(None, "extremes", 0).condition(f"{name} > 1")
    judge, _ = compile_rule(condition, condition, None, "hold")([Device({name: 2.0})], {})
    assert judge(False, 0) is True
