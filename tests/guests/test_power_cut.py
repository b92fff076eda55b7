"""kill -9 of the monitor while a guest writes: what the guest had flushed is there, every sector old or new.

The guest is `programs/writer.asm`; `steps` computes what it writes. It writes to an IDE disk by PIO, or to a
SCSI disk by the DMA of an AIC-7870.
"""

from __future__ import annotations

import random
import re
import struct
import subprocess
import time
from collections.abc import Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import Final

import pytest

from disks.newfile import new_file
from disks.open import open_image
from disks.vhd.create import write_dynamic
from disks.vhd.undo_names import undo_path
from tests.disks.conftest import make_child
from tests.disks.scribbles import contents_of, scribble
from tests.guests.assets.chains import breaches, digests
from tests.guests.assets.trapline import SERIAL_ONLY, trapline
from tests.oracles import require_tool
from vmm.cli import status

pytestmark = pytest.mark.guest

SOURCE: Final = Path(__file__).with_name("programs") / "writer.asm"
DISK_BYTES: Final = 32 << 20
SECTORS: Final = DISK_BYTES // 512
BLOCK_BYTES: Final = 512 << 10
FLUSH_EVERY: Final = 4
LOOKED_AHEAD: Final = 4000  # steps; a flush that is not reported was made within milliseconds
LIMIT_S: Final = 120
KILLS_A_DISK: Final = 5
KINDS: Final = ("dynamic", "grandchild", "undo")
SCSI: Final = "--scsi-hd"
IDE: Final = "--hd"
REPORT: Final = re.compile(rb"^([0-9A-F]{8})\n", re.MULTILINE)

Step = tuple[int, int, int]  # number, first sector, sectors


def steps(seed: int) -> Iterator[Step]:
    """Yield what the guest writes, in order."""
    number = 0
    while True:
        number += 1
        seed = (seed * 1664525 + 1013904223) & 0xFFFF_FFFF
        yield number, ((seed & 0x0FFF_FFFF) >> 4) % (SECTORS - 16), (seed >> 28) + 1


def sectors_of(step: Step) -> Iterator[tuple[int, bytes]]:
    """Yield (sector, contents) of a step."""
    number, first, count = step
    for lba in range(first, first + count):
        yield lba, bytes(512) if number % 8 == 7 else struct.pack("<II", number, lba) * 64


def program(folder: Path, seed: int, bus: str) -> Path:
    """Assemble the guest."""
    path = folder / "writer.bin"
    defines = ["-dSCSI"] if bus == SCSI else []
    command = [require_tool("nasm"), "-w+all", *defines, "-f", "bin", "-o", path, SOURCE.name]
    subprocess.run(command, check=True, cwd=SOURCE.parent, timeout=60)
    code = bytearray(path.read_bytes())
    struct.pack_into("<II", code, 4, seed, SECTORS)
    path.write_bytes(code)
    return path


def run_and_kill(kernel: Path, disk: Path, bus: str, chance: random.Random, *options: str) -> int:
    """Let the guest write for a random time, kill the monitor; return the last step reported as flushed."""
    with trapline("run", "--kernel", kernel, bus, disk, *SERIAL_ONLY, *options) as machine:
        reports, at = chance.randrange(1, 20), 0
        for _ in range(reports):
            at = machine.wait_for(b"\n", LIMIT_S, at) + 1
        time.sleep(chance.random() / 50)
        subprocess.run(["kill", "-9", str(monitor_of(machine.pid))], check=True)
        assert machine.wait_for_end(LIMIT_S) == status.ENGINE_DIED
        output = bytes(machine.output)
    assert b"signal 9 (SIGKILL)" in output
    assert b"damaged" not in output
    return max(int(number, 16) for number in REPORT.findall(output))


def monitor_of(supervisor: int) -> int:
    """Return the process that runs the machine."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])


def after_the_kill(model: bytearray, found: bytes, seed: int, flushed: int) -> None:
    """Check `found` against what was on the disk before; `model` becomes what is there now."""
    run = steps(seed)
    for step in islice(run, flushed):
        for lba, data in sectors_of(step):
            model[lba * 512 : lba * 512 + 512] = data
    for step in takewhile(lambda step: step[0] < flushed + LOOKED_AHEAD, run):
        for lba, data in sectors_of(step):
            if found[lba * 512 : lba * 512 + 512] == data:
                model[lba * 512 : lba * 512 + 512] = data
    if model != found:  # of so many bytes pytest must not show the difference
        differ = (at for at in range(0, DISK_BYTES, 512) if model[at : at + 512] != found[at : at + 512])
        pytest.fail(f"neither old nor new: sectors {[at // 512 for at in islice(differ, 10)]}")


def make_disk(kind: str, folder: Path) -> list[Path]:
    """Return a chain, the disk to write last: a dynamic disk, or a child of a child of one."""
    base = folder / "base.vhd"
    with new_file(base) as file:
        write_dynamic(file, DISK_BYTES, block_bytes=BLOCK_BYTES)
    chain = [base]
    scribble(base, seed=1)
    for level in () if kind != "grandchild" else ("child", "grandchild"):
        chain.append(make_child(folder / f"{level}.vhd", chain[-1]))
        if level == "child":
            scribble(chain[-1], seed=2)
    return chain


def at_length(kind: str, bus: str) -> object:
    return pytest.param(kind, bus, 50, marks=[pytest.mark.verify, pytest.mark.timeout(1800)])


@pytest.mark.parametrize(
    ("kind", "bus", "kills"),
    [
        ("grandchild", IDE, 2),
        ("grandchild", SCSI, 2),
        *(at_length(kind, IDE) for kind in KINDS),
        at_length("undo", SCSI),
    ],
)
def test_what_was_flushed_survives_the_monitor(
    kind: str, bus: str, kills: int, accelerated: str, tmp_path: Path
) -> None:
    chance = random.Random(f"{kind} {kills}")
    options = ("--engine", accelerated, *["--undo"] * (kind == "undo"))
    for number in range(kills):
        if number % KILLS_A_DISK == 0:
            folder = tmp_path / str(number)
            folder.mkdir()
            chain = make_disk(kind, folder)
            written = undo_path(chain[-1]) if kind == "undo" else chain[-1]
            unchanged = digests([path for path in chain if path != written])
            model = bytearray(contents_of(chain[-1]))
        seed = chance.getrandbits(32)
        flushed = run_and_kill(program(folder, seed, bus), chain[-1], bus, chance, *options)
        assert breaches(written) == []
        image = open_image(written)
        found = image.read(0, SECTORS)
        image.close()
        after_the_kill(model, found, seed, flushed)
        assert digests([path for path in chain if path != written]) == unchanged
