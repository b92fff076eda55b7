"""A dynamic VHD served over NBD, by us and by qemu-nbd: how long nbdcopy takes, out and in.

The blocks exist beforehand, and nbdcopy throws away what it reads, so that the servers are compared.
"""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.benchmarks.guest import MIB
from tests.benchmarks.lab import Lab
from tests.benchmarks.rows import Row
from tests.benchmarks.startup import entry_point
from tests.guests.assets.bootdisk import dynamic_vhd
from tests.oracles import require_tool

COPY_MIB: Final = 256
TIMEOUT_S: Final = 60


def copies(lab: Lab) -> Iterator[Row]:
    """Measure both directions on one image each."""
    raw = lab.folder / "disk.raw"
    size_mib = lab.loops(COPY_MIB)
    raw.write_bytes(random.Random(1).randbytes(MIB) * size_mib)
    ours, theirs = (dynamic_vhd(raw, lab.folder / name) for name in ("ours.vhd", "theirs.vhd"))
    qemu = [require_tool("qemu-nbd"), "--format=vpc", "--persistent", "--shared=8"]
    with (
        _served([*entry_point(), "disk", "mount", str(ours), "--socket"], lab.folder / "a") as our_uri,
        _served([*qemu, str(theirs), "--socket"], lab.folder / "b") as their_uri,
    ):
        out, qemu_out, into, qemu_into = lab.medians(
            lambda: _copy(our_uri, "null:"),
            lambda: _copy(their_uri, "null:"),
            lambda: _copy(raw, our_uri),
            lambda: _copy(raw, their_uri),
        )
    for what, mine, peer in (("out of", out, qemu_out), ("into", into, qemu_into)):
        note = f"{size_mib * MIB / mine / 1e6:.0f} MB/s"
        yield Row(f"nbdcopy {what} a dynamic VHD", 1e3 * mine, "qemu-nbd", 1e3 * peer, "ms", note=note)


def _copy(source: Path | str, target: str) -> float:
    command = [require_tool("nbdcopy"), str(source), target]
    began = time.perf_counter()
    subprocess.run(command, check=True, timeout=TIMEOUT_S)
    return time.perf_counter() - began


@contextmanager
def _served(command: Sequence[str], path: Path) -> Iterator[str]:
    """Run a server on the socket `path` while the block runs."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*command, str(path)], stdout=quiet, stderr=quiet) as process:
        try:
            _wait_for(path, process)
            yield f"nbd+unix:///?socket={path}"
        finally:
            process.terminate()
            process.wait(TIMEOUT_S)


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
            if knock.connect_ex(str(path)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"{process.args!r} does not serve; status {process.poll()}")
