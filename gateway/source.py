"""What a source is: a broker that already runs, and that devices publish to. We read there as a client."""

from typing import Annotated

from msgspec import Meta, Struct


class Source(Struct, kw_only=True):
    """One [[source]]. What it brings takes the same way as what clients publish to the hub: bindings claim it by its topic."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[\w.-]+$",
            description="names the source in messages and events: letters, digits, . _ -",
            examples=["house"],
        ),
    ]
    topics: Annotated[
        list[str],
        Meta(
            min_length=1,
            description='filters to subscribe to; "$share/redcar/plant/#" with a stand-by gateway',
            examples=[["plant/#"]],
        ),
    ]
    qos: Annotated[int, Meta(ge=0, le=1, description="0: may be lost; 1: acknowledged once it is on the disk")] = 1
    prefix: Annotated[str, Meta(description='put before each topic, to tell brokers apart: "house/"')] = ""
    expiry: Annotated[
        int, Meta(ge=0, description="seconds the broker keeps messages for us while we are away (5.0)")
    ] = 86_400
    window: Annotated[int, Meta(ge=1, le=65_535, description="messages it may send before we acknowledge (5.0)")] = (
        1_000
    )
