"""Who looks at what: the devices that rules look at, the alarms that rules have for them, and both found fast."""

from collections.abc import Iterator
from itertools import chain

from rules.compile import BindGlance, compile_glance
from rules.memory import remember
from rules.rule import RuleSet
from rules.state import Device, Instance, Shape

often = 30
"""Readings of one shape after which its rules are compiled into one function, which takes some milliseconds."""

most_at_once = 100
"""Rules compiled into one function; more would hold up everything else for too long, and are asked one by one."""

shapes_kept = 64
"""Different sets of metrics remembered per device; a device has a handful, a broken one any number."""

sources_kept = 100_000
"""Sources that no rule looks at, remembered as such; beyond it the memory starts afresh."""


class Site:
    """The rules and what they have met so far. ``alarms`` holds the keys of each rule's active alarms."""

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules.rules
        self.alarms: dict[str, set[str]] = {rule.name: set() for rule in self.rules}
        self.devices: dict[str, Device] = {}
        self.instances: list[dict[str, Instance]] = [{} for _ in self.rules]
        self.unmatched: set[str] = set()
        self._glances: dict[tuple[int, ...], BindGlance] = {}
        ranks = {rule.name: rank for rank, rule in enumerate(self.rules)}
        self.asking: list[list[int]] = [[] for _ in self.rules]
        """Ranks of the rules that ask for the alarms of each rule."""
        for rank, rule in enumerate(self.rules):
            for asked in rule.asks:
                self.asking[ranks[asked]].append(rank)

    def everyone(self) -> Iterator[Instance]:
        """Every alarm of every rule."""
        return chain.from_iterable(of_rule.values() for of_rule in self.instances)

    def meet(self, source: str, time: int) -> Device | None:
        """The device of that name; None if no rule looks at it."""
        device = self.devices.get(source)
        if device is None:
            found = [(rank, 0) for rank, rule in enumerate(self.rules) if rule.matches(source)]
            for rank, rule in enumerate(self.rules):
                found += [(rank, place) for place, name in enumerate(rule.sources) if name == source]
            if found:
                device = self.devices[source] = Device(source, time, rules=sorted(found))
            else:
                if len(self.unmatched) >= sources_kept:
                    self.unmatched.clear()
                self.unmatched.add(source)
        return device

    def ensure(self, rank: int, key: str, time: int) -> Instance | None:
        """The alarm of a rule for a device (or for itself, if it has ``with``); None if the rule doesn't look there."""
        rule, known = self.rules[rank], self.instances[rank]
        if key in known:
            return known[key]
        if rule.matches(key) or (rule.sources and key == rule.name):
            devices = [found for source in rule.sources or (key,) if (found := self.meet(source, time))]
            for place, spec in rule.memories:
                devices[place].memories.setdefault(spec, remember(spec))
            for place, metric, _ in rule.ages:
                devices[place].seen.setdefault(metric, devices[place].now or devices[place].born)
            instance = known[key] = Instance(rule, rank, key, devices, *rule.bind(devices, self.alarms))
            for device in devices:
                device.instances.append(instance)
            return instance
        return None

    def shape(self, device: Device, metrics: tuple[str, ...]) -> Shape:
        """What a reading with these metrics concerns."""
        needed: set[str] = set()
        instances: list[Instance] = []
        for rank, place in device.rules:
            rule = self.rules[rank]
            here = {metric for _, at, metric in rule.looks if at == place}
            if not here.isdisjoint(metrics) or not rule.looks or any(age[:2] == (place, "") for age in rule.ages):
                instance = self.ensure(rank, rule.name if rule.sources else device.source, device.born)
                if instance:
                    instances.append(instance)
                needed |= here
        if len(device.shapes) >= shapes_kept:
            device.shapes.clear()
        memories = device.memories.items()
        shape = device.shapes[metrics] = Shape(
            [
                (name, [memory for spec, memory in memories if spec.metric == name])
                for name in metrics
                if name in needed
            ],
            instances,
            [instance for instance in instances if instance.rule.ages],
        )
        return shape

    def everybody(self, device: Device, shape: Shape) -> list[Instance]:
        """Ask everybody, until the shape has come often enough to be worth a function of its own."""
        shape.came += 1
        if shape.came > often and len(shape.instances) <= most_at_once:
            ranks = tuple(instance.rank for instance in shape.instances)
            if ranks not in self._glances:
                rules = [self.rules[rank] for rank in ranks]
                self._glances[ranks] = compile_glance(
                    [None if it.sources else (it.when, it.on_unknown) for it in rules]
                )
            shape.glance = self._glances[ranks]([device], self.alarms, shape.instances)
        return shape.instances
