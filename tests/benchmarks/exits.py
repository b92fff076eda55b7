"""Port and MMIO accesses, exceptions and intercepts: what one trip out of the guest costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Final

from devices.apic.registers import EOI
from tests.benchmarks.guest import Loop, Pc, boot_disk, on_qemu
from tests.benchmarks.lab import Lab
from tests.benchmarks.rows import Goal, Row
from tests.benchmarks.stock import Stock
from vmm.board import LOCAL_APIC

US: Final = 1e6
PORT_GOAL: Final = Goal("ratio", 1.5)
EXCEPTION_GOAL: Final = Goal("ours", 1.5)
INTERCEPT_GOAL: Final = Goal("ours", 3)
ACCESSES: Final = 30_000
EXCEPTIONS: Final = 100_000
IN_PYTHON: Final = 3_000

VGA_TEXT: Final = 0x18000  # from the start of the window at A0000h
ACCESS_LOOPS: Final = (
    ("port read", "in al, 0x80", "", PORT_GOAL),
    ("port write", "out 0x80, al", "", PORT_GOAL),
    ("MMIO read, VGA text memory", "mov al, [edi]", "mov edi, 0xb8000", None),
    ("MMIO write, VGA text memory", "mov [edi], al", "mov edi, 0xb8000", None),
)
# [VGA] sequencer: memory mode 06h is planar, map mask 0Fh; graphics 5: write mode, 6: A0000h, 64 KiB
PLANAR: Final = """
mov dx, 0x3c4
mov ax, 0x0604
out dx, ax
mov ax, 0x0f02
out dx, ax
mov dx, 0x3ce
mov ax, 0x0506
out dx, ax
mov ax, 0x{mode:02x}05
out dx, ax
mov edi, 0xa0000
"""
VIDEO_LOOPS: Final = (
    ("text cell write, B8000h", "mov [edi], ax", "mov edi, 0xb8000\nmov eax, 0x0741"),
    ("planar write, mode 0, all planes", "mov [edi], al", PLANAR.format(mode=0)),
    ("planar read and write, mode 0", "mov al, [edi]\nmov [edi], al", PLANAR.format(mode=0)),
    ("planar write, mode 2", "mov [edi], al", PLANAR.format(mode=2)),
)
EXCEPTION_LOOPS: Final = (
    ("divide error, real mode", Loop("div cx", EXCEPTIONS, "real", "xor cx, cx")),
    ("INT n, real mode", Loop("int 0x80", EXCEPTIONS, "real")),
    ("divide error, ring 3 to 0 and back", Loop("div ecx", EXCEPTIONS, "ring3", "xor ecx, ecx")),
    ("INT n, ring 3 to 0 and back", Loop("int 0x80", EXCEPTIONS, "ring3")),
)
IA32_TSC: Final = "mov ecx, 0x10"


def accesses(lab: Lab) -> Iterator[Row]:
    """Measure what a device's register costs, against the least a Python callback can cost."""
    bare, binding = Stock().with_callbacks(), Stock().with_binding()
    with Pc(lab.folder) as pc:
        for what, body, setup, goal in ACCESS_LOOPS:
            loop = Loop(body, lab.loops(ACCESSES), setup=setup)
            ours, floor, official = lab.medians(
                partial(pc.time_one, loop), partial(bare.time, loop), partial(binding.time, loop)
            )
            note = f"official binding {official * US:.2f} us"
            if goal is None:
                note += f", the VGA itself {_vga_alone(pc, 'read' in what, loop.count) * US:.2f} us"
            yield Row(what, ours * US, "bare callback of the same loop", floor * US, "us", goal, note)


def end_of_interrupt(lab: Lab) -> Iterator[Row]:
    """Measure the register that a kernel on APICs writes at every interrupt."""
    bare = Stock().with_callbacks()
    count = lab.loops(ACCESSES)
    eoi = Loop("mov [edi], eax", count, setup=f"mov edi, {LOCAL_APIC + EOI}")
    floor_loop = Loop("mov [edi], eax", count, setup="mov edi, 0xb8000")
    with Pc(lab.folder, apic=True) as pc:
        ours, floor = lab.medians(partial(pc.time_one, eoi), partial(bare.time, floor_loop))
    yield Row("MMIO write, EOI of the local APIC", ours * US, "bare callback", floor * US, "us")


