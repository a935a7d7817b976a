"""What can be measured: metric names, one canonical unit each, and what values are plausible.

Metrics are named as Home Assistant's sensor device classes (developers.home-assistant.io, Sensor entity); what it has
no class for is a plain word. A channel follows a dot: ``temperature.2``, ``power.a``. ``normalise`` is on the path of
every reading: its first loop is what a reading in canonical units costs.
"""

from sys import float_info
from typing import Any

from msgspec import Struct

from gateway.event import Quality, Reading, Value
from gateway.units import UnitError, convert, convert_point, difference_unit, dimension, find

__all__ = ["METRICS", "Metric", "UnitError", "canonical", "convert", "difference_unit", "dimension", "normalise"]


class Metric(Struct, frozen=True):
    """A measured property. Outside low..high (canonical unit) a value is kept and marked ``out_of_range``."""

    name: str
    unit: str
    ucum: str
    low: float
    high: float
    description: str


_TABLE = """
# name                          unit    low        high         description
absolute_humidity               g/m³    0          500          water vapour in the air
acceleration                    m/s²    -2000      2000         acceleration
altitude                        m       -500       20000        height above sea level
apparent_energy                 kVAh    0          1e9          apparent energy counted
apparent_power                  VA      -1e8       1e8          apparent power
aqi                             1       0          1000         air quality index
area                            m²      0          1e9          area
atmospheric_pressure            hPa     300        1200         pressure of the air
battery                         %       0          100          charge left
carbon_dioxide                  ppm     0          100000       CO2 in the air
carbon_monoxide                 ppm     0          10000        CO in the air
charge                          Ah      -1e6       1e6          electric charge
conductivity                    µS/cm   0          1e6          conductivity of soil or water
count                           1       -1e15      1e15         something counted
current                         A       -1e5       1e5          electric current
data_rate                       kB/s    0          1e9          data per time
data_size                       MB      0          1e12         data stored or moved
dew_point                       °C      -100       100          temperature at which dew forms
distance                        m       -100       1e6          distance, level, depth
duration                        s       0          1e10         how long something took
energy                          kWh     -1e9       1e9          energy counted
energy_returned                 kWh     0          1e9          energy fed in
energy_storage                  kWh     0          1e9          energy held by a store
formaldehyde                    mg/m³   0          100          HCHO in the air
frequency                       Hz      0          1e9          frequency
gas                             m³      0          1e9          gas counted
gas_resistance                  Ω       0          1e9          resistance of a gas sensor
humidity                        %       0          100          relative humidity
illuminance                     lx      0          2e5          light on a surface
irradiance                      W/m²    -50        2000         solar radiation
latitude                        °       -90        90           north is positive
longitude                       °       -180       180          east is positive
moisture                        %       0          100          water content of soil or wood
nitrogen_dioxide                µg/m³   0          1e5          NO2 in the air
nitrogen_monoxide               µg/m³   0          1e5          NO in the air
nitrous_oxide                   µg/m³   0          1e6          N2O in the air
ozone                           µg/m³   0          1e5          O3 in the air
ph                              pH      0          14           acidity
pm1                             µg/m³   0          2000         particles up to 1 µm
pm4                             µg/m³   0          2000         particles up to 4 µm
pm10                            µg/m³   0          2000         particles up to 10 µm
pm25                            µg/m³   0          2000         particles up to 2.5 µm
power                           W       -1e8       1e8          active power
power_factor                    1       -1         1            active power per apparent power
precipitation                   mm      0          1e5          rain or melted snow
precipitation_intensity         mm/h    0          1000         rain per time
pressure                        hPa     -1000      1e6          pressure of anything
pressure_drop                   Pa      -1e6       1e6          difference of pressure over a filter or valve
radon                           Bq/m³   0          1e6          radon in the air
reactive_energy                 kvarh   -1e9       1e9          reactive energy counted
reactive_power                  var     -1e8       1e8          reactive power
rotation                        °       -360       360          angle of something turned
rotational_speed                rpm     -1e6       1e6          turns per time
signal_strength                 dBm     -140       20           how strong its radio is heard
sound_pressure                  dB      0          200          loudness
specific_gravity                1       0.5        3            density relative to water
speed                           m/s     -1e5       1e5          speed
sulphur_dioxide                 µg/m³   0          1e5          SO2 in the air
temperature                     °C      -100       1500         temperature
temperature_delta               K       -1500      1500         difference of temperatures
uptime                          s       0          1e10         time since start
uv_index                        1       0          25           strength of ultraviolet light
volatile_organic_compounds      µg/m³   0          1e5          VOC in the air by mass
volatile_organic_compounds_parts ppm    0          1000         VOC in the air by parts
voltage                         V       -1e6       1e6          voltage
volume                          m³      0          1e9          volume moved
volume_flow_rate                m³/h    -1e5       1e5          volume per time
volume_storage                  m³      0          1e9          volume held by a tank
water                           m³      0          1e9          water counted
weight                          kg      -1e6       1e6          mass
wind_direction                  °       0          360          where the wind comes from, north is 0
wind_speed                      m/s     0          150          speed of the wind
"""


