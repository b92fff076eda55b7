"""The file system of Snare from the host: make an image, list, read, write, erase and check files.

    python guests/snare/snarefs.py list  IMAGE
    python guests/snare/snarefs.py read  IMAGE NAME          to standard output
    python guests/snare/snarefs.py write IMAGE NAME [FILE]   from FILE or standard input
    python guests/snare/snarefs.py erase IMAGE NAME
    python guests/snare/snarefs.py check IMAGE               status 1 if something is wrong
    python guests/snare/snarefs.py make  IMAGE BLOCKS [FILE...]

IMAGE is a hard disk (raw or VHD), a floppy disk, or a bare file system such as snare.fs. The format
is told at the top of kernel/fs.c.
"""

from __future__ import annotations

import argparse
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Self

BLOCK: Final = 512
MAGIC: Final = b"SNAREFS1"
SUPER: Final = struct.Struct("<8s6I")
ENTRY: Final = struct.Struct("<20sIHHI")
ENTRIES_A_BLOCK: Final = BLOCK // ENTRY.size
WORDS_A_BLOCK: Final = BLOCK // 2
DIRECTORY_BLOCKS: Final = 4
MAP_START: Final = 2
MAX_BLOCKS: Final = 0xFFF0
MAX_NAME: Final = 19
FREE: Final = 0
LAST: Final = 0xFFFF
BOOT_SIGNATURE: Final = b"SNARE   "  # at offset 3 of the boot sector
FS_SECTOR_AT: Final = 0x48
WRITTEN_TOGETHER: Final = 64  # blocks


class SnareFsError(Exception):
    """The image is not what it should be, or a file cannot be read or written."""


