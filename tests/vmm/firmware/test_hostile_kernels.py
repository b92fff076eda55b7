"""Whatever a kernel's headers say, loading it ends in a kernel or in one line of error."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vmm.firmware.kernels import MIB, RAM, boot, elf, header
from tests.vmm.firmware.test_linux_boot import kernel as linux_kernel
from vmm.errors import ConfigError

GRAPHICS = elf(header(4, video=(0, 800, 600, 32)))
SEGMENTS = 100


def test_segments_that_overlap_are_refused_before_they_are_copied() -> None:
    program_header = struct.pack("<8I", 1, 0, MIB, MIB, MIB, MIB, 7, 0x1000)
    top = struct.pack(
        "<16sHHIIIIIHHHHHH", b"\x7fELF\1\1\1", 2, 3, 1, MIB, 52, 0, 0, 52, 32, SEGMENTS, 0, 0, 0
    )
    data = (top + program_header * SEGMENTS + header()).ljust(2 * MIB, b"\0")
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match=r"segment 1 of the kernel at .* overlaps segment 0"):
            boot(data)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(data)
    finally:
        tracemalloc.stop()


@settings(max_examples=300, deadline=None)
@given(
    data=st.data(),
    start=st.sampled_from(
        [
            elf(header()),
            elf(header(0x10000, (MIB + 0x60, MIB, 0, 0, MIB + 0x80))),
            GRAPHICS,
            elf(header(), twice=True),
        ]
    ),
)
def test_no_changed_header_raises_anything_but_one_line(data: st.DataObject, start: bytes) -> None:
    one_line(data, start, range(0xC0))


@settings(max_examples=300, deadline=None)
@given(data=st.data(), entry=st.sampled_from(("auto", "16", "32", "64")))
def test_no_changed_linux_header_raises_anything_but_one_line(data: st.DataObject, entry: str) -> None:
    one_line(data, linux_kernel(xloadflags=1), range(0x1F0, 0x268), entry=entry)


def one_line(data: st.DataObject, start: bytes, places: range, **fields: object) -> None:
    """Change some bytes or words of a file, or cut it; load it; memory for it has to stay bounded."""
    changed = bytearray(start)
    value = st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x1000, 0x100000]) | st.integers(
        0, 0xFFFFFFFF
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.sampled_from(places))
        size = data.draw(st.sampled_from((1, 2, 4)))
        changed[at : at + size] = data.draw(value).to_bytes(4, "little")[:size]
    cut = data.draw(st.sampled_from((len(changed), len(changed), 0x100, 0x40, 0)))
    message, state = "", None
    try:
        state = boot(bytes(changed[:cut]), name="k", **fields)
    except ConfigError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 400
    if state is not None:
        assert sum(len(chunk.data) for chunk in state.chunks) < len(start) + 0x10000
        assert sum(chunk.zeros for chunk in state.chunks) <= RAM
