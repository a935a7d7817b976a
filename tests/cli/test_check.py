"""``redcar check`` and ``redcar user`` as an operator meets them: what is printed, and the exit code."""

import json
from pathlib import Path

import pytest

from gateway import config
from gateway.cli import main
from gateway.hub.limits import Limits
from gateway.settings import LogSettings

RIGHT = '[[binding]]\ndriver = "json"\n[[subscription]]\nname = "cloud"\nsink = "mqtt"\nhost = "broker.example"\n'
RULE = '[rule.{name}]\non = "*"\nwhen = "temperature > {limit}"\n'


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REDCAR_CONFIG", raising=False)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    """Exit code and what was printed, errors after the rest."""
    code = main(list(arguments))
    printed = capsys.readouterr()
    return code, (printed.out + printed.err).splitlines()


def test_nothing_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    Path("redcar.toml").write_text(RIGHT)
    assert run(capsys, "check") == (0, ["redcar.toml: right, 1 binding, 1 subscription"])


def test_every_fault_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    Path("redcar.toml").write_text("[log]\nring = 1\npace = 5\n")
    code, lines = run(capsys, "check", "redcar.toml")
    assert code == 1
    assert lines == [
        "redcar.toml:2: log.ring: 1 is too small: write at least 100",
        'redcar.toml:3: log.pace: 5 isn\'t a duration: write e.g. pace = "20ms"',
    ]


def test_the_environment_names_the_file(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("site.toml").write_text("[lgo]\n")
    monkeypatch.setenv("REDCAR_CONFIG", "site.toml")
    assert run(capsys, "check") == (1, ["site.toml:1: lgo: nobody knows this name: did you mean log?"])


def test_no_file_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = run(capsys, "check", "absent.toml")
    assert code == 1
    assert lines == ["absent.toml: can't be read (no such file or directory): check its name, and who may read it"]


def test_rule_files_are_known_by_what_is_in_them(capsys: pytest.CaptureFixture[str]) -> None:
    Path("some.toml").write_text(RULE.format(name="a", limit="5 °C"))
    Path("redcar.toml").write_text(RIGHT)
    code, lines = run(capsys, "check", "some.toml", "redcar.toml")
    assert (code, lines) == (0, ["redcar.toml: right, 1 binding, 1 subscription", "some.toml: right"])
    Path("some.toml").write_text(RULE.format(name="a", limit="5 bar"))
    code, lines = run(capsys, "check", "some.toml", "redcar.toml")
    assert code == 1
    assert lines[0].startswith("some.toml:3: rule.a.when: ")


def test_a_folder_of_rules_is_checked_together(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rules").mkdir()
    for file in ("rules/a.toml", "rules/b.toml"):
        Path(file).write_text(RULE.format(name="same", limit="5 °C"))
    code, lines = run(capsys, "check", "rules")
    assert code == 1
    assert lines[0].startswith("rules/b.toml:1: ")
    assert "rules/a.toml:1" in lines[0]


def test_a_fault_that_two_files_share_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rules").mkdir()
    Path("rules/a.toml").write_text(RULE.format(name="a", limit="5 bar"))
    Path("redcar.toml").write_text('[gateway]\nrules = ["rules"]\n')
    code, lines = run(capsys, "check", "redcar.toml", "rules/a.toml")
    assert code == 1
    assert len(lines) == 1


def test_broken_toml_is_one_fault(capsys: pytest.CaptureFixture[str]) -> None:
    Path("redcar.toml").write_text("[log]\nring = many\n")
    code, lines = run(capsys, "check", "redcar.toml")
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith("redcar.toml:2: column 8: ")


def test_for_editors(capsys: pytest.CaptureFixture[str]) -> None:
    Path("redcar.toml").write_text("[log]\nring = 1\n")
    code, lines = run(capsys, "check", "--json", "redcar.toml")
    assert code == 1
    fault = {"file": "redcar.toml", "line": 2, "place": "log.ring"}
    fault |= {"problem": "1 is too small", "cure": "write at least 100"}
    assert json.loads("".join(lines)) == {"ok": False, "files": ["redcar.toml"], "faults": [fault]}
    Path("redcar.toml").write_text("")
    code, lines = run(capsys, "check", "--json")
    assert (code, json.loads("".join(lines))) == (0, {"ok": True, "files": ["redcar.toml"], "faults": []})


def test_a_first_user_lets_the_network_in(capsys: pytest.CaptureFixture[str]) -> None:
    """As the faults say, step by step."""
    Path("redcar.toml").write_text('[[listener]]\naddress = "0.0.0.0"\n')
    code, lines = run(capsys, "check")
    assert (code, len(lines)) == (1, 1)
    assert lines[0].endswith('write users = "users" under [access], then run redcar user add NAME')
    Path("password").write_text("hunter2\n")
    code, lines = run(capsys, "user", "add", "workshop", "--password-file", "password")
    users = Path("users").absolute()
    assert code == 0
    assert lines == [
        f"workshop may connect now; {users} has 1 user",
        'to use it, write under [access] in redcar.toml: users = "users"; then restart the gateway',
        "from now on clients on this machine need a name, too, unless [access] says anonymous = true",
    ]
    Path("redcar.toml").write_text('[[listener]]\naddress = "0.0.0.0"\n[access]\nusers = "users"\n')
    assert run(capsys, "check")[0] == 0


def test_users_come_and_go(capsys: pytest.CaptureFixture[str]) -> None:
    Path("redcar.toml").write_text('[access]\nusers = "who"\n')
    Path("password").write_text("hunter2\nmore\n")
    for name in ("b", "a"):
        assert run(capsys, "user", "add", name, "--password-file", "password")[0] == 0
    assert run(capsys, "user", "list") == (0, ["a", "b"])
    assert run(capsys, "user", "list", "--json") == (0, ['["a", "b"]'])
    code, lines = run(capsys, "user", "remove", "a")
    assert (code, lines) == (0, [f"a is removed; {Path('who').absolute()} has 1 user"])
    assert run(capsys, "user", "remove", "a")[0] == 1
    assert run(capsys, "user", "list", "--file", "who") == (0, ["b"])
    assert "hunter2" not in Path("who").read_text()
    assert Path("who").stat().st_mode & 0o777 == 0o600


def test_a_user_without_a_password_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("redcar.toml").touch()
    Path("password").touch()
    code, lines = run(capsys, "user", "add", "a", "--password-file", "password")
    assert code == 2
    assert "a has no password" in lines[0]
    code, lines = run(capsys, "user", "add", "a", "--password-file", "absent")
    assert code == 2
    assert lines[0].startswith("absent: can't be read")


def test_passwords_are_asked_twice(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("redcar.toml").touch()
    typed = iter(["hunter2", "hunter3", "hunter2", "hunter2"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(typed))
    assert run(capsys, "user", "add", "a") == (2, ["redcar user add: the two passwords differ: try again"])
    assert run(capsys, "user", "add", "a")[0] == 0


def test_a_folder_without_files_is_not_right(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rules").mkdir()
    assert run(capsys, "check", "rules") == (2, ["rules: there is no .toml file in this folder: name another"])


def test_no_terminal_to_ask_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(prompt: str) -> str:
        raise EOFError

    Path("redcar.toml").touch()
    monkeypatch.setattr("getpass.getpass", nobody)
    said = "redcar user add: there is no terminal to ask for the password on: use --generate, or --password-file FILE"
    assert run(capsys, "user", "add", "a") == (2, [said])


@pytest.mark.parametrize("command", ["check", "run", "user list", "user rights a", "user add a --generate"])
def test_where_there_is_no_configuration_at_all(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.config._SYSTEM", Path("etc.toml"))
    monkeypatch.delenv("REDCAR_CONFIG", raising=False)
    cure = "write one, which may be empty to begin with, or name it with --config FILE"
    assert run(capsys, *command.split())[1] == [f"etc.toml: isn't there, and there is no redcar.toml here: {cure}"]


def test_what_the_system_refuses_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    Path("redcar.toml").write_text('[gateway]\ndata = "file/log"\n[[listener]]\nport = 0\n')
    code, (line,) = run(capsys, "run")
    assert (code, line) == (3, f"redcar: {Path.cwd() / 'file' / 'log'}: not a directory: correct its name")
    Path("data").mkdir()
    Path("data/events.db").mkdir()
    code, (line,) = run(capsys, "tail", "--data", "data")
    assert code == 3
    assert line.startswith("redcar: the log can't be opened or read (")


def test_a_source_that_is_not_written_is_given_whole(capsys: pytest.CaptureFixture[str]) -> None:
    Path("redcar.toml").write_text('[[binding]]\ndriver = "json"\ntopics = ["p/{device}"]\n')
    said = "redcar.toml:1: binding[1].source: 'p/{device}' doesn't capture {area}: write source = \"{device}\""
    assert run(capsys, "check") == (1, [said])


def test_what_can_be_set_is_shown_as_a_file_could_hold_it(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = run(capsys, "check", "--settings")
    assert code == 0
    Path("shown.toml").write_text("\n".join(lines))
    shown = config.load("shown.toml")
    assert shown.limits == Limits()
    assert shown.log == LogSettings()
    assert all("  # " in line or line.startswith("[") for line in lines if line)
    code, lines = run(capsys, "check", "--settings", "limits")
    assert (code, lines[0]) == (0, "[limits]")
    assert "connections = 2000              # at once: the newest is closed" in lines
    assert run(capsys, "check", "--settings", "limit")[0] == 1
