"""What the page about rules shows, works."""

import re
from pathlib import Path

import pytest

from rules import functions, table, template
from rules.rule import RuleSet
from rules.trial import run
from tests.rules.story import rules

PAGE = (Path(table.__file__).parent / "README.md").read_text()
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_examples(block: str) -> None:
    found: RuleSet = rules(block)
    for rule in found.rules:
        for trial in rule.trials:
            assert run(found.only(rule.name), rule.name, trial) == list(trial.expect)


def test_the_tables_are_complete() -> None:
    said = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", PAGE))))
    assert set(functions.TABLE) <= said
    assert set(table.KEYS) - {"test"} <= said
    assert set(template.WORDS) <= said
