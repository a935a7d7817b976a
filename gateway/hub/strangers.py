"""Who knocks at the wrong door: the first byte tells what somebody speaks, and the operator hears what to change."""

_SPOKEN = {0x10: "MQTT", 0x16: "TLS", ord("G"): "HTTP"}

_SAID = {  # (what the listener takes, what came)
    ("TLS", "MQTT"): "it speaks MQTT without TLS: let it use TLS (mosquitto_pub --cafile), or another port",
    ("TLS", "HTTP"): "it speaks HTTP without TLS: let it use wss:// instead of ws://",
    ("MQTT", "TLS"): "it speaks TLS, this listener doesn't: name a certificate there, or let it use another port",
    (
        "MQTT",
        "HTTP",
    ): "it speaks HTTP, this listener MQTT alone: write websocket = true there, or let it use another port",
    ("WebSocket", "TLS"): "it speaks TLS, this listener doesn't: name a certificate there, or let it use ws://",
    ("WebSocket", "MQTT"): "it speaks MQTT without WebSocket: let it use ws://, or another port",
}


def stranger(first: int, taken: str) -> str | None:
    """What is wrong with somebody who begins with that byte where TLS, MQTT or WebSocket is taken, if one can tell."""
    return _SAID.get((taken, _SPOKEN.get(first, "")))
