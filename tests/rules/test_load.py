"""Rule files: every fault of every file at once, word for word, and what right ones become."""

from pathlib import Path

import pytest

from gateway.cli import main
from gateway.errors import ConfigError
from rules.load import load
from rules.rule import Expected
from tests.rules.story import rules

BAD = Path(__file__).parent / "bad"
LIBRARY = Path(__file__).parents[2] / "rules" / "library"


@pytest.mark.parametrize("file", sorted(BAD.glob("*.bad.toml")), ids=lambda file: file.name)
def test_faults(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``x.expected`` beside ``x.bad.toml`` holds what is said about it."""
    monkeypatch.chdir(BAD)
    with pytest.raises(ConfigError) as caught:
        load([Path(file.name)])
    assert str(caught.value) + "\n" == (BAD / file.name.replace(".bad.toml", ".expected")).read_text()


def test_faults_of_all_files_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rules").mkdir()
    Path("rules/a.toml").write_text('[rule.hot]\non = "*"\nwhen = "temperature > 1"\n')
    Path("rules/b.toml").write_text(
        '[rule.cold]\non = "*"\nwhen = "temperature <"\n\n[rule.hot]\non = "*"\nwhen = "x > 1"\n'
    )
    Path("rules/notes.txt").write_text("not a rule file")
    with pytest.raises(ConfigError) as caught:
        load([Path("rules"), Path("nowhere.toml")])
    assert str(caught.value).splitlines() == [
        "nowhere.toml: can't be read (no such file or directory): check its name, and who may read it",
        "rules/b.toml:3: rule.cold.when: column 14: expected a value, found the end: write a metric, a number or a function",
        "rules/b.toml:5: rule.hot: a rule of that name is in rules/a.toml:1: give it another name",
    ]


def test_a_chain_of_rules_has_an_end() -> None:
    text = "".join(f'[rule.r{number}]\non = "*"\nwhen = "alarm(r{number + 1})"\n' for number in range(30))
    with pytest.raises(ConfigError, match=r"rule.r21.when: asks through more than 20 rules: take one alarm\(\) out"):
        rules(text + '[rule.r30]\non = "*"\nwhen = "x > 1"')


def test_each_rule_comes_after_those_it_asks_for() -> None:
    found = rules(
        '[rule.a]\non = "*"\nwhen = "alarm(c) and x > 1"\n[rule.b]\non = "*"\nwhen = "x > 1"\nunless = "alarm(a)"\n'
        '[rule.c]\non = "*"\nwhen = "x > 1"\n[rule.d]\non = "*"\nwhen = "x > 1"\nenabled = false'
    )
    assert [rule.name for rule in found.rules] == ["c", "a", "b"]
    assert [rule.name for rule in found.only("a").rules] == ["c", "a"]


def test_the_hash_follows_what_a_rule_says() -> None:
    text = '[rule.a]\non = "*"\nwhen = "x > {}"\n{}'
    plain, same, other = (rules(text.format(*it)).rules[0].hash for it in [(1, ""), (1, "\n# note"), (2, "")])
    assert plain == same != other
    test = '[[rule.a.test]]\ngiven = "0s a/x 1"\nexpect = "never"'
    assert rules(text.format(1, test)).rules[0].hash == plain


def test_what_a_rule_test_can_say() -> None:
    text = """
[rule.a]
with = { one = "site/x/temperature.2" }
when = "one > 1"
[[rule.a.test]]
given = '''
# comment
5s      site/x/temperature.2 68 °F
1m..2m every 30s   site/x/mode "on"
250ms   site/x offline
1s      site/x/contact true
2s      site/x/temperature unknown
'''
expect = '''
5s active
90s a clear
'''
until = "1h"
"""
    (trial,) = rules(text).rules[0].trials
    assert [(it.time, it.source, it.metric, it.value) for it in trial.given] == [
        (250_000, "site/x", "", "offline"),
        (1_000_000, "site/x", "contact", True),
        (2_000_000, "site/x", "temperature", None),
        (5_000_000, "site/x", "temperature.2", 20.0),
        (60_000_000, "site/x", "mode", "on"),
        (90_000_000, "site/x", "mode", "on"),
        (120_000_000, "site/x", "mode", "on"),
    ]
    assert trial.expect == (Expected(5_000_000, "a", "active"), Expected(90_000_000, "a", "clear"))
    assert (trial.name, trial.line, trial.until) == ("test 1", 5, 3_600_000_000)


def test_the_library_passes_its_tests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "test", str(LIBRARY)]) == 0
    said = capsys.readouterr().out
    assert "tests of" in said
    assert "without a test" not in said


def test_a_failing_test_says_what_happened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "hot.toml"
    file.write_text("""
[rule.hot]
on = "*"
when = "temperature > 80 °C for 30s"

[[rule.hot.test]]
name = "hot"
given = "0s a/temperature 90"
expect = "20s a active"
until = "1m"

[[rule.hot.test]]
given = "0s a/temperature 90"
expect = "never"

[rule.cold]
on = "*"
when = "temperature < 5 °C"
""")
    assert main(["rules", "test", str(file)]) == 1
    assert capsys.readouterr().out == (
        f"{file}:6: rule hot: hot\n  expected  20s a active\n  happened  30s a active\n"
        "1 of 2 tests failed; without a test: cold\n"
    )


def test_a_faulty_file_is_no_failing_test(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "test", str(BAD / "syntax.bad.toml")]) == 2
    assert "column 8: no value can be read here" in capsys.readouterr().err
