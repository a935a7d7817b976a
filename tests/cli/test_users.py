"""redcar user: who may connect, and the answer to "why may it not?"."""

import json
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.hub import users
from gateway.hub.access import Access
from gateway.hub.topics import matches
from gateway.hub.users import add_user
from gateway.hub.why import decide, granted


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with a user and rules."""
    monkeypatch.setattr(users, "_N", 16)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "redcar.toml").write_text('[access]\nusers = "users"\nacl = "acl.toml"\n')
    (tmp_path / "password").write_text("secret\nsecond line\n")
    (tmp_path / "acl.toml").write_text(RULES)
    add_user(tmp_path / "users", "panel", "pw")
    return tmp_path


RULES = """\
[[rule]]
users = ["panel"]
subscribe = ["#", "$SYS/#"]
receive = ["plant/#"]

[[rule]]
users = ["sensor-*", ""]
publish = [
  "plant/%u/#",
  "by-id/%c",
]
"""


def say(*words: str) -> int:
    return main(["user", *words])


def test_add_passwd_list_remove(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    password = ("--password-file", "password")
    assert say("add", "attic", *password) == 0
    assert say("add", "attic", *password) == 1
    assert say("passwd", "attic", *password) == 0
    assert say("passwd", "cellar", *password) == 1
    assert say("list") == 0
    assert say("remove", "attic") == 0
    assert say("remove", "attic") == 1
    file = site / "users"
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"attic may connect now; {file} has 2 users",
        f"there is a user attic in {file} already: redcar user passwd attic gives it another password",
        "attic has a new password; a running gateway cuts off who came in with the old one",
        f"there is no user cellar in {file}: redcar user add cellar makes one",
        "attic",
        "panel",
        f"attic is removed; {file} has 1 user",
        f"there is no user attic in {file}; one that a certificate names: redcar tls revoke attic",
    ]
    assert "secret" not in out + err + file.read_text()


def test_a_removed_user_may_have_a_certificate(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "redcar.toml").write_text('[[listener]]\nclient_ca = "tls/ca.crt"\n')
    assert say("remove", "panel") == 0
    assert (
        "a certificate that names panel still lets in, if there is one: redcar tls revoke panel"
        in capsys.readouterr().out
    )


def test_a_list_without_users(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "users").unlink()
    assert say("list") == 0
    assert say("list", "--json") == 0
    out, err = capsys.readouterr()
    assert out == "[]\n"
    assert err == f"{site / 'users'} has no users: redcar user add NAME\n"


def test_without_a_terminal_the_cure_is_a_file(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert say("add", "attic") == 2
    assert (
        "there is no terminal to ask for the password on: use --generate, or --password-file FILE"
        in capsys.readouterr().err
    )
    assert say("add", "a/b") == 2
    assert "'a/b' can't be a user's name: use up to 64 characters" in capsys.readouterr().err


def test_what_a_user_may_do_with_its_lines(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert say("rights", "panel") == 0
    acl, own = site / "acl.toml", "every user's own tree"
    assert capsys.readouterr() == (
        f"""\
publish    panel/#  {own}
subscribe  panel/#  {own}
subscribe  #        {acl}:3: rule[1].subscribe[1]
subscribe  $SYS/#   {acl}:3: rule[1].subscribe[2]
receive    panel/#  {own}
receive    plant/#  {acl}:4: rule[1].receive[1]
""",
        "",
    )
    assert say("rights", "sensor-1", "--client", "c1") == 0
    assert capsys.readouterr() == (
        f"""\