class FileSystem:
    """A file system in memory; `data` is its bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        fields = SUPER.unpack_from(self.data)
        magic, self.blocks, self.map, map_blocks, self.directory, directory_blocks, self.first = fields
        if magic != MAGIC:
            raise SnareFsError(f"no file system of Snare: it begins with {bytes(magic)!r}, not {MAGIC!r}")
        ends = (self.map + map_blocks, self.directory + directory_blocks)
        if ends != (self.directory, self.first) or self.blocks * BLOCK > len(self.data):
            raise SnareFsError("the superblock contradicts itself or the size of the image")
        del self.data[self.blocks * BLOCK :]
        self.entries = directory_blocks * ENTRIES_A_BLOCK

    @classmethod
    def new(cls, blocks: int, files: Mapping[str, bytes] | None = None) -> Self:
        """Make one of so many blocks with these files."""
        map_blocks = -(-blocks // WORDS_A_BLOCK)
        directory = MAP_START + map_blocks
        first = directory + DIRECTORY_BLOCKS
        if not first < blocks <= MAX_BLOCKS:
            raise SnareFsError(f"{blocks} blocks: between {first + 1} and {MAX_BLOCKS} are possible")
        data = bytearray(blocks * BLOCK)
        SUPER.pack_into(data, 0, MAGIC, blocks, MAP_START, map_blocks, directory, DIRECTORY_BLOCKS, first)
        made = cls(data)
        for block in range(first):
            made._link(block, LAST)
        for name, content in (files or {}).items():
            made.write(name, content)
        return made

    def names(self) -> dict[str, int]:
        """Return the files and their sizes."""
        return {name: size for _, name, size, _ in self._files()}

    def read(self, name: str) -> bytes:
        """Return what a file holds."""
        _, size, first = self._find(name)
        chain = b"".join(self.data[block * BLOCK :][:BLOCK] for block in self._chain(first))
        if len(chain) < size:
            raise SnareFsError(f"{name}: its blocks end before its {size} bytes")
        return chain[:size]

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a file."""
        encoded = name.encode()
        if not 0 < len(encoded) <= MAX_NAME or any(not 0x20 < byte < 0x7F for byte in encoded):
            raise SnareFsError(f"{name!r}: a name is 1 to {MAX_NAME} printable characters without blanks")
        if name in self.names():
            self.erase(name)
        count = -(-len(content) // BLOCK)
        free = [block for block in range(self.first, self.blocks) if self._next(block) == FREE][:count]
        slots = [slot for slot in range(self.entries) if not self._entry(slot)[0]]
        if len(free) < count or not slots:
            raise SnareFsError(f"{name}: the disk or its directory is full")
        for block, following in zip(free, [*free[1:], LAST], strict=False):
            self._link(block, following)
        for number, block in enumerate(free):
            part = content[number * BLOCK :][:BLOCK].ljust(BLOCK, b"\0")
            self.data[block * BLOCK : (block + 1) * BLOCK] = part
        first = free[0] if free else LAST
        ENTRY.pack_into(self.data, self._at(slots[0]), encoded, len(content), first, 0, 0)

    def erase(self, name: str) -> None:
        """Remove a file."""
        slot, _, first = self._find(name)
        for block in list(self._chain(first)):
            self._link(block, FREE)
        ENTRY.pack_into(self.data, self._at(slot), b"", 0, 0, 0, 0)

    def check(self) -> list[str]:
        """Return what is wrong, one sentence each."""
        wrong = []
        owner: dict[int, str] = {}
        for _, name, size, first in self._files():
            chain = []
            try:
                chain += self._chain(first)
            except SnareFsError as error:
                wrong.append(f"{name}: {error}")
                continue
            if len(chain) != -(-size // BLOCK):
                wrong.append(f"{name}: {size} bytes in {len(chain)} blocks")
            for block in chain:
                if block in owner:
                    wrong.append(f"block {block} belongs to {owner[block]} and to {name}")
                owner[block] = name
        taken = (block for block in range(self.first, self.blocks) if self._next(block) != FREE)
        wrong += [f"block {block} is in use, but by no file" for block in taken if block not in owner]
        return wrong

    def _at(self, slot: int) -> int:
        return self.directory * BLOCK + slot * ENTRY.size

    def _entry(self, slot: int) -> tuple[str, int, int]:
        name, size, first, _, _ = ENTRY.unpack_from(self.data, self._at(slot))
        return name.partition(b"\0")[0].decode("ascii", "replace"), size, first

    def _files(self) -> Iterator[tuple[int, str, int, int]]:
        for slot in range(self.entries):
            name, size, first = self._entry(slot)
            if name:
                yield slot, name, size, first

    def _find(self, name: str) -> tuple[int, int, int]:
        for slot, other, size, first in self._files():
            if other == name:
                return slot, size, first
        raise SnareFsError(f"{name}: no such file")

    def _next(self, block: int) -> int:
        return int(struct.unpack_from("<H", self.data, self.map * BLOCK + 2 * block)[0])

    def _link(self, block: int, following: int) -> None:
        struct.pack_into("<H", self.data, self.map * BLOCK + 2 * block, following)

    def _chain(self, block: int) -> Iterator[int]:
        for _ in range(self.blocks):
            if block == LAST:
                return
            if not self.first <= block < self.blocks:
                raise SnareFsError(f"its chain leads to block {block}")
            yield block
            block = self._next(block)
        raise SnareFsError("its chain has no end")


def find(disk: bytes) -> int:
    """Return the sector at which the file system of a disk begins."""
    if disk[3:11] == BOOT_SIGNATURE:
        return int.from_bytes(disk[FS_SECTOR_AT : FS_SECTOR_AT + 4], "little")
    return 0


def load(path: Path) -> tuple[FileSystem, int]:
    """Return the file system of an image, and its first sector."""
    from disks.open import open_image

    disk = open_image(path, read_only=True)
    try:
        data = disk.read(0, disk.size_bytes // BLOCK)
    finally:
        disk.close()
    start = find(data)
    return FileSystem(data[start * BLOCK :]), start


def store(path: Path, fs: FileSystem, start: int) -> None:
    """Write what has changed back to the image."""
    from disks.open import open_image

    disk = open_image(path)
    try:
        before = disk.read(start, fs.blocks)
        for first in range(0, fs.blocks, WRITTEN_TOGETHER):
            piece = slice(first * BLOCK, (first + WRITTEN_TOGETHER) * BLOCK)
            if before[piece] != fs.data[piece]:
                disk.write(start + first, fs.data[piece])
        disk.flush()
    finally:
        disk.close()


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=["list", "read", "write", "erase", "check", "make"])
    parser.add_argument("image", type=Path)
    parser.add_argument("words", nargs="*")
    given = parser.parse_args()
    needed = {"read": 1, "write": 1, "erase": 1, "make": 1}.get(given.verb, 0)
    if len(given.words) < needed:
        parser.error(f"{given.verb}: a name is missing" if given.verb != "make" else "make: how many blocks?")
    try:
        return _do(given.verb, given.image, given.words)
    except (SnareFsError, OSError) as error:
        print(f"snarefs: {given.image}: {error}", file=sys.stderr)
        return 1


def _do(verb: str, image: Path, words: list[str]) -> int:
    if verb == "make":
        files = {Path(name).name: Path(name).read_bytes() for name in words[1:]}
        image.write_bytes(FileSystem.new(int(words[0]), files).data)
        return 0
    fs, start = load(image)
    if verb == "list":
        for name, size in fs.names().items():
            print(f"{name:20} {size:6}")
    elif verb == "read":
        sys.stdout.buffer.write(fs.read(words[0]))
    elif verb == "check":
        wrong = fs.check()
        print("\n".join(wrong) or f"{len(fs.names())} files, nothing wrong")
        return 1 if wrong else 0
    else:
        if verb == "write":
            source = Path(words[1]).read_bytes() if len(words) > 1 else sys.stdin.buffer.read()
            fs.write(words[0], source)
        else:
            fs.erase(words[0])
        store(image, fs, start)
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run from a checkout that is not installed
    sys.exit(main())
