"""A whole machine whose guest attacks the paravirtual interface."""

from __future__ import annotations

import struct
from pathlib import Path
from random import Random

import pytest

from vmm.config import MachineConfig
from vmm.machine import Machine, RunResult
from vmm.techniques.para import abi

BASE = 0x10_0000
HEADER = 32
EXIT = 42
INT_82 = bytes((0xCD, 0x82))
ENDS = {"exit", "triple-fault", "halted", "timeout"}


def kernel(path: Path, calls: list[tuple[int, int, int, int]], how: bytes = INT_82) -> Path:
    """A Multiboot kernel that makes the calls one after another, and then writes EXIT to the exit port."""
    loop = b"\x8b\x06\x8b\x5e\x04\x8b\x4e\x08\x8b\x56\x0c" + how  # EAX EBX ECX EDX from [ESI]
    step = b"\x83\xc6\x10\x81\xfe"  # add esi, 16; cmp esi, imm32
    back = len(loop) + len(step) + 4 + 2
    leave = b"\x66\xba\xf4\x00\xb0" + bytes((EXIT,)) + b"\xee\xf4\xeb\xfd"
    table = BASE + HEADER + 5 + back + len(leave)
    code = b"\xbe" + table.to_bytes(4, "little") + loop + step
    code += (table + 16 * len(calls)).to_bytes(4, "little") + bytes((0x72, 256 - back)) + leave
    data = b"".join(struct.pack("<4I", *call) for call in calls)
    end = BASE + HEADER + len(code) + len(data)
    magic, flags = 0x1BAD_B002, 1 << 16
    header = struct.pack(
        "<8I", magic, flags, -(magic + flags) & 0xFFFF_FFFF, BASE, BASE, end, end, BASE + HEADER
    )
    path.write_bytes(header + code + data)
    return path


def run(path: Path, engine: str, timeout_s: float = 20, technique: str = "para") -> tuple[RunResult, Machine]:
    config = MachineConfig(engine=engine, kernel=str(path), technique=technique, memory_bytes=4 << 20)  # type: ignore[arg-type]
    with Machine(config) as machine:
        rom = machine.memory.read(0xFFFF_0000, 0x1_0000)
        result = machine.run(timeout_s=timeout_s)
        assert machine.memory.read(0xFFFF_0000, 0x1_0000) == rom
        return result, machine


@pytest.fixture(params=["accelerated", "portable"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "accelerated":
        request.getfixturevalue("accelerated")
    return str(request.param)


def random_calls(seed: int, count: int) -> list[tuple[int, int, int, int]]:
    random = Random(seed)
    edges = (
        0,
        1,
        2,
        5,
        7,
        8,
        0x1000,
        BASE,
        0x20_0000,
        0x3F_F000,
        0x40_0000,
        0x8000_0000,
        0xFFFF_F000,
        0xFFFF_FFFF,
    )

    def word() -> int:
        return random.choice(edges) if random.random() < 0.7 else random.getrandbits(32)

    calls = []
    while len(calls) < count:
        call = (random.choice(list(abi.NAMES)) if random.random() < 0.9 else word(), word(), word(), word())
        sleeps = call[:2] in ((abi.SCHED_OP, abi.SCHED_BLOCK), (abi.SCHED_OP, abi.SCHED_SHUTDOWN))
        if call[0] != abi.IRET and not sleeps and call[:2] != (abi.MMUEXT_OP, abi.NEW_BASEPTR):
            calls.append(call)
    return calls


@pytest.mark.parametrize("how", [INT_82, abi.VMCALL], ids=["int 82h", "vmcall"])
def test_both_ways_lead_to_the_monitor(how: bytes, engine: str, tmp_path: Path) -> None:
    result, machine = run(kernel(tmp_path / "k", [(abi.VERSION, 0, 0, 0)] * 3, how), engine)
    assert (result.reason, result.exit_code) == ("exit", EXIT)
    assert machine.exits["hypercall.version"].count == 3
    assert "reflect.int" not in machine.exits


@pytest.mark.parametrize("seed", range(6))
def test_random_calls_are_survived(seed: int, engine: str, tmp_path: Path) -> None:
    result, _ = run(kernel(tmp_path / "k", random_calls(seed, 150)), engine)
    assert result.reason in ENDS - {"timeout"}


@pytest.mark.parametrize(
    "call",
    [
        (abi.IRET, 0, 0, 0),
        (abi.MMUEXT_OP, abi.NEW_BASEPTR, 0, 0),
        (abi.MMUEXT_OP, abi.NEW_BASEPTR, BASE, 0),
        (abi.MMUEXT_OP, abi.NEW_BASEPTR, 0x3F_F000, 0),
        (abi.SET_GDT, 0xFFFF_FFFF, 8192, 0),
        (abi.SET_TRAP_TABLE, 0xFFFF_FFF0, 256, 0),
        (abi.SCHED_OP, abi.SCHED_SHUTDOWN, abi.SHUTDOWN_CRASH, 0),
    ],
)
def test_what_ends_a_guest_ends_only_it(
    call: tuple[int, int, int, int], accelerated: str, tmp_path: Path
) -> None:
    result, _ = run(kernel(tmp_path / "k", [call, (abi.VERSION, 0, 0, 0)]), accelerated)
    assert result.reason in ENDS - {"timeout"}


def test_sleep_without_anything_bound_is_sleep(accelerated: str, tmp_path: Path) -> None:
    calls = [(abi.SET_CALLBACKS, 0x20, 0x20_0000, 0), (abi.SCHED_OP, abi.SCHED_BLOCK, 0, 0)]
    result, _ = run(kernel(tmp_path / "k", calls), accelerated, timeout_s=1)
    assert result.reason == "timeout"


def test_an_upcall_without_a_handler_is_a_triple_fault(accelerated: str, tmp_path: Path) -> None:
    calls = [
        (abi.SET_CALLBACKS, 0x20, 0x20_0000, 0),
        (abi.EVENT_CHANNEL_OP, abi.EVENT_BIND_PIRQ, 1, 0),
        (abi.EVENT_CHANNEL_OP, abi.EVENT_SEND, 1, 0),
    ]
    result, _ = run(kernel(tmp_path / "k", calls), accelerated)
    assert result.reason == "triple-fault"


def test_power_off_gives_the_code(accelerated: str, tmp_path: Path) -> None:
    calls = [(abi.SCHED_OP, abi.SCHED_SHUTDOWN, abi.SHUTDOWN_POWER_OFF, 9)]
    result, _ = run(kernel(tmp_path / "k", calls), accelerated)
    assert (result.reason, result.exit_code) == ("exit", 9)


def test_a_bare_machine_has_no_hypercalls(accelerated: str, tmp_path: Path) -> None:
    path = kernel(tmp_path / "k", [(abi.VERSION, 0, 0, 0)], abi.VMCALL)
    result, _ = run(path, accelerated, technique="bare")
    assert result.reason == "triple-fault"
