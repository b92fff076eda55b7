"""The SCSI cell of an AIC-7870: selection, status bits, automatic PIO (00h-19h)."""

from __future__ import annotations

import pytest

from devices.aic7870 import registers as r
from devices.aic7870.nexus import COMMAND, DATA_IN, DATA_OUT, MESSAGE_IN, MESSAGE_OUT, STATUS
from tests.devices.aic7870.rig import Rig, inquiry, pattern, read10, write10


def in_phase(phase: int) -> Rig:
    """A rig connected to target 0, which asks for a byte of this phase."""
    rig = Rig()
    assert rig.select(0)
    if phase == MESSAGE_OUT:
        return rig
    rig.send(0x80)
    cdb = {DATA_IN: inquiry(36), DATA_OUT: write10(64)}.get(phase, bytes(6))
    if phase != COMMAND:
        rig.send(*cdb)
    if phase == MESSAGE_IN:
        rig.take()
    assert rig.phase == phase
    return rig


# --- selection -----------------------------------------------------------------------------------


def test_a_selected_target_shows_seldo_and_asks_for_a_message() -> None:
    rig = Rig()
    rig.write(r.SCSIID, 0x07)
    rig.write(r.SCSISEQ, r.ENSELO | r.ENAUTOATNO)
    assert rig.status0(r.SELDO | r.SELINGO) == r.SELDO
    assert rig.read(r.SCSISIGI) == MESSAGE_OUT | r.ATN_LINE | r.BSY_LINE | r.REQ_LINE


def test_without_attention_the_target_asks_for_the_command() -> None:
    rig = Rig()
    rig.select(0, attention=False)
    assert rig.read(r.SCSISIGI) == COMMAND | r.BSY_LINE | r.REQ_LINE


def test_without_identify_the_lun_is_that_of_the_command_block() -> None:
    rig = Rig()
    rig.select(0, attention=False)
    rig.send(0, 0x40, 0, 0, 0, 0)
    assert rig.target.commands == [(2, bytes((0, 0x40, 0, 0, 0, 0)))]


def test_enselo_stays_set_until_it_is_cleared() -> None:
    rig = Rig()
    rig.write(r.SCSIID, 0x07)
    rig.write(r.SCSISEQ, r.ENSELO)
    assert rig.read(r.SCSISEQ) == r.ENSELO


@pytest.mark.parametrize("target", [5, 7, 9])
def test_nobody_own_id_and_upper_ids_of_a_narrow_bus_time_out(target: int) -> None:
    rig = Rig()
    rig.write(r.SCSIID, target << 4 | 7)
    rig.write(r.SCSISEQ, r.ENSELO)
    assert rig.status0(r.SELDO | r.SELINGO) == r.SELINGO
    assert rig.status1(r.SELTO)


def test_a_wide_bus_has_upper_ids() -> None:
    rig = Rig(wide=True)
    assert rig.select(9)
    assert rig.read(r.SBLKCTL) & r.SELWIDE


def test_the_time_out_needs_the_timer() -> None:
    rig = Rig()
    rig.write(r.SXFRCTL1, 0)
    rig.write(r.SCSIID, 0x57)
    rig.write(r.SCSISEQ, r.ENSELO)
    assert rig.status0(r.SELINGO)
    assert not rig.status1(r.SELTO)
    assert rig.read(r.SCSISIGI) == r.SEL_LINE
    rig.write(r.SXFRCTL1, r.ENSTIMER)
    assert rig.status1(r.SELTO)


def test_clearing_enselo_ends_the_selection() -> None:
    rig = Rig()
    rig.write(r.SXFRCTL1, 0)
    rig.write(r.SCSIID, 0x57)
    rig.write(r.SCSISEQ, r.ENSELO)
    rig.write(r.SCSISEQ, 0)
    assert not rig.status0(r.SELINGO)


