"""The program: the log, and what stands around it."""

__version__ = "0.1.0"
