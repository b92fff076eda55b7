"""The local APIC, one sentence of the manual per test ([SDM3] volume 3A, chapter 10)."""

from __future__ import annotations

import pytest

from devices.apic import messages as m
from devices.apic import registers as r
from tests.devices.apic_rig import ENABLED, PIC_VECTOR, Rig, mode
from vmm.clock import MachineClock


@pytest.fixture
def rig() -> Rig:
    return Rig()


def make_for_contract(clock: MachineClock) -> tuple[object, object, object]:
    rig = Rig(clock)
    exercises = [
        lambda: rig.request(0x41, 0x92),
        rig.local.acknowledge,
        lambda: rig.write(r.LVT_LINT0, m.LEVEL | 0x33),
        lambda: rig.local.lint0.set_level(True),
        lambda: rig.write(r.LVT_TIMER, r.LVT_PERIODIC | 0x20),
        lambda: rig.write(r.INITIAL_COUNT, 50_000),
        lambda: rig.read(0x40),
    ]
    return rig.local, [(rig.local, r.REGISTER_BYTES)], exercises


CONTRACT = [("local apic", make_for_contract)]


# -- after a reset


def test_registers_after_reset() -> None:
    """§10.4.7.1; software-disabled, every entry of the LVT masked."""
    rig = Rig(svr=0xFF)
    wanted = {
        r.ID: 0, r.VERSION: 0x5_0014, r.TPR: 0, r.PPR: 0, r.LDR: 0, r.DFR: 0xFFFF_FFFF, r.SVR: 0xFF,
        r.ESR: 0, r.ICR_LOW: 0, r.ICR_HIGH: 0, r.INITIAL_COUNT: 0, r.CURRENT_COUNT: 0, r.DIVIDE: 0,
        **dict.fromkeys(r.LVT_WRITABLE, 0x1_0000), **dict.fromkeys(range(r.ISR, r.ESR, 16), 0),
    }  # fmt: skip
    assert {offset: rig.read(offset) for offset in wanted} == wanted
    assert rig.local.read_base() == 0xFEE0_0900


# -- accepting, priorities, EOI


def test_a_fixed_interrupt_waits_in_irr_until_it_is_acknowledged(rig: Rig) -> None:
    rig.request(0x45)
    assert rig.read(r.IRR + 0x20) == 1 << 5
    assert rig.intr.level
    assert rig.local.acknowledge() == 0x45
    assert (rig.read(r.IRR + 0x20), rig.read(r.ISR + 0x20)) == (0, 1 << 5)
    assert not rig.intr.level


def test_the_highest_vector_is_served_first_and_one_of_the_same_class_waits(rig: Rig) -> None:
    """§10.8.3: priority class is vector / 16; only a higher class interrupts a handler."""
    rig.request(0x31, 0x52, 0x3F, 0x58)
    assert rig.taken() == [0x58]
    rig.write(r.EOI, 0)
    assert rig.taken() == [0x52]
    rig.request(0x61)
    assert rig.taken() == [0x61]


def test_eoi_ends_the_interrupt_of_highest_priority_in_service(rig: Rig) -> None:
    rig.request(0x31)
    rig.taken()
    rig.request(0x61)
    rig.taken()
    rig.write(r.EOI, 0)
    assert (rig.read(r.ISR + 0x10), rig.read(r.ISR + 0x30)) == (1 << 17, 0)


def test_eoi_with_nothing_in_service_does_nothing(rig: Rig) -> None:
    rig.write(r.EOI, 0)
    assert not rig.intr.level
    assert rig.ended == []


def test_one_more_of_a_vector_can_wait_while_it_is_served(rig: Rig) -> None:
    """§10.8.4: two of a vector can be pending, one in ISR, one in IRR; others are lost."""
    rig.request(0x40)
    rig.taken()
    rig.request(0x40, 0x40)
    rig.write(r.EOI, 0)
    assert rig.taken() == [0x40]
    rig.write(r.EOI, 0)
    assert rig.taken() == []


def test_task_priority_holds_up_its_class_and_those_below(rig: Rig) -> None:
    rig.write(r.TPR, 0x50)
    rig.request(0x5F)
    assert not rig.intr.level
    rig.request(0x60)
    assert rig.taken() == [0x60]
    rig.write(r.EOI, 0)
    rig.write(r.TPR, 0x4F)
    assert rig.taken() == [0x5F]


def test_raising_the_task_priority_withdraws_intr(rig: Rig) -> None:
    rig.request(0x5F)
    rig.write(r.TPR, 0xF0)
    assert not rig.intr.level