def _read(table: str) -> dict[str, Metric]:
    metrics = {}
    for line in table.splitlines():
        if line and not line.startswith("#"):
            name, unit, low, high, description = line.split(maxsplit=4)
            metrics[name] = Metric(name, unit, find(unit).ucum, float(low), float(high), description)
    return metrics


METRICS = _read(_TABLE)
"""Every metric Redcar knows, by name."""

_KNOWN_NAMES = 4096  # metrics with channels, and unknown ones, seen so far; at the limit the memory starts anew
_ANY = (-float_info.max, float_info.max)
_ranges: dict[str, tuple[float, float]] = {}


def canonical(metric: str) -> str | None:
    """The unit that values of this metric have in the log, or None if the catalogue doesn't know it."""
    known = METRICS.get(metric.partition(".")[0])
    return known.unit if known else None


def normalise(reading: Reading) -> tuple[dict[str, Value], dict[str, str] | None, Quality]:
    """Values in canonical units, why some metrics aren't good, and the quality of what is left.

    A value outside its plausible range stays and is marked ``out_of_range``. What can't be used is taken out and
    marked: NaN and infinity ``no_data``; a text, or a unit that doesn't fit the metric, ``decode``. So one broken
    probe doesn't spoil its neighbours: the quality is bad only when nothing is left. Unknown metrics pass as they are.
    """
    values: dict[str, Any] = reading.values
    if not reading.units:
        try:
            for metric, value in values.items():
                low, high = _ranges[metric]
                if not low <= value <= high:  # a text raises, and goes the long way
                    break
            else:
                return values, None, reading.quality
        except (KeyError, TypeError):
            pass
    return _carefully(reading)


def _carefully(reading: Reading) -> tuple[dict[str, Value], dict[str, str] | None, Quality]:
    units = reading.units or {}
    values: dict[str, Value] = {}
    marks: dict[str, Quality] = {}
    for metric, value in reading.values.items():
        low, high = _ranges.get(metric) or _range(metric)
        wanted = canonical(metric)
        if isinstance(value, str):
            if wanted is None:
                values[metric] = value
            else:
                marks[metric] = Quality.decode
            continue
        if wanted and units.get(metric):
            try:
                value = convert_point(units[metric], wanted)(value)
            except UnitError:
                marks[metric] = Quality.decode
                continue
            except OverflowError:
                value = float("inf")
        if low <= value <= high:
            values[metric] = value
        elif wanted and abs(value) <= float_info.max:
            values[metric] = value
            marks[metric] = Quality.out_of_range
        else:
            marks[metric] = Quality.no_data
    if not marks:
        return values, None, reading.quality
    left = [mark for metric, mark in marks.items() if metric in values] if values else list(marks.values())
    return values, {metric: mark.name for metric, mark in marks.items()}, max([reading.quality, *left])


def _range(metric: str) -> tuple[float, float]:
    """What is plausible for a metric that wasn't seen before; remembered for the short way."""
    known = METRICS.get(metric.partition(".")[0])
    if len(_ranges) >= _KNOWN_NAMES:
        _ranges.clear()
    return _ranges.setdefault(metric, (known.low, known.high) if known else _ANY)
