"""The catalogue of reasons for an exit: what each is, and why it leaves the guest.

Every key has a title for tables, a plain sentence for `--explain`, and what others call the same
event: the basic exit reason of VT-x, the exit code of AMD-V and the hypercall of Xen, where one exists.
A key that is not in the catalogue is shown as it stands; it is never an error. The entries are in
`vmm.trace.catalogue`, by subject.

Sources:
  [SDM3C] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3, appendix C,
          "VMX Basic Exit Reasons".
  [APM2]  AMD64 Architecture Programmer's Manual, volume 2, appendix C, "SVM Intercept Exit Codes".
  [XEN]   Xen's public headers, xen/include/public/xen.h: hypercalls by name.
"""

from __future__ import annotations

import re
from typing import Final

from vmm.trace.catalogue.board import board_reasons
from vmm.trace.catalogue.instructions import instruction_reasons, intercept_reasons, vmexit_reasons
from vmm.trace.catalogue.reason import Reason
from vmm.trace.catalogue.techniques import technique_reasons

CATALOGUE: Final = {
    reason.key: reason
    for reason in (
        *board_reasons(),
        *intercept_reasons(),
        *instruction_reasons(),
        *technique_reasons(),
        *vmexit_reasons(),
    )
}

_INTERCEPTED: Final = re.compile(r"(intercept|vmexit)\.([cd]r)(\d+)-(read|write)")
_EMULATED: Final = re.compile(r"(emulate|patched)\.mov-(from|to)-([cd]r)(\d+)")
_SEGMENT: Final = re.compile(r"(emulate|patched)\.(mov-from|mov-to|push|pop)-([c-gs]s)")
_RELATIVES: Final = {
    **dict.fromkeys(("les", "lfs", "lgs", "lss"), "lds"),
    **dict.fromkeys(("int1", "int3", "into"), "int"),
}
_FAMILIES: Final = {
    "emulate": ("emulated", "It raised #GP outside ring 0; the monitor carried it out."),
    "patched": ("replaced", "Translation put the monitor in its place."),
    "hypercall": ("hypercall", "The guest knows its monitor and asked it for something."),
    "vmexit": ("VM exit", "The controls of the VMCB say that it leaves the guest."),
}


def find_reason(key: str) -> Reason:
    """Return the entry of `key`, or one that says no more than the key itself.

    A numbered register (`intercept.cr3-write`, `emulate.mov-to-cr3`) takes the entry of its kind.
    """
    if found := CATALOGUE.get(key):
        return found
    if match := _INTERCEPTED.fullmatch(key):
        family, kind, number, way = match.groups()
        return _numbered(key, f"{family}.{kind}-{way}", int(number), f"{kind.upper()}{number} {way}")
    if match := _EMULATED.fullmatch(key):
        family, way, kind, number = match.groups()
        return _numbered(key, f"{family}.mov-{way}-{kind}", int(number), f"MOV {way} {kind.upper()}{number}")
    if match := _SEGMENT.fullmatch(key):
        family, move, register = match.groups()
        entry = CATALOGUE[f"{family}.{move}-seg"]
        return entry._replace(key=key, title=entry.title.replace("a segment register", register.upper()))
    group, _, name = key.partition(".")
    if relative := CATALOGUE.get(f"{group}.{_RELATIVES.get(name)}"):
        return relative._replace(key=key, title=f"{name.upper()}, {relative.title.rpartition(', ')[2]}")
    if name and group in _FAMILIES:
        what, why = _FAMILIES[group]
        return Reason(key, f"{name.upper()}, {what}", None, None, None, why)
    return Reason(key, key, None, None, None, "The monitor acted on the guest's behalf.")


def _numbered(key: str, family: str, number: int, title: str) -> Reason:
    entry = CATALOGUE[family]
    xen = entry.xen
    if family.endswith(("cr-write", "to-cr")):
        xen = {0: "fpu_taskswitch", 3: "mmuext_op"}.get(number)
    # VT-x has no control for CR2
    vtx = None if number == 2 and "cr" in family.partition(".")[2] else entry.vtx
    title = re.sub(r"^control register \w+|^debug register \w+", title, entry.title)
    return entry._replace(key=key, title=title, vtx=vtx, amd_v=(entry.amd_v or 0) + number, xen=xen)
