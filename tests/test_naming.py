"""What devices call metrics, and how they write values."""

import pytest

from gateway.errors import Undecodable
from gateway.naming import Named, named, plain
from gateway.values import instant, number, presence, quantity, switch

keys = [
    ("temp", "temperature", None),
    ("temperature", "temperature", None),
    ("tempc", "temperature", None),
    ("tempF", "temperature", "°F"),
    ("tempf", "temperature", "°F"),
    ("temperature_C", "temperature", None),
    ("temperature_F", "temperature", "°F"),
    ("temperature_K", "temperature", "K"),
    ("temp2", "temperature.2", None),
    ("temperature_2", "temperature.2", None),
    ("hum", "humidity", None),
    ("batt", "battery", None),
    ("batteryLevel", "battery", None),
    ("battery_mV", "voltage", "mV"),
    ("pressure_hPa", "pressure", None),
    ("pressure_Pa", "pressure", "Pa"),
    ("power_kW", "power", "kW"),
    ("wind_avg_m_s", "wind_speed", None),
    ("PM2.5", "pm25", None),
    ("pm10", "pm10", None),
    ("eCO2", "carbon_dioxide", None),
    ("CarbonDioxide", "carbon_dioxide", None),
    ("DewPoint", "dew_point", None),
    ("pH", "ph", None),
    ("distance_cm", "distance", "cm"),
]


@pytest.mark.parametrize(("key", "metric", "unit"), keys, ids=[key for key, _, _ in keys])
def test_a_key_is_known_in_its_spellings(key: str, metric: str, unit: str | None) -> None:
    assert named(key) == Named(metric, unit)


@pytest.mark.parametrize(
    "key", ["", "2", "_", "mode", "vcc", "t", "level", "distance_s", "countKT", "rh0", "current_limit"]
)
def test_a_key_that_can_mean_anything_is_not_guessed(key: str) -> None:
    assert named(key) is None


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("Soil Moisture-2", "soil_moisture_2"),
        ("countKT", "count_kt"),
        ("Höhe", "hohe"),
        ("2nd", "value_2nd"),
        ("°", "value"),
        ("", "value"),
    ],
)
def test_any_key_becomes_a_word_that_rules_can_name(key: str, word: str) -> None:
    assert plain(key) == word


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (21.5, 21.5),
        (97, 97),
        ("21.5", 21.5),
        (" +66 ", 66.0),
        ("1.0e3", 1000.0),
        ("21.5 °C", 21.5),
        ("0003092.68", 3092.68),
        (None, None),
        ("", None),
        ("NaN", None),
        ("unknown", None),
        (float("nan"), None),
        (float("-inf"), None),
        ("1e999", None),
        (2**63, float(2**63)),
        (10**400, None),
    ],
)
def test_a_number_in_the_spellings_of_devices(value: object, want: float | None) -> None:
    assert number(value, "temperature") == want


@pytest.mark.parametrize("value", [True, "on", "21,5", "None such", "0003092.68'", [], {}, "12 34"])
def test_what_is_not_a_number_is_refused(value: object) -> None:
    with pytest.raises(Undecodable, match=r"^not_a_number: temperature: "):
        number(value, "temperature")


def test_the_smaller_readings_of_values() -> None:
    assert quantity("21.50C") == (21.5, "C")
    assert quantity("T=21") is None
    assert [switch(value) for value in (True, "ON", "closed", "1", 1, None)] == [True, True, False, None, None, None]
    assert [presence(value) for value in ("Online", {"state": "offline"}, {"a": 1, "b": 2}, 1)] == [
        True,
        False,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ("2024-01-02T03:04:05Z", 1704164645000000),
        ("2024-01-02T03:04:05+01:00", 1704161045000000),
        ("2024-01-02T03:04:05", None),  # whose zone?
        (1704164645, 1704164645000000),
        (1704164645.25, 1704164645250000),
        (1704164645250, 1704164645250000),
        (1704164645250000, 1704164645250000),
        (1704164645250000000, 1704164645250000),
        (86400, None),  # seconds since it started
        (0, None),
        (True, None),
        ("2024-13-45", None),
    ],
)
def test_a_time_is_used_if_it_can_be_believed(value: object, want: int | None) -> None:
    assert instant(value) == want
