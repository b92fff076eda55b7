"""The translation cache at work: exits that are not made, changing code and mappings, interrupts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.vmm.cpu.engine_rig import assemble
from vmm.config import MachineConfig
from vmm.machine import Machine

ORIGIN = 0x10_0000
RESULT = 0x18_0000
DIRECTORY, TABLE = 0x19_0000, 0x19_1000
ENGINES = pytest.mark.parametrize("engine", ["accelerated", "portable"])

HEAD = f"""
bits 32
org {ORIGIN:#x}
    cli
    mov al, 0xff
    out 0x21, al
    out 0xa1, al
    lgdt [gdtr]
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, 0x90000
    jmp 8:main
align 8
gdt: dq 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdtr: dw $ - gdt - 1
    dd gdt
align 4096
main:
    mov ebp, {RESULT:#x}
"""
TAIL = """
    mov al, 0
    out 0xf4, al
    hlt
"""
# 4 MiB of memory at its own addresses, through a page table that begins the directory
PAGING = f"""
    mov edi, {TABLE:#x}
    mov eax, 3
    fill: stosd
    add eax, 0x1000
    cmp eax, 0x400003
    jb fill
    mov dword [{DIRECTORY:#x}], {TABLE | 3:#x}
    mov eax, {DIRECTORY:#x}
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
"""


@contextmanager
def ran(
    folder: Path, engine: str, body: str, technique: str = "translation", memory_bytes: int = 4 << 20
) -> Iterator[Machine]:
    """A machine whose guest has run to its end."""
    binary = folder / "guest.bin"
    binary.write_bytes(assemble(HEAD + body + TAIL))
    config = MachineConfig(
        kernel=str(binary), entry="32", load_address=f"{ORIGIN:#x}", memory_bytes=memory_bytes,
        engine=engine, technique=technique,  # type: ignore[arg-type]
    )  # fmt: skip
    with Machine(config) as machine:
        result = machine.run(timeout_s=120)
        assert (result.reason, result.exit_code) == ("exit", 0), result
        yield machine


def dwords(machine: Machine, number: int) -> list[int]:
    data = machine.memory.read(RESULT, number * 4)
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, number * 4, 4)]


def exits(machine: Machine) -> dict[str, int]:
    return {reason: row.count for reason, row in machine.technique.exits.table().items()}


FLAGS_LOOP = """
    mov ecx, 1000
again:
    cli
    pushfd
    pop eax
    sti
    pushfd
    pop ebx
    push dword 2
    popfd
    call nothing
    loop again
    mov [ebp], eax
    mov [ebp + 4], ebx
    jmp end
nothing: ret
end:
"""


@ENGINES
def test_cli_sti_pushf_popf_call_and_ret_make_no_exits(engine: str, tmp_path: Path) -> None:
    with ran(tmp_path, engine, FLAGS_LOOP) as machine:
        closed, opened = dwords(machine, 2)
        assert (closed & 0x200, opened & 0x200) == (0, 0x200)
        assert sum(exits(machine).values()) < 100
    with ran(tmp_path, engine, FLAGS_LOOP, technique="trap") as machine:
        assert exits(machine)["emulate.cli"] >= 1000


@ENGINES
def test_code_that_rewrites_the_next_instruction_runs_what_it_wrote(engine: str, tmp_path: Path) -> None:
    body = """
    mov ecx, 50
    xor ebx, ebx
again:
    mov [patched + 1], ecx
patched:
    mov eax, 0
    add ebx, eax
    loop again
    mov [ebp], ebx
    """
    with ran(tmp_path, engine, body) as machine:
        assert dwords(machine, 1) == [sum(range(1, 51))]


@ENGINES
def test_data_beside_code_is_written_without_losing_it(engine: str, tmp_path: Path) -> None:
    body = """
    mov ecx, 40
again:
    add [counter], ecx
    loop again
    mov eax, [counter]
    mov [ebp], eax
    jmp end
    times 1024 nop
counter: dd 0
end:
    """
    with ran(tmp_path, engine, body) as machine:
        assert dwords(machine, 1) == [sum(range(1, 41))]
        assert exits(machine)["cache.source-write"] >= 40
        assert exits(machine)["cache.translate"] < 40


def test_a_page_that_is_only_data_any_more_costs_nothing_any_more(accelerated: str, tmp_path: Path) -> None:
    body = """
    call once
    mov ecx, 5000
again:
    mov [once + 1024], ecx
    loop again
    jmp end
align 4096
once: ret
    times 4095 nop
end:
    """
    with ran(tmp_path, accelerated, body) as machine:
        assert exits(machine)["cache.source-write"] < 100


@ENGINES
def test_the_same_address_can_be_other_code_in_another_mapping(engine: str, tmp_path: Path) -> None:
    """Two pages take turns at one linear address; after INVLPG the other one runs."""
    body = (
        PAGING
        + f"""
    mov ecx, 20
    xor ebx, ebx
again:
    mov dword [{TABLE:#x} + 0x300 * 4], one + 3
    invlpg [0x300000]
    mov eax, 0x300000
    call eax
    mov dword [{TABLE:#x} + 0x300 * 4], two + 3
    invlpg [0x300000]
    mov eax, 0x300000
    call eax
    loop again
    mov [ebp], ebx
    jmp end
align 4096
one: inc ebx
    ret
align 4096
two: add ebx, 0x100
    ret
align 4096
end:
    """
    )
    with ran(tmp_path, engine, body) as machine:
        assert dwords(machine, 1) == [20 * 0x101]


@ENGINES
def test_the_hole_moves_when_the_guest_maps_something_there(engine: str, tmp_path: Path) -> None:
    """The guest maps each 4 MiB from 60000000h on in turn, and finds its memory there."""
    body = (
        PAGING
        + f"""
    xor ebx, ebx
    mov edx, 0x60000000
again:
    mov eax, edx
    shr eax, 20
    mov dword [{DIRECTORY:#x} + eax], {TABLE | 3:#x}
    mov [edx + {RESULT + 8:#x}], edx
    add ebx, [{RESULT + 8:#x}]
    add edx, 0x400000
    cmp edx, 0x62000000
    jb again
    mov [ebp], ebx
    """
    )
    with ran(tmp_path, engine, body) as machine:
        assert dwords(machine, 1) == [sum(range(0x6000_0000, 0x6200_0000, 0x40_0000)) & 0xFFFF_FFFF]
        statistics = machine.technique.statistics()  # type: ignore[attr-defined]
        assert statistics["hole"] >= 0x6200_0000
        assert statistics["hole-moves"] == 8


def test_the_hole_is_where_the_machine_has_no_memory(accelerated: str, tmp_path: Path) -> None:
    with ran(tmp_path, accelerated, "mov dword [ebp], 7", memory_bytes=2 << 30) as machine:
        assert machine.technique.statistics()["hole"] >= 2 << 30  # type: ignore[attr-defined]
        assert dwords(machine, 1) == [7]


TICKS = 40
INTERRUPTED = f"""
    mov edi, idt + 8 * 8
    mov eax, tick
    mov [edi], ax
    mov word [edi + 2], 8
    mov word [edi + 4], 0x8e00
    shr eax, 16
    mov [edi + 6], ax
    lidt [idtr]
    mov al, 0x34                        ; 4 kHz
    out 0x43, al
    mov al, 0x2a
    out 0x40, al
    mov al, 1
    out 0x40, al
    mov al, 0xfe
    out 0x21, al
    mov esi, 0x12345678
    xor ebx, ebx
again:
    sti
    pushfd
    popfd
    mov ecx, 3
    push esi
    call turn
    pop edx
    cmp edx, esi
    jne bad
    cmp esp, 0x90000
    jne bad
    cli
    pushfd
    pop eax
    test eax, 0x200
    jnz bad
    push dword 0x202
    popfd
    cmp dword [ticks], {TICKS}
    jb again
    cli
    mov dword [ebp], 1
    jmp end
bad:
    cli
    mov dword [ebp], 2
    jmp end
turn:
    mov eax, over
    jmp eax
over:
    loop turn
    ret
tick:
    push eax
    inc dword [ticks]
    mov al, 0x20
    out 0x20, al
    pop eax
    iret
align 4
idtr: dw 16 * 8 - 1
    dd idt
align 4096
ticks: dd 0
idt: times 16 dq 0
align 4096
end:
"""


@ENGINES
def test_interrupts_come_between_two_instructions_of_the_guest(engine: str, tmp_path: Path) -> None:
    with ran(tmp_path, engine, INTERRUPTED) as machine:
        assert dwords(machine, 1) == [1]
        assert exits(machine)["inject.interrupt"] >= TICKS


@ENGINES
def test_single_steps_are_the_guests(engine: str, tmp_path: Path) -> None:
    """With TF set there is one #DB an instruction, sequences and jumps included."""
    body = """
    mov edi, idt + 8
    mov eax, stepped
    mov [edi], ax
    mov word [edi + 2], 8
    mov word [edi + 4], 0x8e00
    shr eax, 16
    mov [edi + 6], ax
    lidt [idtr]
    xor ebx, ebx
    mov edi, trace
    cld
    push dword 0x102
    popfd
    nop
    cli
    call there
    jmp short here
there: ret
here:
    cmp eax, eax
    jne here
    push dword 2
    popfd
    nop
    mov [ebp], ebx
    mov esi, trace
    lea edi, [ebp + 4]
    mov ecx, 12
    rep movsd
    jmp end
stepped:
    push eax
    mov eax, [esp + 4]
    sub eax, main
    stosd
    inc ebx
    pop eax
    iret
idtr: dw 16 * 8 - 1
    dd idt
align 4096
trace: times 16 dd 0
idt: times 16 dq 0
align 4096
end:
    """
    seen = []
    for technique in ("bare", "translation"):
        with ran(tmp_path, engine, body, technique=technique) as machine:
            seen.append(dwords(machine, 13))
    assert seen[0][0] >= 9
    assert seen[1] == seen[0]
