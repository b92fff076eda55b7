"""REP INS and OUTS of a data port in bulk: to the guest the same as element by element."""

from __future__ import annotations

import pytest

from tests.vmm.cpu.engine_rig import Rig, both_engines, prot, real
from vmm.cpu.engine import StopReason

pytestmark = both_engines

REPORT = """
    pushfd
    pop eax
    out LOG, eax
    mov eax, ecx
    out LOG, eax
    mov eax, esi
    out LOG, eax
    mov eax, edi
    out LOG, eax
    finish
"""
BASED = """
    mov byte [GDT_AT + DATA16 + 4], 1   ; base 10000h
    mov ax, DATA16
"""
A20_ON = "mov al, 1\n out A20, al"
GUESTS = {
    "insw": "mov edi, 0x20000\n mov ecx, 256\n rep insw",
    "insb": "mov edi, 0x20001\n mov ecx, 300\n rep insb",
    "insd": "mov edi, 0x20000\n mov ecx, 128\n rep insd",
    "outsw": "mov esi, 0x20000\n mov ecx, 256\n rep outsw",
    "outsd": "mov esi, 0x20004\n mov ecx, 100\n rep outsd",
    "outsb with repne": "mov esi, 0x20004\n mov ecx, 100\n repne outsb",
    "insw without rep": "mov edi, 0x20000\n mov ecx, 256\n insw\n insw",
    "none": "mov edi, 0x20000\n xor ecx, ecx\n rep insw",
    "one": "mov edi, 0x20000\n mov ecx, 1\n rep insw",
    "over a page": "mov edi, 0x20f80\n mov ecx, 256\n rep insw",
    "element over a page": "mov edi, 0x20f81\n mov ecx, 256\n rep insw",
    "over a page that lies elsewhere": (
        "paging\n mov dword [PTE + 0x21 * 4], 0x30007\n mov edi, 0x20f80\n mov ecx, 256\n rep insw"
    ),
    "out over a page that lies elsewhere": (
        "paging\n mov dword [PTE + 0x21 * 4], 0x30007\n mov esi, 0x20f80\n mov ecx, 256\n rep outsw"
    ),
    "into a missing page": (
        "paging\n mov dword [PTE + 0x21 * 4], 0\n mov edi, 0x20f80\n mov ecx, 256\n try rep insw"
    ),
    "out of a missing page": (
        "paging\n mov dword [PTE + 0x21 * 4], 0\n mov esi, 0x20f80\n mov ecx, 256\n try rep outsw"
    ),
    "into a read-only page": (
        "paging\n mov eax, cr0\n or eax, 0x10000\n mov cr0, eax\n mov dword [PTE + 0x21 * 4], 0x21005\n"
        "mov edi, 0x20f80\n mov ecx, 256\n try rep insw"
    ),
    "downwards": "std\n mov edi, 0x20100\n mov ecx, 100\n rep insw",
    "out downwards": "std\n mov esi, 0x20100\n mov ecx, 100\n rep outsw",
    "16-bit addresses": "mov edi, 0x5ff80\n mov ecx, 0x50080\n a16 rep insw",
    "16-bit addresses that wrap": BASED + "mov es, ax\n mov edi, 0x1fff0\n mov ecx, 32\n a16 rep insw",
    "a based segment": BASED + "mov es, ax\n mov edi, 0x8000\n mov ecx, 100\n rep insd",
    "a segment override": BASED + "mov fs, ax\n mov esi, 0x8000\n mov ecx, 100\n rep fs outsd",
    "an override that INS ignores": BASED + "mov fs, ax\n mov edi, 0x20000\n mov ecx, 100\n rep fs insd",
    "into a window": "mov edi, 0xa0000\n mov ecx, 100\n rep insb",
    "into a window's border": "mov edi, 0x9fff0\n mov ecx, 100\n rep insb",
    "into a hole": "mov edi, 0x3fff00\n mov ecx, 200\n rep insd",
    "into ROM": "mov edi, 0xffff0000\n mov ecx, 200\n rep insd",
    "into a shadow segment": "mov edi, 0xc0000\n mov ecx, 200\n rep insd",
    "with A20 off": "xor al, al\n out A20, al\n mov edi, 0x120000\n mov ecx, 100\n rep insw\n" + A20_ON,
    "out with A20 off": "xor al, al\n out A20, al\n mov esi, 0x120000\n mov ecx, 99\n rep outsw\n" + A20_ON,
    "over the code that runs next": (
        "mov edi, patched\n mov ecx, 2\n mov eax, 0\n rep insb\n patched: mov al, 0\n log eax"
    ),
}  # fmt: skip
BULK = {"insw", "insb", "insd", "outsw", "outsd", "over a page", "a based segment", "a segment override"}


def outcome(engine: str, source: str, *, bulk: bool) -> tuple[list[object], list[tuple[str, int, int]]]:
    """Run a guest; return all it could see, and the calls of the port."""
    rig = Rig(engine, bulk=bulk)
    rig.block.source[:2] = b"\xb0\x05"
    for at in (0x20000, 0x30000, 0x18000, 0x12_0000):
        rig.memory.write(at, bytes(i * 5 + (at >> 12) & 0xFF for i in range(0x2000)))
    rig.load(source)
    assert rig.run() is StopReason.HALTED
    spans = ((0x10000, 0x1000), (0x18000, 0x2000), (0x1F000, 0x22000), (0xC0000, 0x1000), (0x12_0000, 0x2000))
    memory = [rig.memory.read(at, length) for at, length in spans]
    writes = [access[1:] for access in rig.window.accesses if access[0] == "write" and access[3]]
    return [
        rig.log,
        rig.frames,
        memory,
        rig.memory.read(0x3F_FF00, 0x100),
        rig.block.sink,
        rig.block.source,
        writes,
    ], rig.block.calls


@pytest.mark.parametrize("name", GUESTS)
def test_bulk_is_the_same_as_single_elements(engine: str, name: str) -> None:
    source = prot(f"mov edx, BLOCK\n mov esi, 0\n mov edi, 0\n cld\n {GUESTS[name]}\n{REPORT}")
    single, singles = outcome(engine, source, bulk=False)
    bulk, calls = outcome(engine, source, bulk=True)
    assert bulk == single
    assert max((elements for _, _, elements in singles), default=1) == 1
    if name in BULK:
        assert len(calls) <= 3


@pytest.mark.parametrize(
    ("es", "di", "cx"), [(0x2000, 0, 256), (0x2000, 0xFFF0, 64), (0x2001, 0xFF01, 200), (0xFFFF, 0x10, 64)]
)
def test_real_mode_segments_wrap(engine: str, es: int, di: int, cx: int) -> None:
    source = real(f"""
        mov ax, {es:#x}
        mov es, ax
        mov edi, {0xABCD0000 | di:#x}
        mov ecx, {0x12340000 | cx:#x}
        mov dx, BLOCK
        rep insw
        log edi
        log ecx
        finish""")
    single, _ = outcome(engine, source, bulk=False)
    bulk, calls = outcome(engine, source, bulk=True)
    assert bulk == single
    assert single[0] == [0xABCD_0000 | (di + 2 * cx) & 0xFFFF, 0x1234_0000]
    assert len(calls) < cx
