"""Topic patterns of bindings: what they match and capture, and where two meet.

plant/{area}/{device}     {name} is one level, or a part of one: {device}_air
zigbee2mqtt/{device#}     {name#} is one level or more
+ and #                   as in MQTT, but # is at least one level
"""

import re

_CAPTURE = re.compile(r"\{(\w*)(#?)\}")
_REST = "#"  # a level that takes one level or more
_ANY = "+"
_MOST_LEVELS = 32


def captures(pattern: str) -> list[str]:
    """Names in braces."""
    return [name for name, _ in _CAPTURE.findall(pattern)]


def fault(pattern: str) -> tuple[str, str] | None:
    """What is wrong with a pattern, and the cure; None if nothing is."""
    names = captures(pattern)
    levels = pattern.split("/")
    if not pattern or "" in levels[1:]:
        return "there is an empty level in it", "write e.g. plant/{area}/{device}"
    if len(levels) > _MOST_LEVELS:
        return f"it has more than {_MOST_LEVELS} levels", "make it shorter, with # at its end"
    if re.search(r"[{}]", _CAPTURE.sub("", pattern)) or "" in names:
        return "a brace isn't part of a {name}", "write e.g. plant/{area}/{device}"
    if any(name[0].isdigit() or not name.isascii() for name in names):
        return "a {name} holds letters, digits and _, and doesn't begin with a digit", "rename it"
    if len(set(names)) < len(names):
        return "two captures have one name", "give each its own"
    for index, level in enumerate(levels):
        bare = _CAPTURE.sub("", level)
        if ("+" in bare or "#" in bare) and len(level) > 1:
            return f"{level} mixes a wildcard and text", "give + and # a level of their own"
        if level == "#" and index < len(levels) - 1:
            return "# stands before the end", "put it last"
    return None


def compiled(text: str) -> re.Pattern[str]:
    """``plant/{area}/{device}`` as a pattern: ``{name}`` and ``+`` match one level, a last ``{name#}`` or ``#`` all the rest."""
    parts = []
    for level in text.split("/"):
        if level == "+":
            parts.append("[^/]+")
        elif level == "#":
            parts.append(".+")
        else:
            pieces = re.split(r"\{(\w+)(#?)\}", level)
            literal = [re.escape(piece) for piece in pieces[0::3]]
            names = [f"(?P<{name}>{'.+' if rest else '[^/]+'})" for name, rest in zip(pieces[1::3], pieces[2::3])]
            parts.append("".join(a + b for a, b in zip(literal, [*names, ""])))
    return re.compile("/".join(parts))


def meet(one: str, other: str) -> bool:
    """Whether some topic matches both."""
    return _walk(_levels(one), _levels(other), both=True)


def covers(wide: str, narrow: str) -> bool:
    """Whether every topic that matches ``narrow`` matches ``wide`` too."""
    return _walk(_levels(wide), _levels(narrow), both=False)


def _levels(pattern: str) -> list[str]:
    levels = []
    for level in pattern.split("/"):
        found = _CAPTURE.fullmatch(level)
        levels.append((_REST if found[2] else _ANY) if found else _CAPTURE.sub("*", level))
    return levels


def _walk(one: list[str], other: list[str], *, both: bool) -> bool:
    """Level against level. ``reached`` holds how far both may have come; # may stay for another level, or go on."""
    reached = {(0, 0)}
    seen = set(reached)
    while reached:
        following = set()
        for at, to in reached:
            if at == len(one) or to == len(other):
                if at == len(one) and to == len(other):
                    return True
                continue
            mine, theirs = one[at], other[to]
            if mine == _REST:
                following |= {(at + 1, to + 1), (at, to + 1)}
            if theirs == _REST and (both or mine == _REST):
                following |= {(at + 1, to + 1), (at + 1, to)} if both else {(at + 1, to + 1)}
            if mine != _REST and theirs != _REST and _same(mine, theirs, both):
                following.add((at + 1, to + 1))
        reached = following - seen
        seen |= reached
    return False


def _same(one: str, other: str, both: bool) -> bool:
    """Whether two levels can match one text; with ``both`` False, whether the first takes all that the second takes."""
    if one in (_ANY, other) or (both and other == _ANY):
        return True
    if "*" in one and "*" not in other and other != _ANY:
        return re.fullmatch(re.escape(one).replace(r"\*", ".+"), other) is not None
    if not both:
        return False
    if "*" in one and "*" in other:
        (head, *_, tail), (head_, *_, tail_) = one.split("*"), other.split("*")
        heads = head.startswith(head_) or head_.startswith(head)
        return heads and (tail.endswith(tail_) or tail_.endswith(tail))
    return "*" in other and _same(other, one, both)