publish    sensor-1/#        {own}
publish    plant/sensor-1/#  {acl}:8: rule[2].publish[1]
publish    by-id/c1          {acl}:8: rule[2].publish[2]
subscribe  sensor-1/#        {own}
receive    whatever it may subscribe to
""",
        "there is no user sensor-1 (one that a certificate names needs no password)\n",
    )
    assert say("rights", "sensor-1") == 0
    assert "rules with %c count with --client ID only" in capsys.readouterr().err


TOPICS = [
    ("panel", "plant/x", "no yes yes", "no rule lets user 'panel' publish there: add one to"),
    ("panel", "panel/x", "yes yes yes", "every user's own tree: panel/#"),
    ("panel", "secret", "no yes no", ":3: rule[1].subscribe[1]: #"),
    ("panel", "#", "yes", ":3: rule[1].subscribe[1]: #"),
    ("panel", "$share/g/plant/#", "yes", ":3: rule[1].subscribe[1]: #"),
    (
        "panel",
        "redcar/#",
        "no",
        "no rule covers it (+ and # don't stand for redcar/ and $ topics: name them): add one to",
    ),
    ("panel", "$SYS/broker/uptime", "no yes no", "topics that begin with $ belong to the server: use another topic"),
    ("panel", "redcar/state/x", "no no no", "only Redcar publishes below redcar/: use another topic"),
    ("sensor-1", "plant/sensor-1/t", "yes no no", ":8: rule[2].publish[1]: plant/sensor-1/#"),
    ("", "by-id/c1", "yes no no", ":8: rule[2].publish[2]: by-id/c1"),
]


@pytest.mark.parametrize(("user", "topic", "answers", "said"), TOPICS)
def test_why(user: str, topic: str, answers: str, said: str, site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert say("rights", user, topic, "--client", "c1") == 0
    out = capsys.readouterr().out
    assert " ".join(line.split()[1] for line in out.splitlines()) == answers
    assert said in out
    assert say("rights", user, topic, "--client", "c1", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert ["yes" if one["allowed"] else "no" for one in told] == answers.split()


def test_without_rules(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "redcar.toml").write_text("")
    assert say("rights", "panel", "plant/x") == 0
    assert "no rule lets user 'panel' publish there: write a file of rules and name it as" in capsys.readouterr().out
    assert say("rights", "", "plant/x") == 0
    why = "clients without a name may do everything until access.acl names a file of rules"
    assert capsys.readouterr().out.splitlines() == [
        f"{verb:10} yes  {why}" for verb in ("publish", "subscribe", "receive")
    ]


@pytest.mark.parametrize("topic", ["a/#/b", "a#", "", "$share/g", "$share//a", "$share/+/a"])
def test_no_topic_at_all(topic: str, site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert say("rights", "panel", topic) == 2
    assert "name a topic or a filter: plant/lamp, plant/+/t, plant/#" in capsys.readouterr().err


def test_who_may_receive_nothing(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "acl.toml").write_text('[[rule]]\nusers = [""]\nsubscribe = ["#"]\nreceive = []\n')
    assert say("rights", "") == 0
    assert capsys.readouterr().out == f"subscribe  #  {site / 'acl.toml'}:3: rule[1].subscribe[1]\n"
    assert say("rights", "", "a") == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("receive    no ")


def test_the_list_and_the_decisions_agree(site: Path) -> None:
    access = Access(acl=site / "acl.toml")
    for user in ("panel", "sensor-1", None):
        grants = granted(access, user, "c1")
        narrow = any(one.verb == "receive" for one in grants)
        for topic in ("plant/sensor-1/t", "panel/x", "by-id/c1", "x", "sensor-1/x"):
            for one in decide(access, user, "c1", topic):
                verb = "subscribe" if one.verb == "receive" and not narrow else one.verb
                assert one.allowed == any(matches(grant.filter, topic) for grant in grants if grant.verb == verb)
    access.close()


def test_a_made_password_is_printed_once_and_works(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert say("add", "sensor-17", "--generate") == 0
    first, told = capsys.readouterr().out.splitlines()
    assert len(first) >= 22
    assert told.startswith("sensor-17 may connect now")
    assert users.read(site / "users")["sensor-17"].fits(first.encode())
    assert say("passwd", "sensor-17", "--generate") == 0
    second = capsys.readouterr().out.splitlines()[0]
    assert second != first
    assert users.read(site / "users")["sensor-17"].fits(second.encode())
