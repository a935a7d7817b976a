"""Units of measurement: what they are called, what they measure, and how one becomes another.

A value v in a unit is ``(v - zero) * times / per`` of its dimension's base unit. Whole numbers keep 3015 mV at
3.015 V, where a factor of 0.001 would leave noise in the last digits.

A rate is any unit per time, ``Pa/min``; it needs no row of its own. Temperatures have a zero and differences of them
don't: °C and °F are points on a scale, K and Δ°F are distances on it, and the two don't convert into each other.

UCUM (ucum.org, version 2.1) has no dBm, VA and var; those rows carry a code of our own.
"""

import difflib
import unicodedata
from functools import lru_cache
from math import gcd

from msgspec import Struct

from gateway.errors import RedcarError


class UnitError(RedcarError, ValueError):
    """A unit nobody knows, or two that measure different things."""


class Unit(Struct, frozen=True):
    """One row of the table. ``symbol`` is how people see it, ``ucum`` how machines do."""

    symbol: str
    ucum: str
    dimension: str
    times: int = 1
    per: int = 1
    zero: float = 0.0


class Conversion(Struct, frozen=True):
    """How to get from one unit to another."""

    zero: float
    times: int
    per: int
    offset: float

    def __call__(self, value: float) -> float:
        if self.zero or self.offset:
            # two roundings near a large zero leave noise around the 13th digit: no thermometer has nine decimals
            return round((value - self.zero) * self.times / self.per + self.offset, 9)
        return value * self.times / self.per


