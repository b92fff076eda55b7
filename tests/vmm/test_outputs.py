"""Output of a guest that prints for ever: the newest part is kept, and positions stay true."""

from __future__ import annotations

from vmm.outputs import Output


def filled(kept: int, total: int) -> Output:
    output = Output(kept)
    for number in range(total):
        output.append(number & 0xFF)
    return output


def test_what_is_kept_is_bounded_and_the_newest() -> None:
    output = filled(100, 10_000)

    assert output.end == 10_000
    assert 100 <= len(output.since(0)) <= 200
    assert output.since(9_998) == bytes([9_998 & 0xFF, 9_999 & 0xFF])
    assert output.since(10_000) == b""


def test_positions_count_what_was_forgotten() -> None:
    output = filled(100, 10_000)
    newest = 9_999 & 0xFF

    assert output.find(bytes([newest]), 9_990) == 9_999
    assert output.find(bytes([newest]), 10_000) == -1
    assert output.endswith(bytes([newest - 1, newest]))
