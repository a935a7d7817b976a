"""Where in a TOML file something stands: tomllib keeps no line numbers."""

import re

_TABLE = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_\-.\"']+)\s*=(.*)$")

Path = tuple[str | int, ...]


def scan(text: str) -> dict[Path, int]:
    """Line of every table and key: ``("rule", "silent", "when")``, ``("rule", "silent", "test", 0, "given")``.

    Good enough for files that tomllib has accepted: it looks at the starts of lines and leaves out multi-line strings.
    """
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    here: Path = ()
    quote = ""
    for number, line in enumerate(text.splitlines(), 1):
        if quote:
            quote = "" if quote in line else quote
            continue
        if table := _TABLE.match(line):
            here = _path(table[2])
            if table[1] == "[[":
                index = counts.get(here, -1) + 1
                counts[here] = index
                here = (*here, index)
            lines.setdefault(here, number)
        elif key := _KEY.match(line):
            lines.setdefault((*here, *_path(key[1])), number)
            quote = _opened(key[2])
    return lines


def _path(dotted: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _opened(value: str) -> str:
    """The quotes of a multi-line string that goes on in the next line."""
    for quote in ('"""', "'''"):
        if value.count(quote) == 1:
            return quote
    return ""


def find(lines: dict[Path, int], path: Path) -> int:
    """The line of a path, or of the nearest thing around it that has one; 0 if there is none."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 0)
