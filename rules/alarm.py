"""The events that rules write: an alarm was raised, an alarm was cleared."""

from typing import Any

from msgspec import Struct

from gateway.event import SECOND, Event, event
from rules.rule import Slot, moment, shown
from rules.state import Instance


class Orphan(Struct, frozen=True):
    """An active alarm whose rule is gone, or no longer looks at its device."""

    rule: str
    key: str
    raised: int
    occurrence: str


def raised(instance: Instance, since: int, cause: int) -> Event:
    """``alarm.raised``, as of the instance's ``raised``."""
    rule = instance.rule
    why = explain(instance)
    values = {
        name: found for name, place, metric in rule.looks if (found := _value(instance, place, metric)) is not None
    }
    data: dict[str, Any] = {
        "alarm": rule.name,
        "occurrence": instance.occurrence,
        "severity": rule.severity,
        "text": "".join(part if isinstance(part, str) else _fill(part, instance, since, why) for part in rule.text),
        "values": values,
        "why": why,
        "rule_hash": rule.hash,
    }
    if rule.runbook:
        data["runbook"] = rule.runbook
    return event("alarm.raised", instance.key, data, time=instance.raised, cause=cause)


def cleared(instance: Instance, now: int, cause: int) -> Event:
    """``alarm.cleared``: the same occurrence, and how long it stood, in seconds."""
    data = {
        "alarm": instance.rule.name,
        "occurrence": instance.occurrence,
        "severity": instance.rule.severity,
        "duration": (now - instance.raised) / SECOND,
        "rule_hash": instance.rule.hash,
    }
    return event("alarm.cleared", instance.key, data, time=now, cause=cause)


def closed(orphan: Orphan, now: int, cause: int) -> Event:
    """``alarm.cleared`` because there is no rule any more that could clear it."""
    data = {
        "alarm": orphan.rule,
        "occurrence": orphan.occurrence,
        "duration": max(0, now - orphan.raised) / SECOND,
        "reason": "rule_removed",
    }
    return event("alarm.cleared", orphan.key, data, time=now, cause=cause)


def explain(instance: Instance) -> str:
    """What a detector has to say; without one, the condition itself."""
    memories = (instance.devices[place].memories[spec] for place, spec in instance.rule.memories)
    return "; ".join(said for memory in memories if (said := memory.why())) or instance.rule.when.text


def _value(instance: Instance, place: int, metric: str) -> float | str | None:
    device = instance.devices[place]
    value = device.numbers.get(metric)
    return device.texts.get(metric) if value is None else value


def _fill(slot: Slot, instance: Instance, since: int, why: str) -> str:
    match slot.name:
        case _ if slot.metric:
            return shown(_value(instance, slot.place, slot.metric), slot.metric)
        case "device":
            return instance.key
        case "rule":
            return instance.rule.name
        case "severity":
            return instance.rule.severity
        case "since":
            return moment(since)
        case _:
            return why
