"""Metrics, units, and what normalising makes of a reading."""

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import catalogue, units
from gateway.catalogue import METRICS, UnitError, canonical, convert, difference_unit, dimension, normalise
from gateway.event import Quality, Reading


@pytest.mark.parametrize(
    ("value", "unit_from", "unit_to", "want"),
    [
        (68, "°F", "°C", 20),
        (-40, "°F", "°C", -40),
        (21.5, "°C", "°F", 70.7),
        (3015, "mV", "V", 3.015),
        (101_325, "Pa", "hPa", 1013.25),
        (1, "atm", "hPa", 1013.25),
        (1, "bar", "hPa", 1000),
        (29.92, "inHg", "hPa", 1013.2075888),
        (760, "mmHg", "hPa", 1013.2472),
        (14.5, "psi", "hPa", 999.739765),
        (2, "Pa/min", "hPa/s", 2 / 6000),
        (1, "K/min", "°C/h", 60),
        (1, "°F/h", "K/h", 5 / 9),
        (110.046, "Wh", "kWh", 0.110046),
        (60, "Wmin", "Wh", 1),
        (1, "MJ", "kWh", 1 / 3.6),
        (1, "kWh/h", "W", 1000),
        (2.5, "kVA", "VA", 2500),
        (10, "mph", "m/s", 4.4704),
        (36, "km/h", "m/s", 10),
        (36, "kph", "km/h", 36),
        (10, "kn", "m/s", 5.144444444444),
        (5, "L/min", "m³/h", 0.3),
        (1, "gpm", "L/min", 3.785411784),
        (100, "CFM", "m³/h", 169.90107955),
        (1, "in/h", "mm/h", 25.4),
        (50, "%", "1", 0.5),
        (400, "ppm", "%", 0.04),
        (1500, "ppb", "ppm", 1.5),
        (50, "µg/m³", "mg/m³", 0.05),
        (1, "mS/cm", "µS/cm", 1000),
        (4, "pCi/L", "Bq/m³", 148),
        (180, "deg", "rad", math.pi),
        (10, "rpm", "°/s", 60),
        (1024, "bytes", "kB", 1.024),
        (8, "Mbit/s", "MB/s", 1),
        (1.5, "h", "min", 90),
        (3, "mG", "m/s²", 0.02941995),
        (3600, "mAh", "Ah", 3.6),
        (6, "ft", "cm", 182.88),
        (5, "dBm", "dBm", 5),
        (9, "Δ°F", "K", 5),
    ],
)
def test_conversion_and_back(value: float, unit_from: str, unit_to: str, want: float) -> None:
    assert convert(value, unit_from, unit_to) == pytest.approx(want, rel=1e-9)
    assert convert(want, unit_to, unit_from) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(
    ("value", "unit_from", "unit_to", "want"),
    [(3015, "mV", "V", 3.015), (1234, "hPa", "bar", 1.234), (71.6, "°F", "°C", 22), (26.85, "°C", "°F", 80.33)],
)
def test_conversion_leaves_no_noise_in_the_last_digits(value: float, unit_from: str, unit_to: str, want: float) -> None:
    assert repr(float(convert(value, unit_from, unit_to))) == repr(float(want))


@pytest.mark.parametrize(
    ("spellings", "symbol"),
    [
        (["°C", "℃", "degC", "C", "ºC", "˚C", " °C ", "Celsius"], "°C"),
        (["°F", "℉", "F", "degF"], "°F"),
        (["\u00b5g/m³", "\u03bcg/m³", "ug/m3", "µg/m3"], "µg/m³"),
        (["\u00b5S/cm", "\u03bcS/cm", "uS/cm"], "µS/cm"),
        (["m³", "m3"], "m³"),
        (["%", "%RH", "percent", "％"], "%"),
        (["hPa", "mbar", "hpa"], "hPa"),
        (["Ω", "\u2126", "ohm"], "Ω"),
        (["kWh", "kwh", "kW·h"], "kWh"),
        (["m3/h", "m³/hour"], "m³/h"),
        (["kt", "knots"], "kn"),
    ],
)
def test_what_looks_alike_is_one_unit(spellings: list[str], symbol: str) -> None:
    assert {units.find(spelling).symbol for spelling in spellings} == {symbol}


