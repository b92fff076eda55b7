"""Where the beam is: the CRT controller's counters as a function of virtual time.

NOT modelled: skew, the halved and doubled clocks of low-resolution modes beyond the dot clock's own.

Sources:
    [VGA] IBM PS/2 Hardware Interface Technical Reference, Video Subsystem, "CRT Controller".
"""

from __future__ import annotations

from typing import Final

from devices.vga import registers as r

_NS_PER_S: Final = 1_000_000_000
_NINE_DOTS: Final = 9
_EIGHT_DOTS: Final = 8


def vertical_end(crtc: bytes | bytearray) -> int:
    """Return the number of displayed scan lines."""
    overflow = crtc[r.CRTC_OVERFLOW]
    high = (overflow & 0x02) << 7 | (overflow & 0x40) << 3
    return (crtc[r.CRTC_VERTICAL_END] | high) + 1


def line_compare(crtc: bytes | bytearray) -> int:
    """Return the scan line after which the picture starts over from address 0."""
    high = (crtc[r.CRTC_OVERFLOW] & 0x10) << 4 | (crtc[r.CRTC_MAXIMUM_SCAN_LINE] & 0x40) << 3
    return crtc[r.CRTC_LINE_COMPARE] | high


class Timing:
    """The shape of a frame in nanoseconds, worked out anew when a register it depends on changes."""

    def __init__(self, crtc: bytes | bytearray, sequencer: bytes | bytearray, misc: int) -> None:
        clocking = sequencer[r.SEQ_CLOCKING_MODE]
        dots = _EIGHT_DOTS if clocking & r.CLOCKING_8_DOTS else _NINE_DOTS
        dots *= 2 if clocking & r.CLOCKING_HALF else 1
        hertz = r.CLOCK_HZ[(misc & r.MISC_CLOCK) >> 2]
        overflow = crtc[r.CRTC_OVERFLOW]
        lines = (crtc[r.CRTC_VERTICAL_TOTAL] | (overflow & 0x01) << 8 | (overflow & 0x20) << 4) + 2
        start = crtc[r.CRTC_RETRACE_START] | (overflow & 0x04) << 6 | (overflow & 0x80) << 2
        height = (crtc[r.CRTC_RETRACE_END] - start) & 0x0F  # the end is given by its low 4 bits
        self.line_ns = max(1, (crtc[r.CRTC_HORIZONTAL_TOTAL] + 5) * dots * _NS_PER_S // hertz)
        self.shown_ns = (crtc[r.CRTC_HORIZONTAL_END] + 1) * dots * _NS_PER_S // hertz
        self.frame_ns = lines * self.line_ns
        self.shown_lines = vertical_end(crtc)
        self.retrace = range(start, start + height)

    def status(self, now_ns: int) -> int:
        """Return the bits of input status register 1 that follow the beam."""
        line, within_ns = divmod(now_ns % self.frame_ns, self.line_ns)
        status = 0
        if line >= self.shown_lines or within_ns >= self.shown_ns:
            status |= r.STATUS1_DISPLAY_DISABLED
        if line in self.retrace:
            status |= r.STATUS1_VERTICAL_RETRACE
        return status
