"""Random histories of images and chains, with a bytearray as the model of each image.

After each step every image that it touched, and those that stand on it, are read whole and checked; at
the end other programs read them: 7-Zip all, QEMU those without a parent, libvhdi where its bugs allow.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from disks.convert import DynamicTarget, FixedTarget, RawTarget, Target, convert
from disks.copying import AnyImage
from disks.errors import DiskError
from disks.newfile import new_file
from disks.open import open_image
from disks.sync import SyncPolicy
from disks.vhd.check import check_chain
from disks.vhd.check_rules import Severity
from disks.vhd.compact import compact
from disks.vhd.create import write_dynamic, write_fixed
from disks.vhd.mergejob import MergeInto, MergeNew, MergeOrder
from disks.vhd.parents import OWN_DIRECTORY
from disks.vhd.reparent import reparent
from disks.vhd.resize import resize
from tests.disks.conftest import make_child
from tests.disks.scribbles import seven_zip
from tests.disks.test_vhd_libvhdi import libvhdi
from tests.oracles import run_tool

MIB: Final = 1 << 20
MOST_IMAGES: Final = 7
MOST_LEVELS: Final = 5
GROUP: Final = 8  # sectors; libvhdi takes all of a group for held where one is
PICK: Final = st.integers(0, 255)
SEED: Final = st.integers(0, 1 << 16)
TARGETS: Final[dict[str, Callable[[], Target]]] = {  # made anew for each image: each has an identity
    "raw": RawTarget,
    "fixed": lambda: FixedTarget(sparse=True),
    "dynamic": DynamicTarget,
    "small": lambda: DynamicTarget(512 << 10),
}
# warnings a sound history may leave: a parent renamed, a disk shrunk, a block wholly written with zeros
ODD: Final = {"parent-odd", "leak", "qemu-poison"}


@dataclass(eq=False)
class Image:
    """An image on the host and what it must hold."""

    path: Path
    contents: bytearray
    parent: Image | None = None
    for_libvhdi: bool = (
        True  # no blocks, or of 2 MiB; and of the size it was made with, which libvhdi goes by
    )

    @property
    def chain(self) -> list[Image]:
        """The images from this one down to its base."""
        return [self, *(self.parent.chain if self.parent else [])]

    def read(self) -> bytes:
        with closing(open_image(self.path, read_only=True)) as image:
            return image.read(0, image.size_bytes // 512)


class Histories(RuleBasedStateMachine):
    """Images made, forked, written, merged, compacted, resized, moved, converted."""

    def __init__(self) -> None:
        super().__init__()
        place = "/dev/shm" if Path("/dev/shm").is_dir() else None  # nothing waits for a disk there
        self.home = Path(tempfile.mkdtemp(prefix="trapline-history-", dir=place))
        self.images: list[Image] = []
        self.made = 0
        self.grain = 1

    def name(self, suffix: str = "vhd") -> Path:
        self.made += 1
        return self.home / f"image{self.made}.{suffix}"

    def children(self, image: Image) -> list[Image]:
        return [other for other in self.images if other.parent is image]

    def leaves(self, *, alone: bool | None = None) -> list[Image]:
        """Return the images nothing stands on; with a parent or without one, if `alone` says so."""
        free = [image for image in self.images if not self.children(image)]
        return [image for image in free if alone is None or (image.parent is None) is alone]

    def keep(self, image: Image) -> None:
        self.images.append(image)
        self.look(image)

    def look(self, image: Image) -> None:
        """Compare an image, and all that stand on it, with their models; check them."""
        assert image.read() == image.contents, image.path
        for level in check_chain(image.path):
            found = [finding for finding in level.findings.listed if finding.severity is not Severity.INFO]
            assert not [str(finding) for finding in found if finding.rule.name not in ODD]
        for child in self.children(image):
            self.look(child)

    @initialize(grouped=st.booleans(), kind=st.sampled_from(["fixed", "dynamic", "small"]), seed=SEED)
    def begin(self, grouped: bool, kind: str, seed: int) -> None:
        self.grain = GROUP if grouped else 1
        self.create(kind, 5 * MIB + 3 * 512 * self.grain)
        self.write(0, seed, "on-flush")

    @precondition(lambda self: len(self.images) < MOST_IMAGES)
    @rule(
        kind=st.sampled_from(["fixed", "dynamic", "small"]), size=st.sampled_from([2 * MIB, 5 * MIB + 4096])
    )
    def create(self, kind: str, size: int) -> None:
        path = self.name()
        with new_file(path) as file:
            if kind == "fixed":
                write_fixed(file, size, sparse=True)
            else:
                write_dynamic(file, size, block_bytes=512 << 10 if kind == "small" else 2 * MIB)
        self.keep(Image(path, bytearray(size), for_libvhdi=kind != "small"))

    @precondition(lambda self: len(self.images) < MOST_IMAGES)
    @rule(pick=PICK, seed=SEED)
    def fork(self, pick: int, seed: int) -> None:
        """Make a child, of a child rather than of a base, and write to it."""
        parents = [image for image in self.images if len(image.chain) < MOST_LEVELS]
        parents.sort(key=lambda image: -len(image.chain))
        if not parents:
            return
        parent = parents[pick % len(parents) // 2]
        path = make_child(self.name(), parent.path)
        self.keep(Image(path, bytearray(parent.contents), parent, parent.for_libvhdi))
        self.write(self.leaves().index(self.images[-1]), seed, "on-flush")

    @rule(pick=PICK, seed=SEED, sync=st.sampled_from(["always", "on-flush", "never"]))
    def write(self, pick: int, seed: int, sync: str) -> None:
        """Write runs of random bytes and of zeros, across blocks too; read and flush between."""
        free, chance = self.leaves(), Random(seed)
        target = free[pick % len(free)]
        with closing(open_image(target.path, sync=SyncPolicy(sync))) as image:
            for lba, data in self.runs(chance, len(target.contents)):
                image.write(lba, data)
                target.contents[lba * 512 : lba * 512 + len(data)] = data
                if chance.random() < 0.2:
                    image.flush()
                at = chance.randrange(image.size_bytes // 512 - 16)
                assert image.read(at, 16) == target.contents[at * 512 : at * 512 + 8192]
        self.look(target)

    def runs(self, chance: Random, size: int) -> Iterator[tuple[int, bytes]]:
        """Yield some writes; the last sectors of the disk are likely among them."""
        total = size // 512 // self.grain
        for _ in range(chance.randrange(1, 7)):
            sectors = min(total, chance.choice((1, 1, 2, 9, 80, 1500)))
            first = chance.choice((chance.randrange(total - sectors + 1), total - sectors))
            length = sectors * self.grain * 512
            yield first * self.grain, bytes(length) if chance.random() < 0.3 else chance.randbytes(length)

    @precondition(lambda self: self.leaves(alone=False))
    @rule(pick=PICK, levels=st.integers(1, 3))
    def merge(self, pick: int, levels: int) -> None:
        """Merge a child into its parent or a further image, and delete it, where nobody else suffers."""
        free = self.leaves(alone=False)
        child = free[pick % len(free)]
        chain = child.chain
        cut = min(levels, len(chain) - 1)
        target, doomed = chain[cut], chain[:cut]
        suffer = [
            other for image in chain[1 : cut + 1] for other in self.children(image) if other not in doomed
        ]
        order = MergeOrder(child.path, delete=True)
        if suffer:
            before = [image.path.read_bytes() for image in chain]
            try:
                with MergeInto(order, target.path) as job:  # only where nothing changes for the others
                    assert target.contents == child.contents
                    assert not job.outcome.spoilt
            except DiskError:
                assert [image.path.read_bytes() for image in chain] == before
            return
        with MergeInto(order, target.path) as job:
            job.run()
        self.images = [image for image in self.images if image not in doomed]
        assert not any(image.path.exists() for image in doomed)
        target.contents = child.contents
        self.look(target)

    @precondition(lambda self: self.leaves(alone=False) and len(self.images) < MOST_IMAGES)
    @rule(pick=PICK, levels=st.integers(1, 3))
    def merge_span(self, pick: int, levels: int) -> None:
        """Make one new file of a child and some images below it."""
        free = [image for image in self.images if image.parent is not None]
        child = free[pick % len(free)]
        last = child.chain[min(levels, len(child.chain)) - 1]
        path = self.name()
        with MergeNew(MergeOrder(child.path), last.path, path) as job:
            job.run()
        self.keep(Image(path, bytearray(child.contents), last.parent, child.for_libvhdi))

    @rule(pick=PICK)
    def compact(self, pick: int) -> None:
        image = self.images[pick % len(self.images)]
        before = image.path.stat()
        is_fixed = check_chain(image.path)[0].footers.is_fixed  # type: ignore[union-attr]
        with contextlib.suppress(DiskError) if is_fixed else contextlib.nullcontext():
            compact(image.path, OWN_DIRECTORY)
            assert not is_fixed
        after = image.path.stat()
        assert (after.st_size <= before.st_size, after.st_mtime_ns) == (True, before.st_mtime_ns)
        self.look(image)

    @precondition(lambda self: self.leaves(alone=True))
    @rule(pick=PICK, sectors=st.sampled_from([-1, -8, -4096, 1, 8, 1024, 4096, 1 << 20]))
    def resize(self, pick: int, sectors: int) -> None:
        """Give a disk another size; a smaller one only where nothing but zeros goes."""
        free = self.leaves(alone=True)
        image = free[pick % len(free)]
        old = len(image.contents)
        size = old + sectors * self.grain * 512
        if not 0 < size < 12 * MIB:
            return
        if any(image.contents[size:]):
            with pytest.raises(DiskError, match="holds data"):
                resize(image.path, size)
        else:
            resize(image.path, size, sparse=True)
            image.for_libvhdi = False
            image.contents[size:] = bytes(max(0, size - old))
        self.look(image)

    @precondition(lambda self: any(image.parent for image in self.images))
    @rule(pick=PICK, only_name=st.booleans())
    def move(self, pick: int, only_name: bool) -> None:
        """Rename a parent and tell its children, by its new name or by letting them search."""
        parents = [image for image in self.images if self.children(image)]
        parent = parents[pick % len(parents)]
        path = self.name()
        parent.path.rename(path)
        parent.path = path
        for child in self.children(parent):
            reparent(child.path, path if only_name else None, OWN_DIRECTORY)
        self.look(parent)

    @precondition(lambda self: len(self.images) < MOST_IMAGES)
    @rule(pick=PICK, kind=st.sampled_from(sorted(TARGETS)))
    def convert(self, pick: int, kind: str) -> None:
        """Make a new image of one, chain and all."""
        source = self.images[pick % len(self.images)]
        path = self.name("raw" if kind == "raw" else "vhd")
        image = open_image(source.path, read_only=True)
        assert isinstance(image, AnyImage)
        with closing(image):
            convert(image, path, TARGETS[kind]())
        if kind == "raw":
            assert path.read_bytes() == source.contents
            path.unlink()
            return
        self.keep(Image(path, bytearray(source.contents), for_libvhdi=kind != "small"))

    @precondition(lambda self: len(self.images) >= MOST_IMAGES)
    @rule(pick=PICK)
    def delete(self, pick: int) -> None:
        free = self.leaves()
        image = free[pick % len(free)]
        image.path.unlink()
        self.images.remove(image)

    def teardown(self) -> None:
        try:
            for image in self.images:
                self.look(image)
                self.ask_others(image)
        finally:
            shutil.rmtree(self.home)

    def ask_others(self, image: Image) -> None:
        """Let other programs read an image."""
        assert seven_zip(image.path) == image.contents
        if image.parent is None:
            raw = self.home / "expected.raw"
            raw.write_bytes(image.contents)
            run_tool("qemu-img", "compare", "-f", "vpc", "-F", "raw", image.path, raw)
        if self.grain == GROUP and all(level.for_libvhdi for level in image.chain):
            assert libvhdi([level.path for level in reversed(image.chain)]) == image.contents


class WithQemu(Histories):
    """Images that QEMU made and writes to, among ours."""

    @precondition(lambda self: len(self.images) < MOST_IMAGES)
    @rule(subformat=st.sampled_from(["fixed", "dynamic"]), force_size=st.booleans(), seed=SEED)
    def qemu_creates(self, subformat: str, force_size: bool, seed: int) -> None:
        path, size = self.name(), 3 * MIB + 4096
        options = f"subformat={subformat},force_size={'on' if force_size else 'off'}"
        run_tool("qemu-img", "create", "-f", "vpc", "-o", options, path, size)
        with closing(open_image(path, read_only=True)) as made:
            assert made.size_bytes == size if force_size else made.size_bytes >= size
            contents = bytearray(made.size_bytes)
        self.keep(Image(path, contents))
        self.qemu_writes(self.leaves(alone=True).index(self.images[-1]), seed)

    @precondition(lambda self: self.leaves(alone=True))
    @rule(pick=PICK, seed=SEED)
    def qemu_writes(self, pick: int, seed: int) -> None:
        """Let QEMU write to a disk without a parent; it cannot open others rightly."""
        free, chance = self.leaves(alone=True), Random(seed)
        target = free[pick % len(free)]
        commands: list[str] = []
        for lba, data in self.runs(chance, len(target.contents)):
            pattern = chance.randrange(256)
            commands += ["-c", f"write -P {pattern} {lba * 512} {len(data)}"]
            target.contents[lba * 512 : lba * 512 + len(data)] = bytes([pattern]) * len(data)
        said = run_tool("qemu-io", "-f", "vpc", *commands, target.path)
        assert "failed" not in said
        self.look(target)