@pytest.mark.parametrize(
    ("unit_from", "unit_to", "text"),
    [
        ("bar", "°C", "bar (pressure) can't be converted to °C (temperature)"),
        ("K", "°C", "K (temperature difference) can't be converted to °C (temperature)"),
        ("W", "kWh", "W (power) can't be converted to kWh (energy)"),
        ("var", "W", "var (reactive power) can't be converted to W (power)"),
        ("ppm", "µg/m³", "ppm (ratio) can't be converted to µg/m³ (mass concentration)"),
        ("dBm", "dB", "dBm (signal level) can't be converted to dB (level)"),
        ("Pa/min", "Pa", "Pa/min (pressure per time) can't be converted to Pa (pressure)"),
        ("kWhh", "W", "'kWhh' isn't a unit Redcar knows: did you mean kWh?"),
        ("W/parsec", "W", "'W/parsec' isn't a unit Redcar knows"),
        ("", "W", "'' isn't a unit Redcar knows"),
        ("MV", "V", "'MV' isn't a unit Redcar knows: did you mean mV?"),
    ],
)
def test_impossible_conversions_say_why(unit_from: str, unit_to: str, text: str) -> None:
    with pytest.raises(UnitError) as refused:
        convert(1, unit_from, unit_to)
    assert str(refused.value) == text
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize(
    ("unit", "want"),
    [
        ("°C", "temperature"),
        ("K", "temperature difference"),
        ("K/min", "temperature rate"),
        ("°C/min", "temperature rate"),
        ("L/min", "volume flow"),
        ("mm/h", "speed"),
        ("kn", "speed"),
        ("kWh/d", "power"),
        ("%/h", "ratio per time"),
        ("MB/s", "data rate"),
        ("°/s", "angular speed"),
    ],
)
def test_dimension(unit: str, want: str) -> None:
    assert dimension(unit) == want


def test_differences_of_temperatures_are_kelvin() -> None:
    assert [difference_unit(unit) for unit in ("°C", "°F", "dBm", "hPa", "mbar")] == ["K", "Δ°F", "dB", "hPa", "hPa"]


def test_every_unit_has_a_code_and_converts_to_itself() -> None:
    assert len(units.SYMBOLS) >= 70
    for symbol in units.SYMBOLS:
        unit = units.find(symbol)
        assert unit.ucum.isascii()
        assert units.conversion(symbol, symbol)(12.5) == 12.5


def test_every_metric_has_a_unit_of_the_table_and_a_range() -> None:
    for name, metric in METRICS.items():
        assert name == metric.name
        assert metric.unit == units.find(metric.unit).symbol
        assert metric.low < metric.high
        assert metric.description


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        ("temperature", "°C"),
        ("temperature.2", "°C"),
        ("temperature.DS18B20-1", "°C"),
        ("energy.1.8.1", "kWh"),
        ("pm25", "µg/m³"),
        ("distance", "m"),
        ("linkquality", None),
        ("", None),
        (".temperature", None),
    ],
)
def test_canonical_unit_of_a_metric_with_its_channel(metric: str, unit: str | None) -> None:
    assert canonical(metric) == unit


nan, inf = math.nan, math.inf
Q = Quality


