"""Errors raised to the *user* of the monitor; a guest can never raise one of these."""

from __future__ import annotations


class VmmError(Exception):
    """Base of every error this package raises on purpose: one clear line for the user."""


class ConfigError(VmmError):
    """The machine asked for cannot be built: a wrong option, file or value."""


class UsageError(ConfigError):
    """A value that no option and no key takes, whatever the files hold."""


class EngineError(VmmError):
    """The processor engine is missing, foreign, or failed."""


class BusConflictError(VmmError):
    """Two devices claim the same address."""

    def __init__(self, owner: str, claimant: str, first: int, last: int) -> None:
        super().__init__(f"{claimant} claims {first:#06x}..{last:#06x}, already owned by {owner}")
        self.owner, self.claimant, self.first, self.last = owner, claimant, first, last