@pytest.mark.parametrize(
    ("tpr", "served", "ppr"), [(0x23, None, 0x23), (0x23, 0x31, 0x30), (0x35, 0x31, 0x35), (0, 0x3F, 0x30)]
)
def test_processor_priority_is_the_higher_of_task_and_service(
    rig: Rig, tpr: int, served: int | None, ppr: int
) -> None:
    """§10.8.3.1."""
    if served is not None:
        rig.request(served)
        rig.taken()
    rig.write(r.TPR, tpr)
    assert rig.read(r.PPR) == ppr


def test_arbitration_priority_as_the_p6_has_it(rig: Rig) -> None:
    rig.write(r.TPR, 0x45)
    assert rig.read(r.APR) == 0x45
    rig.request(0x71)
    assert rig.read(r.APR) == 0x70


def test_an_acknowledge_with_nothing_left_gives_the_spurious_vector_and_no_service(rig: Rig) -> None:
    """§10.9: the ISR is not affected, the handler sends no EOI."""
    rig.write(r.SVR, 0x1EF)
    rig.request(0x31)
    rig.local.tpr = 0xFF  # between INTR and the acknowledge
    assert rig.local.acknowledge() == 0xEF
    assert rig.local.isr == 0


def test_vectors_below_16_are_illegal(rig: Rig) -> None:
    """§10.5.3: an illegal vector is received, and the bit shows after a write to ESR."""
    assert rig.local.deliver(m.FIXED, 15, False)
    assert rig.local.irr == 0
    assert rig.read(r.ESR) == 0
    rig.write(r.ESR, 0)
    assert rig.read(r.ESR) == 1 << 6
    rig.write(r.ESR, 0)
    assert rig.read(r.ESR) == 0


# -- software disable, global disable


def test_software_disable_masks_the_lvt_and_refuses_interrupts_but_keeps_pending_ones(rig: Rig) -> None:
    """§10.4.7.2."""
    rig.request(0x41)
    rig.write(r.LVT_ERROR, 0x55)
    rig.write(r.SVR, 0xFF)
    rig.request(0x42)
    rig.write(r.LVT_ERROR, 0x55)
    assert rig.read(r.LVT_ERROR) == 0x1_0055
    assert rig.taken() == [0x41]


def test_software_disabled_it_still_takes_nmi_and_init() -> None:
    rig = Rig(svr=0xFF)
    rig.local.deliver(m.NMI, 0, False)
    rig.local.deliver(m.INIT, 0, False)
    assert (rig.nmis, rig.inits) == (1, 1)


def test_globally_disabled_lint0_is_intr_and_lint1_is_nmi(rig: Rig) -> None:
    """§10.4.3: the processor is then as one without a local APIC."""
    assert rig.local.write_base(0xFEE0_0000)
    assert not rig.local.enabled
    assert rig.read(r.SVR) == 0xFFFF_FFFF  # nobody answers
    rig.local.lint0.set_level(True)
    assert rig.intr.level
    assert rig.local.acknowledge() == PIC_VECTOR
    rig.local.lint1.set_level(True)
    assert rig.nmis == 1
    assert not rig.local.deliver(m.FIXED, 0x40, False)


def test_enabled_again_it_is_as_after_reset(rig: Rig) -> None:
    rig.write(r.TPR, 0x40)
    rig.local.write_base(0xFEE0_0000)
    rig.local.write_base(0xFEE0_0800)
    assert (rig.read(r.SVR), rig.read(r.TPR)) == (0xFF, 0)
    assert rig.local.read_base() == 0xFEE0_0900  # the BSP flag is read-only


@pytest.mark.parametrize("bit", [0, 7, 9, 10, 36, 63])
def test_reserved_bits_of_the_base_are_refused(rig: Rig, bit: int) -> None:
    """Bit 10 asks for x2APIC, which CPUID does not offer."""
    assert not rig.local.write_base(0xFEE0_0800 | 1 << bit)
    assert rig.local.read_base() == 0xFEE0_0900


def test_moved_elsewhere_the_registers_are_out_of_reach(rig: Rig) -> None:
    assert rig.local.write_base(0xFED0_0800)
    assert rig.local.read_base() == 0xFED0_0900
    rig.write(r.TPR, 0x50)
    assert rig.read(r.TPR) == 0xFFFF_FFFF
    rig.local.write_base(0xFEE0_0800)
    assert rig.read(r.TPR) == 0


# -- registers


