"""What devices call things: payload keys, in the spellings found in the field, to metric names.

    named("temp")         temperature            named("tempF")     temperature, °F
    named("pressure_Pa")  pressure, Pa           named("temp2")     temperature.2
    named("mode")         None: nobody knows what that is

Names that mean different things to different devices (``vcc``: V or mV; ``t``; ``level``) aren't here: the binding says.
"""

import re
import unicodedata
from functools import lru_cache

from msgspec import Struct

from gateway.catalogue import METRICS
from gateway.units import SYMBOLS, dimension


class Named(Struct, frozen=True):
    """A metric with its channel, and the unit that the key names unless that is the catalogue's own."""

    metric: str
    unit: str | None = None


_ALIASES = {
    alias: metric
    for metric, aliases in {
        "altitude": "alt elevation",
        "battery": "bat batt battery_level battery_percent battery_percentage soc",
        "carbon_dioxide": "co2 eco2",
        "carbon_monoxide": "co",
        "conductivity": "ec",
        "current": "amps ampere amperes rms_current",
        "dew_point": "dewpoint dewp",
        "distance": "dist",
        "energy": "total_energy",
        "formaldehyde": "hcho ch2o",
        "frequency": "freq ac_frequency",
        "humidity": "hum humi rh relative_humidity hygrometry",
        "illuminance": "lux illum illuminance_lux",
        "latitude": "lat",
        "longitude": "lon lng",
        "moisture": "soil_moisture",
        "nitrogen_dioxide": "no2",
        "ozone": "o3",
        "pm1": "pm01 pm1_0 pm_1",
        "pm10": "pm_10 pm10_0",
        "pm25": "pm2_5 pm_25 pm_2_5",
        "power": "watt watts active_power",
        "power_factor": "pf",
        "precipitation": "rain",
        "pressure": "pres press baro barometer air_pressure",
        "signal_strength": "rssi wifi_signal",
        "sound_pressure": "noise",
        "specific_gravity": "sg",
        "sulphur_dioxide": "so2",
        "temperature": "temp tmp tempc temperatur local_temperature",
        "uv_index": "uv uvi",
        "volatile_organic_compounds": "voc tvoc",
        "voltage": "volt volts battery_voltage rms_voltage",
        "weight": "mass",
        "wind_direction": "wind_dir winddir",
        "wind_speed": "wind windspeed wind_avg",
    }.items()
    for alias in aliases.split()
}

_ENDINGS = {symbol: symbol for symbol in SYMBOLS} | {
    "c": "°C", "f": "°F", "C": "°C", "F": "°F", "deg": "°", "pct": "%", "percent": "%", "lux": "lx", "ohm": "Ω",
    "v": "V", "mv": "mV", "a": "A", "ma": "mA", "w": "W", "kw": "kW", "wh": "Wh", "kwh": "kWh", "hz": "Hz",
    "pa": "Pa", "hpa": "hPa", "kpa": "kPa", "mbar": "hPa", "dbm": "dBm", "ugm3": "µg/m³", "ug_m3": "µg/m³",
    "us_cm": "µS/cm", "m_s": "m/s", "km_h": "km/h", "kmh": "km/h", "mi_h": "mi/h", "mph": "mi/h", "mm_h": "mm/h",
}  # fmt: skip
"""Units as keys write them: a key has no sign for degrees and fractions, and often no capitals."""


def plain(key: str) -> str:
    """The key as one lower-case word that a rule can name: ``Soil Moisture-2`` is ``soil_moisture_2``."""
    ascii = unicodedata.normalize("NFKD", key).encode("ascii", "ignore").decode()
    word = re.sub(r"[^A-Za-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", ascii)).strip("_").lower()
    return word if word[:1].isalpha() else f"value_{word}".rstrip("_")


@lru_cache(4096)
def named(key: str) -> Named | None:
    """The metric that a key of a payload means, or None if that isn't known."""
    metric = _metric(key)
    if metric:
        return Named(metric)
    for border in re.finditer(r"_|(?<=[a-z])(?=[A-Z])|(?<=^temp)(?=f$)", key):
        metric = _metric(key[: border.start()])
        ending = key[border.end() :]
        unit = _ENDINGS.get(ending) or _ENDINGS.get(ending.lower())
        if metric == "battery" and unit and dimension(unit) == "voltage":
            metric = "voltage"
        if metric and unit and _fits(unit, METRICS[metric].unit):
            return Named(metric, None if unit == METRICS[metric].unit else unit)
    word = plain(key)
    base = word.rstrip("0123456789")
    metric = _metric(base.rstrip("_")) if base != word and len(base) > 2 else None  # rh0 is somebody's own
    return Named(f"{metric}.{word[len(base) :]}") if metric else None


def _metric(key: str) -> str | None:
    for word in (plain(key), key.lower()):  # eCO2 and pH aren't camel case
        if word in METRICS:
            return word
        if word in _ALIASES:
            return _ALIASES[word]
    return None


def _fits(unit: str, wanted: str) -> bool:
    """Whether the metric can have that unit: ``distance_s`` isn't a distance in seconds."""
    return dimension(unit) == dimension(wanted) or (unit == "K" and wanted == "°C")
