"""Drivers, sinks and detectors of our own and of others are found alike."""

from pathlib import Path

import pytest

from gateway import driver, kinds, sinks


@pytest.fixture
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that somebody else installed."""
    (tmp_path / "their_driver.py").write_text(
        '"""Their thermometer: one number per message.\n\nMore."""\n'
        "from gateway.driver import Binding as Config, Message as INPUT\n"
        "decode = twin = lambda *_: iter(())\n"
    )
    (tmp_path / "theirs-1.0.dist-info").mkdir()
    (tmp_path / "theirs-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    points = "[redcar.drivers]\ntheirs = their_driver\njson = their_driver\n"
    (tmp_path / "theirs-1.0.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("others")
def test_a_driver_of_others_is_found_by_its_name() -> None:
    assert "theirs" in driver.kinds()
    found = driver.load("theirs")
    assert (found.kind, found.summary, found.sequence_bits) == (
        "theirs",
        "Their thermometer: one number per message.",
        None,
    )
    assert found.config is driver.Binding


@pytest.mark.usefixtures("others")
def test_ours_come_first() -> None:
    assert driver.kinds().count("json") == 1
    assert driver.load("json").decode.__module__ == "drivers.json"


def test_what_kinds_share_is_no_kind() -> None:
    assert "_paho" not in sinks.kinds()
    with pytest.raises(KeyError):
        sinks.load("_paho")


def test_nobody_has_that_kind() -> None:
    with pytest.raises(KeyError):
        kinds.find("rules.detectors", "clairvoyant")