def video_memory(lab: Lab) -> Iterator[Row]:
    """Measure stores to video memory as games make them, each against a bare callback of the same store."""
    bare = Stock().with_callbacks()
    count = lab.loops(ACCESSES)
    with Pc(lab.folder) as pc:
        for what, body, setup in VIDEO_LOOPS:
            loop = Loop(body, count, setup=setup)
            ours, floor = lab.medians(partial(pc.time_one, loop), partial(bare.time, loop))
            yield Row(what, ours * US, "bare callback of the same loop", floor * US, "us")


def exceptions(lab: Lab) -> Iterator[Row]:
    """Measure events that the engine delivers through the guest's IVT and IDT, and their IRET."""
    loops = _scaled(lab, EXCEPTIONS)
    disk = boot_disk(loops, lab.folder / "exceptions.raw")
    with Pc(lab.folder) as pc:
        ours, theirs = lab.medians_each(lambda: pc.time(*loops), lambda: on_qemu(loops, disk))
    for (what, _), mine, their in zip(EXCEPTION_LOOPS, ours, theirs, strict=True):
        yield Row(what, mine * US, "QEMU TCG", their * US, "us", EXCEPTION_GOAL)


def delivery_in_python(lab: Lab) -> Iterator[Row]:
    """Measure the same events delivered by `vmm/cpu/delivery.py`, as the portable engine does."""
    loops = _scaled(lab, IN_PYTHON)
    with Pc(lab.folder, "portable") as portable, Pc(lab.folder) as accelerated:
        slow, fast = lab.medians_each(lambda: portable.time(*loops), lambda: accelerated.time(*loops))
    for (what, _), ours, theirs in zip(EXCEPTION_LOOPS, slow, fast, strict=True):
        yield Row(f"{what}, in Python", ours * US, "the accelerated engine", theirs * US, "us")


def intercepts(lab: Lab) -> Iterator[Row]:
    """Measure instructions that leave the guest to be emulated, on the path that ships."""
    bare = Stock().with_callbacks()
    hook = "INTR hook, bare callback"
    interrupt, cpuid = Loop("int 0x80", lab.loops(ACCESSES)), Loop("cpuid", lab.loops(ACCESSES))
    rdmsr = Loop("rdmsr", lab.loops(ACCESSES), setup=IA32_TSC)
    with Pc(lab.folder) as pc:
        ours, floor = lab.medians(partial(pc.time_one, rdmsr), partial(bare.time, interrupt))
        yield Row("RDMSR IA32_TSC, intercepted", ours * US, hook, floor * US, "us", INTERCEPT_GOAL)
        pc.machine.processor.intercepts.arm("descriptor-reads")
        for name, body in (("SGDT", "sgdt [edi]"), ("STR", "str ax")):
            loop = Loop(body, lab.loops(ACCESSES), setup="mov edi, 0x100000")
            ours, floor = lab.medians(partial(pc.time_one, loop), partial(bare.time, interrupt))
            yield Row(f"{name}, intercept armed", ours * US, hook, floor * US, "us", INTERCEPT_GOAL)
        ours, floor = lab.medians(partial(pc.time_one, cpuid), partial(bare.time, cpuid))
        yield Row("CPUID", ours * US, "CPUID hook, bare callback", floor * US, "us", INTERCEPT_GOAL)


def _scaled(lab: Lab, count: int) -> list[Loop]:
    return [Loop(loop.body, lab.loops(count), loop.mode, loop.setup) for _, loop in EXCEPTION_LOOPS]


def _vga_alone(pc: Pc, reads: bool, count: int) -> float:
    """Return the seconds that the device takes of an access."""
    vga = pc.machine.board.vga
    began = time.perf_counter()
    for _ in range(count):
        if reads:
            vga.read(VGA_TEXT, 1)
        else:
            vga.write(VGA_TEXT, 1, 0x20)
    return (time.perf_counter() - began) / count
