"""The process in which random guests run: one request a line on stdin, one answer a line on stdout.

A request is `engine setup source`. The source is `blind:SEED`, `generated:SEED`, `known:NAME` or
`file:PATH`; the setup words joined by `+`: `host` or `virtual` for the clock, `exits` or
`instructions` to trace, `apic` for a machine with APICs, a technique by its full name. A fresh machine
runs it; the answer is how that ended, in JSON. The parent, `runner.py`, watches the time and the process.
"""

from __future__ import annotations

import faulthandler
import gzip
import io
import json
import sys
import tempfile
import time
import traceback
import zlib
from pathlib import Path

from tests.fuzz import bootsectors
from tests.fuzz.known import KNOWN
from vmm.config import FULL_TECHNIQUES, DriveConfig, MachineConfig
from vmm.machine import Machine
from vmm.trace.instructions import InstructionFilter, InstructionRecorder
from vmm.trace.text import TextTrace

TIMEOUT_S = 0.25
DISK_BYTES = 1 << 20
CD_BYTES = 1 << 18
MEMORY_BYTES = ((16 << 20), (16 << 20), (1 << 20), (5 << 20) + 4096)


def image_of(source: str) -> bytes:
    """The disk that `source` names."""
    kind, _, what = source.partition(":")
    if kind == "known":
        return KNOWN[what]()
    if kind == "file":
        return gzip.decompress(Path(what).read_bytes())
    return {"blind": bootsectors.blind, "generated": bootsectors.generated}[kind](int(what))


def memory_bytes(source: str) -> int:
    """A size for this guest, always the same; known guests need the largest."""
    if source.startswith("known:"):
        return max(MEMORY_BYTES)
    return MEMORY_BYTES[zlib.crc32(source.encode()) % len(MEMORY_BYTES)]


def run(directory: Path, engine: str, setup: str, source: str) -> dict[str, object]:
    """Run one guest, then look at its machine as a user would."""
    wanted = setup.split("+")
    trace = TextTrace(io.StringIO(), explanations=True)
    disk, cd = directory / "disk.img", directory / "cd.iso"
    disk.write_bytes(image_of(source).ljust(DISK_BYTES, b"\0"))
    cd.write_bytes(bytes(CD_BYTES))
    config = MachineConfig(
        memory_bytes=memory_bytes(source),
        hd=(DriveConfig(path=str(disk)),),
        cd=(DriveConfig(path=str(cd)),),
        engine=engine,  # type: ignore[arg-type]
        clock=wanted[0],  # type: ignore[arg-type]
        apic="apic" in wanted,
        **next((FULL_TECHNIQUES[word] for word in wanted if word in FULL_TECHNIQUES), {}),
    )
    with Machine(config, tracer=trace if "exits" in wanted else None) as machine:
        if "instructions" in wanted:
            machine.trace_instructions(InstructionRecorder(trace, InstructionFilter()))
        began = time.process_time()  # a busy host's other work is no guest's fault
        result = machine.run(timeout_s=TIMEOUT_S)
        took = time.process_time() - began
        machine.registers()
        machine.screen_text()
        machine.screenshot(directory / "screen.png")
        return {"end": result.reason, "took": took, "exits": {k: v.count for k, v in machine.exits.items()}}


def main() -> None:
    """Serve requests until stdin ends."""
    faulthandler.enable()  # the parent ends a hanging child by SIGABRT: the stack says where it was
    with tempfile.TemporaryDirectory(prefix="trapline-fuzz-") as name:
        for line in sys.stdin:
            engine, setup, source = line.split(maxsplit=2)
            try:
                answer = run(Path(name), engine, setup, source.strip())
            except BaseException:
                answer = {"error": traceback.format_exc()}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
