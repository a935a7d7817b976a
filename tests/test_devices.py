"""Who is known: adopted, offered, ignored; bounded, whoever shouts."""

import pytest

from gateway.devices import Device, Devices, most_offered


def happened(devices: Devices) -> list[tuple[str, str]]:
    return [(one.source, one.type) for one in devices.changes()[0]]


def test_the_newest_of_those_that_wait_are_kept() -> None:
    devices = Devices()
    mine = devices.accept("mine", "json", ["mine"], 1)
    for n in range(most_offered + 500):
        devices.accept(f"phone-{n}", "bthome", [], n)
    assert mine.adopted
    assert len(devices.known) == most_offered + 1
    assert "phone-499" not in devices.known
    assert "phone-500" in devices.known
    events, rows = devices.changes()
    assert len(events) == most_offered + 501
    assert [values for sql, values in rows if sql.startswith("delete")] == [(f"phone-{n}",) for n in range(500)]


def test_who_waits_is_counted_across_a_restart() -> None:
    devices = Devices([Device(f"phone-{n}", "bthome", since=n) for n in range(most_offered)])
    devices.accept("new", "bthome", [], most_offered)
    assert "phone-0" not in devices.known
    assert len(devices.known) == most_offered


def test_an_adopted_one_no_longer_waits() -> None:
    devices = Devices()
    devices.adopt(devices.accept("phone", "bthome", [], 0), 1)
    for n in range(most_offered + 1):
        devices.accept(f"phone-{n}", "bthome", [], n)
    assert devices.known["phone"].adopted


def test_ignoring_wins_over_what_a_binding_allows() -> None:
    devices = Devices()
    device = devices.accept("cellar/air", "json", ["*"], 0)
    devices.heard(device, 1, 1)
    devices.ignore(device, 2)
    assert not devices.accept("cellar/air", "json", ["*"], 3).adopted
    devices.adopt(device, 4)
    assert devices.accept("cellar/air", "json", ["*"], 5).adopted
    assert happened(devices) == [
        ("cellar/air", f"device.{what}") for what in ("adopted", "online", "ignored", "adopted")
    ]


def test_whoever_makes_up_names_fills_no_memory(caplog: pytest.LogCaptureFixture) -> None:
    devices = Devices([Device("old", "json", adopted=True)], most=3)
    found = [devices.accept(f"made-up-{n}", "json", ["*"], n) for n in range(10)]
    assert [one.adopted for one in found] == [True] * 2 + [False] * 8
    assert [type for _, type in happened(devices)] == ["device.adopted"] * 2 + ["device.discovered"] * 8
    assert devices.accept("old", "json", ["*"], 20).adopted
    assert caplog.text.count("made-up-2 waits for adoption, because 3 devices are adopted already: redcar adopt") == 1
    assert caplog.text.count("waits for adoption") == 1
    devices.adopt(found[9], 30)
    assert found[9].adopted, "an operator may always"
    devices.ignore(found[0], 40)
    devices.ignore(found[1], 40)
    assert devices.accept("made-up-3", "json", ["*"], 50).adopted
