"""``redcar rules``: what can be done with rule files without a gateway."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rules.rule import Expected, RuleSet

examples = """\
examples:
  redcar rules test rules/             every test of every rule file of a folder
  redcar rules test boiler.toml        those of one file

exit code: 0 all tests pass; 1 some don't, each with what was expected and what happened; 2 a file is faulty
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``rules test``."""
    parser = commands.add_parser("rules", help="test alarm rules")
    group = parser.add_subparsers(metavar="COMMAND", required=True)
    test = group.add_parser(
        "test",
        help="run the tests that stand beside the rules",
        epilog=examples,
    )
    test.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="a rule file, or a folder of them")
    test.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run all tests; print those that fail, and the sum."""
    from rules.load import load
    from rules.trial import run as run_trial

    rules = load(args.paths)
    failed = tested = 0
    for rule in rules.rules:
        alone = rules.only(rule.name)
        for trial in rule.trials:
            tested += 1
            happened = run_trial(alone, rule.name, trial)
            if happened != list(trial.expect):
                failed += 1
                print(f"{rule.file}:{trial.line}: rule {rule.name}: {trial.name}")
                print(f"  expected  {_said(trial.expect)}\n  happened  {_said(happened)}")
    print(_sum(rules, tested, failed))
    return 1 if failed else 0


def _said(states: "tuple[Expected, ...] | list[Expected]") -> str:
    return "\n            ".join(map(str, states)) or "never"


def _sum(rules: "RuleSet", tested: int, failed: int) -> str:
    untested = [rule.name for rule in rules.rules if not rule.trials]
    result = f"{failed} of {tested} tests failed" if failed else f"{tested} tests of {len(rules.rules)} rules passed"
    return result + (f"; without a test: {', '.join(untested)}" if untested else "")
