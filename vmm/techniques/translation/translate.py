"""The translator: one basic block of ring-0 code, to be run at ring 1 from the translation cache.

Most instructions are copied. Branches lead to translations, through traps until these exist; CLI, STI,
PUSHF, POPF, near calls and returns, and reads of CS become the sequences of `emit.py`; any other
instruction that is privileged or sensitive becomes a trap, whose `Site` says what the guest has there.
16-bit code becomes 32-bit code: its size prefixes are turned round.

Which instructions these are is [RI]'s list and [SDM3] §5.9; see `decode.classify`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final, NamedTuple

from vmm.cpu.encoding import LOCK
from vmm.cpu.paging import MASK_32
from vmm.techniques.translation.emit import JUMP, TRAP, Emitter, dword
from vmm.techniques.translation.lengths import Shape, plain_length, shape
from vmm.techniques.translation.sixteen import turned

MOST_INSTRUCTIONS: Final = 48
MOST_BYTES: Final = 4096  # of code a block can become
_CS, _SS = 1, 2


class Kind(enum.IntEnum):
    """What a trap in the cache asks for."""

    EMULATE = 0  # the instruction in `code`
    INTERRUPT = 1  # INT `detail`
    CHAIN = 2  # a branch to `eip`, from the jump whose displacement is at `detail`
    LOOK_UP = 3  # a branch to the address in TARGET
    WINDOW = 4  # STI with an interrupt waiting; the next instruction is at `eip`
    GO_ON = 5  # one instruction was let through; the next is at `eip`
    RETRY = 6  # nothing was there to be run
    ASLEEP = 7  # the block that begins there is not to be run; the guest is at `eip`


class Site(NamedTuple):
    """A trap in the cache: what it asks for, and where the guest is."""

    kind: int
    eip: int
    code: bytes = b""
    detail: int = 0


class Context(NamedTuple):
    """What a translation depends on beside the code.

    `plain`: ring 0 with IOPL 0, as every modern kernel; elsewhere the instructions on flags are traps.
    """

    number: int
    base: int  # of CS
    bits: int  # 16 or 32
    wide_stack: bool
    plain: bool
    selector: int  # of CS
    stack_selector: int  # of SS
    emitter: Emitter


class Draft:
    """A block on its way to the cache; positions count from its start."""

    def __init__(
        self, context: Context, eip: int, code: bytes, *, single: bool = False, most: int = MOST_INSTRUCTIONS
    ) -> None:
        """`code` is what lies at EIP to the end of its page. `single`: one instruction, then a trap."""
        self.context, self.eip, self.single = context, eip, single
        self.out = bytearray()
        self.starts: list[int] = []  # of instructions
        self.eips: list[int] = []  # where the guest is at these
        self.sites: list[tuple[int, Site]] = []
        self.links: list[tuple[int, int]] = []  # (position of a displacement, EIP it leads to)
        self.lookups: list[int] = []  # displacements that lead to the lookup
        self.shadows: list[int] = []  # positions in the shadow of STI
        self._code, self._most = code, most
        self.length = 0  # of guest code
        self.next_eip = eip
        self._found: Shape  # the instruction under way, and its bytes
        self._bytes = b""
        self._modrm_at = 0

    def translate(self) -> None:
        """Do it.

        Raises:
            IndexError: the first instruction goes on in the next page.
        """
        code, bits, at = self._code, self.context.bits, 0
        out, starts, eips = self.out, self.starts, self.eips
        end, first = len(code), self.eip
        for count in range(1 if self.single else self._most):
            try:
                size = plain_length(code, at) if bits == 32 else 0
                if size:
                    if at + size > end:
                        raise IndexError(at)  # noqa: TRY301
                    starts.append(len(out))
                    eips.append(first + at & MASK_32)
                    out += code[at : at + size]
                    at += size
                    continue
                found = shape(code, at, bits)
            except IndexError:
                if not count:
                    raise
                break
            starts.append(len(out))
            eips.append(first + at & MASK_32)
            if self._translate_closely(found, at):
                self._finish()
                return
            at += found.length
        self.length = at
        self._jump(first + at & MASK_32)
        self._finish()

    def _translate_closely(self, found: Shape, at: int) -> bool:
        """Translate an instruction that may be special. Returns whether the block ends with it."""
        self.length = at + found.length
        self.next_eip = self.eip + self.length & MASK_32
        self._found, self._bytes = found, self._code[at : self.length]
        self._modrm_at = found.modrm_at - at
        if found.opcode in _INLINED and LOCK in self._bytes:
            return self._trap()  # its emulation says #UD
        return _SPECIAL[found.opcode](self) if found.special else self.copied()

    # -- what ends a block

    def _jump(self, target: int, head: bytes = JUMP) -> None:
        """A jump, or with `head` a conditional one, to what the guest has at `target`."""
        if head is JUMP:
            self.starts.append(len(self.out))
            self.eips.append(target)
        self.out += head + bytes(4)
        self.links.append((len(self.out) - 4, target))

    def _finish(self) -> None:
        """Behind the block come the traps that its jumps lead to at first."""
        out = self.out
        for field, target in self.links:
            at = len(out)
            out[field : field + 4] = dword(at - field - 4)
            self.starts.append(at)
            self.eips.append(target)
            kind = Kind.GO_ON if self.single else Kind.CHAIN
            self.sites.append((at, Site(kind, target, detail=field)))
            out += TRAP

    def _look_up(self) -> None:
        if self.single:
            self.sites.append((len(self.out), Site(Kind.LOOK_UP, self.eip)))
            self.out += TRAP
        else:
            self.out += JUMP + bytes(4)
            self.lookups.append(len(self.out) - 4)

    def _trap(self, kind: int = Kind.EMULATE, detail: int = 0) -> bool:
        self.sites.append((len(self.out), Site(kind, self.eips[-1], self._bytes, detail)))
        self.out += TRAP
        return True

    def _push(self, value: int) -> None:
        self.out += b"\x68" + dword(value) if self._found.wide else b"\x66\x68" + dword(value)[:2]

    def _target(self, displacement: bytes) -> int:
        target = self.next_eip + int.from_bytes(displacement, "little", signed=True)
        return target & (MASK_32 if self._found.wide else 0xFFFF)

    @property
    def _modrm(self) -> int:
        return self._bytes[self._modrm_at]

    # -- one instruction each; the result says whether the block ends

    def emulated(self) -> bool:
        """Whatever has to be emulated."""
        return self._trap()

    def jump_short(self) -> bool:
        """JMP rel8."""
        self.starts.pop()
        self.eips.pop()
        self._jump_from(1)
        return True

    def jump_near(self) -> bool:
        """JMP rel16 and rel32."""
        self.starts.pop()
        self.eips.pop()
        self._jump_from(4 if self._found.wide else 2)
        return True

    def _jump_from(self, size: int) -> None:
        """A jump that is an instruction of the guest's: at it, the guest is not yet at the target."""
        start, eip = len(self.out), self.next_eip - len(self._bytes) & MASK_32
        self._jump(self._target(self._bytes[-size:]))
        self.starts[-1], self.eips[-1] = start, eip

    def branch_short(self) -> bool:
        """Jcc rel8."""
        return self._branch(1)

    def branch_near(self) -> bool:
        """Jcc rel16 and rel32."""
        return self._branch(4 if self._found.wide else 2)

    def _branch(self, size: int) -> bool:
        self._jump(self._target(self._bytes[-size:]), bytes((0x0F, 0x80 | self._found.opcode & 15)))
        self._jump(self.next_eip)
        return True

    def loop(self) -> bool:
        """LOOP, LOOPE, LOOPNE, JCXZ: over the jump that is not taken."""
        if not self._found.wide_address:
            self.out += b"\x67"
        self.out += bytes((self._found.opcode, 5))
        self._jump(self.next_eip)
        self._jump(self._target(self._bytes[-1:]))
        return True

    def call(self) -> bool:
        """CALL rel16 and rel32."""
        self._push(self.next_eip)
        start = len(self.out)
        self._jump(self._target(self._bytes[-4 if self._found.wide else -2 :]))
        assert self.starts.pop() == start  # the jump is part of the call, not an instruction
        self.eips.pop()
        return True

    def ret(self) -> bool:
        """RET."""
        self._pop_target()
        self._look_up()
        return True

    def ret_and_pop(self) -> bool:
        """RET imm16; LEA on SP alone leaves the upper half of ESP, as a 16-bit stack does."""
        self._pop_target()
        if not self.context.wide_stack:
            self.out += b"\x66"
        self.out += b"\x8d\xa4\x24" + self._bytes[-2:] + b"\0\0"  # lea esp, [esp + imm]
        self._look_up()
        return True

    def _pop_target(self) -> None:
        emitter = self.context.emitter
        wide = self._found.wide
        self.out += emitter.pop_target if wide else emitter.clear_target + b"\x66" + emitter.pop_target

    def group_5(self) -> bool:
        """Indirect jumps and calls, near and far; INC, DEC and PUSH are copied."""
        modrm = self._modrm
        which = modrm >> 3 & 7
        if which in (3, 5) and modrm < 0xC0:
            return self._trap()
        if which not in (2, 4):
            return self.copied()
        emitter = self.context.emitter
        # mov eax, r/m32 or movzx eax, r/m16, with the same operand; the prefixes stay
        opcode_at = self._modrm_at - 1
        prefixes = bytes(byte for byte in self._bytes[:opcode_at] if byte in _SEGMENTS)
        if not self._found.wide_address:
            prefixes += b"\x67"
        operand = bytes((modrm & 0xC7,)) + self._bytes[opcode_at + 2 :]
        self.out += emitter.save_eax + prefixes + (b"\x8b" if self._found.wide else b"\x0f\xb7") + operand
        self.out += emitter.save_target + emitter.load_eax
        if which == 2:
            self._push(self.next_eip)
        self._look_up()
        return True

    def copied(self) -> bool:
        """It is harmless after all."""
        self.out += self._bytes if self.context.bits == 32 else turned(self._found, self._bytes)
        return False

    def push_cs(self) -> bool:
        """PUSH CS: the selector is known."""
        self._push(self.context.selector)
        return False

    def push_ss(self) -> bool:
        """PUSH SS: so is this one."""
        self._push(self.context.stack_selector)
        return False

    def from_segment(self) -> bool:
        """MOV from CS or SS into a register; the others show what the guest loaded."""
        modrm = self._modrm
        which = modrm >> 3 & 7
        if which not in (_CS, _SS):
            return self.copied()
        if modrm < 0xC0:
            return self._trap()
        selector = dword(self.context.selector if which == _CS else self.context.stack_selector)
        move = bytes((0xB8 | modrm & 7,))
        self.out += move + selector if self._found.wide else b"\x66" + move + selector[:2]
        return False

    def to_segment(self) -> bool:
        """MOV to SS: with RPL 0 it would fault."""
        modrm = self._modrm
        return self._trap() if modrm >> 3 & 7 == _SS else self.copied()

    def group_6(self) -> bool:
        """SLDT, STR, LLDT, LTR, VERR, VERW."""
        modrm = self._modrm
        return self._trap() if modrm >> 3 & 7 < 6 else self.copied()

    def group_7(self) -> bool:
        """SGDT, SIDT, LGDT, LIDT, SMSW, LMSW, INVLPG; the register forms of others are let through."""
        modrm = self._modrm
        if modrm >= 0xC0 and modrm >> 3 & 7 not in (4, 6):
            return self.copied()
        return self._trap()

    def ports(self) -> bool:
        """IN, OUT, INS, OUTS: the engine lets ring 1 pass, so that only ring 0 may be there."""
        return self.copied() if self.context.plain else self._trap()

    def interrupt(self) -> bool:
        """INT3, INT n, INTO, INT1."""
        return self._trap(Kind.INTERRUPT, self._found.opcode)

    def cli(self) -> bool:
        """CLI."""
        if not self.context.plain:
            return self._trap()
        self.out += self.context.emitter.cli
        return False

    def sti(self) -> bool:
        """STI: a trap if an interrupt waits."""
        if not self.context.plain:
            return self._trap()
        emitter = self.context.emitter
        self.out += emitter.sti
        self.sites.append((len(self.out), Site(Kind.WINDOW, self.next_eip)))
        self.out += TRAP + emitter.sti_end
        self.shadows.append(len(self.out))
        return False

    def pushf(self) -> bool:
        """PUSHF."""
        if not (self.context.plain and self.context.wide_stack and self._found.wide):
            return self._trap()
        self.out += self.context.emitter.pushf
        return False

    def popf(self) -> bool:
        """POPF: a trap if it opens the window to an interrupt that waits, or changes rare flags."""
        if not (self.context.plain and self.context.wide_stack and self._found.wide):
            return self._trap()
        emitter = self.context.emitter
        self.out += emitter.popf
        self.sites.append((len(self.out), Site(Kind.EMULATE, self.eips[-1], self._bytes)))
        self.out += TRAP + emitter.popf_end
        return False


