"""When what a guest wrote becomes durable."""

from __future__ import annotations

from enum import Enum


class SyncPolicy(Enum):
    """How much of a crash an image survives.

    Every policy keeps the order of writes, so the death of the process is harmless under all of
    them; they differ in what the death of the host may cost.
    """

    ALWAYS = "always"  # every write is durable when it returns
    ON_FLUSH = "on-flush"  # what was written before the last flush is durable
    NEVER = "never"  # the host's kernel decides
