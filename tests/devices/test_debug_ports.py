"""Debug consoles, exit port and POST codes."""

from devices import debug_ports as d
from vmm.clock import MachineClock


def make_console(clock: MachineClock) -> tuple[object, object, object]:
    console = d.DebugConsole(lambda byte: None)
    return console, [(console.ports, 1)], []


def make_exit(clock: MachineClock) -> tuple[object, object, object]:
    port = d.ExitPort(lambda value: None)
    return port, [(port, 4)], []


def make_post(clock: MachineClock) -> tuple[object, object, object]:
    post = d.PostPort()
    return post, [(post.ports, 1)], [lambda: post.ports.write(0, 1, 0x55)]


CONTRACT = [("debug console", make_console), ("exit port", make_exit), ("post port", make_post)]


def test_a_debug_console_reads_as_present() -> None:
    assert d.DebugConsole(lambda byte: None).ports.read(0, 1) == 0xE9


def test_a_debug_console_passes_every_byte_on() -> None:
    heard = bytearray()
    console = d.DebugConsole(heard.append)
    for byte in b"hello":
        console.ports.write(0, 1, byte)
    assert heard == b"hello"


def test_the_exit_port_reports_the_whole_value_written() -> None:
    values: list[int] = []
    port = d.ExitPort(values.append)
    port.write(0, 1, 0x10)
    port.write(0, 4, 0x1234_5678)
    assert values == [0x10, 0x1234_5678]
    assert port.read(0, 4) == 0


def test_the_post_port_keeps_the_last_code() -> None:
    post = d.PostPort()
    post.ports.write(0, 1, 0xA5)
    assert post.code == post.ports.read(0, 1) == 0xA5