def test_a_selection_waits_for_the_bus_free_and_a_little_longer() -> None:
    rig = in_phase(MESSAGE_IN)
    rig.write(r.SCSIID, 0x37)
    rig.write(r.SCSISEQ, r.ENSELO | r.ENAUTOATNO)
    assert not rig.status0(r.SELDO)
    rig.take()
    assert rig.status1(r.BUSFREE)
    assert not rig.status0(r.SELDO)
    rig.advance(10_000)
    assert rig.status0(r.SELDO)
    assert not rig.status1(r.BUSFREE)
    assert rig.phase == MESSAGE_OUT


# --- phases --------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [MESSAGE_OUT, COMMAND, DATA_OUT, DATA_IN, STATUS, MESSAGE_IN])
def test_phasemis_while_another_phase_is_expected(phase: int) -> None:
    rig = in_phase(phase)
    for expected in (MESSAGE_OUT, COMMAND, DATA_OUT, DATA_IN, STATUS, MESSAGE_IN):
        rig.write(r.SCSISIGO, expected)
        assert bool(rig.status1(r.PHASEMIS)) == (expected != phase)


def test_phasemis_needs_reqinit() -> None:
    rig = in_phase(STATUS)
    rig.write(r.SCSISIGO, DATA_IN)
    rig.write(r.CLRSINT1, r.REQINIT)
    assert rig.status1(r.PHASEMIS | r.REQINIT) == 0
    assert rig.read(r.SCSISIGI) & r.REQ_LINE


def test_phasechg_is_kept_until_it_is_cleared() -> None:
    rig = in_phase(STATUS)
    assert rig.status1(r.PHASECHG)
    rig.write(r.SCSISIGO, STATUS)
    assert rig.status1(r.PHASECHG)
    rig.write(r.CLRSINT1, r.PHASECHG)
    assert not rig.status1(r.PHASECHG)


def test_writing_0_to_atno_does_not_drop_attention() -> None:
    rig = in_phase(MESSAGE_OUT)
    rig.write(r.SCSISIGO, MESSAGE_OUT)
    assert rig.read(r.SCSISIGI) & r.ATN_LINE
    rig.write(r.CLRSINT1, r.CLRATNO)
    assert not rig.read(r.SCSISIGI) & r.ATN_LINE


def test_atno_sets_attention_and_the_target_asks_for_a_message_after_the_byte() -> None:
    rig = in_phase(STATUS)
    rig.write(r.SCSISIGO, STATUS | r.ATN_LINE)
    assert rig.phase == STATUS
    rig.take()
    assert rig.phase == MESSAGE_OUT


def test_the_bus_free_clears_what_belongs_to_the_connection() -> None:
    rig = in_phase(MESSAGE_IN)
    rig.write(r.SCSISIGO, MESSAGE_IN)
    rig.read(r.SCSIDATL)
    assert rig.read(r.SCSISIGI) == 0
    assert rig.status0(r.SELDO | r.SELDI) == 0
    assert rig.status1(r.BUSFREE | r.REQINIT) == r.BUSFREE
    rig.select(0, attention=False)
    assert rig.status1(r.PHASEMIS), "the expected phase of the last connection is still there"


def test_busfree_stays_until_it_is_cleared() -> None:
    rig = in_phase(MESSAGE_IN)
    rig.take()
    assert rig.status1(r.BUSFREE)
    rig.write(r.CLRSINT1, r.BUSFREE)
    assert not rig.status1(r.BUSFREE)


# --- automatic PIO -------------------------------------------------------------------------------


def test_scsibusl_shows_the_byte_without_an_acknowledge() -> None:
    rig = in_phase(DATA_IN)
    assert [rig.read(r.SCSIBUSL) for _ in range(3)] == [pattern(1)[0]] * 3
    assert rig.read(r.SCSIDATL) == pattern(1)[0]
    assert rig.read(r.SCSIBUSL) == pattern(2)[1]


def test_scsidatl_acknowledges_only_with_spioen() -> None:
    rig = in_phase(DATA_IN)
    rig.write(r.SXFRCTL0, 0)
    rig.read(r.SCSIDATL)
    rig.write(r.SXFRCTL0, r.SPIOEN)
    assert bytes(rig.read(r.SCSIDATL) for _ in range(5)) == pattern(5)


