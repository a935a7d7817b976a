"""What a sink is: where a consumer delivers to.

A sink is one file in ``gateway/sinks/`` (or an entry point in the group ``redcar.sinks``); its file name is its kind. It
holds

    Config    a subclass of ``Subscription``: the sink's own settings
    Sink      Sink(config, identity): see the protocol below. One whose receiver knows a batch by its boundaries says
              ``fixed_batches = True``: then they are on the disk before the first send, and a retry is the same batch
"""

from typing import Annotated, Literal, Protocol

from msgspec import Meta, Struct, field

from gateway.event import Event


class Subscription(Struct, kw_only=True):
    """Select what, and send it where. Sinks subclass it as ``Config``."""

    name: Annotated[str, Meta(description="names the consumer; its position in the log belongs to this name")]
    sink: Annotated[str, Meta(description="kind of sink: mqtt, ...")]
    types: Annotated[list[str], Meta(description="globs of event types")] = field(
        default_factory=lambda: ["reading", "alarm.*", "device.*", "gap", "rejected", "gateway.*", "clock.*", "log.*"]
    )
    sources: Annotated[list[str], Meta(description="globs of sources")] = field(default_factory=lambda: ["*"])
    start: Annotated[str, Meta(description='where a new subscription begins: "now" or "start"')] = "start"
    batch: Annotated[int, Meta(ge=1, le=10_000, description="most events handed to the sink at once")] = 200
    order: Annotated[
        Literal["live-first", "strict"],
        Meta(description="after an outage: what is new first and the backlog beside it, or all in the log's order"),
    ] = "live-first"
    live_rate: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="most events/s sent as they come; left out: no limit")
    ] = None
    backlog_rate: Annotated[int, Meta(ge=1, description="most events/s sent of backlog and replays, beside live")] = (
        20_000
    )


class Identity(Struct, frozen=True):
    """(gateway, epoch, offset) names an event for ever; this is the part that stays."""

    gateway: str
    epoch: int


class Batch(Struct):
    """What a sink is handed: the selected events of the owed range lo..hi of one lane, in order."""

    lane: str
    lo: int
    hi: int
    events: list[Event]


class Outcome(Struct):
    """What became of a batch. Whatever is in neither list was accepted by the system of record.

    refused  offset -> why it can never be accepted: it becomes a dead letter
    retry    offsets that are still owed: they are sent again one by one, more and more slowly, and are dead letters after
             five tries. If nobody can be reached, raise SinkUnavailable instead
    """

    refused: dict[int, str] = field(default_factory=dict)
    retry: list[int] = field(default_factory=list)


class Sink(Protocol):
    """Delivers batches. Called by one task at a time, except that several lanes may be in ``send`` side by side."""

    async def connect(self) -> None:
        """Returns once batches can be sent. Raises SinkUnavailable (we try again) or SinkRefused (somebody must act)."""

    async def send(self, batch: Batch) -> Outcome:
        """Returns once the receiver has acknowledged. Raises SinkUnavailable if it isn't known what arrived."""

    async def close(self) -> None:
        """Let go of the connection. Never raises."""
