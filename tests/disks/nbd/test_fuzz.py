"""Whatever a client says, the conversation keeps its bounds: no exception of ours, little memory."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from disks.nbd import protocol as nbd
from disks.nbd.talk import PIECE_BYTES, ProtocolError
from tests.disks.nbd.dialogue import (
    BOTH_FLAGS,
    SIZE,
    Dialogue,
    contexts,
    dynamic,
    go,
    opened,
    option,
    request,
    write,
)


def messages() -> Iterator[st.SearchStrategy[bytes]]:
    """Yield ways to make what a hostile client may send: rules almost kept lead deeper than noise."""
    number = st.integers(0, 0xFFFF_FFFF)
    small = st.sampled_from([0, 1, 511, 512, 4096, SIZE - 512, SIZE, 1 << 25, (1 << 25) + 1, 0xFFFF_FFFF])
    yield st.binary(max_size=200)
    yield st.builds(option, st.one_of(st.integers(0, 12), number), st.binary(max_size=60))
    yield st.builds(lambda length: nbd.OPTION.pack(nbd.OPTION_MAGIC, 7, length), number)
    yield st.builds(go, st.integers(0, 5), st.integers(0, 5))
    yield st.builds(contexts, st.sampled_from(["", "base:", "base:allocation", "x"]))
    yield st.sampled_from([option(nbd.OPT_STRUCTURED_REPLY), option(nbd.OPT_EXPORT_NAME), go(3)])
    yield st.builds(
        request,
        st.integers(0, 9),
        st.one_of(small, st.integers(0, (1 << 64) - 1)),
        small,
        st.integers(0, 0xFFFF),
    )
    yield st.builds(write, small, st.binary(max_size=2000), st.integers(0, 3))


@settings(max_examples=300, deadline=None)
@given(st.booleans(), st.lists(st.one_of(*messages()), max_size=12))
def test_no_client_makes_the_conversation_fail_or_ask_for_much(polite: bool, said: list[bytes]) -> None:
    client = Dialogue(opened(dynamic()))
    if polite:
        client.say(BOTH_FLAGS)
    try:
        for message in said:
            assert len(client.say(message)) <= (33 << 20)
    except ProtocolError:
        pass
    assert client.most_asked <= PIECE_BYTES
    assert client.reports == []
