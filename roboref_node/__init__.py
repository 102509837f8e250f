"""roboref: a sentence becomes a goal pose that a robot can execute."""

__version__ = "0.1.0"
