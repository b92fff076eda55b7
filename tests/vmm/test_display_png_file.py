"""The screen as a picture file that is kept."""

from __future__ import annotations

from pathlib import Path

from devices.vga.adapter import Vga
from vmm.clock import MachineClock, ManualTime
from vmm.display.png import encode_png
from vmm.display.png_file import INTERVAL_NS, PngFile
from vmm.display.screenshot import draw

TEXT = 0x1_8000


def test_png_file_follows_the_screen(tmp_path: Path) -> None:
    now_ns, vga = [0], Vga(MachineClock(ManualTime()))
    vga.set_text_mode_3()
    path = tmp_path / "screen.png"
    file = PngFile(vga, path, lambda: now_ns[0])
    file.refresh()
    assert path.read_bytes() == encode_png(draw(vga))
    vga.write(TEXT, 2, 0x0758)
    file.refresh()
    assert path.read_bytes() != encode_png(draw(vga))
    now_ns[0] += INTERVAL_NS
    file.refresh()
    assert path.read_bytes() == encode_png(draw(vga))
    assert [entry.name for entry in tmp_path.iterdir()] == ["screen.png"]
