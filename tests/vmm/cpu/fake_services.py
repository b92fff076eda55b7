"""The surroundings of an emulated instruction, in plain Python."""

from __future__ import annotations


class FakeServices:
    """Answers with values that can be told apart, and remembers what was asked of it."""

    def __init__(self) -> None:
        self.msrs = {0x174: 0x1122_3344_5566_7788}
        self.drs = dict.fromkeys((0, 1, 2, 3, 6, 7), 0)
        self.invalidated: list[int] = []
        self.halts = 0
        self.cr8 = 9
        self.port_log: list[tuple[str, int, int, int]] = []
        self.nmi_ends = 0

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        return leaf + 1, subleaf + 2, 3, 0x1_0000_0004

    def read_msr(self, index: int) -> int | None:
        return self.msrs.get(index)

    def write_msr(self, index: int, value: int) -> bool:
        known = index in self.msrs
        if known:
            self.msrs[index] = value
        return known

    def read_tsc(self) -> int:
        return 0x1234_5678_9ABC_DEF0

    def read_cr8(self) -> int:
        return self.cr8

    def write_cr8(self, value: int) -> None:
        self.cr8 = value

    def invlpg(self, linear: int) -> None:
        self.invalidated.append(linear)

    def halt(self) -> None:
        self.halts += 1

    def read_dr(self, index: int) -> int:
        return self.drs[index]

    def write_dr(self, index: int, value: int) -> None:
        self.drs[index] = value

    def port_in(self, port: int, size: int) -> int:
        value = 0xA1B2_C3D4 + len(self.port_log) & (1 << size * 8) - 1
        self.port_log.append(("in", port, size, value))
        return value

    def port_out(self, port: int, size: int, value: int) -> None:
        self.port_log.append(("out", port, size, value))

    def end_nmi(self) -> None:
        self.nmi_ends += 1
