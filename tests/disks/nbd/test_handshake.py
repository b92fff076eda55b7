"""Fixed newstyle negotiation, one sentence of the protocol's document at a time."""

from __future__ import annotations

import pytest

from disks.nbd import protocol as nbd
from disks.nbd.handshake import MOST_OPTIONS
from disks.nbd.talk import ProtocolError
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
    text,
)

WRITABLE = nbd.HAS_FLAGS | nbd.SEND_FLUSH | nbd.SEND_FUA | nbd.CAN_MULTI_CONN
WRITABLE |= nbd.SEND_TRIM | nbd.SEND_WRITE_ZEROES | nbd.SEND_FAST_ZERO


@pytest.fixture
def client() -> Dialogue:
    return Dialogue(opened(dynamic()))


@pytest.fixture
def haggling(client: Dialogue) -> Dialogue:
    client.say(BOTH_FLAGS)
    return client


def info(*requests: int, name: str = "") -> bytes:
    return go(*requests, name=name, number=nbd.OPT_INFO)


def test_the_server_greets_with_both_magics_and_its_flags(client: Dialogue) -> None:
    assert client.say(b"") == b"NBDMAGICIHAVEOPT\x00\x03"


def test_a_client_flag_that_was_not_offered_ends_the_connection(client: Dialogue) -> None:
    with pytest.raises(ProtocolError, match="client flags"):
        client.say(nbd.CLIENT_FLAGS.pack(4))


def test_export_name_tells_size_and_flags_and_begins(haggling: Dialogue) -> None:
    assert haggling.say(option(nbd.OPT_EXPORT_NAME)) == nbd.EXPORT_REPLY.pack(SIZE, WRITABLE)
    assert haggling.simple(request(nbd.CMD_FLUSH)) == (0, b"")


def test_export_name_is_padded_unless_both_agreed_not_to(client: Dialogue) -> None:
    client.say(nbd.CLIENT_FLAGS.pack(nbd.FLAG_FIXED_NEWSTYLE))
    assert client.say(option(nbd.OPT_EXPORT_NAME))[nbd.EXPORT_REPLY.size :] == bytes(124)


def test_export_name_of_an_export_that_is_not_there_ends_the_connection(haggling: Dialogue) -> None:
    with pytest.raises(ProtocolError):
        haggling.say(option(nbd.OPT_EXPORT_NAME, b"other"))


def test_abort_is_acknowledged_and_ends(haggling: Dialogue) -> None:
    assert haggling.options(option(nbd.OPT_ABORT, b"ignored")) == [(nbd.OPT_ABORT, nbd.REP_ACK, b"")]
    assert haggling.over


def test_list_names_the_default_export_with_a_description(haggling: Dialogue) -> None:
    assert haggling.options(option(nbd.OPT_LIST)) == [
        (nbd.OPT_LIST, nbd.REP_SERVER, bytes(4) + b"disk.vhd"),
        (nbd.OPT_LIST, nbd.REP_ACK, b""),
    ]


@pytest.mark.parametrize("number", [nbd.OPT_LIST, nbd.OPT_STRUCTURED_REPLY])
def test_data_where_none_belong_are_invalid(haggling: Dialogue, number: int) -> None:
    assert [kind for _, kind, _ in haggling.options(option(number, b"x"))] == [nbd.REP_ERR_INVALID]


@pytest.mark.parametrize("number", [0, 4, 5, 11, 0xFFFF_FFFF])
def test_an_unknown_option_is_skipped_and_answered(haggling: Dialogue, number: int) -> None:
    assert [kind for _, kind, _ in haggling.options(option(number, b"xyz"))] == [nbd.REP_ERR_UNSUP]
    assert len(haggling.options(option(nbd.OPT_LIST))) == 2


def test_info_tells_what_was_asked_for_and_does_not_begin(haggling: Dialogue) -> None:
    wanted = (nbd.INFO_DESCRIPTION, nbd.INFO_BLOCK_SIZE, 99)
    assert [data for _, _, data in haggling.options(info(*wanted))] == [
        nbd.INFO_EXPORT_REPLY.pack(nbd.INFO_EXPORT, SIZE, WRITABLE),
        b"\0\2disk.vhd",
        nbd.INFO_BLOCK_SIZE_REPLY.pack(nbd.INFO_BLOCK_SIZE, 512, 4096, 32 << 20),
        b"",
    ]
    assert len(haggling.options(option(nbd.OPT_LIST))) == 2