def test_accesses_that_are_not_aligned_dwords(rig: Rig) -> None:
    """§10.4.1 leaves them to the model: a read gives the part, a write does nothing."""
    rig.write(r.LDR, 0x12FF_FFFF)
    assert rig.local.read(r.LDR + 3, 1) == 0x12
    assert rig.local.read(r.LDR + 4, 4) == 0
    assert rig.local.read(r.DFR, 8) == 0xFFFF_FFFF
    rig.local.write(r.TPR, 1, 0x50)
    rig.local.write(r.TPR + 4, 4, 0x50)
    assert rig.read(r.TPR) == 0


def test_writes_to_read_only_registers_are_no_errors(rig: Rig) -> None:
    for offset in (r.VERSION, r.PPR, r.APR, r.ISR, r.IRR + 0x70, r.CURRENT_COUNT):
        rig.write(offset, 0xFFFF_FFFF)
    rig.write(r.ESR, 0)
    assert rig.read(r.ESR) == 0


def test_a_register_that_is_not_there_is_an_error_which_interrupts_once_until_esr_is_written(
    rig: Rig,
) -> None:
    """§10.5.3: writing ESR arms the error interrupt again."""
    rig.write(r.LVT_ERROR, 0xFE)
    rig.read(0x3F0)
    assert rig.taken() == [0xFE]
    rig.write(r.EOI, 0)
    rig.write(0x40, 1)
    assert rig.taken() == []
    rig.write(r.ESR, 0)
    assert rig.read(r.ESR) == 1 << 7
    rig.read(0x3F0)
    assert rig.taken() == [0xFE]


def test_lvt_entries_keep_only_the_bits_they_have(rig: Rig) -> None:
    for offset, bits in r.LVT_WRITABLE.items():
        rig.write(offset, 0xFFFF_FFFF)
        assert rig.read(offset) == bits, hex(offset)


# -- pins


def test_an_8259_behind_lint0_passes_whatever_the_task_priority(rig: Rig) -> None:
    """ExtINT is not subject to priorities; the vector is the 8259's; nothing is in service here."""
    rig.write(r.TPR, 0xFF)
    rig.write(r.LVT_LINT0, mode(m.EXTINT))
    rig.local.lint0.set_level(True)
    assert rig.intr.level
    assert rig.local.acknowledge() == PIC_VECTOR
    assert rig.local.isr == 0
    rig.local.lint0.set_level(False)
    assert not rig.intr.level


def test_lint0_masked_stops_the_8259(rig: Rig) -> None:
    rig.local.lint0.set_level(True)
    assert not rig.intr.level
    rig.write(r.LVT_LINT0, mode(m.EXTINT))
    assert rig.intr.level
    rig.write(r.LVT_LINT0, mode(m.EXTINT) | m.MASKED)
    assert not rig.intr.level


def test_lint1_as_nmi_is_edge_triggered(rig: Rig) -> None:
    rig.local.lint1.set_level(True)
    rig.write(r.LVT_LINT1, mode(m.NMI) | m.LEVEL)
    assert rig.nmis == 0
    for level in (False, True, True):
        rig.local.lint1.set_level(level)
    assert rig.nmis == 1


def test_an_edge_on_a_fixed_lint_pin_is_one_interrupt(rig: Rig) -> None:
    rig.write(r.LVT_LINT0, 0x35)
    rig.local.lint0.set_level(True)
    assert rig.taken() == [0x35]
    rig.write(r.EOI, 0)
    assert rig.taken() == []
    assert rig.ended == []


def test_a_level_on_a_fixed_lint_pin_stands_until_it_falls(rig: Rig) -> None:
    """§10.5.1: remote IRR is set when the interrupt is accepted and reset by its EOI."""
    rig.write(r.LVT_LINT0, m.LEVEL | 0x35)
    rig.local.lint0.set_level(True)
    assert rig.taken() == [0x35]
    assert rig.read(r.LVT_LINT0) & m.REMOTE_IRR
    assert rig.read(r.TMR + 0x10) == 1 << 21
    rig.write(r.EOI, 0)
    assert rig.taken() == [0x35]
    rig.local.lint0.set_level(False)
    rig.write(r.EOI, 0)
    assert rig.taken() == []
    assert rig.ended == [0x35, 0x35]


def test_polarity_turns_a_lint_pin_round(rig: Rig) -> None:
    rig.write(r.LVT_LINT0, mode(m.EXTINT) | m.ACTIVE_LOW)
    assert rig.intr.level
    rig.local.lint0.set_level(True)
    assert not rig.intr.level


def test_reset_forgets_all_but_the_pins(rig: Rig) -> None:
    rig.request(0x41)
    rig.local.lint0.set_level(True)
    rig.local.reset()
    assert not rig.intr.level
    rig.write(r.SVR, ENABLED)
    rig.write(r.LVT_LINT0, mode(m.EXTINT))
    assert rig.intr.level
