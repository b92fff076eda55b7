"""One entry of the catalogue of reasons."""

from __future__ import annotations

from typing import NamedTuple


class Reason(NamedTuple):
    """One entry. `vtx`, `amd_v` and `xen` are None where there is no such exit, or no such hypercall."""

    key: str
    title: str
    vtx: int | None
    amd_v: int | None
    xen: str | None
    why: str

    @property
    def elsewhere(self) -> str:
        """What VT-x, AMD-V and Xen call it, for a reader who knows one of them."""
        vtx = "no exit of its own" if self.vtx is None else f"exit reason {self.vtx}"
        amd_v = "no exit of its own" if self.amd_v is None else f"exit code {self.amd_v:#x}"
        return f"VT-x: {vtx}; AMD-V: {amd_v}; Xen: {self.xen or 'no hypercall'}"
