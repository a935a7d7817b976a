"""Configurations: what is read from right ones, and every sentence about faulty ones.

Each ``config/NAME.toml`` with a ``NAME.expected`` beside it has exactly these faults, word for word; one without has none.
"""

import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct, field

from gateway import config, driver, places, sinks, typed
from gateway.driver import Binding, Seconds
from gateway.errors import ConfigError
from gateway.settings import Listener, Settings

cases = Path(__file__).parent / "config"


@pytest.fixture(autouse=True)
def _in_a_copy(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cases in a folder of their own, with two files that anybody may read."""
    folder = shutil.copytree(cases, tmp_path_factory.mktemp("config") / "cases")
    (folder / "everybody.secret").touch()
    for name in ("everybody.secret", "broken_users"):
        (folder / name).chmod(0o644)
    monkeypatch.chdir(folder)


def faults(file: Path | str) -> list[str]:
    try:
        config.load(file)
    except ConfigError as error:
        return [str(fault) for fault in error.faults]
    return []


@pytest.mark.parametrize("case", sorted(path.name for path in cases.glob("*.toml")))
def test_every_fault_word_for_word(case: str) -> None:
    wanted = Path(case).with_suffix(".expected")
    text = wanted.read_text() if wanted.exists() else ""
    for name, value in {
        "drivers": ", ".join(driver.kinds()),
        "sinks": ", ".join(sinks.kinds()),
    }.items():
        text = text.replace(f"{{{name}}}", value)
    assert faults(case) == text.splitlines()


def test_a_right_file_becomes_typed_settings() -> None:
    made = config.load("right.toml")
    assert made.gateway.name == "cold-store"
    assert made.gateway.data == str(Path("log").absolute())
    assert made.gateway.trust_clock
    assert (made.log.pace, made.log.linger, made.log.queue, made.log.ring) == (0.05, 1.5, 8 * 2**20, 1000)
    assert [(one.address, one.port) for one in made.listener] == [("127.0.0.1", 1883), ("::1", 0)]
    assert not made.access.anonymous
    limits = made.limits
    assert (limits.connections, limits.packet, limits.keep_alive) == (500, 1_000_000, 600)
    assert (limits.session_expiry, limits.sessions) == (30 * 86_400, 1000)
    first, _, third = made.binding
    assert type(first) is driver.load("json").config
    assert isinstance(first, Binding)
    assert (first.silent_after, first.keep_raw, first.allow) == (300, True, ["*"])
    assert third.names == {"4": "plant/four"}
    (cloud,) = made.subscription
    assert type(cloud) is sinks.load("mqtt").config
    assert (cloud.name, cloud.start, cloud.batch) == ("cloud", "now", 100)


def test_an_empty_file_is_all_defaults_beside_itself(tmp_path: Path) -> None:
    (tmp_path / "redcar.toml").touch()
    made = config.load(tmp_path / "redcar.toml")
    want = Settings()
    want.gateway.data = str(tmp_path / "data")
    assert made == want


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    (tmp_path / "secret").chmod(0o600)
    text = '[[subscription]]\nname = "a"\nsink = "mqtt"\nhost = "b"\npassword_file = "secret"\nusername = "c"\n'
    (tmp_path / "redcar.toml").write_text(text + '[gateway]\ndata = "/var/lib/redcar"\n')
    monkeypatch.chdir(tmp_path.parent)
    made = config.load(Path(tmp_path.name) / "redcar.toml")
    assert made.gateway.data == "/var/lib/redcar"
    assert getattr(made.subscription[0], "password_file") == str(tmp_path / "secret")  # noqa: B009  # a sink's own field


def test_links_are_relative_to_the_file(tmp_path: Path) -> None:
    links = ["replay:night.jsonl?speed=max", "serial:/dev/ttyUSB0", "serial:loop://"]
    file = tmp_path / "redcar.toml"
    file.write_text(
        "".join(
            f'[[binding]]\ndriver = "pms5003"\nlink = "{link}"\nsource = "{number}"\n'
            for number, link in enumerate(links)
        )
    )
    want = [f"replay:{tmp_path}/night.jsonl?speed=max", *links[1:]]
    assert [binding.link for binding in config.load(file).binding] == want


def test_users_open_the_network(tmp_path: Path) -> None:
    from gateway.hub.users import add_user

    file = tmp_path / "redcar.toml"
    file.write_text('[access]\nusers = "users"\n[[listener]]\naddress = "0.0.0.0"\n')
    assert len(faults(file)) == 1
    add_user(tmp_path / "users", "workshop", "hunter2")
    assert faults(file) == []
    assert config.load(file).access.users == str(tmp_path / "users")


def test_rules_are_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "redcar.toml").write_text('[log]\nring = 1\n[gateway]\nrules = ["rules", "one.toml"]\n')
    (tmp_path / "one.toml").write_text('[rule.a]\non = "*"\nwhen = "temperature > 5 bar"\n')
    (tmp_path / "rules" / "b.toml").write_text('[rule.b]\non = "*"\nwhen = "temperature >"\n')
    monkeypatch.chdir(tmp_path)
    assert [said.partition(": ")[0] for said in faults("redcar.toml")] == [
        "redcar.toml:2",
        "one.toml:3",
        "rules/b.toml:3",
    ]


def test_where_the_configuration_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDCAR_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    assert config.find() == Path("/etc/redcar/redcar.toml")
    Path("redcar.toml").touch()
    assert config.find() == Path("redcar.toml")
    monkeypatch.setenv("REDCAR_CONFIG", "/srv/redcar.toml")
    assert config.find() == Path("/srv/redcar.toml")
    assert config.find("mine.toml") == Path("mine.toml")


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (
            "a = fast",
            '1: column 5: no value can be read here: text needs quotes ("fast"); numbers, true and false stand without',
        ),
        (
            "a = True",
            '1: column 5: no value can be read here: text needs quotes ("fast"); numbers, true and false stand without',
        ),
        ("a = [1,", '1: no value can be read here: text needs quotes ("fast"); numbers, true and false stand without'),
        (
            "\na = 5m",
            '2: column 6: something follows the value: text needs quotes ("5m"), and each setting its own line',
        ),
        (
            "a = 1 b = 2",
            '1: column 7: something follows the value: text needs quotes ("5m"), and each setting its own line',
        ),
        ("[a]\nb", "2: a name without a value: write name = value"),
        ("k e = 1", "1: column 3: a name without a value: write name = value"),
        ("a: 1", "1: column 2: a name without a value: write name = value"),
        ('a = "x', "1: a quoted text doesn't end: add the closing quote"),
        ("a = 'x", "1: a quoted text doesn't end: add the closing quote"),
        ('a = """x\n', "1: a quoted text doesn't end: add the closing quote"),
        ('a = "x\ny"', "1: column 7: a quoted text doesn't end: add the closing quote on the same line"),
        ("a = 'x\ny'", "1: column 7: a quoted text doesn't end: add the closing quote on the same line"),
        ('a = "\x01"', "1: column 6: a control character: delete it, it may be invisible"),
        (
            "[gateway]\nname = 'a'\nname = 'b'\n",
            "3: column 11: this name is given twice: keep one; several of a kind are written [[name]]",
        ),
        ("[a]\n[b]\n[a]", "3: column 3: this table is given twice: keep one; several of a kind are written [[name]]"),
        ("a = []\n[[a]]", "2: column 4: this table was complete before: put all of it in one place"),
        (
            "a.b = 1\n[c]\na = 1\n[a]",
            "4: column 3: this table is given twice: keep one; several of a kind are written [[name]]",
        ),
        ("a = {b = 1, b = 2}", "1: column 18: this name is given twice: keep one"),
        (
            'a = "C:\\dir"',
            "1: column 10: a backslash in double quotes begins a special sign: use single quotes: 'C:\\folder'",
        ),
        ("[a", "1: a [table] doesn't end: write [name] on a line of its own"),
        ("[[a]", "1: column 4: a [[table]] doesn't end: write [[name]] on a line of its own"),
        ("a = [1", "1: a list doesn't end: add the closing ]"),
        ("a = {b = 1", "1: a table in braces doesn't end: add the closing }, all on one line"),
        (
            "a = {b = 1,}",
            "1: column 12: no name can be read here: write name = value; a name has letters, digits, _ and -",
        ),
        ("= 1", "1: column 1: no setting can be read here: write name = value; a name has letters, digits, _ and -"),
        ("größe = 1", "1: column 3: a name without a value: write name = value"),
        ("[a]\nb = nan", "2: a.b: nan isn't a number one can work with: write a finite number"),
        ('[a]\nb = "x\\u0000"', "2: a.b: a NUL character stands in it: delete it"),
        ("a = [1, [-inf, 2e999]]", "1: a[2][1]: -inf isn't a number one can work with: write a finite number"),
        ("a = " + "[" * 33 + "]" * 33, "1: a[1][1]: is nested deeper than 32 levels: make it flatter"),
        ("a = " + "[" * 2000 + "]" * 2000, " is nested deeper than 32 levels: make it flatter"),
        (".".join("a" * 40) + " = 1", "1: a.a.a: is nested deeper than 32 levels: make it flatter"),
        ("#\n# " + "x" * 5000, "2: a line is longer than 4 kB: spread it over several lines"),
        ("#\n" * 600_000, " is larger than 1 MB: this can't be a configuration"),
        (b"[gateway]\nname = '\xff'", "2: isn't UTF-8 text: save the file as UTF-8"),
        (
            "a = 0000-01-01",
            "1: column 5: there is no such date: no setting is a date: put text in quotes",
        ),
    ],
)
def test_what_isnt_toml_says_what_to_do(text: str | bytes, want: str, tmp_path: Path) -> None:
    file = tmp_path / "redcar.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    said = faults(file)
    assert said[0] == f"{file}:{want}"
    if "a number one" not in want:
        assert len(said) == 1


