"""Disk images: conversions beside qemu-img and 7-Zip, and reads, children and openings of chains.

Conversions have their inputs in the host's cache: half a GiB of noise in a disk of 1 GiB whose blocks
lie in random order. `qemu-img convert` and `7zz x` leave what they write to the kernel, ours makes it
durable: so each is measured both ways, ours with fsync(2) left out, theirs with the flush of
`-t writeback` or an fsync after. Ours is called in this process; what the command takes to start is a
row of its own.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

from disks.convert import DynamicTarget, RawTarget, Target, convert
from disks.image import BlockImage
from disks.newfile import new_file
from disks.open import open_image
from disks.vhd.create import write_child, write_dynamic
from disks.vhd.sparse import SparseVhd
from tests.benchmarks.guest import MIB
from tests.benchmarks.lab import Lab
from tests.benchmarks.rows import Goal, Row
from tests.benchmarks.startup import entry_point
from tests.oracles import require_tool

US: Final = 1e6
MS: Final = 1e3
DISK_MIB: Final = 1024
BLOCK: Final = 2 * MIB
DEPTHS: Final = (1, 3, 10)
CHILD_WRITES: Final = 256  # of 64 KiB, at random, in each child
READS: Final = 4000
READ_SECTORS: Final = 8
BASE_BYTES: Final = 100 << 30
AS_FAST: Final = Goal("ratio", 1)
THRICE: Final = Goal("ratio", 1 / 3)
DEPTH_GOAL: Final = Goal("ratio", 1.5)
CREATE_GOAL: Final = Goal("ours", 50)
OPEN_GOAL: Final = Goal("ours", 20)
MEMORY_GOAL: Final = Goal("ours", 32)

PROBE: Final = """
import sys, time
from pathlib import Path
from disks.convert import DynamicTarget, RawTarget, Target, convert
from disks.image import BlockImage
from disks.newfile import new_file
from disks.open import open_image
from disks.vhd.create import write_child
def peak():
    return next(int(l.split()[1]) / 1024 for l in open("/proc/self/status") if l.startswith("VmHWM"))
base, child = map(Path, sys.argv[1:])
imported = peak()
began = time.perf_counter()
open_image(child).close()
opened = time.perf_counter() - began
memory = peak()
began = time.perf_counter()
image = open_image(base, read_only=True)
with new_file(child, replace=True) as file:
    write_child(file, child, image)
