"""Classical trap-and-emulate: ring deprivileging and nothing more, and what it therefore gets wrong.

Popek and Goldberg: a monitor can be built so if every sensitive instruction is privileged. On this
architecture some are not: at ring 1 they show or change real privileged state without a trap. Nothing
is done about them here; each is named where it happens. Where an intercept exists it tells of each
execution, and the instruction then has its real effect; the others are found when the block that holds
them is first scanned, just before it runs.
"""

from __future__ import annotations

from typing import Final

from vmm.cpu import registers as r
from vmm.cpu.emulate import emulate
from vmm.cpu.encoding import MAX_LENGTH
from vmm.cpu.engine import INTERCEPT_VECTOR
from vmm.cpu.intercepts import NAMES
from vmm.cpu.paging import MASK_32
from vmm.cpu.processor import Processor
from vmm.cpu.segmentation import code_bits
from vmm.cpu.software_int import read_code
from vmm.memory import Memory
from vmm.techniques.deprivileged import Deprivileged
from vmm.techniques.exits import Finding
from vmm.techniques.exposed_cpu import ExposedCpu
from vmm.techniques.sites import Site, find_sites

_TELLING: Final = ("sgdt", "sidt", "sldt", "str", "pushf", "popf")
_MOST_FINDINGS: Final = 10_000  # places a hostile guest can make us remember
WHAT: Final = {
    "SGDT": "showed the guest the monitor's GDTR",
    "SIDT": "showed the guest the monitor's IDTR",
    "SLDT": "showed the guest the monitor's LDTR",
    "STR": "showed the guest the monitor's task register",
    "SMSW": "showed the guest the real CR0",
    "PUSHF": "showed the guest the real IF and IOPL",
    "POPF": "left IF and IOPL as they were",
    "LAR": "showed the guest DPL 1 for its DPL 0",
    "LSL": "judged the guest by the monitor's descriptor table",
    "VERR": "judged the guest by the monitor's descriptor table",
    "VERW": "judged the guest by the monitor's descriptor table",
    "MOV": "showed the guest ring 1 in a selector",
    "PUSH": "showed the guest ring 1 in a selector",
    "CALL": "pushed a selector of ring 1",
    "RET": "returned without the guest's IF",
}


class Trap(Deprivileged):
    """Trap-and-emulate as the textbooks have it."""

    name = "trap"
    watches_blocks = True

    def __init__(self, processor: Processor, memory: Memory) -> None:
        super().__init__(processor, memory)
        self._exposed = ExposedCpu(self.vcpu)

    def take_over(self) -> None:
        """Arm what tells of sensitive instructions too."""
        super().take_over()
        self._seen: set[tuple[int, str]] = {(found.linear, found.name) for found in self.findings}
        self.arm(True, *_TELLING)

    def disarm(self) -> None:
        """Disarm it."""
        self.arm(False, *_TELLING)

    def on_intercept(self, vector: int, code: bytes, began: int) -> None:
        """A sensitive instruction: name it, and let it have its real effect."""
        if NAMES.get(vector - INTERCEPT_VECTOR) not in _TELLING:
            super().on_intercept(vector, code, began)
            return
        real = self.vcpu.real
        if self.vcpu.cpl == 0:
            code = code or read_code(self.vcpu, real.code_address(), MAX_LENGTH)
            for site in find_sites(code, code_bits(real), first_only=True):
                self._found(real.code_address(), site)
        stepping = real.state.eflags & r.TF
        emulate(self._exposed, self.services, code or None)
        if stepping:
            self.step()

    def on_block(self, code: bytes) -> None:
        """Name the sensitive instructions that no intercept tells of."""
        real = self.vcpu.real
        start = real.code_address()
        code = code or read_code(self.vcpu, start, self.engine.block_bytes)
        for site in find_sites(code, code_bits(real)):
            if site.goes_wrong and site.mnemonic not in _TELLING:
                self._found(start + site.offset & MASK_32, site)

    def _found(self, linear: int, site: Site) -> None:
        if (linear, site.name) in self._seen or len(self.findings) >= _MOST_FINDINGS:
            return
        self._seen.add((linear, site.name))
        self.found(Finding(linear, site.text, site.name, WHAT[site.name]))
