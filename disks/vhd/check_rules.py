"""The rules `check` goes by, and what it found.

A rule has one severity wherever it is broken. An error: the image cannot be opened, or shows other contents
than were written. A warning: some program will refuse the image or see another disk. An info: odd, harmless.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

MAX_LISTED: Final = 20  # findings of one rule in one file; a hostile table could have millions


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Rule:
    """One rule; `repair` says what `--repair` does about it, if anything."""

    name: str
    severity: Severity
    meaning: str
    repair: str = ""


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO

RULES: Final = {
    rule.name: rule
    for rule in (
        # The footer
        Rule("no-vhd", _E, "no footer at the end and no copy of one at offset 0"),
        Rule("split-piece", _E, "a piece of a split image (.vhd, .v01, ...): join the pieces first"),
        Rule(
            "footer-damaged", _E, "the footer at the end is damaged or missing", "written again from its copy"
        ),
        Rule("footer-checksum", _E, "the checksum of the footer is wrong, and there is no good copy"),
        Rule("footer-version", _E, "another major version of the format"),
        Rule("disk-type", _E, "neither fixed, dynamic nor differencing"),
        Rule("disk-size", _E, "a size no disk of this format has"),
        Rule("fixed-truncated", _E, "sectors of the fixed disk are missing"),
        Rule("footer-511", _W, "the footer is cut to 511 bytes; programs of today refuse it", "completed"),
        Rule(
            "copy-damaged", _W, "the footer's copy at offset 0 is damaged; QEMU goes by it", "written again"
        ),
        Rule("copy-differs", _W, "the footer's copy at offset 0 differs; QEMU goes by it", "written again"),
        Rule(
            "footer-features", _W, "the bit that is always set is clear, or a reserved one set", "corrected"
        ),
        Rule("fixed-data-offset", _W, "a fixed disk has no header to point at"),
        Rule("timestamp-future", _W, "made in the future: some clock is wrong"),
        Rule("geometry", _W, "programs that go by the geometry see a disk of another size"),
        Rule("saved-state", _W, "neither 0 nor 1"),
        Rule("fixed-slack", _W, "bytes between the end of the fixed disk and its footer"),
        Rule("footer-reserved", _I, "reserved bytes of the footer are not zero"),
        Rule("footer-temporary", _I, "marked as a temporary disk"),
        Rule("creator", _I, "the program that made it is not known here"),
        Rule("creator-host", _I, "neither Windows nor Macintosh"),
        Rule("original-size", _I, "the size it was made with is not one a disk has"),
        Rule("state-saved", _I, "belongs to a machine whose state was saved"),
        # The header
        Rule("header-place", _E, "the header is not inside the file"),
        Rule("header-cookie", _E, "no header where the footer says"),
        Rule("header-checksum", _E, "the checksum of the header is wrong"),
        Rule("header-version", _E, "another major version of the header"),
        Rule("block-size", _E, "no power of two from 4 KiB to 256 MiB"),
        Rule("table-place", _E, "the block allocation table lies in the header, or outside the file"),
        Rule("table-short", _E, "fewer entries than the disk has blocks"),
        Rule("header-data-offset", _W, "some programs follow it to another header"),
        Rule("block-size-rare", _W, "Hyper-V takes only 512 KiB and 2 MiB"),
        Rule("parent-fields", _W, "a dynamic disk has no parent"),
        Rule("header-reserved", _I, "reserved bytes of the header are not zero"),
        # The table and the room in the file
        Rule("bat-headers", _E, "a block in the headers: what is written to it damages the image"),
        Rule("bat-overlap", _E, "two blocks share bytes: what is written to one shows in the other"),
        Rule("bat-outside", _E, "a block outside the file"),
        Rule("bat-many", _E, "more blocks than the file can hold"),
        Rule("bat-unused", _W, "an entry past the last block of the disk"),
        Rule("leak", _W, "room for whole blocks that nothing points at; compact gives it back"),
        Rule("tail-room", _I, "room behind the last block, as a crash leaves it", "cut off"),
        Rule("gap", _I, "bytes between the parts that nothing points at"),
        Rule("table-padding", _I, "the table is not padded with FFh", "padded"),
        # Blocks
        Rule("hidden-data", _W, "data behind clear bits: zeros here, but QEMU shows the data"),
        Rule(
            "qemu-poison",
            _W,
            "every sector is marked present, and zeros hide the parent's data, as after a write by QEMU, "
            "which takes the image for a dynamic one; a guest that zeroes a whole block leaves the same",
        ),
        Rule("bits-beyond-end", _I, "sectors marked present past the end of the disk", "cleared"),
        Rule("bitmap-padding", _I, "the padding of a bitmap is not zero"),
        Rule(
            "zeros-held",
            _I,
            "zeros that take room, in a dynamic disk only whole blocks of them; compact gives those back",
        ),
        # Parents
        Rule("parent-id", _E, "a differencing disk names its parent, and not itself, by identity"),
        Rule("parent-unusable", _E, "the parent, or one behind it, cannot be used"),
        Rule(
            "locator-overlap",
            _E,
            "the text of a locator shares bytes with other parts: QEMU wrote to the image, most likely, "
            "which takes it for a dynamic one",
        ),
        Rule("parent-name", _W, "no name of the parent; 7-Zip and others look for it"),
        Rule("locator-none", _W, "no locator that is understood here or on Windows"),
        Rule("locator-code", _W, "a platform code of no meaning"),
        Rule("locator-space", _W, "room for the text that is neither sectors nor whole sectors of bytes"),
        Rule("locator-text", _W, "a text outside the file, longer than its room, or not text"),
        Rule("parent-size", _W, "the parent has another size; Windows refuses that"),
        Rule("parent-odd", _W, "the parent is not as it was when the child was made"),
        Rule("locator-sectors", _I, "the room for the text is counted in sectors"),
        Rule("locator-reserved", _I, "reserved bytes of a locator are not zero"),
        Rule("locator-old", _I, "a deprecated form of locator, which is not followed"),
    )
}


@dataclass(frozen=True)
class Finding:
    """One place where a rule is broken. `offset` is in bytes from the start of the file."""

    rule: Rule
    path: Path
    offset: int
    field: str
    expected: str
    found: str

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return self.rule.severity

    def __str__(self) -> str:
        """Return the finding as one line."""
        where = f"{self.path}: at offset {self.offset:#x}, {self.field}"
        return f"{where}: expected {self.expected}, found {self.found} ({self.rule.meaning})"


class Findings:
    """What was found in one file, in the order of the looking; of each rule at most `MAX_LISTED` are kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listed: list[Finding] = []
        self.counts: Counter[str] = Counter()

    def add(self, rule: str, offset: int, field: str, expected: object, found: object) -> None:
        """Note that `rule` is broken at `offset`."""
        self.counts[rule] += 1
        if self.counts[rule] <= MAX_LISTED:
            self.listed.append(Finding(RULES[rule], self.path, offset, field, str(expected), str(found)))

    def add_unlisted(self, rule: str, number: int) -> None:
        """Count more findings of a rule of which enough are listed."""
        self.counts[rule] += number

    @property
    def unlisted(self) -> dict[str, int]:
        """How many findings of a rule are not listed, because there are too many."""
        return {rule: count - MAX_LISTED for rule, count in self.counts.items() if count > MAX_LISTED}

    def number(self, severity: Severity) -> int:
        """Return how many findings are of a severity, those not listed too."""
        return sum(count for rule, count in self.counts.items() if RULES[rule].severity is severity)
