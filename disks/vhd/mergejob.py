"""What surrounds a merge: who stands on what, who would be spoilt, what is put right afterwards.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Dynamic Disk Header Format".
"""

from __future__ import annotations

import errno
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Final, Self

from disks.errors import HOST_ERRORS, DiskError, ParentError
from disks.hostfile import HostFile, sync_directory
from disks.newfile import Progress, new_file, refuse_existing
from disks.vhd.family import member, members
from disks.vhd.locators import names_for
from disks.vhd.merge import Volume, is_merged, merge_into, volume, write_span
from disks.vhd.opening import open_level
from disks.vhd.parents import OWN_DIRECTORY, ParentRules
from disks.vhd.reparent import NewParent, set_parent, set_timestamp
from disks.vhd.span import Level, Span, chain_of, index_of, open_span
from disks.vhd.sparse import SparseVhd, VhdImage
from disks.vhd.undo_names import mark, unmark

_FLATTEN: Final = "Flatten it instead: trapline disk convert {} NEW.vhd"


@dataclass(frozen=True)
class MergeOrder:
    """What is asked for.

    `search` are directories, besides those of the images, where images that stand on these are looked
    for. `force` merges although such images are spoilt (or replaces the new file). With `dry_run` nothing
    is opened for writing, and the job can only be asked what it would do.
    """

    child: Path
    rules: ParentRules = OWN_DIRECTORY
    search: tuple[Path, ...] = ()
    force: bool = False
    reparent_children: bool = False
    delete: bool = False
    dry_run: bool = False


@dataclass
class Outcome:
    """What a merge did, or will do."""

    child: Path
    target: Path
    volume: Volume
    spoilt: list[Path] = field(default_factory=list)
    children: list[Path] = field(default_factory=list)
    reparented: list[Path] = field(default_factory=list)
    deleted: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Job:
    """What both kinds of merge have: a chain, open and locked, and the images that stand on the child."""

    def __init__(self, order: MergeOrder, levels: Sequence[Level], span: Span) -> None:
        self._order = order
        self._levels = levels
        self._span = span
        self._claimed: list[HostFile] = []
        self.outcome: Outcome

    def __enter__(self) -> Self:
        """Return the job."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release every image, those that were written in good order."""
        try:
            self._span.close()
        finally:
            for file in self._claimed:
                file.close()

    def foretell(self) -> None:
        """Fill the outcome with what `run` would do."""
        self.outcome.reparented = [file.path for file in self._claimed]

    def _claim_children(self, parent: Path, size_bytes: int) -> None:
        """Open the images that will be put onto another parent, and see that they can be."""
        for path in self.outcome.children if self._order.reparent_children else ():
            file = HostFile.open(path, read_only=self._order.dry_run)
            self._claimed.append(file)
            size, old_size = open_level(file).size_bytes, self._levels[0].size_bytes
            names_for(path, parent)
            if size > old_size < size_bytes:
                why = f"reads zeros past the end of {self._order.child}, where {parent} goes on"
                raise ParentError(path, why, hint=_FLATTEN.format(path))

    def _reparent(self, parent: Path, unique_id: uuid.UUID) -> None:
        for file in self._claimed:
            set_parent(file, NewParent(parent, unique_id, int(parent.stat().st_mtime)))
            self.outcome.reparented.append(file.path)


