"""How a run of a machine ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunResult:
    """Why a run ended: `exit`, `until`, `timeout`, `triple-fault`, `halted`, `no-boot` or `unsupported`."""

    reason: str
    exit_code: int | None = None  # what the guest wrote to port F4h
    detail: str = ""  # no-boot, unsupported: what was tried, and why not