def test_go_begins(haggling: Dialogue) -> None:
    assert [kind for _, kind, _ in haggling.options(go())] == [nbd.REP_INFO, nbd.REP_ACK]
    assert haggling.simple(request(nbd.CMD_FLUSH)) == (0, b"")


def test_go_to_an_unknown_export_is_refused_and_can_be_repeated(haggling: Dialogue) -> None:
    assert [kind for _, kind, _ in haggling.options(go(name="other"))] == [nbd.REP_ERR_UNKNOWN]
    assert haggling.options(go())[-1][1] == nbd.REP_ACK


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(4),
        bytes(5),
        b"\xff\xff\xff\xff" + bytes(8),
        text("") + b"\0\2\0\0",
        text("") + b"\0\0\0",
        text("n" * 5000) + b"\0\0",
    ],
)
def test_go_with_lengths_that_do_not_fit_is_invalid(haggling: Dialogue, data: bytes) -> None:
    assert [kind for _, kind, _ in haggling.options(option(nbd.OPT_GO, data))] == [nbd.REP_ERR_INVALID]
    assert haggling.options(go())[-1][1] == nbd.REP_ACK


def test_structured_replies_bring_unfragmented_reads(haggling: Dialogue) -> None:
    replies = haggling.options(option(nbd.OPT_STRUCTURED_REPLY) + info())
    assert replies[0] == (nbd.OPT_STRUCTURED_REPLY, nbd.REP_ACK, b"")
    assert nbd.INFO_EXPORT_REPLY.unpack(replies[1][2])[2] == WRITABLE | nbd.SEND_DF


@pytest.mark.parametrize("queries", [(), ("base:",), ("base:allocation",), ("x-y:z", "base:allocation")])
def test_contexts_are_listed(haggling: Dialogue, queries: tuple[str, ...]) -> None:
    replies = haggling.options(contexts(*queries, number=nbd.OPT_LIST_META_CONTEXT))
    assert [data[4:] for _, _, data in replies] == [b"base:allocation", b""]


@pytest.mark.parametrize("queries", [(), ("base:",), ("qemu:dirty",)])
def test_only_a_whole_name_selects_a_context(haggling: Dialogue, queries: tuple[str, ...]) -> None:
    haggling.say(option(nbd.OPT_STRUCTURED_REPLY))
    assert [kind for _, kind, _ in haggling.options(contexts(*queries))] == [nbd.REP_ACK]


def test_contexts_need_structured_replies(haggling: Dialogue) -> None:
    replies = haggling.options(contexts("base:allocation"))
    assert [kind for _, kind, _ in replies] == [nbd.REP_ERR_INVALID]


def test_a_failed_selection_of_contexts_forgets_the_one_before(haggling: Dialogue) -> None:
    haggling.say(option(nbd.OPT_STRUCTURED_REPLY) + contexts("base:allocation"))
    haggling.say(option(nbd.OPT_SET_META_CONTEXT, b"broken") + go())
    ((kind, payload),) = haggling.chunks(request(nbd.CMD_BLOCK_STATUS, 0, 512))
    assert (kind, nbd.CHUNK_ERROR.unpack_from(payload)[0]) == (nbd.REPLY_ERROR, nbd.EINVAL)


def test_an_option_with_too_much_data_is_skipped_in_pieces(haggling: Dialogue) -> None:
    head = nbd.OPTION.pack(nbd.OPTION_MAGIC, nbd.OPT_GO, 3 << 20)
    replies = haggling.options(head + bytes(3 << 20))
    assert [kind for _, kind, _ in replies] == [nbd.REP_ERR_TOO_BIG]
    assert haggling.options(go())[-1][1] == nbd.REP_ACK


def test_a_query_count_past_the_data_is_invalid(haggling: Dialogue) -> None:
    data = text("") + b"\xff\xff\xff\xff"
    replies = haggling.options(option(nbd.OPT_LIST_META_CONTEXT, data))
    assert [kind for _, kind, _ in replies] == [nbd.REP_ERR_INVALID]


def test_haggling_without_end_is_ended(haggling: Dialogue) -> None:
    haggling.say(option(nbd.OPT_LIST) * (MOST_OPTIONS - 1))
    with pytest.raises(ProtocolError, match="no end"):
        haggling.say(option(nbd.OPT_LIST))