image.close()
print(opened, memory, imported, time.perf_counter() - began)
"""


def conversions(lab: Lab) -> Iterator[Row]:
    """Measure dynamic to raw and back, and a chain of three made flat."""
    chain = _chain(lab.folder, 3, lab.scale)
    base, top = chain[0], chain[-1]
    raw = lab.folder / "flat.raw"
    _convert(base, raw, RawTarget())
    out, theirs = lab.folder / "ours", lab.folder / "theirs"
    qemu = [require_tool("qemu-img"), "convert"]
    to_raw = ["-f", "vpc", "-O", "raw", str(base), str(theirs)]
    to_vhd = ["-f", "raw", "-O", "vpc", "-o", "force_size=on", str(raw), str(theirs)]
    unpack = [require_tool("7zz"), "x", "-y", f"-o{theirs}", str(top)]
    flush = ["-t", "writeback"]
    for what, source, target, peer, lazy, flushed, goal in (
        (
            "dynamic -> raw",
            base,
            RawTarget(),
            "qemu-img",
            [*qemu, *to_raw],
            [*qemu, *flush, *to_raw],
            AS_FAST,
        ),
        (
            "raw -> dynamic",
            raw,
            DynamicTarget(),
            "qemu-img",
            [*qemu, *to_vhd],
            [*qemu, *flush, *to_vhd],
            AS_FAST,
        ),
        ("3 levels -> raw", top, RawTarget(), "7zz x", unpack, unpack, THRICE),
    ):
        fsync = peer == "7zz x"
        ours_lazy, theirs_lazy, ours, theirs_flushed = lab.medians(
            partial(_timed, partial(_convert, source, out, target, durable=False), out),
            partial(_timed, partial(_run, lazy), theirs),
            partial(_timed, partial(_convert, source, out, target), out),
            partial(_timed, partial(_run, flushed), theirs, fsync=fsync),
        )
        yield Row(f"convert {what}, not synced", ours_lazy, peer, theirs_lazy, "s", goal)
        by = "7zz x, then fsync" if fsync else "qemu-img -t writeback"
        yield Row(f"convert {what}, durable", ours, by, theirs_flushed, "s", goal)


def start(lab: Lab) -> Iterator[Row]:
    """Measure what a conversion costs where there is nothing to convert."""
    empty, out = lab.folder / "empty.img", lab.folder / "out.vhd"
    empty.write_bytes(bytes(MIB))
    ours, theirs = lab.medians(
        partial(_timed, partial(_run, [*entry_point(), "disk", "convert", str(empty), str(out)]), out),
        partial(
            _timed,
            partial(_run, [require_tool("qemu-img"), "convert", "-O", "vpc", str(empty), str(out)]),
            out,
        ),
    )
    yield Row("convert an empty disk: start of the command", ours, "qemu-img", theirs, "s")


def reads(lab: Lab) -> Iterator[Row]:
    """Measure random reads of 4 KiB at three depths: from a warm image, a new one, and a cold host."""
    chains = {depth: _chain(lab.folder, depth, lab.scale) for depth in DEPTHS}
    places = random.Random(2)
    held = int(DISK_MIB * lab.scale) // 2 * MIB // 4096
    lbas = [places.randrange(held) * READ_SECTORS for _ in range(lab.loops(READS))]
    floor, *found = lab.medians_each(
        partial(_read_plainly, chains[1][0], lbas), *(partial(_read, chains[depth], lbas) for depth in DEPTHS)
    )
    warm, new, cold = zip(*found, strict=True)
    yield Row("random 4 KiB, warm, 1 level", warm[0], "pread of the file", floor[0], "us")
    for state, times, goal in (
        ("warm", warm, DEPTH_GOAL),
        ("image just opened", new, None),
        ("host's cache empty", cold, None),
    ):
        for depth, each in zip(DEPTHS[1:], times[1:], strict=True):
            yield Row(f"random 4 KiB, {state}, {depth} levels", each, "1 level", times[0], "us", goal)


def children(lab: Lab) -> Iterator[Row]:
    """Measure a child of a base of 100 GiB whose every block is allocated, in random order."""
    base, child = _full_base(lab.folder / "base.vhd"), lab.folder / "child.vhd"
    _make_child(child, base)
    probe = [sys.executable, "-c", PROBE, str(base), str(child)]
    (opened, memory, imported, created), (floor,) = lab.medians_each(
        lambda: [float(word) for word in _run(probe).split()], lambda: [_read_table(base)]
    )
    against = "reading the base's table"
    yield Row("child of a full 100-GiB base: create", created * MS, against, floor * MS, "ms", CREATE_GOAL)
    yield Row("child of a full 100-GiB base: open", opened * MS, against, floor * MS, "ms", OPEN_GOAL)
    yield Row("  peak of the whole process", memory, "with nothing opened", imported, "MiB", MEMORY_GOAL)


def _chain(folder: Path, depth: int, scale: float) -> list[Path]:
    """Make a base whose first half is noise, in blocks written in random order, and scattered children."""
    chance = random.Random(depth)
    size = int(DISK_MIB * scale) * MIB
    noise = chance.randbytes(MIB)
    chain = [folder / f"chain{depth}-{level}.vhd" for level in range(depth)]
    with new_file(chain[0]) as file:
        write_dynamic(file, size)
    image = open_image(chain[0])
    for block in chance.sample(range(size // 2 // BLOCK), size // 2 // BLOCK):
        image.write(block * BLOCK // 512, noise + noise)
    image.close()
    for parent, child in pairwise(chain):
        _make_child(child, parent)
        image = open_image(child)
        for _ in range(int(CHILD_WRITES * scale)):
            image.write(chance.randrange(size // 2 // 65536) * 128, noise[:65536])
        image.close()
    return chain


def _make_child(path: Path, parent: Path) -> None:
    image = open_image(parent, read_only=True)
    assert isinstance(image, SparseVhd)
    with new_file(path) as file:
        write_child(file, path, image)
    image.close()


def _full_base(path: Path) -> Path:
    """Make a base whose table names a place for every block; the blocks themselves are a hole."""
    with new_file(path) as file:
        write_dynamic(file, BASE_BYTES)
    image = open_image(path, read_only=True)
    assert isinstance(image, SparseVhd)
    header, footer = image.store.header, image.footer.to_bytes()
    image.close()
    blocks = BASE_BYTES // BLOCK
    order = random.Random(3).sample(range(blocks), blocks)
    start = header.table_offset + header.table_bytes
    table = array("I", [(start + block * header.stride_bytes) // 512 for block in order])
    if sys.byteorder == "little":
        table.byteswap()
    with path.open("r+b") as raw:
        raw.seek(header.table_offset)
        raw.write(table.tobytes())
        raw.seek(start + blocks * header.stride_bytes)
        raw.write(footer)
    return path


def _read_table(base: Path) -> float:
    began = time.perf_counter()
    with base.open("rb", buffering=0) as file:
        file.seek(1536)
        file.read(BASE_BYTES // BLOCK * 4)
    return time.perf_counter() - began


def _read(chain: Sequence[Path], lbas: Sequence[int]) -> tuple[float, float, float]:
    """Return us a read: again, by an image just opened, by one whose files the host has forgotten."""
    image = open_image(chain[-1], read_only=True)
    new, warm = _each(image, lbas), _each(image, lbas)
    image.close()
    for path in chain:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)  # only clean pages are dropped
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    image = open_image(chain[-1], read_only=True)
    cold = _each(image, lbas)
    image.close()
    for path in chain:  # back into the host's cache
        with path.open("rb") as file:
            while file.read(MIB):
                pass
    return warm, new, cold


def _each(image: BlockImage, lbas: Sequence[int]) -> float:
    began = time.perf_counter()
    for lba in lbas:
        image.read(lba, READ_SECTORS)
    return (time.perf_counter() - began) / len(lbas) * US


def _read_plainly(path: Path, lbas: Sequence[int]) -> tuple[float]:
    descriptor = os.open(path, os.O_RDONLY)
    began = time.perf_counter()
    for lba in lbas:
        os.pread(descriptor, READ_SECTORS * 512, 2048 + lba * 512)
    took = (time.perf_counter() - began) / len(lbas) * US
    os.close(descriptor)
    return (took,)


def _convert(source: Path, path: Path, target: Target, *, durable: bool = True) -> None:
    """Convert as the command does; not `durable`, with fsync(2) taken away."""
    fsync = os.fsync
    os.fsync = os.fsync if durable else lambda descriptor: None
    try:
        image = open_image(source, read_only=True)
        convert(image, path, target)
        image.close()
    finally:
        os.fsync = fsync


def _timed(make: Callable[[], object], made: Path, *, fsync: bool = False) -> float:
    """Return the seconds it takes to make `made` (a file, or files in it), and durable with `fsync`."""
    if made.is_dir():
        shutil.rmtree(made)
    made.unlink(missing_ok=True)
    os.sync()  # what others wrote is not written out at this one's cost
    began = time.perf_counter()
    make()
    for path in made.iterdir() if fsync else ():
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    return time.perf_counter() - began


def _run(command: list[str]) -> str:
    return subprocess.run(
        command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True
    ).stdout
