"""8259A pair with ELCR, one data-sheet sentence per test."""

import pytest

from devices import pic8259 as p
from devices.backplane import IrqLine
from vmm.clock import MachineClock

COMMAND, DATA = 0, 1
EOI, ROTATE_EOI, SET_PRIORITY, SPECIFIC_EOI = 0x20, 0xA0, 0xC0, 0x60
READ_IRR, READ_ISR, POLL = 0x0A, 0x0B, 0x0C
SPECIAL_MASK_ON = 0x68
ICW4_8086 = 0x01


class Rig:
    """The pair as PC firmware sets it up: vectors 08h and 70h, nothing masked."""

    def __init__(self, master_icw4: int = ICW4_8086, slave_icw4: int = ICW4_8086) -> None:
        self.edges: list[bool] = []
        self.pic = p.Pic8259Pair(IrqLine(self.edges.append))
        self.master, self.slave = self.pic.master_ports, self.pic.slave_ports
        for bank, base, cascade, icw4 in (
            (self.master, 0x08, 4, master_icw4),
            (self.slave, 0x70, 2, slave_icw4),
        ):
            for offset, value in ((COMMAND, 0x11), (DATA, base), (DATA, cascade), (DATA, icw4), (DATA, 0)):
                bank.write(offset, 1, value)
        self.edges.clear()

    def raise_irq(self, *irqs: int) -> None:
        for irq in irqs:
            self.pic.set_irq(irq, True)

    @property
    def intr(self) -> bool:
        return self.pic.output.level

    def master_isr(self) -> int:
        self.master.write(COMMAND, 1, READ_ISR)
        return self.master.read(COMMAND, 1)

    def slave_isr(self) -> int:
        self.slave.write(COMMAND, 1, READ_ISR)
        return self.slave.read(COMMAND, 1)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def make_for_contract(clock: MachineClock) -> tuple[object, object, object]:
    rig = Rig()
    pic = rig.pic
    banks = [(rig.master, 2), (rig.slave, 2), (pic.elcr_ports, 2)]
    exercises = [
        lambda: rig.raise_irq(0, 3, 14),
        pic.acknowledge,
        lambda: rig.slave.write(COMMAND, 1, 0x11),  # initialization begun
        lambda: pic.elcr_ports.write(0, 2, 0x0C20),
    ]
    return pic, banks, exercises


CONTRACT = [("pic8259", make_for_contract)]


def test_a_rising_edge_raises_intr_until_acknowledged(rig: Rig) -> None:
    rig.raise_irq(1)
    assert rig.pic.acknowledge() == 0x09
    assert rig.edges == [True, False]


def test_acknowledge_moves_the_request_from_irr_to_isr(rig: Rig) -> None:
    rig.raise_irq(1)
    rig.master.write(COMMAND, 1, READ_IRR)
    assert rig.master.read(COMMAND, 1) == 0x02
    rig.pic.acknowledge()
    assert rig.master.read(COMMAND, 1) == 0
    assert rig.master_isr() == 0x02


def test_an_edge_input_left_high_does_not_ask_again(rig: Rig) -> None:
    rig.raise_irq(1)
    rig.pic.acknowledge()
    rig.master.write(COMMAND, 1, EOI)
    assert not rig.intr


def test_a_level_input_left_high_asks_again_after_eoi(rig: Rig) -> None:
    rig.pic.elcr_ports.write(1, 1, 0x08)  # IRQ11
    rig.raise_irq(11)
    assert rig.pic.acknowledge() == 0x73
    rig.slave.write(COMMAND, 1, EOI)
    rig.master.write(COMMAND, 1, EOI)
    assert rig.intr
    rig.pic.set_irq(11, False)
    assert not rig.intr


@pytest.mark.parametrize(("written", "kept"), [((0xFF, 0xFF), (0xF8, 0xDE)), ((0x20, 0x0C), (0x20, 0x0C))])
def test_system_interrupts_cannot_be_made_level(
    rig: Rig, written: tuple[int, int], kept: tuple[int, int]
) -> None:
    rig.pic.elcr_ports.write(0, 2, written[0] | written[1] << 8)
    assert rig.pic.elcr_ports.read(0, 2) == kept[0] | kept[1] << 8


def test_lower_requests_wait_while_a_higher_one_is_in_service(rig: Rig) -> None:
    rig.raise_irq(3)
    rig.pic.acknowledge()
    rig.raise_irq(4)
    assert not rig.intr
    rig.raise_irq(1)
    assert rig.pic.acknowledge() == 0x09
    rig.master.write(COMMAND, 1, EOI)  # ends 1, the highest
    assert rig.master_isr() == 0x08


def test_a_slave_request_comes_through_ir2(rig: Rig) -> None:
    rig.raise_irq(14, 3)
    assert rig.pic.acknowledge() == 0x76
    assert (rig.master_isr(), rig.slave_isr()) == (0x04, 0x40)


def test_a_second_slave_request_follows_the_first_after_both_eois(rig: Rig) -> None:
    rig.raise_irq(14, 15)
    rig.pic.acknowledge()
    rig.slave.write(COMMAND, 1, EOI)
    assert not rig.intr
    rig.master.write(COMMAND, 1, EOI)
    assert rig.pic.acknowledge() == 0x77


def test_a_request_withdrawn_yields_the_vector_of_ir7_with_nothing_in_service(rig: Rig) -> None:
    rig.raise_irq(5)
    rig.pic.set_irq(5, False)
    assert rig.edges == [True, False]
    assert rig.pic.acknowledge() == 0x0F
    assert rig.master_isr() == 0


