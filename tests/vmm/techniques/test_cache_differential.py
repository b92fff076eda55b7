"""The translation cache against the bare machine: random ring-0 code leaves the same registers and flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vmm.cpu.engine_rig import assemble
from tests.vmm.techniques.block_guest import LOG, ORIGIN, Snippets
from vmm.config import MachineConfig
from vmm.machine import Machine

SNIPPETS = 150
RECORD_BYTES = 40


def records(binary: Path, engine: str, technique: str) -> list[bytes]:
    """Run a guest to its end, and return what it wrote down."""
    config = MachineConfig(
        kernel=str(binary), entry="32", load_address=f"{ORIGIN:#x}", memory_bytes=4 << 20,
        engine=engine, technique=technique,  # type: ignore[arg-type]
    )  # fmt: skip
    with Machine(config) as machine:
        result = machine.run(timeout_s=60)
        assert (result.reason, result.exit_code) == ("exit", 0), result
        log = machine.memory.read(LOG, (SNIPPETS + 8) * 64)
    return [log[at : at + RECORD_BYTES] for at in range(0, len(log), RECORD_BYTES)]


@pytest.mark.quick("0", "1")
@pytest.mark.parametrize("seed", range(6))
def test_random_code_does_the_same_translated(seed: int, accelerated: str, tmp_path: Path) -> None:
    compare(seed, accelerated, tmp_path)


@pytest.mark.quick("6")
@pytest.mark.parametrize("seed", range(6, 8))
def test_random_code_does_the_same_translated_on_the_portable_engine(seed: int, tmp_path: Path) -> None:
    compare(seed, "portable", tmp_path)


def compare(seed: int, engine: str, folder: Path) -> None:
    binary = folder / "guest.bin"
    binary.write_bytes(assemble(Snippets(seed).program(SNIPPETS)))
    bare, translated = (records(binary, engine, technique) for technique in ("bare", "translation"))
    for number, (wanted, got) in enumerate(zip(bare, translated, strict=True)):
        assert got == wanted, f"{number}: {words(wanted)} {words(got)}"


def words(record: bytes) -> str:
    return " ".join(f"{int.from_bytes(record[at : at + 4], 'little'):x}" for at in range(0, len(record), 4))
