"""A whole machine whose guest attacks the paravirtual interface."""

from __future__ import annotations

import struct
from pathlib import Path
from random import Random

import pytest

from vmm.config import MachineConfig
from vmm.errors import ConfigError
from vmm.machine import Machine
from vmm.run_result import RunResult
from vmm.techniques.para import abi

BASE = 0x10_0000
HEADER = 32
EXIT = 42
INT_82 = bytes((0xCD, 0x82))
ENDS = {"exit", "triple-fault", "halted", "timeout"}


def kernel(
    path: Path, calls: list[tuple[int, int, int, int]], how: bytes = INT_82, before: bytes = b""
) -> Path:
    """A Multiboot kernel that makes the calls one after another, and then writes EXIT to the exit port."""
    loop = b"\x8b\x06\x8b\x5e\x04\x8b\x4e\x08\x8b\x56\x0c" + how  # EAX EBX ECX EDX from [ESI]
    step = b"\x83\xc6\x10\x81\xfe"  # add esi, 16; cmp esi, imm32
    back = len(loop) + len(step) + 4 + 2
    leave = b"\x66\xba\xf4\x00\xb0" + bytes((EXIT,)) + b"\xee\xf4\xeb\xfd"
    table = BASE + HEADER + len(before) + 5 + back + len(leave)
    code = before + b"\xbe" + table.to_bytes(4, "little") + loop + step
    code += (table + 16 * len(calls)).to_bytes(4, "little") + bytes((0x72, 256 - back)) + leave
    return multiboot(path, code + b"".join(struct.pack("<4I", *call) for call in calls))


def multiboot(path: Path, code: bytes) -> Path:
    """A Multiboot kernel that begins with `code`."""
    end = BASE + HEADER + len(code)
    magic, flags = 0x1BAD_B002, 1 << 16
    words = (magic, flags, -(magic + flags) & 0xFFFF_FFFF, BASE, BASE, end, end, BASE + HEADER)
    path.write_bytes(struct.pack("<8I", *words) + code)
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


@pytest.mark.parametrize("seed", range(2))
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


FULL = ("trap", "translation", "hardware")
PAGE = 0x20_0000
PLACE_PAGE = (
    b"\xb9" + (0x4000_0000).to_bytes(4, "little") + b"\xb8" + PAGE.to_bytes(4, "little") + b"\x31\xd2\x0f\x30"
)


def full(path: Path, technique: str, engine: str) -> tuple[RunResult, bytes]:
    config = MachineConfig(
        engine=engine,  # type: ignore[arg-type]
        kernel=str(path),
        technique=technique,  # type: ignore[arg-type]
        translation="patch",
        memory_bytes=4 << 20,
    )
    with Machine(config) as machine:
        return machine.run(timeout_s=20), machine.serial_output(0)


@pytest.mark.parametrize("technique", FULL)
def test_a_full_guest_may_call_too(technique: str, accelerated: str, tmp_path: Path) -> None:
    text = BASE + 1  # of the Multiboot header: something that is not zero
    calls = [
        (abi.VERSION, 0, 0, 0),
        (abi.CONSOLE_IO, abi.CONSOLE_WRITE, 3, text),
        (abi.SET_GDT, 0, 1, 0),
        (abi.SCHED_OP, abi.SCHED_SHUTDOWN, abi.SHUTDOWN_POWER_OFF, 5),
    ]
    result, output = full(kernel(tmp_path / "k", calls, abi.VMCALL, PLACE_PAGE), technique, accelerated)
    assert (result.reason, result.exit_code) == ("exit", 5)
    assert output == b"\xb0\xad\x1b"


@pytest.mark.parametrize("technique", FULL)
def test_a_full_guest_that_has_not_asked_for_the_page_gets_ud(
    technique: str, accelerated: str, tmp_path: Path
) -> None:
    """There is no handler: bare and all of these shut down."""
    result, _ = full(kernel(tmp_path / "k", [(abi.VERSION, 0, 0, 0)], abi.VMCALL), technique, accelerated)
    assert result.reason == "triple-fault"


@pytest.mark.parametrize("technique", FULL)
@pytest.mark.parametrize("seed", [7])
def test_random_calls_of_a_full_guest_are_survived(
    technique: str, seed: int, accelerated: str, tmp_path: Path
) -> None:
    path = kernel(tmp_path / "k", random_calls(seed, 100), abi.VMCALL, PLACE_PAGE)
    result, _ = full(path, technique, accelerated)
    assert (result.reason, result.exit_code) == ("exit", EXIT)


SHOW_EAX = b"\x66\xba\xf4\x00\xef\xf4"  # out 0F4h, eax; hlt


def word(value: int) -> bytes:
    return value.to_bytes(4, "little")


@pytest.mark.parametrize("technique", [*FULL, "para"])
def test_the_hypercall_page_is_placed_by_the_msr_and_calls(
    technique: str, accelerated: str, tmp_path: Path
) -> None:
    code = (
        PLACE_PAGE + b"\xbc" + word(0x30_0000) + b"\xb8" + word(PAGE + 32 * abi.VERSION) + b"\xff\xd0"
    )  # call eax
    result, _ = full(multiboot(tmp_path / "k", code + SHOW_EAX), technique, accelerated)
    assert (result.reason, result.exit_code) == ("exit", abi.VERSION_NUMBER)


@pytest.mark.parametrize("technique", [*FULL, "para"])
def test_the_guest_reads_how_often_it_exited(technique: str, accelerated: str, tmp_path: Path) -> None:
    ask = b"\xb8" + word(0x4FFF_FFFE) + b"\xb9" + word(10) + b"\x0f\xa2"  # exits for CPUID
    result, _ = full(multiboot(tmp_path / "k", ask * 4 + SHOW_EAX), technique, accelerated)
    assert result.reason == "exit"
    assert result.exit_code in (3, 4)  # whether the exit that asks has been counted already


def test_the_leaves_of_the_exits_may_be_elsewhere(accelerated: str, tmp_path: Path) -> None:
    ask = b"\xb8" + word(0x4000_1002) + b"\xb9" + word(10) + b"\x0f\xa2"
    path = multiboot(tmp_path / "k", ask * 2 + SHOW_EAX)
    config = MachineConfig(engine=accelerated, kernel=str(path), technique="para", exit_leaf=0x4000_1000)  # type: ignore[arg-type]
    with Machine(config) as machine:
        assert machine.run(timeout_s=20).exit_code in (1, 2)


@pytest.mark.parametrize("leaf", [0x4000_0000, 0x4000_0003, 0x4FFF_FFFD, 1])
def test_leaves_of_the_exits_must_not_hide_others(leaf: int) -> None:
    with pytest.raises(ConfigError, match="exit leaf"):
        MachineConfig(bios="x", exit_leaf=leaf).check()
