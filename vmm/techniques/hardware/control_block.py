"""The VMCB that a user reads and edits: the guest's state and the monitor's controls under one set of names.

A field is worked out when it is read; a write takes effect at once, as VMRUN would load it. Edit while
the machine is paused, or in a handler of the event router. Fields that the processor writes at an exit,
and those that hold the monitor's own tables, are read-only.

Sources: [AMD-V] AMD64 Architecture Programmer's Manual, volume 2, §15.5, appendix B.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu import state as s
from vmm.cpu.intercepts import EXCEPTIONS, EXIT_CODES
from vmm.cpu.state import CpuState, SegmentCache
from vmm.techniques.hardware import vmcb
from vmm.techniques.hardware.exit_information import ExitRecord
from vmm.techniques.hardware.vmcb import FIELDS, SAVE_AREA, Field

if TYPE_CHECKING:
    from vmm.techniques.hardware.technique import Hardware

_MASK_64: Final = 0xFFFF_FFFF_FFFF_FFFF
_MASK_32: Final = 0xFFFF_FFFF
_INTERCEPTS: Final = {  # the first exit code of each field
    "intercept_cr_read": 0x00, "intercept_cr_write": 0x10, "intercept_dr_read": 0x20,
    "intercept_dr_write": 0x30, "intercept_exceptions": 0x40, "intercept_misc1": 0x60,
    "intercept_misc2": 0x80,
}  # fmt: skip
_CODES: Final = {code: name for name, code in (EXIT_CODES | EXCEPTIONS).items()}
_CONTROL_REGISTERS: Final = {"cr0": 0, "cr2": 2, "cr3": 3, "cr4": 4}
_GENERAL: Final = {"rax": r.RAX, "rsp": r.RSP}
_DEBUG: Final = {"dr6": 6, "dr7": 7}
_EFER: Final = 0xC000_0080
_IN_STATE: Final = {  # of CpuState, by the VMCB's name
    "star": "star", "lstar": "lstar", "cstar": "cstar", "sfmask": "fmask",
    "sysenter_cs": "sysenter_cs", "sysenter_esp": "sysenter_esp", "sysenter_eip": "sysenter_eip",
}  # fmt: skip
_TABLES: Final = {"gdtr": "gdt", "ldtr": "ldt", "idtr": "idt", "tr": "tr"}
_SEGMENTS: Final = {name: index for index, name in enumerate(r.SEGMENT_NAMES)}
_BUSY: Final = 1 << 9  # of a TSS's type, as descriptor flags
_EVENT_TYPES: Final = (
    vmcb.EVENT_INTERRUPT, vmcb.EVENT_NMI, vmcb.EVENT_EXCEPTION, vmcb.EVENT_SOFTWARE,
)  # fmt: skip
_ASID: Final = 1


class ControlBlock:
    """The fields by name; `controls` are the names of what exits."""

    def __init__(self, technique: Hardware) -> None:
        self._technique = technique
        self._memory = technique.block
        self._processor = technique.processor
        self._engine = technique.processor.live

    # -- the controls

    @property
    def controls(self) -> frozenset[str]:
        """The names of all that exits."""
        return self._processor.intercepts.armed

    @controls.setter
    def controls(self, names: Iterable[str]) -> None:
        """Have these exit. What is in `needed` stays, whether it is among them or not."""
        self._technique.set_controls(frozenset(names))

    @property
    def needed(self) -> frozenset[str]:
        """The least that safety needs."""
        return self._technique.needed

    @property
    def last_exit(self) -> ExitRecord:
        """What left the guest last, in both vendors' words."""
        return self._technique.last_exit

    # -- fields

    def __getitem__(self, name: str) -> int:
        """Read a field, up to date."""
        return self.read(name)

    def __setitem__(self, name: str, value: int) -> None:
        """Write a field, with effect."""
        self.write(name, value)

    def read(self, name: str) -> int:
        """Return a field, up to date.

        Raises:
            ValueError: there is no such field.
        """
        field = _field(name)
        self._refresh()
        return self._memory.read(field)

    def rows(self) -> list[tuple[Field, int]]:
        """Return every field with its value."""
        self._refresh()
        return [(field, self._memory.read(field)) for field in FIELDS.values()]

    def write(self, name: str, value: int) -> None:
        """Write a field, with effect.

        Raises:
            ValueError: there is no such field, it cannot be written, or not with this value.
        """
        field = _field(name)
        if not 0 <= value < 1 << field.size * 8:
            raise ValueError(f"{name}: {value:#x} does not fit its {field.size * 8} bits")
        if field.offset < SAVE_AREA:
            self._write_control(name, value)
            return
        self._engine.fetch()
        self._write_state(name, value)
        self._engine.commit()

    # -- the control area

    def _write_control(self, name: str, value: int) -> None:
        if name in _INTERCEPTS:
            self._write_intercepts(name, value)
        elif name == "eventinj":
            _check_event(value)
            self._memory.write(FIELDS[name], value)
        elif name == "tlb_control":
            if value:
                self._engine.flush_tlb()
        elif name == "tsc_offset":
            self._engine.write_tsc(self._engine.wiring.now_ns() + value & _MASK_64)
        elif name == "interrupt_shadow":
            state = self._engine.fetch().state
            state.hflags = state.hflags & ~s.HF_INHIBIT_IRQ | (s.HF_INHIBIT_IRQ if value & 1 else 0)
            self._engine.commit()
        else:
            raise ValueError(f"{name}: the processor or the monitor writes this field; it can only be read")

    def _write_intercepts(self, name: str, value: int) -> None:
        first = _INTERCEPTS[name]
        codes = [first + bit for bit in range(32) if value >> bit & 1]
        unknown = [code for code in codes if code not in _CODES]
        if unknown:
            raise ValueError(f"{name}: nothing here exits with code {unknown[0]:#x}")
        last = first + FIELDS[name].size * 8
        kept = {n for n in self.controls if not first <= (EXIT_CODES | EXCEPTIONS)[n] < last}
        self.controls = frozenset(kept | {_CODES[code] for code in codes})

    def _refresh(self) -> None:
        view = self._engine.fetch()
        self._show_controls(view.state)
        for name in _IN_STATE:
            self._put(name, getattr(view.state, _IN_STATE[name]))
        for name, index in _CONTROL_REGISTERS.items():
            self._put(name, view.cr[index])
        for name, index in _GENERAL.items():
            self._put(name, view.regs[index])
        for name, index in _DEBUG.items():
            self._put(name, self._processor.read_dr(index))
        self._put("efer", view.efer)
        self._put("cpl", view.cpl)
        self._put("rflags", view.rflags)
        self._put("rip", view.rip)
        for name, index in _SEGMENTS.items():
            self._put_segment(name, view.segs[index])
        for name, attribute in _TABLES.items():
            self._put_segment(name, getattr(view, attribute))

    def _show_controls(self, state: CpuState) -> None:
        record, nested = self._technique.last_exit, self._technique.nested
        values = {
            "intercept_cr_read": state.intercept_cr_read, "intercept_cr_write": state.intercept_cr_write,
            "intercept_dr_read": state.intercept_dr_read, "intercept_dr_write": state.intercept_dr_write,
            "intercept_exceptions": state.intercept_exceptions,
            "intercept_misc1": state.intercept & _MASK_32, "intercept_misc2": state.intercept >> 32,
            "tsc_offset": self._engine.tsc_offset & _MASK_64, "guest_asid": _ASID,
            "interrupt_shadow": int(bool(state.hflags & s.HF_INHIBIT_IRQ)),
            "np_enable": int(nested is not None), "n_cr3": 0 if nested is None else nested.tables.root,
        }  # fmt: skip
        if record.vector:
            values |= {
                "exitcode": record.svm_code, "exitinfo1": record.exitinfo1,
                "nrip": record.rip + record.length & _MASK_64, "fetched": len(record.code),
                "instruction": int.from_bytes(record.code, "little"),
            }  # fmt: skip
        for name, value in values.items():
            self._put(name, value)

    def _put(self, name: str, value: int) -> None:
        self._memory.write(FIELDS[name], value)

    def _put_segment(self, name: str, segment: SegmentCache) -> None:
        """[AMD-V] §15.5.1: attributes are the descriptor's bits 55:52 and 47:40."""
        self._put(f"{name}.selector", segment.selector)
        self._put(f"{name}.attrib", segment.flags >> 8 & 0xFF | segment.flags >> 12 & 0xF00)
        self._put(f"{name}.limit", segment.limit)
        self._put(f"{name}.base", segment.base)

    # -- the save area

    def _write_state(self, name: str, value: int) -> None:
        view, state = self._engine.view, self._engine.view.state
        if "." in name:
            segment, _, part = name.partition(".")
            self._write_segment(segment, part, value)
        elif name in _IN_STATE:
            setattr(state, _IN_STATE[name], value)
        elif name in _CONTROL_REGISTERS:
            if name == "cr0" and value & r.CR0_PG and not value & r.CR0_PE:
                raise ValueError(f"cr0: {value:#x} has paging without protection; VMRUN would refuse it")
            view.write_cr(_CONTROL_REGISTERS[name], value)
        elif name in _GENERAL:
            view.regs[_GENERAL[name]] = value
        elif name in _DEBUG:
            self._processor.write_dr(_DEBUG[name], value)
        elif name == "efer":
            self._processor.write_msr(_EFER, value)
            self._engine.fetch()
        elif name == "rflags":
            view.rflags = value
        elif name == "rip":
            view.rip = value
        else:
            raise ValueError("cpl: the privilege level follows ss.attrib")

    def _write_segment(self, name: str, part: str, value: int) -> None:
        view = self._engine.view
        segment = view.segs[_SEGMENTS[name]] if name in _SEGMENTS else getattr(view, _TABLES[name])
        parts = {
            "selector": segment.selector, "base": segment.base,
            "limit": segment.limit, "attrib": segment.flags,
        }  # fmt: skip
        parts[part] = (value & 0xFF) << 8 | (value & 0xF00) << 12 if part == "attrib" else value
        if name in _SEGMENTS:
            view.load_segment(
                _SEGMENTS[name], parts["selector"], parts["base"], parts["limit"], parts["attrib"]
            )
            return
        if name == "tr":
            parts["attrib"] &= ~_BUSY  # the engine aborts on a busy one
            if parts["attrib"] >> r.DESC_TYPE_SHIFT & 0x1F not in (d.TYPE_TSS16, d.TYPE_TSS32):
                raise ValueError(f"tr.attrib: {value:#x} is no task-state segment; VMRUN would refuse it")
        segment.selector, segment.base = parts["selector"], parts["base"]
        segment.limit, segment.flags = parts["limit"], parts["attrib"]


def _field(name: str) -> Field:
    field = FIELDS.get(name.lower())
    if field is None:
        raise ValueError(f"{name}: no field of the VMCB; among them are eventinj, exitcode, rip, cs.base")
    return field


def _check_event(value: int) -> None:
    """Refuse what VMRUN would, [AMD-V] §15.20."""
    if not value & vmcb.EVENT_VALID:
        return
    kind, vector = value >> vmcb.EVENT_TYPE_SHIFT & 7, value & 0xFF
    if kind not in _EVENT_TYPES:
        raise ValueError(f"eventinj: type {kind}; expected 0 interrupt, 2 NMI, 3 exception, 4 software")
    if kind == vmcb.EVENT_EXCEPTION and (vector > 31 or vector == r.NMI):
        raise ValueError(f"eventinj: {vector} is no vector of an exception")