_TABLE = """
# dimension
#   symbol  UCUM  times  per  zero  aliases ...
temperature
    °C      Cel              1 1 0       C degC oC ˚C celsius Celsius
    °F      [degF]           5 9 32      F degF oF ˚F fahrenheit Fahrenheit
temperature difference
    K       K                1 1 0       kelvin Kelvin Δ°C Δ℃ ΔK
    Δ°F     [degF]           5 9 0       ΔF
ratio
    1       1                1 1 0       ratio
    %       %                1 100 0     %RH %rh RH% rh% percent pct %EL
    ‰       [ppth]           1 1000 0    permille
    ppm     [ppm]            1 1000000 0 PPM
    ppb     [ppb]            1 1000000000 0 PPB
pressure
    Pa      Pa               1 1 0       pa
    hPa     hPa              100 1 0     hpa HPA mbar mBar mb
    kPa     kPa              1000 1 0    kpa KPA
    MPa     MPa              1000000 1 0
    bar     bar              100000 1 0  Bar
    psi     [psi]            6894757 1000 0 PSI
    mmHg    mm[Hg]           133322 1000 0 mmhg Torr torr
    inHg    [in_i'Hg]        3386389 1000 0 inhg
    atm     atm              101325 1 0
    mH₂O    m[H2O]           980665 100 0 mWS
voltage
    µV      uV               1 1000000 0
    mV      mV               1 1000 0
    V       V                1 1 0       volt volts Volt
    kV      kV               1000 1 0
current
    µA      uA               1 1000000 0
    mA      mA               1 1000 0
    A       A                1 1 0       amp ampere Ampere
charge
    mAh     mA.h             36 10 0
    Ah      A.h              3600 1 0
power
    mW      mW               1 1000 0
    W       W                1 1 0       watt Watt
    kW      kW               1000 1 0    KW
    MW      MW               1000000 1 0
apparent power
    VA      VA               1 1 0
    kVA     kVA              1000 1 0
reactive power
    var     var              1 1 0       VAr VAR
    kvar    kvar             1000 1 0    kVAr kVAR
energy
    J       J                1 1 0
    kJ      kJ               1000 1 0
    MJ      MJ               1000000 1 0
    GJ      GJ               1000000000 1 0
    Wmin    W.min            60 1 0      W·min
    Wh      W.h              3600 1 0    W·h wh
    kWh     kW.h             3600000 1 0 kW·h kwh KWH KWh
    MWh     MW.h             3600000000 1 0
    kcal    kcal             4184 1 0
apparent energy
    VAh     VA.h             1 1 0
    kVAh    kVA.h            1000 1 0
reactive energy
    varh    var.h            1 1 0       VArh
    kvarh   kvar.h           1000 1 0    kVArh
frequency
    Hz      Hz               1 1 0       hz
    kHz     kHz              1000 1 0
    MHz     MHz              1000000 1 0
illuminance
    lx      lx               1 1 0       lux Lux LX
    klx     klx              1000 1 0
irradiance
    W/m²    W/m2             1 1 0
mass concentration
    µg/m³   ug/m3            1 1000000 0
    mg/m³   mg/m3            1 1000 0
    g/m³    g/m3             1 1 0
conductivity
    µS/cm   uS/cm            1 10000 0
    mS/cm   mS/cm            1 10 0      dS/m
    S/m     S/m              1 1 0
resistance
    Ω       Ohm              1 1 0       ohm Ohm
    kΩ      kOhm             1000 1 0    kohm kOhm
signal level
    dBm     dBm              1 1 0       dbm DBM
level
    dB      dB               1 1 0       db dBA dB(A)
acidity
    pH      [pH]             1 1 0
length
    µm      um               1 1000000 0
    mm      mm               1 1000 0
    cm      cm               1 100 0
    m       m                1 1 0
    km      km               1000 1 0
    in      [in_i]           254 10000 0 inch inches "
    ft      [ft_i]           3048 10000 0 feet foot
    mi      [mi_i]           1609344 1000 0 mile miles
    nmi     [nmi_i]          1852 1 0
area
    cm²     cm2              1 10000 0
    m²      m2               1 1 0
    ft²     [ft_i]2          9290304 100000000 0
volume
    mL      mL               1 1000000 0 ml
    L       L                1 1000 0    l liter litre
    m³      m3               1 1 0       cbm
    gal     [gal_us]         3785411784 1000000000000 0
    ft³     [ft_i]3          28316846592 1000000000000 0 cf
mass
    mg      mg               1 1000000 0
    g       g                1 1000 0    gram
    kg      kg               1 1 0       Kg KG
    t       t                1000 1 0
    lb      [lb_av]          45359237 100000000 0 lbs
    oz      [oz_av]          28349523125 1000000000000 0
time
    µs      us               1 1000000 0
    ms      ms               1 1000 0
    s       s                1 1 0       sec seconds
    min     min              60 1 0      minutes
    h       h                3600 1 0    hr hour hours
    d       d                86400 1 0   day days
angle
    °       deg              1 1 0       deg degree degrees
    rad     rad              57295779513082 1000000000000 0
angular speed
    rpm     {rpm}            6 1 0       RPM U/min 1/min
speed
    kn      [kn_i]           1852 3600 0 kt kts knots
acceleration
    m/s²    m/s2             1 1 0
    gₙ      [g]              980665 100000 0 gn
    mgₙ     m[g]             980665 100000000 0 mgn mG
data
    bit     bit              1 1 0       bits
    kbit    kbit             1000 1 0
    Mbit    Mbit             1000000 1 0
    B       By               8 1 0       bytes
    kB      kBy              8000 1 0    KB
    MB      MBy              8000000 1 0
    GB      GBy              8000000000 1 0
dose
    µSv     uSv              1 1000000 0
    mSv     mSv              1 1000 0
radioactivity
    Bq/m³   Bq/m3            1 1 0
    pCi/L   pCi/L            37 1 0
"""

_RATES = {
    "temperature": "temperature rate",
    "temperature difference": "temperature rate",
    "length": "speed",
    "volume": "volume flow",
    "mass": "mass flow",
    "energy": "power",
    "charge": "current",
    "angle": "angular speed",
    "data": "data rate",
    "dose": "dose rate",
}

_RATE_ALIASES = {"mph": "mi/h", "kmh": "km/h", "kph": "km/h", "gpm": "gal/min", "cfm": "ft³/min", "bps": "bit/s"}


