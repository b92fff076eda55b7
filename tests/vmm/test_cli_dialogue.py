"""`--expect` and `--send`: a conversation in the order written."""

from __future__ import annotations

import pytest

from vmm.cli.dialogue import Dialogue, Sending, parse_send, unescape
from vmm.errors import ConfigError
from vmm.outputs import Output


class Guest:
    """The guest's side of the conversation: what it has said, and what it heard."""

    def __init__(self) -> None:
        self.serial = [Output(), Output()]
        self.debug = Output()
        self.screen: list[str] = []
        self.heard: list[tuple[int | None, bytes | str]] = []

    def screen_text(self) -> list[str]:
        return self.screen

    def send_serial(self, data: bytes, number: int = 0) -> None:
        self.heard.append((number, data))

    def send_keys(self, text: str) -> None:
        self.heard.append((None, text))


def say(stream: Output, text: bytes) -> None:
    for byte in text:
        stream.append(byte)


@pytest.fixture
def guest() -> Guest:
    return Guest()


def test_without_steps_a_run_goes_on(guest: Guest) -> None:
    dialogue = Dialogue([], [])

    assert not dialogue.advance(guest)
    assert dialogue.waiting_for is None


def test_the_last_expected_text_ends_the_run(guest: Guest) -> None:
    dialogue = Dialogue(["login:"], [])
    assert not dialogue.advance(guest)

    say(guest.serial[0], b"Debian login: ")

    assert dialogue.advance(guest)


@pytest.mark.parametrize("place", ["serial", "serial2", "debug", "screen"])
def test_text_is_found_wherever_the_guest_writes(guest: Guest, place: str) -> None:
    dialogue = Dialogue(["ready"], [])
    if place == "screen":
        guest.screen = ["", "  ready."]
    elif place == "debug":
        say(guest.debug, b"ready")
    else:
        say(guest.serial[place == "serial2"], b"ready")

    assert dialogue.advance(guest)


def test_text_that_comes_in_pieces_is_found(guest: Guest) -> None:
    dialogue = Dialogue(["ready"], [])
    say(guest.serial[0], b"rea ")
    for byte in b"ready":
        guest.serial[0].append(byte)
        ended = dialogue.advance(guest)

    assert ended


def test_steps_pair_up_in_the_order_written(guest: Guest) -> None:
    dialogue = Dialogue(["login:", "# "], ["serial:root\\n", "keys:halt\\n"])
    say(guest.serial[0], b"login:")
    dialogue.advance(guest)
    assert guest.heard == [(0, b"root\n")]

    say(guest.serial[0], b"# ")

    assert not dialogue.advance(guest)
    assert guest.heard == [(0, b"root\n"), (None, "halt\n")]
    assert dialogue.waiting_for is None


def test_an_empty_expectation_is_met_at_once(guest: Guest) -> None:
    Dialogue(["", "x"], ["serial2:hello"]).advance(guest)

    assert guest.heard == [(1, b"hello")]


def test_on_a_port_only_what_came_after_the_last_match_counts(guest: Guest) -> None:
    dialogue = Dialogue(["# ", "# "], ["serial:ls\\n"])
    say(guest.serial[0], b"# ")
    assert not dialogue.advance(guest)

    say(guest.serial[0], b"ls\nbin\n# ")

    assert dialogue.advance(guest)


def test_on_the_screen_a_text_must_appear_once_more(guest: Guest) -> None:
    dialogue = Dialogue(["C:>", "C:>"], ["dir\\n"])
    guest.screen = ["C:>"]
    assert not dialogue.advance(guest)

    guest.screen = ["C:>dir", "nothing", "C:>"]

    assert dialogue.advance(guest)


def test_on_a_cleared_screen_the_text_counts_again(guest: Guest) -> None:
    dialogue = Dialogue(["C:>", "C:>"], ["cls\\n"])
    guest.screen = ["C:>"]
    dialogue.advance(guest)
    guest.screen = [""]
    dialogue.advance(guest)
    guest.screen = ["C:>"]

    assert dialogue.advance(guest)


@pytest.mark.parametrize(
    ("written", "meant"),
    [(r"a\n", "a\n"), (r"\t\e\b\\n", "\t\x1b\b\\n"), (r"\x41\x1d", "A\x1d"), ("plain", "plain")],
)
def test_escapes_are_replaced(written: str, meant: str) -> None:
    assert unescape(written) == meant


@pytest.mark.parametrize("written", ["\\q", "end\\", "\\x4"])
def test_unknown_escapes_are_refused(written: str) -> None:
    with pytest.raises(ConfigError, match="no escape"):
        unescape(written)


@pytest.mark.parametrize(
    ("text", "sending"),
    [
        ("dir", Sending(None, "dir")),
        ("keys:dir", Sending(None, "dir")),
        ("serial:ls", Sending(0, "ls")),
        ("serial2:ls", Sending(1, "ls")),
        ("http://x", Sending(None, "http://x")),
    ],
)
def test_a_prefix_says_where_to_type(text: str, sending: Sending) -> None:
    assert parse_send(text) == sending


def test_a_character_without_a_key_is_refused_before_the_run() -> None:
    with pytest.raises(ConfigError, match="no key for 'é'"):
        Dialogue([], ["keys:café"])
