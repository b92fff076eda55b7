"""The 82093AA, one sentence of its data sheet per test."""

from __future__ import annotations

import pytest

from devices.apic import io
from devices.apic import messages as m
from devices.apic import registers as r
from tests.devices.apic_rig import PIC_VECTOR, Rig, mode
from vmm.clock import MachineClock

PIN = 9


@pytest.fixture
def rig() -> Rig:
    return Rig()


def make_for_contract(clock: MachineClock) -> tuple[object, object, object]:
    rig = Rig(clock)
    exercises = [
        lambda: rig.redirect(PIN, m.LEVEL | 0x41),
        lambda: rig.io.set_pin(PIN, True),
        lambda: rig.write_io(io.IOAPICID, 0x0300_0000),
        lambda: rig.redirect(0, mode(m.EXTINT) | m.ACTIVE_LOW),
    ]
    return rig.io, [(rig.io, io.REGISTER_BYTES)], exercises


CONTRACT = [("io apic", make_for_contract)]


def test_registers_after_reset(rig: Rig) -> None:
    """§3.2: ID 0, 24 entries of version 11h, all masked."""
    assert [rig.read_io(register) for register in (0, 1, 2)] == [0, 0x0017_0011, 0]
    assert [rig.entry(pin) for pin in range(io.PINS)] == [0x1_0000] * io.PINS


def test_the_id_has_four_bits_and_shows_in_the_arbitration_register(rig: Rig) -> None:
    rig.write_io(io.IOAPICID, 0xFFFF_FFFF)
    assert rig.read_io(io.IOAPICID) == rig.read_io(io.IOAPICARB) == 0x0F00_0000


def test_registers_that_are_read_only_or_not_there(rig: Rig) -> None:
    for register in (io.IOAPICVER, io.IOAPICARB, 3, 0x0F, 0x40, 0xFF):
        rig.write_io(register, 0xFFFF_FFFF)
    assert [rig.read_io(register) for register in (1, 2, 3, 0x0F, 0x40, 0xFF)] == [0x0017_0011, 0, 0, 0, 0, 0]


def test_an_entry_keeps_only_the_bits_it_has(rig: Rig) -> None:
    """§3.2.4: delivery status and remote IRR are read-only, 17 to 55 reserved."""
    rig.redirect(PIN, 0xFFFF_FFFF, 0xAB)
    assert rig.entry(PIN) == 0x1_AFFF
    assert rig.read_io(io.IOREDTBL + 2 * PIN + 1) == 0xAB00_0000


def test_accesses_that_are_not_aligned_dwords(rig: Rig) -> None:
    rig.read_io(io.IOAPICVER)
    assert (rig.io.read(io.IOWIN + 2, 1), rig.io.read(io.IOREGSEL, 1), rig.io.read(4, 4)) == (0x17, 1, 0)
    rig.io.write(io.IOREGSEL, 1, 0)
    assert rig.io.read(io.IOREGSEL, 4) == 1


def test_an_edge_is_sent_once(rig: Rig) -> None:
    rig.redirect(PIN, 0x41)
    rig.io.set_pin(PIN, True)
    rig.io.set_pin(PIN, True)
    assert rig.taken() == [0x41]
    rig.write(r.EOI, 0)
    assert rig.taken() == []
    assert rig.ended == []  # no EOI goes out for an edge
    rig.io.set_pin(PIN, False)
    rig.io.set_pin(PIN, True)
    assert rig.taken() == [0x41]


def test_an_edge_at_a_masked_pin_is_lost(rig: Rig) -> None:
    """§3.2.4, "Interrupt Mask"."""
    rig.redirect(PIN, m.MASKED | 0x41)
    rig.io.set_pin(PIN, True)
    rig.redirect(PIN, 0x41)
    assert rig.taken() == []


def test_a_level_is_sent_again_after_its_eoi_until_it_falls(rig: Rig) -> None:
    """§3.2.4: remote IRR is set when a local APIC accepts and reset by an EOI of that vector."""
    rig.redirect(PIN, m.LEVEL | 0x41)
    rig.io.set_pin(PIN, True)
    assert rig.entry(PIN) & m.REMOTE_IRR
    assert rig.taken() == [0x41]
    rig.write(r.EOI, 0)
    assert rig.taken() == [0x41]
    rig.io.set_pin(PIN, False)
    rig.write(r.EOI, 0)
    assert rig.taken() == []
    assert not rig.entry(PIN) & m.REMOTE_IRR


