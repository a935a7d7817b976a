"""Messages of the log that wait for somebody who is away: counted in portions, so that the oldest can be given up."""


class Backlog:
    """portions  last offset and count of each; ``most``: messages that may wait"""

    def __init__(self, most: int, portions: list[tuple[int, int]]) -> None:
        self.portions = portions
        self.most = most

    @property
    def count(self) -> int:
        """How many wait."""
        return sum(count for _, count in self.portions)

    def add(self, offset: int) -> tuple[int, int] | None:
        """One more. The oldest hundredth if it has to be given up: its last offset, and how many that is."""
        if not self.portions or self.portions[-1][1] >= max(1, self.most // 100):
            self.portions.append((offset, 1))
        else:
            self.portions[-1] = offset, self.portions[-1][1] + 1
        return self.portions.pop(0) if self.count > self.most else None

    def clear(self) -> None:
        """They are fetched."""
        self.portions.clear()
