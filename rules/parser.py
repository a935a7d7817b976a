"""Words to tree.

    clause  = either ["for" duration]
    either  = both { "or" both }
    both    = opposite { "and" opposite }
    opposite= "not" opposite | sum [ sign sum ]
    sum     = product { ("+" | "-") product }
    product = factor { ("*" | "/") factor }
    factor  = "-" factor | number [unit] | duration | "text" | name | function "(" [ either { "," either } ] ")"
            | "(" either ")"

There are no attributes, subscripts, loops and no calls but of our own functions: they can't be written, so nothing
has to be forbidden.
"""

from collections.abc import Callable

from rules.tokens import ClauseError, Token, tokens
from rules.tree import Call, Clause, Compare, Duration, Logic, Name, Node, Not, Number, Sign, Text

deepest = 20
"""Levels of nesting; a clause is refused where it gets deeper, so none can exhaust the stack."""

largest = 500
"""Words and signs of a clause."""

_COMPARISONS = frozenset(("<", "<=", ">", ">=", "==", "!="))
_SPLIT = "make it two rules; the second asks for the first with alarm(name)"


def parse(clause: str) -> Clause:
    """The tree of a clause. Raises ClauseError with the column."""
    words = tokens(clause)
    if len(words) > largest:
        raise ClauseError(0, f"more than {largest} words", _SPLIT)
    parsed = _Parser(words).clause(clause)
    _measure(parsed.condition)
    return parsed


def _measure(condition: Node) -> None:
    """A sum of many parts leans to the left without a bracket: it is deep all the same."""
    heap: list[tuple[Node, int]] = [(condition, 1)]
    while heap:
        node, depth = heap.pop()
        if depth > deepest:
            raise _too_deep(node.column)
        match node:
            case Sign() | Compare():
                heap += [(node.left, depth + 1), (node.right, depth + 1)]
            case Not():
                heap.append((node.item, depth + 1))
            case Logic():
                heap += [(item, depth + 1) for item in node.items]
            case Call():
                heap += [(item, depth + 1) for item in node.args]


def _too_deep(column: int) -> ClauseError:
    return ClauseError(column, f"nested more than {deepest} deep", _SPLIT)


class _Parser:
    """One pass over the words; every method takes what it understands and leaves ``next`` at the word after it."""

    def __init__(self, words: list[Token]) -> None:
        self.words = words
        self.at = 0
        self.depth = 0

    @property
    def next(self) -> Token:
        return self.words[self.at]

    def take(self, *texts: str) -> Token | None:
        """The next word, if it is one of these."""
        word = self.next
        if word.text in texts and word.kind in ("sign", "word"):
            self.at += 1
            return word
        return None

    def unexpected(self, expected: str, cure: str) -> ClauseError:
        return ClauseError(self.next.column, f"expected {expected}, found {self.next}", cure)

    def deeper(self, part: Callable[[], Node]) -> Node:
        self.depth += 1
        if self.depth > deepest:
            raise _too_deep(self.next.column)
        node = part()
        self.depth -= 1
        return node

    def clause(self, text: str) -> Clause:
        if self.next.text == "no":
            raise ClauseError(
                self.next.column, "not yet: no ... within", "use age(name), or a second rule with alarm(name)"
            )
        condition = self.either()
        delay = self.delay() if self.take("for") else 0
        if self.next.text in ("then", "within"):
            raise ClauseError(self.next.column, "not yet: sequences (then ... within)", _SPLIT)
        if self.next.text == "for":
            raise ClauseError(self.next.column, "for stands once, at the end", "take one of them out")
        if self.next.kind != "end":
            if delay:
                raise self.unexpected("the end", "for stands once, after the whole condition; " + _SPLIT)
            raise self.unexpected("and, or, for or the end", "join two conditions with and, or")
        return Clause(condition, delay, text)

    def delay(self) -> int:
        word = self.next
        if word.kind != "duration" or not isinstance(word.value, int):
            raise self.unexpected("a duration such as 30s", "write the number and ms, s, m, h or d without a space")
        self.at += 1
        return word.value

    def either(self) -> Node:
        return self.chain("or", self.both)

    def both(self) -> Node:
        return self.chain("and", self.opposite)

    def chain(self, word: str, part: Callable[[], Node]) -> Node:
        column = self.next.column
        items = [part()]
        while self.take(word):
            items.append(part())
        return items[0] if len(items) == 1 else Logic(word, tuple(items), column)

    def opposite(self) -> Node:
        if word := self.take("not"):
            return Not(self.deeper(self.opposite), word.column)
        left = self.sum()
        if self.next.text not in _COMPARISONS:
            return left
        sign = self.next
        self.at += 1
        compared = Compare(sign.text, left, self.sum(), sign.column)
        if self.next.text in _COMPARISONS:
            raise ClauseError(self.next.column, "compares three values at once", "write a < b and b < c")
        return compared

    def sum(self) -> Node:
        left = self.product()
        while word := self.take("+", "-"):
            left = Sign(word.text, left, self.product(), word.column)
        return left

    def product(self) -> Node:
        left = self.factor()
        while word := self.take("*", "/"):
            left = Sign(word.text, left, self.factor(), word.column)
        return left

    def factor(self) -> Node:
        word = self.next
        if self.take("-"):
            return self.negative(word)
        if self.take("("):
            inside = self.deeper(self.either)
            self.close("(", word.column)
            return inside
        self.at += 1
        match word.kind, word.value:
            case "number", float(value):
                return Number(value, word.unit, word.text, word.column)
            case "duration", int(value):
                return Duration(value, word.text, word.column)
            case "text", str(value):
                return Text(value, word.column)
            case "word", _ if word.text in ("true", "false"):
                return Number(float(word.text == "true"), None, word.text, word.column)
            case "name", _:
                return self.call(word) if self.take("(") else Name(word.text, word.column)
        self.at -= 1
        raise self.unexpected("a value", "write a metric, a number or a function")

    def negative(self, minus: Token) -> Node:
        """A literal keeps its unit under the sign: -18 °C isn't 0 K - 18 °C."""
        item = self.deeper(self.factor)
        if isinstance(item, Number):
            return Number(-item.value, item.unit, f"-{item.text}", minus.column)
        return Sign("-", Number(0.0, None, "0", minus.column), item, minus.column)

    def call(self, word: Token) -> Node:
        args: list[Node] = []
        if not self.take(")"):
            args.append(self.deeper(self.either))
            while self.take(","):
                args.append(self.deeper(self.either))
            self.close(word.text + "(", word.column)
        return Call(word.text, tuple(args), word.column)

    def close(self, opened: str, column: int) -> None:
        if not self.take(")"):
            raise self.unexpected(")", f"close the {opened} of column {column}")