def test_a_whole_data_phase_by_pio() -> None:
    rig = in_phase(DATA_IN)
    assert bytes(rig.take() for _ in range(36)) == pattern(36)
    assert rig.phase == STATUS


def test_bytes_out_by_pio_reach_the_target() -> None:
    rig = in_phase(DATA_OUT)
    rig.send(*range(64), last=False)
    assert rig.target.written == bytes(range(64))


def test_a_byte_written_without_spioen_waits_for_it() -> None:
    rig = in_phase(DATA_OUT)
    rig.write(r.SXFRCTL0, 0)
    rig.write(r.SCSISIGO, DATA_OUT)
    rig.write(r.SCSIDATL, 0x55)
    assert rig.status1(r.REQINIT)
    rig.write(r.SXFRCTL0, r.SPIOEN)
    rig.send(*range(63), last=False)
    assert rig.target.written == b"\x55" + bytes(range(63))


def test_clrchn_forgets_the_byte_that_waits() -> None:
    rig = in_phase(DATA_OUT)
    rig.write(r.SXFRCTL0, 0)
    rig.write(r.SCSIDATL, 0x55)
    rig.write(r.SXFRCTL0, r.CLRCHN)
    rig.write(r.SXFRCTL0, r.SPIOEN)
    rig.send(*range(64), last=False)
    assert rig.target.written == bytes(range(64))


def test_spiordy_rises_with_req_and_falls_with_the_access() -> None:
    rig = in_phase(DATA_IN)
    assert rig.status0(r.SPIORDY)
    rig.write(r.SXFRCTL0, 0)
    assert not rig.status0(r.SPIORDY)
    rig.write(r.SXFRCTL0, r.SPIOEN)
    assert rig.status0(r.SPIORDY)
    rig.write(r.CLRSINT0, r.SPIORDY)
    assert not rig.status0(r.SPIORDY)
    rig.read(r.SCSIDATL)
    assert rig.status0(r.SPIORDY), "the next byte"


def test_the_pio_counts_in_stcnt_and_shaddr() -> None:
    rig = in_phase(DATA_IN)
    rig.write(r.HADDR, 0x1FF, 4)
    rig.write(r.STCNT, 3, 2)
    rig.take()
    rig.take()
    assert rig.read(r.STCNT) == 1
    assert rig.read(r.SHADDR, 4) == 0x201


def test_acko_moves_a_byte_by_hand() -> None:
    rig = in_phase(DATA_IN)
    rig.write(r.SXFRCTL0, 0)
    seen = []
    for _ in range(3):
        seen.append(rig.read(r.SCSIBUSL))
        rig.write(r.SCSISIGO, DATA_IN | r.ACK_LINE)
        assert rig.read(r.SCSISIGI) == DATA_IN | r.BSY_LINE | r.ACK_LINE
        rig.write(r.SCSISIGO, DATA_IN)
    assert bytes(seen) == pattern(3)


def test_strobes_read_0() -> None:
    rig = Rig()
    rig.write(r.SXFRCTL0, 0xFF)
    assert rig.read(r.SXFRCTL0) == 0xFF & ~(r.CLRSTCNT | r.CLRCHN | r.FAST20)


def test_clrstcnt_clears_both_counters() -> None:
    rig = Rig()
    rig.write(r.HADDR, 0x1234, 4)
    rig.write(r.STCNT, 0x55, 1)
    rig.write(r.SXFRCTL0, r.CLRSTCNT)
    assert rig.read(r.STCNT, 2) == 0
    assert rig.read(r.SHADDR, 4) == 0
    assert rig.read(r.HADDR, 4) == 0x1234