def _key(text: str) -> str:
    """One spelling for what looks alike: µ and μ, ℃ and °C, m³ and m3."""
    return unicodedata.normalize("NFKC", text).strip()


def _read(table: str) -> dict[str, Unit]:
    """The table as a dict of every spelling."""
    units: dict[str, Unit] = {}
    dimension = ""
    for line in table.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith(" "):
            dimension = line.strip()
            continue
        symbol, ucum, times, per, zero, *aliases = line.split()
        unit = Unit(symbol, ucum, dimension, int(times), int(per), float(zero))
        for name in (symbol, symbol.replace("µ", "u"), *aliases):
            if units.setdefault(_key(name), unit) is not unit:
                raise AssertionError(f"{name} stands for two units")
    return units


_UNITS = _read(_TABLE)
SYMBOLS = tuple(dict.fromkeys(unit.symbol for unit in _UNITS.values()))
"""Every unit of the table as it is shown, in order."""

# A device that measures in kelvin means a point on the scale; see convert_point.
_KELVIN = Unit("K", "K", "temperature", 1, 1, 273.15)


@lru_cache(1024)
def find(unit: str) -> Unit:
    """The unit of that name, symbol or UCUM-like spelling, rates included. Raises UnitError if there is none."""
    key = _key(unit)
    known = _UNITS.get(key)
    if known is not None:
        return known
    name, slash, time = _RATE_ALIASES.get(key.lower(), key).rpartition("/")
    amount, period = _UNITS.get(_key(name)), _UNITS.get(time)
    if slash and amount and period and period.dimension == "time":
        dimension = _RATES.get(amount.dimension, f"{amount.dimension} per time")
        times, per = amount.times * period.per, amount.per * period.times
        return Unit(f"{amount.symbol}/{period.symbol}", f"{amount.ucum}/{period.ucum}", dimension, times, per)
    near = [symbol for symbol in SYMBOLS if symbol.casefold() == key.casefold()]
    near = near or difflib.get_close_matches(key, SYMBOLS, 1, 0.5)
    cure = f": did you mean {near[0]}?" if near else ""
    raise UnitError(f"'{unit}' isn't a unit Redcar knows{cure}")


@lru_cache(1024)
def conversion(unit_from: str, unit_to: str) -> Conversion:
    """How values in one unit become values in the other. Raises UnitError."""
    return _between(find(unit_from), find(unit_to))


@lru_cache(1024)
def convert_point(unit_from: str, unit_to: str) -> Conversion:
    """As ``conversion``, for what a device measured: its kelvin are a point on the scale, not a difference."""
    source, target = find(unit_from), find(unit_to)
    if source.symbol == "K" and target.dimension == "temperature":
        source = _KELVIN
    return _between(source, target)


def _between(source: Unit, target: Unit) -> Conversion:
    if source.dimension != target.dimension:
        raise UnitError(
            f"{source.symbol} ({source.dimension}) can't be converted to {target.symbol} ({target.dimension})"
        )
    times, per = source.times * target.per, source.per * target.times
    common = gcd(times, per)
    return Conversion(source.zero, times // common, per // common, target.zero)


def convert(value: float, unit_from: str, unit_to: str) -> float:
    """``convert(68, "°F", "°C")`` is 20. Raises UnitError, naming both dimensions, if they differ."""
    return value if unit_from == unit_to else conversion(unit_from, unit_to)(value)


def dimension(unit: str) -> str:
    """What the unit measures: ``pressure``, ``volume flow``, ``temperature rate``. Raises UnitError."""
    return find(unit).dimension


def difference_unit(unit: str) -> str:
    """The unit of the difference between two values in ``unit``: K for °C, dB for dBm, else the unit itself."""
    symbol = find(unit).symbol
    return {"°C": "K", "°F": "Δ°F", "dBm": "dB"}.get(symbol, symbol)