def test_a_file_that_isnt_there(tmp_path: Path) -> None:
    cure = "check its name, and who may read it"
    assert faults("absent.toml") == [f"absent.toml: can't be read (no such file or directory): {cure}"]
    assert faults(tmp_path) == [f"{tmp_path}: can't be read (is a directory): {cure}"]


def test_windows_line_ends_and_byte_order_marks_are_welcome(tmp_path: Path) -> None:
    file = tmp_path / "redcar.toml"
    file.write_bytes(b"\xef\xbb\xbf[gateway]\r\nname = 'a'\r\n\r\n[log]\r\nring = 1\r\n")
    assert faults(file) == [f"{file}:5: log.ring: 1 is too small: write at least 100"]


class Odd(Struct, kw_only=True):
    """What a driver from elsewhere could ask for."""

    either: int | str = 1
    level: Literal[1, 2] = 1
    code: Annotated[str, Meta(pattern="^[a-z]+$")] = "abc"
    above: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    waits: Annotated[list[Seconds], Meta(max_length=2)] = []
    inner: Listener = field(default_factory=Listener)
    more: dict[str, list[int]] = {}
    cure_file: str | None = None
    anything: Any = None

    def __post_init__(self) -> None:
        if self.code == "xyz":
            raise ValueError("code: it is xyz: choose another")
        if self.code == "uvw":
            raise ValueError("that doesn't work together: try something else")
        if self.code == "rst":
            raise ValueError("no")


