"""Interrupts as exits, EVENTINJ, and deliveries that an exit cuts off: [AMD-V] §15.20, §15.7.2."""

from __future__ import annotations

from tests.vmm.cpu.engine_rig import both_engines, prot, real
from tests.vmm.techniques.hardware.hardware_rig import HardwareRig, every_pair, run
from vmm.cpu import registers as r
from vmm.cpu.engine import StopReason
from vmm.techniques.hardware.vmcb import (
    EVENT_EXCEPTION,
    EVENT_INTERRUPT,
    EVENT_NMI,
    EVENT_SOFTWARE,
    event,
)


@both_engines
def test_an_interrupt_with_if_set_exits_once_and_is_injected(engine: str) -> None:
    rig = run(engine, "nested", prot("sti\nmov al, 0x30\nout INTR, al\njmp $+2\nnop\nfinish"))
    assert [frame.vector for frame in rig.frames] == [0x30]
    assert (rig.counted("interrupt"), rig.counted("interrupt-window")) == (1, 0)
    assert rig.technique.exits.table()["inject.interrupt"].count == 1


@both_engines
def test_an_interrupt_with_if_clear_waits_for_the_window(engine: str) -> None:
    rig = run(engine, "nested", prot("cli\nmov al, 0x30\nout INTR, al\nnop\nlog 1\nsti\nnop\nlog 2\nfinish"))
    assert [frame.vector for frame in rig.frames] == [0x30]
    assert (rig.counted("interrupt"), rig.counted("interrupt-window")) == (1, 1)


@both_engines
def test_an_interrupt_that_goes_away_opens_no_window(engine: str) -> None:
    rig = HardwareRig(engine)
    rig.load(prot("cli\nmov al, 0x30\nout INTR, al\nnop\nout SERVICE, al\nsti\nnop\nfinish"))
    rig.service = lambda value: rig.engine.set_interrupt(False)
    assert rig.run() is StopReason.HALTED
    assert rig.frames == []
    assert rig.counted("interrupt-window") == 0


@both_engines
def test_an_nmi_exits_and_is_injected(engine: str) -> None:
    rig = run(engine, "nested", prot("out NMILINE, al\njmp $+2\nnop\nfinish"))
    assert [frame.vector for frame in rig.frames] == [r.NMI]
    assert rig.counted("nmi") == 1


def inject(engine: str, value: int) -> HardwareRig:
    """Stop a guest with interrupts off, write EVENTINJ, and let it go on."""
    rig = HardwareRig(engine)
    rig.load(prot("out STOP, al\nnop\nlog 1\nfinish"))
    assert rig.run() is StopReason.STOPPED
    rig.technique.vmcb["eventinj"] = value
    assert rig.run() is StopReason.HALTED
    assert rig.technique.vmcb["eventinj"] >> 31 & 1 == 0
    return rig


@both_engines
def test_eventinj_delivers_an_interrupt_whatever_if_says(engine: str) -> None:
    rig = inject(engine, event(0x31, EVENT_INTERRUPT))
    assert [frame.vector for frame in rig.frames] == [0x31]


@both_engines
def test_eventinj_delivers_an_exception_with_its_error_code(engine: str) -> None:
    rig = inject(engine, event(r.GP, EVENT_EXCEPTION, 0x18))
    assert [(frame.vector, frame.error) for frame in rig.frames] == [(r.GP, 0x18)]


@both_engines
def test_eventinj_delivers_a_software_interrupt_that_returns_to_rip(engine: str) -> None:
    rig = inject(engine, event(0x30, EVENT_SOFTWARE))
    assert [frame.vector for frame in rig.frames] == [0x30]
    assert rig.log == [1]


@both_engines
def test_eventinj_delivers_an_nmi(engine: str) -> None:
    assert [frame.vector for frame in inject(engine, event(r.NMI, EVENT_NMI)).frames] == [r.NMI]


AWAY = """
    mov esi, 0x4000                     ; the stack moves to a page that nobody has touched
    mov esp, 0x3ff000
"""


@every_pair
def test_int_n_whose_frame_exits_is_delivered_again_with_its_own_return_address(
    engine: str, paging: str
) -> None:
    rig = run(engine, paging, prot(f"paging\n{AWAY}\nint 0x30\nlog 7\nfinish"))
    assert [frame.vector for frame in rig.frames] == [0x30]
    assert rig.log == [7]


@every_pair
def test_an_exception_whose_frame_exits_keeps_its_error_code(engine: str, paging: str) -> None:
    rig = run(engine, paging, prot(f"paging\n{AWAY}\nmov ax, 0xf8\ntry mov ds, ax\nlog 7\nfinish"))
    assert [(frame.vector, frame.error) for frame in rig.frames] == [(r.GP, 0xF8)]


@every_pair
def test_an_interrupt_whose_frame_exits_is_acknowledged_once(engine: str, paging: str) -> None:
    """Acknowledging again would fail in the rig, whose vector is gone."""
    rig = run(
        engine, paging, prot(f"paging\n{AWAY}\nsti\nmov al, 0x33\nout INTR, al\njmp $+2\nnop\nlog 7\nfinish")
    )
    assert [frame.vector for frame in rig.frames] == [0x33]
    assert rig.log == [7]


@every_pair
def test_a_page_fault_on_the_stack_of_a_fault_is_a_double_fault(engine: str, paging: str) -> None:
    """Vector 8 has a task of its own, whose stack is good."""
    source = prot("""
    paging
    mov dword [IDT_AT + 8 * 8], TSS2 << 16
    mov dword [IDT_AT + 8 * 8 + 4], 0x8500
    mov dword [0x6100 + 0x1c], PDE
    mov dword [0x6100 + 0x20], task
    mov dword [0x6100 + 0x24], 2
    mov dword [0x6100 + 0x38], STACK
    mov dword [0x6100 + 0x48], KDATA
    mov dword [0x6100 + 0x4c], KCODE
    mov dword [0x6100 + 0x50], KDATA
    mov dword [0x6100 + 0x54], KDATA
    mov dword [PTE + 0x3fe * 4], 0
    invlpg [0x3fe000]
    mov esp, 0x3ff000
    mov ax, 0xf8
    mov ds, ax
task:
    log 8
    mov eax, cr2
    log eax
    finish""")
    rig = run(engine, paging, source)
    assert rig.log[0] == 8
    assert rig.log[1] >> 12 == 0x3FE


@every_pair
def test_a_fault_without_any_stack_is_a_triple_fault(engine: str, paging: str) -> None:
    rig = HardwareRig(engine, paging)
    rig.load(prot("paging\nmov dword [PTE + 0x3fe * 4], 0\ninvlpg [0x3fe000]\nmov esp, 0x3ff000\nud2"))
    assert rig.run() is StopReason.TRIPLE_FAULT


REAL_INT = """
    mov ax, 0x9000
    mov ss, ax
    mov sp, 0x100
    mov word [0x30 * 4], handler
    mov word [0x30 * 4 + 2], 0
    int 0x30
    log 2
    finish
handler:
    log 1
    iret
"""


@both_engines
def test_a_real_mode_int_whose_frame_exits_is_delivered_again(engine: str) -> None:
    assert run(engine, "nested", real(REAL_INT)).log == [1, 2]
