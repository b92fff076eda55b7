"""What `--explain` says of an exit: why it is one, what the instruction is, and what others make of it.

Three lines: the sentence of the catalogue with the names VT-x, AMD-V and Xen have for the event; the class of
the instruction that caused it, with the row Robin and Irvine list it under; and what each technique does
with it. An exit that no instruction caused has the first line, and the third where techniques differ.

Sources: [RI] Robin and Irvine, "Analysis of the Intel Pentium's Ability to Support a Secure Virtual
Machine Monitor", USENIX Security 2000, §3; [PG] Popek and Goldberg, "Formal Requirements for Virtualizable
Third Generation Architectures", CACM 17(7), 1974.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from vmm.config import TECHNIQUES
from vmm.trace.disassembly import code_bits
from vmm.trace.events import Exit
from vmm.trace.reasons import find_reason

if TYPE_CHECKING:
    from vmm.cpu.decode import InstructionClass


_EVENTS: Final = {
    "interrupt": (
        "delivered through the guest's table",
        "taken by the monitor, injected when the virtual IF is set",
        "as under trap",
        "a VM exit, then injected through the VMCB",
        "an event channel, unless the guest masks it in the shared page",
    ),
    "exception.pf": (
        "delivered through the guest's table",
        "filled into the shadow if the guest's own tables allow it, else reflected",
        "as under trap",
        "a VM exit with shadow paging; with nested paging the guest's alone",
        "filled or reflected to the handler of the trap table",
    ),
    "exception": (
        "delivered through the guest's table",
        "taken by the monitor, reflected through the guest's table",
        "as under trap",
        "the guest's alone unless the exception bitmap asks",
        "reflected to the handler of the trap table",
    ),
    "software-int": (
        "through the guest's table",
        "taken by the monitor, reflected through the guest's table; what is pushed shows RPL 1",
        "as under trap, and what is pushed shows ring 0",
        "the guest's alone unless its control says so",
        "reflected to the handler of the trap table",
    ),
    "io": (
        "a call of the device",
        "allowed by the virtual IOPL and the guest's I/O bitmap, or #GP; then a call of the device",
        "as under trap",
        "a VM exit, then a call of the device",
        "disk and console go through shared memory instead; a port that is left, as under trap",
    ),
    "cpuid": (
        "answered for the machine",
        "the same; the processors of 2005 could not trap it",
        "as under trap",
        "always a VM exit under VT-x",
        "the same, with leaves of the monitor's own",
    ),
    "hypercall": ("#UD", "#UD, reflected", "#UD, reflected", "a VM exit", "carried out"),
    "shadow": (
        "never: the guest's own tables are the processor's",
        "the shadow follows the guest's tables",
        "as under trap",
        "with shadow paging as under trap, with nested paging never",
        "the shadow follows; the guest announces its changes",
    ),
}
_FAMILY: Final = {"nmi": "interrupt", "inject": "interrupt", "reflect": "exception"}

# What goes wrong at CPL 1, by [RI]'s row
_SHOWN_AT_CPL_1: Final = {
    "SGDT": "stores the monitor's descriptor table",
    "SIDT": "stores the monitor's interrupt table",
    "SLDT": "stores the monitor's LDT",
    "STR": "stores the monitor's task",
    "SMSW": "shows the real CR0",
    "PUSHF": "shows the real IF and IOPL",
    "POPF": "leaves IF and IOPL as they were",
    "LAR": "shows DPL 1, or fails",
    "LSL": "may fail on a descriptor of ring 0",
    "VERR": "may fail on a descriptor of ring 0",
    "VERW": "may fail on a descriptor of ring 0",
    "POP": "loads from the shadow table, with RPL 1 for SS",
    "PUSH": "shows RPL 1 of CS or SS",
    "CALL": "pushes CS with RPL 1",
    "JMP": "loads CS with RPL 1",
    "INT n": "taken by the monitor and reflected; what is pushed shows RPL 1",
    "RET": "within a ring and to ring 3 goes on without a fault, IF not restored",
    "MOV": "shows RPL 1 of CS or SS",
}


def explain(event: Exit) -> list[str]:
    """Return English lines: why the guest was left, what its instruction is, what each technique does."""
    reason = find_reason(event.reason)
    lines = [f"{reason.why} [{reason.elsewhere}]"]
    if event.code:
        lines.append(_class_line(event))
    if doing := what_techniques_do(event):
        lines.append("; ".join(f"{name}: {what}" for name, what in doing.items()) + ".")
    return lines


def what_techniques_do(event: Exit) -> Mapping[str, str]:
    """Return what each technique does with the event; nothing where all do the same."""
    group = event.reason.partition(".")[0]
    same = "software-int" if event.reason == "reflect.int" else event.reason.replace("reflect.", "exception.")
    for key in (same, _FAMILY.get(group, group)):
        if key in _EVENTS:
            return dict(zip(TECHNIQUES, _EVENTS[key], strict=True))
    return _with_instruction(event) if event.code else {}


def _with_instruction(event: Exit) -> Mapping[str, str]:
    from vmm.cpu.decode import InstructionClass, classify, robin_irvine

    bits = code_bits(event.mode)
    kind = classify(event.code, bits)
    if kind is InstructionClass.INNOCUOUS:
        return {}
    xen = find_reason(event.reason).xen
    call = f"replaced by {xen} or its like" if xen else "replaced by a flag in the shared page, or emulated"
    if kind is InstructionClass.PRIVILEGED:
        done = (
            "runs in ring 0, #GP outside",
            "#GP at CPL 1, carried out on the virtual processor",
            "as under trap (patch), or without the fault (cache)",
            "runs on the guest's own state, or exits if its control says so",
            call,
        )
    else:
        shown = _SHOWN_AT_CPL_1[robin_irvine(event.code, bits) or ""]
        done = (
            "runs as its manual says",
            f"no fault at CPL 1: {shown}",
            "replaced when its block is first seen, so the guest sees its own state",
            "runs on the guest's own state in ring 0",
            "not used by the port, which knows its ring",
        )
    return dict(zip(TECHNIQUES, done, strict=True))


def _class_line(event: Exit) -> str:
    from vmm.cpu.decode import classify, robin_irvine

    bits = code_bits(event.mode)
    kind: InstructionClass = classify(event.code, bits)
    row = robin_irvine(event.code, bits)
    return f"Class: {kind.value}" + (f" (Robin and Irvine: {row})" if row else "") + "."
