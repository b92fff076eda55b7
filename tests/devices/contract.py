"""The contract every chip keeps, whatever its registers are; `test_contract.py` runs it.

To put a device under contract, define in its own test module (any `test_*.py` below this folder)

    def make_for_contract(clock: MachineClock) -> tuple[device, banks, exercises]: ...

    CONTRACT = [("name of the case", make_for_contract)]

`banks` is a list of (PortDevice or PortBank, number of offsets); `exercises` is a list of functions
without arguments that each drive the device further into some non-trivial state (a transfer half
done, an interrupt pending). Nothing has to be imported from here.

Every call of a factory yields a new device on the given clock. Two devices made alike must see alike
surroundings: give both the same constant disk content, and drop the writes to it or share no image.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import msgspec
from hypothesis import strategies as st

from devices.backplane import Device, DeviceState, PortDevice
from vmm.clock import MachineClock, ManualTime

Banks = Sequence[tuple[PortDevice, int]]
Factory = Callable[[MachineClock], tuple[Device, Banks, Sequence[Callable[[], object]]]]

SIZES = (1, 2, 4)
LONGEST_WALK = 4096  # offsets tried one by one; a frame buffer is longer, the fuzz reaches all of it


class Access(NamedTuple):
    """One guest access of a fuzz run, `wait_ns` after the one before."""

    bank: int
    offset: int
    size: int
    value: int | None
    wait_ns: int


class Specimen:
    """A device on a bench of its own, with a clock that moves when told."""

    def __init__(self, factory: Factory, now_ns: int = 0) -> None:
        self.time = ManualTime()
        self.time.value_ns = now_ns
        self.clock = MachineClock(self.time)
        self.device, self.banks, self.exercises = factory(self.clock)

    def wait(self, wait_ns: int) -> None:
        """Let virtual time pass."""
        self.time.value_ns += wait_ns
        self.clock.run_due()

    def access(self, access: Access) -> int | None:
        """Do one access; a read returns its value, checked to fit."""
        bank, length = self.banks[access.bank % len(self.banks)]
        offset = access.offset % (length + SIZES[-1])
        self.wait(access.wait_ns)
        if access.value is not None:
            bank.write(offset, access.size, access.value & (1 << 8 * access.size) - 1)
            return None
        value = bank.read(offset, access.size)
        assert isinstance(value, int)
        assert 0 <= value < 1 << 8 * access.size
        return value

    def states(self) -> Iterator[DeviceState]:
        """Yield the state after power-on and after each exercise."""
        yield self.device.save()
        for exercise in self.exercises:
            exercise()
            yield self.device.save()


def restored(factory: Factory, state: DeviceState, now_ns: int) -> Specimen:
    """Return a new specimen that became `state` by way of bytes."""
    twin = Specimen(factory, now_ns)
    twin.device.load(through_bytes(state))
    return twin


def through_bytes(state: DeviceState) -> DeviceState:
    """Return `state` written as MessagePack and read again."""
    decoded: DeviceState = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=type(state))
    return decoded


def accesses() -> st.SearchStrategy[list[Access]]:
    """Guest accesses of all kinds: small values and offsets often, anything sometimes."""
    value = st.one_of(st.none(), st.integers(0, 0xFF), st.integers(0, 0xFFFF_FFFF))
    offset = st.one_of(st.integers(0, 15), st.integers(0, 0x1_FFFF))
    wait = st.one_of(st.just(0), st.integers(0, 2_000_000), st.integers(0, 3_000_000_000))
    return st.lists(st.builds(Access, st.integers(0, 15), offset, st.sampled_from(SIZES), value, wait))


def random_accesses(seed: int, length: int) -> list[Access]:
    """A long run of the same kind, where Hypothesis gives short ones."""
    chance = random.Random(seed)
    return [
        Access(
            chance.randrange(16),
            chance.choice((chance.randrange(16), chance.randrange(0x2_0000))),
            chance.choice(SIZES),
            chance.choice((None, None, chance.randrange(0x100), chance.getrandbits(32))),
            chance.choice((0, chance.randrange(2_000_000), chance.randrange(3_000_000_000))),
        )
        for _ in range(length)
    ]


def cases() -> list[tuple[str, Factory]]:
    """Collect the CONTRACT lists of all test modules below this folder."""
    found: list[tuple[str, Factory]] = []
    for path in sorted(Path(__file__).parent.rglob("test_*.py")):
        if path.name != "test_contract.py" and "\nCONTRACT" in path.read_text(encoding="utf-8"):
            found.extend(_module(path).CONTRACT)
    return found


def _module(path: Path) -> ModuleType:
    name = f"contract_of_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that classes defined there know their module
    spec.loader.exec_module(module)
    return module
