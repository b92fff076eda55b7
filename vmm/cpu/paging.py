"""Linear to physical: the page walk of an x86 processor, on a `CpuView`.

Three walks are told apart by CR0.PG, CR4.PAE and IA32_EFER.LMA: 32-bit (with 4 MiB pages and
PSE-36), PAE and 4-level. Protection is CR0.WP, U/S, R/W, NX, SMEP and SMAP; accessed and dirty bits
are set when a translation succeeds, never by one that faults.

Not modelled: 5-level paging, protection keys, PCIDs, the TLB (every walk reads the tables, unless
`CpuView.lookup` knows the answer), the four PDPTEs that PAE caches at MOV CR3 (they are read in place),
and the stricter SMAP rule for implicit accesses made with EFLAGS.AC set. The A20 gate belongs to the
memory behind `CpuView.memory`.

Sources: [SDM3] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A, chapter 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct as Layout
from typing import Final

from vmm.cpu import registers as r
from vmm.cpu.state import CpuView

PAGE_SIZE: Final = 4096
PAGE_MASK: Final = PAGE_SIZE - 1
MASK_32: Final = 0xFFFF_FFFF
MASK_64: Final = 0xFFFF_FFFF_FFFF_FFFF

# Page-fault error code, [SDM3] §4.7
PF_P: Final = 1 << 0
PF_W: Final = 1 << 1
PF_U: Final = 1 << 2
PF_RSVD: Final = 1 << 3
PF_I: Final = 1 << 4

# Paging-structure entries, [SDM3] tables 4-4 to 4-20
PTE_P: Final = 1 << 0
PTE_W: Final = 1 << 1
PTE_U: Final = 1 << 2
PTE_A: Final = 1 << 5
PTE_D: Final = 1 << 6
PTE_PS: Final = 1 << 7
PTE_NX: Final = 1 << 63

MAX_PHYSICAL_BITS: Final = 40  # what CPUID 80000008h of the engine's models says
_ADDRESS_64: Final = ((1 << 52) - 1) & ~PAGE_MASK
_RESERVED_64: Final = _ADDRESS_64 & ~((1 << MAX_PHYSICAL_BITS) - 1)
_SMXP: Final = r.CR4_SMEP | r.CR4_SMAP
_NOT_PLAIN: Final = r.CR4_PAE | _SMXP
_ACCESSED: Final = PTE_P | PTE_A
_PLAIN: Final = (  # what both entries of 32-bit paging must have, by write and user
    (_ACCESSED, _ACCESSED | PTE_U),
    (_ACCESSED | PTE_W, _ACCESSED | PTE_W | PTE_U),
)
_PSE36_RESERVED: Final = 1 << 21
_DWORD: Final = Layout("<I").unpack
_QWORD: Final = Layout("<Q").unpack
_PDPTE_SHIFT: Final = 30
_PML4E_SHIFT: Final = 39

Trail = Sequence[tuple[int, int]]


class GuestFault(Exception):  # noqa: N818 - the architecture's word; it is the guest's, not an error of ours
    """An exception the guest's processor raises.

    Attributes:
        vector: Exception vector.
        error_code: What is pushed, or None where the vector has none.
        cr2: The faulting linear address of a #PF, else None.
    """

    def __init__(self, vector: int, error_code: int | None = None, cr2: int | None = None) -> None:
        super().__init__(vector, error_code, cr2)
        self.vector, self.error_code, self.cr2 = vector, error_code, cr2

    def __str__(self) -> str:
        name = r.EXCEPTION_NAMES.get(self.vector, f"vector {self.vector:#04x}")
        code = "" if self.error_code is None else f"({self.error_code:#x})"
        at = "" if self.cr2 is None else f" at {self.cr2:#x}"
        return f"{name}{code}{at}"


def is_canonical(address: int) -> bool:
    """Whether bits 63:47 of a 64-bit linear address are all alike."""
    return (address >> 47) in (0, 0x1FFFF)


def translate(view: CpuView, linear: int, *, write: bool, user: bool, fetch: bool = False) -> int:
    """Return the physical address of one linear address, setting accessed and dirty bits.

    Raises:
        GuestFault: #PF, or #GP(0) for an address that is not canonical in IA-32e mode.
    """
    cr = view.cr
    if not cr[0] & r.CR0_PG:
        return linear & MASK_32
    if view.lookup is not None:
        physical = view.lookup(linear, write, user, fetch)
        if physical is not None:
            return physical
    if not cr[4] & _NOT_PLAIN:  # a shorter way for what the walk below would neither refuse nor mark
        read = view.memory.read
        wanted = _PLAIN[write][user]
        (pde,) = _DWORD(read((cr[3] & 0xFFFF_F000) + (linear >> 20 & 0xFFC), 4))
        if pde & (wanted | PTE_PS) == wanted:
            pte: int = _DWORD(read((pde & 0xFFFF_F000) + (linear >> 10 & 0xFFC), 4))[0]
            if pte & wanted == wanted and (pte & PTE_D or not write):
                return pte & 0xFFFF_F000 | linear & PAGE_MASK
    access = (PF_W if write else 0) | (PF_U if user else 0) | (PF_I if fetch else 0)
    return walk(view, linear, access)[0]


def walk(view: CpuView, linear: int, access: int) -> tuple[int, Trail]:
    """Translate with paging on, for an access of PF_W, PF_U, PF_I bits; set accessed and dirty bits.

    Returns the physical address and the (address, entry) read on the way, the last level first, without
    the PDPTE of PAE paging.

    Raises:
        GuestFault: as `translate`.
    """
    physical, trail = _walk(view, linear, access)
    wanted = PTE_A | PTE_D if access & PF_W else PTE_A  # of the last entry; the tables above it have no D
    for address, entry in trail:
        if entry & wanted != wanted:
            view.memory.write(address, bytes(((entry | wanted) & 0xFF,)))
        wanted = PTE_A
    return physical, trail


def probe(view: CpuView, linear: int) -> int | None:
    """Return the physical address behind a linear one, or None; no protection, no side effect."""
    if not view.cr[0] & r.CR0_PG:
        return linear & MASK_32
    try:
        return _walk(view, linear, None)[0]
    except GuestFault:
        return None


def read_linear(view: CpuView, linear: int, n: int, user: bool = False) -> bytes:
    """Read `n` bytes, which may cross pages and wrap round the top of the address space.

    Raises:
        GuestFault: #PF at the first byte that cannot be read.
    """
    if (linear & PAGE_MASK) + n <= PAGE_SIZE:
        return view.memory.read(translate(view, linear, write=False, user=user), n)
    parts = [(translate(view, at, write=False, user=user), size) for at, size in _pieces(view, linear, n)]
    return b"".join(view.memory.read(physical, size) for physical, size in parts)


def plan_write(view: CpuView, linear: int, data: bytes, user: bool = False) -> list[tuple[int, bytes]]:
    """Check and translate a write without doing it: the (physical address, bytes) to store.

    Raises:
        GuestFault: #PF at the first byte that cannot be written.
    """
    n = len(data)
    if (linear & PAGE_MASK) + n <= PAGE_SIZE:
        return [(translate(view, linear, write=True, user=user), data)]
    plan = []
    done = 0
    for at, size in _pieces(view, linear, n):
        plan.append((translate(view, at, write=True, user=user), data[done : done + size]))
        done += size
    return plan


def write_linear(view: CpuView, linear: int, data: bytes, user: bool = False) -> None:
    """Write `data`; every page is checked before the first byte is stored.

    Raises:
        GuestFault: #PF, with nothing written.
    """
    commit(view, plan_write(view, linear, data, user))


def commit(view: CpuView, plan: list[tuple[int, bytes]]) -> None:
    """Store what `plan_write` planned; cannot fault."""
    for physical, data in plan:
        view.memory.write(physical, data)


def _pieces(view: CpuView, linear: int, n: int) -> list[tuple[int, int]]:
    """Cut [linear, linear + n) at page boundaries, wrapping at 4 GiB outside IA-32e mode."""
    mask = MASK_64 if view.efer & r.EFER_LMA else MASK_32
    pieces = []
    while n:
        linear &= mask
        size = min(n, PAGE_SIZE - (linear & PAGE_MASK))
        pieces.append((linear, size))
        linear += size
        n -= size
    return pieces


def _walk(view: CpuView, linear: int, access: int | None) -> tuple[int, Trail]:
    """Walk the tables; `access` holds the PF_W, PF_U and PF_I bits, None asks for no protection.

    Returns the physical address and the trail of (entry address, entry) to be marked accessed, the
    last entry first.
    """
    if not view.cr[4] & r.CR4_PAE:
        return _walk_32(view, linear & MASK_32, access)
    if view.efer & r.EFER_LMA:
        if not is_canonical(linear):
            raise GuestFault(r.GP, 0)
        return _walk_64(view, linear, access, view.cr[3] & _ADDRESS_64, _PML4E_SHIFT)
    linear &= MASK_32
    table = view.cr[3] & MASK_32 & ~0x1F
    pdpte = int.from_bytes(view.memory.read(table + (linear >> _PDPTE_SHIFT) * 8, 8), "little")
    if not pdpte & PTE_P:
        raise _page_fault(view, linear, access, 0)
    # A PDPTE of PAE paging has no rights and no accessed bit of its own, [SDM3] table 4-8
    return _walk_64(view, linear, access, pdpte & _ADDRESS_64, 21)


def _walk_32(view: CpuView, linear: int, access: int | None) -> tuple[int, Trail]:
    """32-bit paging, [SDM3] §4.3."""
    read = view.memory.read
    pde_at = (view.cr[3] & 0xFFFF_F000) + (linear >> 22) * 4
    (pde,) = _DWORD(read(pde_at, 4))
    if not pde & PTE_P:
        raise _page_fault(view, linear, access, 0)
    if pde & PTE_PS and view.cr[4] & r.CR4_PSE:
        if pde & _PSE36_RESERVED:
            raise _page_fault(view, linear, access, PF_P | PF_RSVD)
        if access is not None:
            _check(view, linear, access, pde)
        high = (pde >> 13 & 0xFF) << 32  # PSE-36: bits 20:13 are address bits 39:32
        return high | pde & 0xFFC0_0000 | linear & 0x3F_FFFF, ((pde_at, pde),)
    pte_at = (pde & 0xFFFF_F000) + (linear >> 12 & 0x3FF) * 4
    (pte,) = _DWORD(read(pte_at, 4))
    if not pte & PTE_P:
        raise _page_fault(view, linear, access, 0)
    if access is not None:
        _check(view, linear, access, pde & pte)
    return pte & 0xFFFF_F000 | linear & PAGE_MASK, ((pte_at, pte), (pde_at, pde))


def _walk_64(view: CpuView, linear: int, access: int | None, table: int, shift: int) -> tuple[int, Trail]:
    """The levels of PAE and 4-level paging that share one 64-bit entry format, [SDM3] §4.4, §4.5."""
    read = view.memory.read
    reserved = _RESERVED_64 if view.efer & r.EFER_NXE else _RESERVED_64 | PTE_NX
    rights = PTE_W | PTE_U
    nx = 0
    trail: list[tuple[int, int]] = []
    while True:
        at = table + (linear >> shift & 0x1FF) * 8
        (entry,) = _QWORD(read(at, 8))
        if not entry & PTE_P:
            raise _page_fault(view, linear, access, 0)
        leaf = shift == 12 or entry & PTE_PS
        if leaf and shift > 12:
            # A large page: address bits below it, but the PAT bit, are reserved; no 512 GiB pages
            below = (1 << shift) - 1 & _ADDRESS_64 & ~(1 << 12)
            reserved |= below if shift < _PML4E_SHIFT else PTE_PS
        if entry & reserved:
            raise _page_fault(view, linear, access, PF_P | PF_RSVD)
        rights &= entry
        nx |= entry
        trail.insert(0, (at, entry))
        if leaf:
            break
        table = entry & _ADDRESS_64
        shift -= 9
    if access is not None:
        _check(view, linear, access, rights | nx & PTE_NX)
    offset = (1 << shift) - 1
    return entry & _ADDRESS_64 & ~offset | linear & offset, trail


def _check(view: CpuView, linear: int, access: int, rights: int) -> None:
    """Apply [SDM3] §4.6: `rights` are the R/W and U/S bits of the whole walk and, if any is set, NX."""
    if access & PF_U:
        allowed = rights & PTE_U and (rights & PTE_W or not access & PF_W)
    else:
        allowed = rights & PTE_W or not access & PF_W or not view.cr[0] & r.CR0_WP
        if rights & PTE_U and view.cr[4] & _SMXP:
            allowed = allowed and _supervisor_may(view, access)
    if not allowed or (access & PF_I and rights & PTE_NX):
        raise _page_fault(view, linear, access, PF_P)


def _supervisor_may(view: CpuView, access: int) -> bool:
    """SMEP and SMAP: whether supervisor mode may touch a user page, [SDM3] §4.6.1."""
    if access & PF_I:
        return not view.cr[4] & r.CR4_SMEP
    return not view.cr[4] & r.CR4_SMAP or (view.cpl < 3 and bool(view.rflags & r.AC))


def _page_fault(view: CpuView, linear: int, access: int | None, why: int) -> GuestFault:
    """Build the #PF; the I/D bit is reported only where fetches can be told apart, [SDM3] §4.7."""
    code = why | (access or 0)
    if code & PF_I:
        nx = view.cr[4] & r.CR4_PAE and view.efer & r.EFER_NXE
        if not (nx or view.cr[4] & r.CR4_SMEP):
            code &= ~PF_I
    return GuestFault(r.PF_FAULT, code, linear)