# --- computed bits -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stcnt", "hcnt", "sxfrctl0", "dfcntrl", "sxfrctl1", "expected"),
    [
        (0, 0, 0, 0, 0, 0),
        (0, 0, r.SPIOEN, 0, 0, r.SDONE | r.DMADONE),
        (0, 0, 0, r.SDMAEN, 0, r.SDONE | r.DMADONE),
        (0, 9, 0, r.SDMAEN, 0, r.SDONE),
        (9, 0, r.SPIOEN, r.SDMAEN, 0, 0),
        (0x10000, 0, r.SPIOEN, r.SDMAEN, 0, 0),
        (0, 0, 0, r.SDMAEN, r.SWRAPEN, 0),
    ],
)
def test_sdone_and_dmadone_follow_from_the_counters(
    stcnt: int, hcnt: int, sxfrctl0: int, dfcntrl: int, sxfrctl1: int, expected: int
) -> None:
    rig = Rig()
    rig.write(r.SXFRCTL0, sxfrctl0)
    rig.write(r.SXFRCTL1, sxfrctl1)
    rig.write(r.DFCNTRL, dfcntrl)
    rig.write(r.HCNT, hcnt, 2)
    for at in range(3):
        rig.write(r.STCNT + at, stcnt >> 8 * at & 0xFF)
    assert rig.status0(r.SDONE | r.DMADONE) == expected


def test_reqinit_can_interrupt_for_each_byte() -> None:
    rig = in_phase(DATA_IN)
    rig.write(r.SIMODE1, r.REQINIT)
    assert rig.read(r.INTSTAT) == r.SCSIINT
    rig.write(r.CLRSINT1, r.REQINIT)
    assert rig.read(r.INTSTAT) == 0
    rig.read(r.SCSIDATL)
    assert rig.read(r.INTSTAT) == r.SCSIINT


def test_sdone_can_interrupt() -> None:
    rig = Rig()
    rig.write(r.STCNT, 1)
    rig.write(r.DFCNTRL, r.SDMAEN)
    rig.write(r.SIMODE0, r.SDONE)
    assert rig.read(r.INTSTAT) == 0
    rig.write(r.STCNT, 0)
    assert rig.read(r.INTSTAT) == r.SCSIINT


# --- reset of the bus, bit bucket ----------------------------------------------------------------


def test_a_bus_reset_reaches_every_target_and_is_seen_by_ourselves() -> None:
    rig = in_phase(DATA_IN)
    before = rig.target.resets, rig.other.resets
    rig.write(r.SCSISEQ, r.ENRSELI | r.SCSIRSTO)
    assert (rig.target.resets, rig.other.resets) == (before[0] + 1, before[1] + 1)
    assert rig.status1(r.SCSIRSTI | r.REQINIT) == r.SCSIRSTI
    assert rig.read(r.SCSISEQ) == r.SCSIRSTO
    assert rig.read(r.SCSISIGI) == 0
    rig.write(r.SCSISEQ, 0)
    rig.write(r.CLRSINT1, r.SCSIRSTI)
    assert not rig.status1(r.SCSIRSTI)


def test_nobody_is_selected_while_the_bus_is_reset() -> None:
    rig = Rig()
    rig.write(r.SCSISEQ, r.SCSIRSTO)
    rig.write(r.SCSIID, 0x07)
    rig.write(r.SCSISEQ, r.SCSIRSTO | r.ENSELO)
    assert not rig.status0(r.SELDO)


def test_the_bit_bucket_takes_all_data_of_a_read() -> None:
    rig = Rig()
    rig.select(0)
    rig.send(0x80)
    rig.send(*read10(40_000))
    rig.write(r.SCSISIGO, DATA_IN)
    rig.write(r.SXFRCTL1, r.BITBUCKET | r.ENSTIMER)
    assert rig.phase == STATUS
    assert rig.status1(r.PHASEMIS)


def test_the_bit_bucket_gives_zeros_to_a_write() -> None:
    rig = in_phase(DATA_OUT)
    rig.send(1, 2, 3, last=False)
    rig.write(r.SXFRCTL1, r.BITBUCKET | r.ENSTIMER)
    assert rig.phase == STATUS
    assert rig.target.written == b"\1\2\3" + bytes(61)


def test_the_bit_bucket_needs_the_expected_phase() -> None:
    rig = in_phase(DATA_IN)
    rig.write(r.SCSISIGO, DATA_OUT)
    rig.write(r.SXFRCTL1, r.BITBUCKET)
    assert rig.phase == DATA_IN
