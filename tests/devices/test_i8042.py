"""The keyboard controller with a real keyboard on it, one sentence of the reference per test."""

import pytest

from devices import i8042 as c
from devices.backplane import DeviceState, IrqLine
from devices.keyboard import Keyboard, KeyboardState
from vmm.clock import MachineClock, ManualTime


class Rig:
    """Controller and keyboard, with probes on the interrupts, A20 and reset."""

    def __init__(self, clock: MachineClock | None = None) -> None:
        self.time = ManualTime()
        self.clock = clock or MachineClock(self.time)
        self.irq1: list[bool] = []
        self.irq12: list[bool] = []
        self.a20: list[bool] = []
        self.resets: list[str] = []
        self.keyboard = Keyboard(self.clock)
        self.controller = c.I8042(
            self.clock,
            self.keyboard,
            IrqLine(self.irq1.append),
            IrqLine(self.irq12.append),
            self.a20.append,
            self.resets.append,
        )

    def command(self, value: int, *data: int) -> None:
        self.controller.command_port.write(0, 1, value)
        for byte in data:
            self.send(byte)

    def send(self, value: int) -> None:
        self.controller.data_port.write(0, 1, value)

    @property
    def status(self) -> int:
        return self.controller.command_port.read(0, 1)

    def read(self) -> int:
        return self.controller.data_port.read(0, 1)

    def answer(self) -> int:
        assert self.status & c.OBF
        return self.read()

    def wait(self, time_ns: int = c.BYTE_NS) -> None:
        self.time.value_ns += time_ns
        self.clock.run_due()

    def read_all(self) -> bytes:
        """Read bytes as they come, giving each the time it takes on the wire."""
        heard = bytearray()
        while self.status & c.OBF:
            heard.append(self.read())
            self.wait()
        return bytes(heard)


@pytest.fixture
def rig() -> Rig:
    return Rig()


class BenchState(DeviceState, frozen=True, kw_only=True):
    """Both chips of the bench."""

    controller: c.I8042State
    keyboard: KeyboardState


class Bench:
    """Controller and keyboard as one device, for the contract: neither restores the other."""

    name = "i8042 and keyboard"

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    def reset(self) -> None:
        self.rig.keyboard.reset()
        self.rig.controller.reset()

    def save(self) -> BenchState:
        return BenchState(controller=self.rig.controller.save(), keyboard=self.rig.keyboard.save())

    def load(self, state: BenchState) -> None:
        self.rig.keyboard.load(state.keyboard)
        self.rig.controller.load(state.controller)


def make_for_contract(clock: MachineClock) -> tuple[object, object, object]:
    rig = Rig(clock)
    banks = [(rig.controller.data_port, 1), (rig.controller.command_port, 1)]
    exercises = [
        lambda: rig.keyboard.press("a"),
        lambda: rig.command(c.READ_RAM),  # queued behind the key
        lambda: rig.command(c.WRITE_OUTPUT_PORT),  # argument awaited
        lambda: rig.keyboard.type_text("text"),
        lambda: rig.send(0x01),
        lambda: rig.send(0xF2),
        rig.read,
    ]
    return Bench(rig), banks, exercises


CONTRACT = [("i8042", make_for_contract)]


def test_self_test_answers_55h_and_sets_the_system_flag(rig: Rig) -> None:
    rig.command(c.SELF_TEST)
    assert rig.answer() == 0x55
    assert rig.status & c.SYSTEM


@pytest.mark.parametrize(
    ("command", "answer"),
    [(c.TEST_KEYBOARD, 0x00), (c.TEST_AUX, 0x00), (c.TEST_PASSWORD, 0xF1), (c.READ_INPUT_PORT, 0x80)],
)
def test_commands_with_one_answer(rig: Rig, command: int, answer: int) -> None:
    rig.command(command)
    assert rig.answer() == answer


def test_the_command_byte_reads_back(rig: Rig) -> None:
    rig.command(c.WRITE_RAM, 0x65)
    rig.command(c.READ_RAM)
    assert rig.answer() == 0x65


def test_the_other_ram_bytes_read_back(rig: Rig) -> None:
    rig.command(c.WRITE_RAM + 5, 0xA5)
    rig.command(c.READ_RAM + 5)
    assert rig.answer() == 0xA5


def test_status_tells_a_command_from_data(rig: Rig) -> None:
    rig.command(c.WRITE_RAM)
    assert rig.status & c.COMMAND
    rig.send(0x45)
    assert not rig.status & c.COMMAND


def test_a_key_arrives_translated_with_irq1(rig: Rig) -> None:
    rig.keyboard.press("a")
    assert rig.irq1 == [True]
    assert rig.answer() == 0x1E
    assert rig.irq1 == [True, False]


def test_a_release_is_one_byte_in_translation(rig: Rig) -> None:
    rig.keyboard.press("up")
    rig.keyboard.release("up")
    assert rig.read_all() == b"\xe0\x48\xe0\xc8"


def test_without_translation_set_2_comes_through(rig: Rig) -> None:
    rig.command(c.WRITE_RAM, c.KBD_INT)
    rig.keyboard.press("a")
    rig.keyboard.release("a")
    assert rig.read_all() == b"\x1c\xf0\x1c"


def test_without_kbd_int_there_is_data_but_no_interrupt(rig: Rig) -> None:
    rig.command(c.WRITE_RAM, c.TRANSLATE)
    rig.keyboard.press("a")
    assert rig.status & c.OBF
    assert rig.irq1 == []


def test_a_byte_can_be_read_again_until_the_next_arrives(rig: Rig) -> None:
    rig.keyboard.press("a")
    rig.keyboard.press("b")
    assert [rig.read(), rig.read()] == [0x1E, 0x1E]
    rig.wait()
    assert rig.read() == 0x30


