"""The 93C46 behind SEECTL, cable sense behind BRDCTL, straps in SBLKCTL."""

from __future__ import annotations

import pytest

from devices.aic7870 import registers as r
from devices.aic7870.seeprom import default_words
from tests.devices.aic7870.rig import Rig

READ, WRITE, ERASE = 0b10, 0b01, 0b11
EWEN, ERAL, WRAL, EWDS = 0x30, 0x20, 0x10, 0x00


class Pins:
    """Bit by bit through SEECTL, as the driver does."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.rig.write(r.SEECTL, r.SEEMS)

    def clock(self, bit: int) -> int:
        pins = r.SEEMS | r.SEECS | (r.SEEDO if bit else 0)
        self.rig.write(r.SEECTL, pins)
        self.rig.write(r.SEECTL, pins | r.SEECK)
        value = self.rig.read(r.SEECTL) & r.SEEDI
        self.rig.write(r.SEECTL, pins)
        return value

    def operate(self, operation: int, address: int, data: int | None = None) -> None:
        self.clock(0)  # the driver's edge before the start bit
        bits = f"1{operation:02b}{address:06b}" + ("" if data is None else f"{data:016b}")
        for bit in bits:
            self.clock(int(bit))
        if operation != READ:
            self.deselect()

    def deselect(self) -> None:
        self.rig.write(r.SEECTL, r.SEEMS)

    def word(self, address: int) -> int:
        self.operate(READ, address)
        assert self.rig.read(r.SEECTL) & r.SEEDI == 0, "the dummy bit"
        value = 0
        for _ in range(16):
            value = value << 1 | self.clock(0)
        self.deselect()
        return value


def test_the_driver_finds_a_sound_image() -> None:
    pins = Pins()
    words = [pins.word(at) for at in range(32)]
    assert sum(words[:31]) & 0xFFFF == words[31] != 0
    assert words[18] & 0x0F == 7, "host id"
    assert not words[17] & 0x40, "CFRESETB"
    assert words == list(default_words()[:32])


def test_a_wide_board_says_sixteen_targets() -> None:
    assert default_words(wide=True)[19] == 16
    assert sum(default_words(wide=True)[:31]) & 0xFFFF == default_words(wide=True)[31]


def test_seerdy_follows_seems() -> None:
    rig = Rig()
    assert not rig.read(r.SEECTL) & r.SEERDY
    rig.write(r.SEECTL, r.SEEMS)
    assert rig.read(r.SEECTL) & r.SEERDY


def test_extarbreq_is_granted() -> None:
    rig = Rig()
    rig.write(r.SEECTL, r.EXTARBREQ)
    assert rig.read(r.SEECTL) & r.EXTARBACK


def test_without_chip_select_nothing_is_shifted() -> None:
    pins = Pins()
    pins.rig.write(r.SEECTL, r.SEEMS | r.SEECK | r.SEEDO)
    assert pins.rig.read(r.SEECTL) & r.SEEDI


def test_writing_needs_to_be_enabled() -> None:
    pins = Pins()
    pins.operate(WRITE, 40, 0x1234)
    assert pins.word(40) == 0xFFFF
    pins.operate(0, EWEN)
    pins.operate(WRITE, 40, 0x1234)
    assert pins.word(40) == 0x1234
    pins.operate(0, EWDS)
    pins.operate(WRITE, 40, 0x4321)
    assert pins.word(40) == 0x1234


def test_erase_makes_a_word_ones() -> None:
    pins = Pins()
    pins.operate(0, EWEN)
    pins.operate(ERASE, 18)
    assert (pins.word(17), pins.word(18)) == (default_words()[17], 0xFFFF)


@pytest.mark.parametrize(("operation", "data", "expected"), [(ERAL, None, 0xFFFF), (WRAL, 0x55AA, 0x55AA)])
def test_all_words_at_once(operation: int, data: int | None, expected: int) -> None:
    pins = Pins()
    pins.operate(0, EWEN)
    pins.operate(0, operation, data)
    assert {pins.word(at) for at in (0, 31, 63)} == {expected}


def test_what_is_written_survives_chiprst() -> None:
    pins = Pins()
    pins.operate(0, EWEN)
    pins.operate(WRITE, 40, 0x1234)
    pins.rig.write(r.HCNTRL, r.CHIPRST)
    pins.rig.write(r.HCNTRL, r.PAUSE)
    pins.deselect()
    assert pins.word(40) == 0x1234


@pytest.mark.parametrize("bank", [0, 0x20])
def test_brdctl_shows_no_cables_and_a_bios(bank: int) -> None:
    rig = Rig()
    for strobe in (r.BRDSTB, 0):
        rig.write(r.BRDCTL, bank | r.BRDCS | strobe)
    rig.write(r.BRDCTL, r.BRDRW | r.BRDCS)
    assert rig.read(r.BRDCTL) & r.BRDDAT == 0xC0


def test_sblkctl_keeps_led_and_autoflushdis_and_shows_the_strap() -> None:
    rig = Rig()
    assert rig.read(r.SBLKCTL) == r.DIAG_LED
    rig.write(r.SBLKCTL, 0x2F)
    assert rig.read(r.SBLKCTL) == 0x20