class MergeInto(Job):
    """A child merged into an image it stands on; nothing is changed before `run`.

    Raise DiskError where the merge would spoil other images, or cannot be done.
    """

    def __init__(self, order: MergeOrder, into: Path | None = None) -> None:
        levels = chain_of(order.child, order.rules)
        cut = index_of(levels, into) if into is not None else 1
        if cut == 0:
            raise DiskError(f"{into}: is the child itself; name an image it stands on")
        _refuse_shorter(levels, cut + 1)
        super().__init__(order, levels, open_span(levels, cut, writable=not order.dry_run))
        assert self._span.lower is not None
        self._target = self._span.lower
        self._cut = cut
        try:
            moved = volume(self._span.upper, self._target)
            self.outcome = Outcome(order.child, self._target.path, moved)
            self._look_around()
            self._claim_children(self._target.path, self._target.size_bytes)
        except BaseException:
            self.__exit__()
            raise

    @property
    def when_stopped(self) -> str:
        """What is to be said when `run` does not end."""
        child = self._order.child
        how = "the same command" if child == self.outcome.child else f"trapline disk merge --delete {child}"
        return f"the child reads as before, {self._target.path} alone may not; {how} finishes the merge"

    def run(self, progress: Progress | None = None) -> None:
        """Merge, then do what was ordered: again, after an interruption, it does the rest."""
        self._mark_undo_disk()
        before = _blocks_of(self._target)
        try:
            merge_into(self._span.upper, self._target, progress)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            child = self._order.child
            why = f"no room on the host for what {child} holds; only {child} has the contents whole: keep it"
            raise DiskError(
                f"{self._target.path}: {why}. Make room and merge again: trapline disk merge {child}"
            ) from error
        self.outcome.volume = self.outcome.volume.with_blocks(_blocks_of(self._target) - before)
        self._reparent(self._target.path, self._target.footer.unique_id)
        if self._order.delete:
            self._delete()
        else:
            self._note_time()
            unmark(self._order.child, self._levels[1].path)

    def foretell(self) -> None:
        """Fill the outcome with what `run` would do."""
        super().foretell()
        self.outcome.deleted = self._doomed() if self._order.delete else []

    def _mark_undo_disk(self) -> None:
        """Give an undo disk the name by which nobody discards it any more, before the first write."""
        child = mark(self._order.child, self._levels[1].path)
        if child != self._order.child:
            self._order = replace(self._order, child=child)
            self._levels = [self._levels[0]._replace(path=child), *self._levels[1:]]

    def _look_around(self) -> None:
        """Find the images that stand on those of the span; refuse what would break them."""
        levels, order, outcome = self._levels, self._order, self.outcome
        near = (*(level.path.resolve().parent for level in levels[: self._cut + 1]), *order.search)
        outcome.children, *between, on_target = _standing_on(levels, self._cut, near)
        inside = [*chain.from_iterable(between)]
        on_deleted = inside if order.reparent_children else [*outcome.children, *inside]
        if order.delete and on_deleted:
            raise DiskError(
                f"{order.child}: nothing can be deleted while images stand on it: {_names(on_deleted)}. "
                "Leave --delete out, or put those on the child onto its parent with --reparent-children"
            )
        others = [*inside, *on_target]
        if others and not is_merged(self._span.upper, self._target):
            if not order.force:
                raise DiskError(
                    f"{self._target.path}: other images stand on what would change: {_names(others)}. "
                    "Merge into a new file (--from, --to), or spoil them with --force"
                )
            outcome.spoilt = others
        if self._target.size_bytes > levels[0].size_bytes:
            sizes = f"{self._target.size_bytes} bytes long, the child {levels[0].size_bytes}"
            outcome.warnings.append(f"{self._target.path} is {sizes}; it keeps its length")
        if self._cut > 1 and not order.delete:
            through = _names([level.path for level in levels[1 : self._cut]])
            outcome.warnings.append(f"{through}: merged through; of no use any more but to {order.child}")

    def _delete(self) -> None:
        """Remove what is merged: the child, and the images between, which show a mixture now."""
        for path in self._doomed():
            path.unlink()
            sync_directory(path)
            self.outcome.deleted.append(path)

    def _doomed(self) -> list[Path]:
        return [level.path.resolve() for level in self._levels[: self._cut]]

    def _note_time(self) -> None:
        """Note in the image right above the target when that was written, to spare a warning."""
        path = self._levels[self._cut - 1].path
        self._span.upper.close()
        try:
            file = HostFile.open(path, read_only=False)
            try:
                target, status = self._target, file.status
                modified = int(target.path.stat().st_mtime)
                set_timestamp(file, NewParent(target.path, target.footer.unique_id, modified))
                # What stands on this image notes its time, and its contents are the same
                file.set_times(status)
            finally:
                file.close()
        except HOST_ERRORS as error:
            why = f"the new time of modification of {self._target.path} is not noted"
            self.outcome.warnings.append(f"{path}: {why}: {error}")


class MergeNew(Job):
    """The child and the images down to `last`, made into one new file that stands on the rest."""

    when_stopped = "nothing is left of the new file"

    def __init__(self, order: MergeOrder, last: Path, new: Path) -> None:
        levels = chain_of(order.child, order.rules)
        cut = index_of(levels, last) + 1
        if cut < len(levels):
            _refuse_shorter(levels, cut)
        if not order.force:
            refuse_existing(new)
        super().__init__(order, levels, open_span(levels, cut))
        try:
            self.outcome = Outcome(order.child, new, volume(self._span.upper, None))
            near = (order.child.resolve().parent, *order.search)
            [self.outcome.children] = _standing_on(levels, 0, near)
            self._claim_children(new, levels[0].size_bytes)
        except BaseException:
            self.__exit__()
            raise

    def run(self, progress: Progress | None = None) -> None:
        """Make the file: it appears whole or not at all."""
        new = self.outcome.target
        with new_file(new, replace=self._order.force) as file:
            blocks = write_span(file, new, self._span, progress)
        self.outcome.volume = self.outcome.volume.with_blocks(blocks)
        if self._claimed:
            self._reparent(new, member(new).unique_id)


def _refuse_shorter(levels: Sequence[Level], end: int) -> None:
    """Refuse a level behind the child, before `end`, that is shorter.

    Past its end the child reads zeros that no level holds, where the result would show other data.
    """
    child = levels[0]
    for level in levels[1:end]:
        if level.size_bytes < child.size_bytes:
            raise DiskError(
                f"{level.path}: {level.size_bytes} bytes, and {child.path} has {child.size_bytes}: "
                f"a child cannot be merged through a shorter image. {_FLATTEN.format(child.path)}"
            )


def _standing_on(levels: Sequence[Level], cut: int, near: Sequence[Path]) -> list[list[Path]]:
    """Return, for each level down to `cut`, the images found that stand on it but are not of the chain."""
    statuses = [level.path.stat() for level in levels]
    own = {(status.st_dev, status.st_ino) for status in statuses}
    ids = {level.unique_id: index for index, level in enumerate(levels[: cut + 1])}
    found: list[list[Path]] = [[] for _ in ids]
    for image in members(near):
        status = image.path.stat()
        if image.parent_id in ids and (status.st_dev, status.st_ino) not in own:
            found[ids[image.parent_id]].append(image.path)
    return found


def _blocks_of(image: VhdImage) -> int:
    return image.store.table.present() if isinstance(image, SparseVhd) else 0


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)