def test_a_slave_request_withdrawn_during_inta_is_irq15_with_ir2_in_service(rig: Rig) -> None:
    rig.raise_irq(10)
    rig.pic.slave.irr = 0  # between the two INTA pulses
    assert rig.pic.acknowledge() == 0x77
    assert (rig.master_isr(), rig.slave_isr()) == (0x04, 0)


def test_masked_requests_wait_in_irr(rig: Rig) -> None:
    rig.master.write(DATA, 1, 0x02)
    rig.raise_irq(1)
    assert not rig.intr
    rig.master.write(DATA, 1, 0x00)
    assert rig.intr


def test_imr_reads_back_at_the_odd_address(rig: Rig) -> None:
    rig.slave.write(DATA, 1, 0xB8)
    assert rig.slave.read(DATA, 1) == 0xB8


def test_specific_eoi_ends_the_level_named(rig: Rig) -> None:
    rig.raise_irq(4)
    rig.pic.acknowledge()
    rig.raise_irq(1)
    rig.pic.acknowledge()
    rig.master.write(COMMAND, 1, SPECIFIC_EOI | 4)
    assert rig.master_isr() == 0x02


def test_set_priority_makes_the_next_level_the_highest(rig: Rig) -> None:
    rig.master.write(COMMAND, 1, SET_PRIORITY | 4)
    rig.raise_irq(0, 5)
    assert rig.pic.acknowledge() == 0x0D


def test_rotate_on_eoi_gives_the_served_level_the_lowest_priority(rig: Rig) -> None:
    rig.raise_irq(0)
    rig.pic.acknowledge()
    rig.master.write(COMMAND, 1, ROTATE_EOI)
    rig.pic.set_irq(0, False)
    rig.raise_irq(0, 7)
    assert rig.pic.acknowledge() == 0x0F


def test_rotation_in_automatic_eoi_mode() -> None:
    rig = Rig(master_icw4=ICW4_8086 | p.ICW4_AEOI)
    rig.master.write(COMMAND, 1, 0x80)
    rig.raise_irq(0)
    rig.pic.acknowledge()
    rig.pic.set_irq(0, False)
    rig.raise_irq(0, 1)
    assert rig.pic.acknowledge() == 0x09


def test_automatic_eoi_leaves_nothing_in_service_even_behind_the_slave() -> None:
    rig = Rig(ICW4_8086 | p.ICW4_AEOI, ICW4_8086 | p.ICW4_AEOI)
    rig.raise_irq(8, 9)
    assert [rig.pic.acknowledge(), rig.pic.acknowledge()] == [0x70, 0x71]
    assert not rig.intr


def test_special_mask_mode_lets_lower_levels_interrupt_a_masked_one(rig: Rig) -> None:
    rig.raise_irq(3)
    rig.pic.acknowledge()
    rig.raise_irq(6)
    rig.master.write(DATA, 1, 0x08)
    rig.master.write(COMMAND, 1, SPECIAL_MASK_ON)
    assert rig.pic.acknowledge() == 0x0E
    rig.master.write(COMMAND, 1, EOI)
    assert rig.master_isr() == 0x08  # the masked level is not for a non-specific EOI


def test_special_fully_nested_mode_lets_the_slave_interrupt_itself() -> None:
    rig = Rig(master_icw4=ICW4_8086 | p.ICW4_SFNM)
    rig.raise_irq(12)
    rig.pic.acknowledge()
    rig.raise_irq(9)
    assert rig.pic.acknowledge() == 0x71


def test_poll_acknowledges_and_names_the_request(rig: Rig) -> None:
    rig.master.write(COMMAND, 1, POLL)
    assert rig.master.read(COMMAND, 1) == 0
    rig.raise_irq(6)
    rig.master.write(COMMAND, 1, POLL)
    assert rig.master.read(COMMAND, 1) == 0x86
    assert rig.master_isr() == 0x40
    assert not rig.intr


def test_icw1_forgets_edges_and_clears_the_mask(rig: Rig) -> None:
    rig.master.write(DATA, 1, 0xFF)
    rig.raise_irq(4)
    rig.master.write(COMMAND, 1, 0x13)  # single: no ICW3
    rig.master.write(DATA, 1, 0x20)
    rig.master.write(DATA, 1, ICW4_8086)
    assert rig.master.read(DATA, 1) == 0
    assert not rig.intr
    rig.pic.set_irq(4, False)
    rig.raise_irq(4)
    assert rig.pic.acknowledge() == 0x24


def test_a_shared_input_stays_high_until_the_last_source_falls(rig: Rig) -> None:
    rig.pic.elcr_ports.write(1, 1, 0x04)
    shared = rig.pic.shared_input(10)
    first, second = shared.connect(), shared.connect()
    first.set_level(True)
    second.set_level(True)
    first.set_level(False)
    assert rig.intr
    second.set_level(False)
    assert not rig.intr


def test_reset_keeps_the_levels_of_the_inputs(rig: Rig) -> None:
    rig.raise_irq(4)
    rig.pic.reset()
    assert not rig.intr
    rig.master.write(DATA, 1, 0)
    rig.pic.set_irq(4, True)  # no edge
    assert not rig.intr


def test_an_input_that_is_high_when_it_becomes_level_sensitive_asks_at_once(rig: Rig) -> None:
    rig.raise_irq(5)
    rig.pic.acknowledge()
    rig.master.write(COMMAND, 1, EOI)
    assert not rig.intr

    rig.pic.elcr_ports.write(0, 1, 1 << 5)

    assert rig.intr
