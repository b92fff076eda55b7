"""`vmcb` at the monitor's prompt: look at the control block of a hardware-assisted guest, and edit it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmm.techniques.hardware.vmcb import FIELDS, SAVE_AREA

if TYPE_CHECKING:
    from vmm.machine import Machine
    from vmm.techniques.hardware.control_block import ControlBlock

USAGE: Final = "[show|set|arm ...]"
_FORMS: Final = "show, show FIELD, set FIELD VALUE, arm NAME or disarm NAME"
DOES: Final = "read and edit the VMCB, and say what exits"
MOST_WORDS: Final = 3
_WORDS: Final = ("show", "set", "arm", "disarm")


def vmcb_words() -> list[str]:
    """Return what may follow `vmcb`."""
    return [*_WORDS, *(f"{word} {name}" for word in ("show", "set") for name in FIELDS)]


def vmcb_lines(machine: Machine, arguments: list[str]) -> list[str]:
    """Carry out one command.

    Raises:
        ValueError: it cannot be; the text says why.
    """
    from vmm.techniques.hardware.technique import Hardware

    technique = machine.technique
    if not isinstance(technique, Hardware):
        raise ValueError(  # noqa: TRY004 - the prompt's word for what cannot be done
            f"vmcb: this guest runs under {technique.name}, which has none; run it with --technique hardware"
        )
    block = technique.vmcb
    word, rest = (arguments[0], arguments[1:]) if arguments else ("show", [])
    if word == "show" and len(rest) <= 1:
        return [_line(rest[0], block[rest[0]])] if rest else _all(block)
    if word == "set" and len(rest) == 2:
        block[rest[0]] = _number(rest[1])
        return [_line(rest[0], block[rest[0]])]
    if word in ("arm", "disarm") and len(rest) == 1:
        return _change(block, rest[0], arm=word == "arm")
    raise ValueError(f"vmcb {' '.join(arguments)}: expected {_FORMS}")


def _number(text: str) -> int:
    try:
        return int(text.removesuffix("h"), 16) if text.endswith("h") else int(text, 0)
    except ValueError:
        raise ValueError(f"{text}: no number; write 80000b0eh, 0x80000b0e or 2147486478") from None


def _line(name: str, value: int) -> str:
    width = FIELDS[name.lower()].size * 2
    return f"{name.lower()} {value:0{width}x}h"


def _change(block: ControlBlock, name: str, *, arm: bool) -> list[str]:
    if not arm and name in block.needed:
        raise ValueError(f"{name}: it has to exit, for the monitor's safety or its paging")
    if not arm and name not in block.controls:
        raise ValueError(f"{name}: it does not exit; what exits: {', '.join(sorted(block.controls))}")
    block.controls = block.controls | {name} if arm else block.controls - {name}
    return [f"what exits: {', '.join(sorted(block.controls))}"]


def _all(block: ControlBlock) -> list[str]:
    rows = block.rows()
    control = [_line(field.name, value) for field, value in rows if field.offset < SAVE_AREA]
    save = [
        _line(field.name, value)
        for field, value in rows
        if field.offset >= SAVE_AREA and "." not in field.name
    ]
    parts = {field.name: (value, field.size * 2) for field, value in rows if "." in field.name}
    segments = []
    for name in dict.fromkeys(name.partition(".")[0] for name in parts):
        texts = (
            f"{part} {value:0{size}x}h"
            for part in ("selector", "attrib", "limit", "base")
            for value, size in (parts[f"{name}.{part}"],)
        )
        segments.append(f"{name:<5}{'  '.join(texts)}")
    return [
        f"last exit: {block.last_exit.line}" if block.last_exit.vector else "no exit yet",
        f"what exits: {', '.join(sorted(block.controls))}",
        "control area:", *_columns(control),
        "state save area:", *segments, *_columns(save),
    ]  # fmt: skip


def _columns(texts: list[str]) -> list[str]:
    """Two columns where both fit into 79."""
    lines: list[str] = []
    for text in texts:
        if lines and len(lines[-1]) < 38 and len(text) < 40:
            lines[-1] = f"{lines[-1]:<39} {text}"
        else:
            lines.append(text)
    return lines
