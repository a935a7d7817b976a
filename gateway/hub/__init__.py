"""The hub: an MQTT server on the log."""