_INLINED: Final = frozenset({0x0E, 0x16, 0x8C, 0x9C, 0x9D, 0xFA, 0xFB})  # what is not run itself
_SEGMENTS: Final = frozenset(b"\x26\x2e\x36\x3e\x64\x65")


def _special() -> dict[int, Callable[[Draft], bool]]:
    table: dict[int, Callable[[Draft], bool]] = dict.fromkeys(
        (0x17, 0x9A, 0xCA, 0xCB, 0xCF, 0xEA, 0xF4, 0x0F02, 0x0F03, 0x0F05, 0x0F06, 0x0F07, 0x0F08, 0x0F09,
         0x0F20, 0x0F21, 0x0F22, 0x0F23, 0x0F30, 0x0F32, 0x0F33, 0x0F34, 0x0F35, 0x0FB2),
        Draft.emulated,
    )  # fmt: skip
    table |= dict.fromkeys((*range(0x6C, 0x70), *range(0xE4, 0xE8), *range(0xEC, 0xF0)), Draft.ports)
    table |= dict.fromkeys(range(0x70, 0x80), Draft.branch_short)
    table |= dict.fromkeys(range(0x0F80, 0x0F90), Draft.branch_near)
    table |= dict.fromkeys(range(0xE0, 0xE4), Draft.loop)
    table |= dict.fromkeys((0xCC, 0xCD, 0xCE, 0xF1), Draft.interrupt)
    return table | {
        0x0E: Draft.push_cs, 0x16: Draft.push_ss, 0x8C: Draft.from_segment, 0x8E: Draft.to_segment,
        0x9C: Draft.pushf,
        0x9D: Draft.popf, 0xC2: Draft.ret_and_pop, 0xC3: Draft.ret, 0xE8: Draft.call, 0xE9: Draft.jump_near,
        0xEB: Draft.jump_short, 0xFA: Draft.cli, 0xFB: Draft.sti, 0xFF: Draft.group_5,
        0x0F00: Draft.group_6, 0x0F01: Draft.group_7,
    }  # fmt: skip


_SPECIAL: Final = _special()
