"""What the README shows works as it stands there."""

import re
from pathlib import Path

from gateway import config
from gateway.cli import main, parser
from gateway.hub.access import Access
from gateway.hub.users import add_user
from rules.load import load as load_rules
from tests.parts import need

readme = (Path(__file__).parent.parent / "README.md").read_text()
blocks = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)


def test_the_configuration_passes_the_checker(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "freezer.toml").write_text(blocks[1])
    secret = tmp_path / "cloud.password"
    secret.touch(mode=0o600)
    secret.write_text("secret")
    (tmp_path / "redcar.toml").write_text(blocks[0])
    settings = config.load(tmp_path / "redcar.toml")
    assert [one.driver for one in settings.binding] == ["json", "pms5003", "bthome"]
    assert settings.subscription[0].name == "cloud"


def test_the_rule_loads(tmp_path: Path) -> None:
    (tmp_path / "freezer.toml").write_text(blocks[1])
    assert [rule.name for rule in load_rules([tmp_path]).rules] == ["freezer_warm"]


def test_the_rights_load(tmp_path: Path) -> None:
    (tmp_path / "acl.toml").write_text(blocks[3])
    add_user(tmp_path / "users", "sensors", "secret")
    need("openssl", "openssl")
    assert main(["tls", "init", "--folder", str(tmp_path / "tls")]) == 0
    (tmp_path / "redcar.toml").write_text(blocks[2])
    listeners = config.load(tmp_path / "redcar.toml").listener
    assert [one.port for one in listeners] == [1883, 8883, 9001]
    assert {one.address for one in listeners} == {"0.0.0.0"}
    rights = Access(tmp_path / "users", acl=tmp_path / "acl.toml")
    assert rights.may_publish("sensors", "plant/hall/air-1") is None
    assert rights.may_publish("sensors", "other") is not None
    rights.close()


def test_the_source_loads(tmp_path: Path) -> None:
    (tmp_path / "redcar.toml").write_text(blocks[4])
    assert [one.name for one in config.load(tmp_path / "redcar.toml").source] == ["house"]


def test_every_command_shown_exists() -> None:
    shown = set(re.findall(r"`redcar ([a-z]+)", readme))
    known = set(re.findall(r"^    ([a-z]+)", parser().format_help(), re.MULTILINE))
    assert shown <= known


def test_every_file_named_exists() -> None:
    root = Path(__file__).parent.parent
    named = re.findall(r"`((?:gateway|drivers|rules|hardware|systemd|tests)/[\w./-]*)`", readme)
    assert named
    for name in named:
        assert (root / name).exists() or (root / "gateway" / name).exists(), name


def test_whoever_looks_for_a_test_of_the_hub_is_shown_where_it_is() -> None:
    here = Path(__file__).parent
    named = set(re.findall(r"`(hub/\w+\.py)`", (here / "README.md").read_text()))
    there = {str(path.relative_to(here)) for path in (here / "hub").glob("*.py")}
    assert there - named == {"hub/__init__.py", "hub/conftest.py"}
    assert named <= there