def test_a_level_does_not_go_out_again_before_its_eoi(rig: Rig) -> None:
    rig.redirect(PIN, m.LEVEL | 0x41)
    rig.io.set_pin(PIN, True)
    rig.taken()
    for level in (False, True):
        rig.io.set_pin(PIN, level)
    rig.redirect(PIN, m.LEVEL | 0x41)
    assert rig.local.irr == 0


def test_two_levels_of_one_vector_are_both_ended(rig: Rig) -> None:
    for pin in (5, 6):
        rig.redirect(pin, m.LEVEL | 0x41)
        rig.io.set_pin(pin, True)
    rig.taken()
    rig.io.set_pin(5, False)
    rig.write(r.EOI, 0)
    assert not rig.entry(5) & m.REMOTE_IRR
    assert rig.taken() == [0x41]


def test_a_level_at_a_masked_pin_goes_out_when_it_is_unmasked(rig: Rig) -> None:
    rig.io.set_pin(PIN, True)
    rig.redirect(PIN, m.MASKED | m.LEVEL | 0x41)
    assert rig.taken() == []
    rig.redirect(PIN, m.LEVEL | 0x41)
    assert rig.taken() == [0x41]


def test_turned_to_edge_and_back_an_entry_forgets_remote_irr(rig: Rig) -> None:
    """How kernels end an interrupt at an I/O APIC that has no EOI register."""
    rig.redirect(PIN, m.LEVEL | 0x41)
    rig.io.set_pin(PIN, True)
    rig.redirect(PIN, m.MASKED | 0x41)
    rig.redirect(PIN, m.MASKED | m.LEVEL | 0x41)
    assert not rig.entry(PIN) & m.REMOTE_IRR


def test_polarity_makes_a_pin_active_low(rig: Rig) -> None:
    rig.io.set_pin(PIN, True)
    rig.redirect(PIN, m.ACTIVE_LOW | 0x41)
    assert rig.taken() == []
    rig.io.set_pin(PIN, False)
    assert rig.taken() == [0x41]


def test_a_destination_that_is_not_there_gets_nothing(rig: Rig) -> None:
    rig.redirect(PIN, m.LEVEL | 0x41, destination=5)
    rig.io.set_pin(PIN, True)
    assert rig.taken() == []
    assert not rig.entry(PIN) & m.REMOTE_IRR
    rig.redirect(PIN, m.LEVEL | 0x41, destination=0)
    assert rig.taken() == [0x41]


def test_a_physical_destination_has_four_bits_and_everybody_is_fifteen(rig: Rig) -> None:
    """§3.2.4: bits 59 to 56 hold an APIC ID."""
    rig.io.set_pin(PIN, True)
    rig.redirect(PIN, m.LEVEL | 0x41, destination=0xA0)
    assert rig.taken() == [0x41]
    rig.write(r.ID, 0x0500_0000)
    rig.io.set_pin(PIN + 1, True)
    rig.redirect(PIN + 1, m.LEVEL | 0x51, destination=0x0F)
    assert rig.taken() == [0x51]


def test_logical_destination(rig: Rig) -> None:
    rig.write(r.LDR, 0x0200_0000)
    rig.redirect(PIN, m.LOGICAL | mode(m.LOWEST) | 0x41, destination=0x03)
    rig.io.set_pin(PIN, True)
    assert rig.taken() == [0x41]


def test_nmi_and_init_are_edges_whatever_the_trigger_mode(rig: Rig) -> None:
    rig.redirect(PIN, m.LEVEL | mode(m.NMI))
    rig.redirect(PIN + 1, mode(m.INIT))
    rig.redirect(PIN + 2, mode(m.SMI))
    for pin in (PIN, PIN + 1, PIN + 2):
        rig.io.set_pin(pin, True)
    assert (rig.nmis, rig.inits, rig.taken()) == (1, 1, [])


def test_extint_passes_on_an_8259_while_its_pin_is_asserted(rig: Rig) -> None:
    rig.io.set_pin(0, True)
    rig.redirect(0, mode(m.EXTINT))
    assert rig.intr.level
    assert rig.local.acknowledge() == PIC_VECTOR
    rig.io.set_pin(0, False)
    assert not rig.intr.level
    rig.io.set_pin(0, True)
    assert rig.intr.level
    rig.redirect(0, m.MASKED | mode(m.EXTINT))
    assert not rig.intr.level


def test_reset_masks_all_and_keeps_the_levels_of_the_pins(rig: Rig) -> None:
    rig.io.set_pin(PIN, True)
    rig.redirect(0, mode(m.EXTINT) | m.ACTIVE_LOW)
    rig.io.reset()
    assert not rig.intr.level
    rig.redirect(PIN, m.LEVEL | 0x41)
    assert rig.taken() == [0x41]