@pytest.mark.parametrize(
    ("data", "want"),
    [
        ({"either": True}, "either: true isn't a whole number or text: write e.g. either = 1"),
        ({"level": 3}, "level: 3 isn't a choice here: write 1 or 2"),
        ({"code": "ABC"}, "code: 'ABC' can't be used here: write e.g. code = \"abc\""),
        ({"code": "x" * 50 + "1"}, f"code: '{'x' * 40}...' can't be used here: write e.g. code = \"abc\""),
        ({"above": 0}, "above: 0 is too small: write more than 0"),
        ({"above": 1}, "above: 1 is too large: write less than 1"),
        ({"above": 10**30}, "above: a huge number is too large: write less than 1"),
        ({"waits": ["5s", "5"]}, "waits[2]: '5' isn't a duration: write e.g. waits = [\"30s\"]"),
        ({"waits": ["5s", "6s", "7s"]}, "waits: it has more than 2: write fewer"),
        ({"inner": {"prt": 5}}, "inner.prt: nobody knows this name: did you mean port?"),
        ({"inner": 5}, "inner: 5 isn't a table: write [inner] and its settings below it"),
        (
            {"more": {"a": [1], "b c": ["x"]}},
            'more."b c"[1]: \'x\' isn\'t a whole number: write e.g. more = { name = "..." }',
        ),
        ({"code": "xyz"}, "code: it is xyz: choose another"),
        ({"code": "uvw"}, "that doesn't work together: try something else"),
        ({"code": "rst"}, "no: see its documentation"),
        ({"api_key": "hunter2"}, "api_key: a secret doesn't belong in this file: delete it"),
    ],
)
def test_settings_of_any_shape_are_checked(data: dict[str, Any], want: str) -> None:
    document = places.Document(Path("x.toml"), data, {})
    assert typed.table(Odd, data, document, ()) is None
    assert [str(fault) for fault in document.faults] == [f"x.toml: {want}"]


