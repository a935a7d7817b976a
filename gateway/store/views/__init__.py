"""Views: answers kept up to date beside the log, in tables that move in one transaction with their position.

    last           newest value of each metric of each source, with time and quality
    devices        the registry, with first and last sign of life, number of readings, last quality
    alarms         those that are active
    1m 15m 1h      per metric and span of time: count, min, max, sum and mean, last

fold.py makes them of events, rows.py keeps and shows them, keep.py is the loop around both, custom.py runs a user's own.
"""
