"""How long things may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds. The defaults suit a real cluster; tests shorten them.

    ``silence`` is how long a watch may say nothing before it is taken to be dead: the server sends a bookmark about
    each minute, and a quiet watch that is opened anew costs one request. ``answer`` bounds a list, ``probe`` the answer
    to a small question, by which it shows early that nobody answers. ``watch`` is the shortest time that the server is
    asked to keep a watch; up to twice as long is asked for. ``forbidden`` is the longest pause after a refusal for want
    of rights: mostly only an administrator can end that, but an API server that has just begun refuses so for a moment.
    ``discovery`` is how often the served API versions are asked for. ``settled`` is how long a watch must have stood
    for its end not to be a failure. ``renewal`` is how long credentials are used that the server does not take, before
    they are read again.
    """

    first_pause: float = 0.25
    longest_pause: float = 30.0
    forbidden: float = 60.0
    connect: float = 10.0
    answer: float = 60.0
    probe: float = 10.0
    silence: float = 75.0
    watch: float = 300.0
    discovery: float = 2.0
    settled: float = 1.0
    renewal: float = 5.0
