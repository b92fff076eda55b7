"""A conversion from file to file, whatever the formats: raw and VHD by us, others by qemu-img.

Between the two lies a raw file, in a directory beside the target that is gone when the work ends.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from disks import foreign
from disks.convert import RawTarget, Target, write_contents
from disks.copying import AnyImage
from disks.errors import DiskError, UnsupportedImageError
from disks.hostfile import HostFile
from disks.newfile import Progress, new_file
from disks.open import ImageFormat, open_image
from disks.raw import RawImage
from disks.vhd.parents import OWN_DIRECTORY, ParentRules
from disks.vhd.sparse import SparseVhd

_RAW_NAME: Final = "disk.raw"


@dataclass(frozen=True)
class Source:
    """What is converted: an open image of ours, or a file in qemu-img's format `driver`."""

    path: Path
    size_bytes: int
    image: AnyImage | None
    driver: str = ""


@dataclass(frozen=True)
class Watcher:
    """Who is told: each command before it is run, and how many bytes are read."""

    command: Callable[[list[str]], None]
    progress: Progress | None = None


@contextmanager
def open_source(
    path: Path, source_format: str | None = None, rules: ParentRules = OWN_DIRECTORY
) -> Iterator[Source]:
    """Open what is to be converted; its format is looked for unless given. Raise OSError or DiskError."""
    if source_format in foreign.READABLE:
        yield _foreign(path, source_format, rules)
        return
    try:
        image = open_image(
            path,
            read_only=True,
            image_format=ImageFormat(source_format) if source_format else None,
            parents=rules,
        )
    except UnsupportedImageError as error:
        if not error.driver:
            raise
        source = _foreign(path, error.driver, rules)
    else:
        source = Source(path, image.size_bytes, cast("AnyImage", image))
    try:
        yield source
    finally:
        if source.image is not None:
            source.image.close()


def _foreign(path: Path, driver: str, rules: ParentRules) -> Source:
    return Source(path, foreign.inspect(path, driver, rules), None, driver)


def commands(source: Source, path: Path, target: Target | str) -> list[list[str]]:
    """Return what is run to make `path` of `source`: at most one command, none between our formats.

    What it writes is moved to its place afterwards, but has its name already: a VMDK notes its own.
    """
    raw, out = _scratch(path) / _RAW_NAME, _scratch(path) / path.name
    if isinstance(target, str):
        foreign.require()
        if source.image is None:
            return [foreign.conversion(source.path, source.driver, out, target)]
        whole = source.path if isinstance(source.image, RawImage) else raw
        return [foreign.conversion(whole, "raw", out, target)]
    if source.image is None:
        return [foreign.conversion(source.path, source.driver, raw, "raw")]
    return []


def translate(source: Source, path: Path, target: Target | str, watcher: Watcher, *, replace: bool) -> int:
    """Make `path` of `source`: whole and durable, or not at all.

    `target` is one of ours or the name of a foreign format. Return how many bytes that are not
    zeros we wrote, 0 where only qemu-img did.
    """
    _refuse_itself(source, path)
    with new_file(path, replace=replace) as file:
        if source.image is not None and not isinstance(target, str):
            return write_contents(source.image, file, target, watcher.progress)
        with _directory(_scratch(path)) as scratch:
            raw = scratch / _RAW_NAME
            if source.image is not None and not isinstance(source.image, RawImage):
                with closing(HostFile.create(raw)) as between:
                    write_contents(source.image, between, RawTarget(), watcher.progress)
            for words in commands(source, path, target):
                watcher.command(words)
                foreign.run(words)
            if isinstance(target, str):
                _put(scratch / path.name, file)
                return 0
            with closing(RawImage(HostFile.open(raw, read_only=True))) as image:
                return write_contents(image, file, target, watcher.progress)


def _scratch(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


@contextmanager
def _directory(path: Path) -> Iterator[Path]:
    """Make a directory that is gone afterwards with all that is in it."""
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _put(made: Path, draft: HostFile) -> None:
    """Let the durable file `made` take the place of the draft of `new_file`."""
    with closing(HostFile.open(made, read_only=False)) as file:
        file.set_mode(draft.status.st_mode)
        file.sync()
    made.replace(draft.path)


def _refuse_itself(source: Source, path: Path) -> None:
    """Raise DiskError where the new file would take the place of one it is made of."""
    for level in source.image.levels if isinstance(source.image, SparseVhd) else [source]:
        if path.exists() and path.samefile(level.path):
            what = "the image that is read" if level.path == source.path else "a parent of what is read"
            raise DiskError(f"{path}: is {what}; write to another file and rename it afterwards")