def test_a_disabled_keyboard_keeps_its_bytes(rig: Rig) -> None:
    rig.command(c.DISABLE_KEYBOARD)
    rig.keyboard.press("a")
    assert not rig.status & c.OBF
    rig.command(c.ENABLE_KEYBOARD)
    assert rig.answer() == 0x1E


def test_sending_to_the_keyboard_enables_it(rig: Rig) -> None:
    rig.command(c.DISABLE_KEYBOARD)
    rig.send(0xFF)
    assert rig.read_all() == b"\xfa\xaa"


def test_the_keyboard_identity_is_translated(rig: Rig) -> None:
    rig.send(0xF2)
    assert rig.read_all() == b"\xfa\xab\x41"


def test_an_aux_loop_back_is_marked_and_raises_irq12(rig: Rig) -> None:
    rig.command(c.WRITE_RAM, c.AUX_INT)
    rig.command(c.WRITE_AUX_BUFFER, 0x5A)
    assert rig.status & (c.OBF | c.AUX_OBF) == c.OBF | c.AUX_OBF
    assert (rig.irq12, rig.irq1) == ([True], [])
    assert rig.answer() == 0x5A
    assert rig.irq12 == [True, False]


def test_a_byte_to_an_absent_mouse_times_out(rig: Rig) -> None:
    rig.command(c.WRITE_AUX, 0xFF)
    assert rig.status & (c.AUX_OBF | c.TIMEOUT) == c.AUX_OBF | c.TIMEOUT
    assert rig.answer() == 0xFE
    assert not rig.status & c.TIMEOUT


@pytest.mark.parametrize(
    ("disable", "enable", "bit"),
    [(c.DISABLE_AUX, c.ENABLE_AUX, c.AUX_OFF), (c.DISABLE_KEYBOARD, c.ENABLE_KEYBOARD, c.KBD_OFF)],
)
def test_switching_an_interface_shows_in_the_command_byte(
    rig: Rig, disable: int, enable: int, bit: int
) -> None:
    rig.command(disable)
    rig.command(c.READ_RAM)
    assert rig.answer() & bit
    rig.command(enable)
    rig.command(c.READ_RAM)
    assert not rig.answer() & bit


def test_the_output_port_drives_a20(rig: Rig) -> None:
    rig.command(c.WRITE_OUTPUT_PORT, 0xDD)
    rig.command(c.WRITE_OUTPUT_PORT, 0xDF)
    assert rig.a20 == [False, True]
    rig.command(c.READ_OUTPUT_PORT)
    assert rig.answer() & (c.OUT_A20 | c.OUT_NOT_RESET) == c.OUT_A20 | c.OUT_NOT_RESET


def test_the_short_a20_commands(rig: Rig) -> None:
    rig.command(c.DISABLE_A20)
    rig.command(c.ENABLE_A20)
    assert rig.a20 == [False, True]
    assert rig.resets == []


def test_output_port_bit_0_low_resets(rig: Rig) -> None:
    rig.command(c.WRITE_OUTPUT_PORT, c.OUT_A20)
    assert rig.resets == ["keyboard controller"]


@pytest.mark.parametrize(("command", "resets"), [(0xFE, 1), (0xF0, 1), (0xFF, 0), (0xFD, 0)])
def test_pulsing_bit_0_of_the_output_port_resets(rig: Rig, command: int, resets: int) -> None:
    rig.command(command)
    assert len(rig.resets) == resets


def test_write_keyboard_buffer_looks_like_a_key(rig: Rig) -> None:
    rig.command(c.WRITE_KEYBOARD_BUFFER, 0x2A)
    assert rig.irq1 == [True]
    assert rig.answer() == 0x2A


def test_answers_wait_behind_an_unread_key(rig: Rig) -> None:
    rig.keyboard.press("a")
    rig.command(c.READ_RAM)
    assert rig.read() == 0x1E
    assert rig.answer() == c.RESET_COMMAND_BYTE


def test_linux_finds_the_aux_port_good(rig: Rig) -> None:
    """The probes of drivers/input/serio/i8042.c, i8042_check_aux()."""
    rig.command(c.WRITE_AUX_BUFFER, 0x5A)
    assert rig.status & c.AUX_OBF
    assert rig.answer() == 0x5A
    rig.command(c.DISABLE_AUX)
    rig.command(c.READ_RAM)
    assert rig.answer() & c.AUX_OFF
    rig.command(c.ENABLE_AUX)
    rig.command(c.READ_RAM)
    assert not rig.answer() & c.AUX_OFF


def test_load_drives_the_interrupt_lines(rig: Rig) -> None:
    rig.keyboard.press("a")
    twin = Rig()
    twin.controller.load(rig.controller.save())
    assert twin.irq1 == [True]
    assert twin.read() == 0x1E


def test_answers_nobody_fetches_do_not_pile_up(rig: Rig) -> None:
    for _ in range(1_000):
        rig.command(c.TEST_KEYBOARD)

    assert len(rig.controller.save().replies) < 100


def test_a_key_that_waits_arrives_after_load(rig: Rig) -> None:
    rig.command(c.ENABLE_KEYBOARD)
    rig.keyboard.press("a")
    rig.keyboard.press("b")
    rig.read()  # the first; the second is on the wire
    assert not rig.status & c.OBF

    twin = Rig()
    twin.time.value_ns = rig.time.value_ns
    twin.keyboard.load(rig.keyboard.save())
    twin.controller.load(rig.controller.save())
    twin.wait()

    assert twin.status & c.OBF