@pytest.mark.parametrize(
    ("values", "given_units", "want", "marks", "quality"),
    [
        ({"temperature": 21.5, "humidity": 48}, None, {"temperature": 21.5, "humidity": 48}, None, Q.good),
        ({"temperature": 68.0}, {"temperature": "°F"}, {"temperature": 20.0}, None, Q.good),
        ({"temperature.2": 68}, {"temperature.2": "℉"}, {"temperature.2": 20.0}, None, Q.good),
        ({"temperature": 300}, {"temperature": "K"}, {"temperature": 26.85}, None, Q.good),
        ({"temperature": 5}, {"temperature": "°C"}, {"temperature": 5}, None, Q.good),
        ({"temperature": 5}, {"temperature": ""}, {"temperature": 5}, None, Q.good),
        ({"temperature_delta": 3}, {"temperature_delta": "K"}, {"temperature_delta": 3}, None, Q.good),
        ({"voltage": 3015}, {"voltage": "mV"}, {"voltage": 3.015}, None, Q.good),
        ({"humidity": 130}, None, {"humidity": 130}, {"humidity": "out_of_range"}, Q.out_of_range),
        ({"humidity.b": -1}, None, {"humidity.b": -1}, {"humidity.b": "out_of_range"}, Q.out_of_range),
        ({"temperature": -127, "battery": 9}, None, None, {"temperature": "out_of_range"}, Q.out_of_range),
        # canonical value out of range though the raw one isn't
        ({"battery": 4}, {"battery": "1"}, {"battery": 400}, {"battery": "out_of_range"}, Q.out_of_range),
        ({"temperature": nan}, None, {}, {"temperature": "no_data"}, Q.no_data),
        ({"temperature": inf, "humidity": 5}, None, {"humidity": 5}, {"temperature": "no_data"}, Q.good),
        ({"temperature": 10**400}, None, {}, {"temperature": "no_data"}, Q.no_data),
        ({"temperature": 10**400}, {"temperature": "°F"}, {}, {"temperature": "no_data"}, Q.no_data),
        ({"temperature": 5}, {"temperature": "bar"}, {}, {"temperature": "decode"}, Q.decode),
        ({"temperature": 5}, {"temperature": "florins"}, {}, {"temperature": "decode"}, Q.decode),
        ({"temperature": "unavailable"}, None, {}, {"temperature": "decode"}, Q.decode),
        ({"temperature": "x", "humidity": 101}, None, {"humidity": 101}, None, Q.out_of_range),
        # what the catalogue doesn't know passes, whatever its unit; only what JSON can't hold is taken out
        ({"mode": "auto", "power_on": True}, None, {"mode": "auto", "power_on": True}, None, Q.good),
        ({"florins": 5}, {"florins": "florin"}, {"florins": 5}, None, Q.good),
        ({"florins": nan, "mode": "auto"}, None, {"mode": "auto"}, {"florins": "no_data"}, Q.good),
        ({"florins": -inf}, None, {}, {"florins": "no_data"}, Q.no_data),
        ({}, None, {}, None, Q.good),
    ],
)
def test_normalise(
    values: dict[str, Any],
    given_units: dict[str, str] | None,
    want: dict[str, Any] | None,
    marks: dict[str, str] | None,
    quality: Quality,
) -> None:
    for _ in range(2):  # the second time the names are known, and the short way is taken where there is one
        got, got_marks, got_quality = normalise(Reading(dict(values), units=given_units))
        assert got == (values if want is None else want)
        assert got_quality is quality
        if marks is not None or len(got) == len(values):
            assert got_marks == marks


def test_the_drivers_doubt_stays() -> None:
    doubtful = Reading({"temperature": 20}, quality=Quality.estimated)
    assert normalise(doubtful) == ({"temperature": 20}, None, Quality.estimated)
    doubtful.values["humidity"] = 200
    assert normalise(doubtful)[2] is Quality.estimated
    assert normalise(Reading({"humidity": 200}, quality=Quality.sensor_fault))[2] is Quality.sensor_fault


def test_normalising_leaves_the_reading_alone() -> None:
    reading = Reading({"temperature": 68, "humidity": nan}, units={"temperature": "°F"})
    normalise(reading)
    assert reading.values["temperature"] == 68
    assert "humidity" in reading.values


def test_names_seen_are_bounded() -> None:
    for number in range(20_000):
        normalise(Reading({f"temperature.{number}": 20, f"odd{number}": 1}))
    assert len(catalogue._ranges) <= catalogue._KNOWN_NAMES
    assert normalise(Reading({"temperature": 200_000}))[1] == {"temperature": "out_of_range"}


names = st.sampled_from(["temperature", "temperature.2", "humidity", "power", "odd", ""]) | st.text(max_size=20)
numbers = st.floats() | st.integers() | st.booleans() | st.text(max_size=10)


@given(
    st.dictionaries(names, numbers, max_size=5),
    st.dictionaries(names, st.text(max_size=8) | st.sampled_from(units.SYMBOLS)),
)
@example({"temperature": 1e308}, {"temperature": "°F"})
def test_any_reading_comes_out_clean(values: dict[str, Any], given_units: dict[str, str]) -> None:
    got, marks, quality = normalise(Reading(dict(values), units=given_units))
    for metric, value in got.items():
        if not isinstance(value, str):
            assert math.isfinite(value)
        elif canonical(metric):
            pytest.fail(f"{metric} is a text: {value}")
    assert set(values) == set(got) | set(marks or {})
    assert quality.grade != "bad" or not got


@given(st.text(max_size=30))
def test_any_text_is_a_unit_or_refused(text: str) -> None:
    try:
        found = units.find(text)
    except UnitError:
        return
    assert found.dimension