def test_settings_of_any_shape_are_read() -> None:
    data = {"either": "x", "waits": ["5s", "1.5m"], "cure_file": "cure", "more": {"a": [1]}, "inner": {"port": 5}}
    document = places.Document(cases / "x.toml", data, {})
    want = Odd(either="x", waits=[5, 90], cure_file=str(cases / "cure"), more={"a": [1]}, inner=Listener(port=5))
    assert typed.table(Odd, data, document, ()) == want


LINES = '''
a = 1
"b c".d = 2          # ["x"]
[t]                  # line 4
x = [                # ' " """
    "]", # ]
    """
y = 1
[u]
""",
]
z = { q = "}", r = [1] }
'lit\\er' = \'\'\'
w = 1\'\'\'\'
[[l]]
n = 1
[l.sub]
m = 1
[[l.deep]]
[[l]]                # line 20
n = "#"
[l."sub.x"]
m = 1
[[l.deep]]
o.p = 1
[[l.deep]]
o.p = 2
'''


def test_every_place_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "lines.toml").write_text(LINES)
    document = places.read(tmp_path / "lines.toml")
    want: dict[tuple[Any, ...], int] = {
        ("a",): 2,
        ("b c",): 3,
        ("b c", "d"): 3,
        ("t",): 4,
        ("t", "x"): 5,
        ("t", "x", 0): 5,
        ("t", "z"): 12,
        ("t", "z", "q"): 12,
        ("t", "lit\\er"): 13,
        ("l",): 15,
        ("l", 0): 15,
        ("l", 0, "n"): 16,
        ("l", 0, "sub", "m"): 18,
        ("l", 0, "deep", 0): 19,
        ("l", 1): 20,
        ("l", 1, "n"): 21,
        ("l", 1, "sub.x", "m"): 23,
        ("l", 1, "deep", 0, "o", "p"): 25,
        ("l", 1, "deep", 1, "o", "p"): 27,
        ("l", 1, "deep", 1, "absent"): 26,
        ("absent",): 0,
    }
    assert {place: document.line(place) for place in want} == want
    assert places.spoken(("l", 1, "sub.x", "m")) == 'l[2]."sub.x".m'


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@example(b'[gateway]\ndata = "\\u0000"')
@example(b'[gateway]\nrules = ["' + b"x" * 300 + b'"]\n[access]\nusers = "' + b"x" * 300 + b'"')
@example(b"[[binding]]\ndriver = 'json'\ntopics = ['" + b"{a#}/" * 30 + b"x']\n")
def test_any_bytes_are_settings_or_faults(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "redcar.toml"
    file.write_bytes(text)
    try:
        assert isinstance(config.load(file), Settings)
    except ConfigError as error:
        assert error.faults  # noqa: PT017  # the only other way out


scalar = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.sampled_from(
        ["json", "pms5003", "bthome", "mqtt", "file", "hub:", "serial:", "5m", "2GB", "a/{b}/#", "{device}", "now"]
    ),
)
keys = st.sampled_from(
    [
        "gateway",
        "log",
        "listener",
        "access",
        "binding",
        "subscription",
        "name",
        "data",
        "rules",
        "pace",
        "queue",
        "ring",
        "address",
        "port",
        "users",
        "driver",
        "link",
        "topics",
        "source",
        "names",
        "allow",
        "silent_after",
        "sink",
        "host",
        "protocol",
        "topic",
        "start",
        "types",
    ]
) | st.text(max_size=6)
value = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6), max_leaves=25
)


@given(st.dictionaries(keys, value, max_size=5))
@settings(deadline=None)
def test_any_values_are_settings_or_faults(data: dict[str, Any]) -> None:
    document = places.Document(Path("x.toml"), data, {})
    try:
        assert isinstance(config.settings(document), Settings)
    except ConfigError as error:
        assert error.faults  # noqa: PT017  # the only other way out
