"""``redcar demo``: a cold store and a workshop that don't exist, on the real gateway, with an upstream that is cut off.

site.py (a process)                    the gateway, as redcar run has it                 upstream.py (a process)
clients over TCP ──► hub ─┐                                                              ┌─► amqtt
ptys ──────────► serial ──┼─► ingest ─► log ─► rules, forwarder ─► sinks/mqtt ─► cut.py ─┘   tally.py counts
twin ─────────► BLE (sim) ┘
"""
