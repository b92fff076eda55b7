"""Tables of the documentation that are made from the code, so that they cannot disagree with it.

A page names one on a line of its own: `@EXIT_REASONS@`, `@OPTIONS disk create@`,
`@CONSTANTS devices.uart16550 RBR..SCR@`. `expand` puts the table there; a name it does not know,
or a constant that is gone, is an error, so the documentation fails to build.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
PLACE_HOLDER: Final = re.compile(r"^@([A-Z_]+)((?: [\w./-]+)*)@$", re.MULTILINE)
_RANGE: Final = ".."


class Constant(NamedTuple):
    """One constant of a module, with the comment behind it."""

    name: str
    value: int
    comment: str


def expand(text: str) -> str:
    """Return `text` with every place holder replaced by its table."""
    return PLACE_HOLDER.sub(lambda match: TABLES[match[1]](*match[2].split()), text)


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def hexadecimal(value: int) -> str:
    """Return a number as data sheets write it."""
    text = f"{value:02X}"
    return f"{text}h" if text[0].isdigit() else f"0{text}h" if len(text) < 2 else f"{text}h"


# -- exits


def exit_reasons() -> str:
    """Return the catalogue of reasons."""
    from vmm.trace.reasons import CATALOGUE

    rows = [
        (
            f"`{reason.key}`",
            reason.title,
            "" if reason.vtx is None else str(reason.vtx),
            "" if reason.amd_v is None else f"{reason.amd_v:X}h",
            f"`{reason.xen}`" if reason.xen else "",
            reason.why,
        )
        for reason in CATALOGUE.values()
    ]
    return table(
        ("reason", "what it is", "VT-x exit reason", "AMD-V exit code", "Xen hypercall", "why"), rows
    )


def costs() -> str:
    """Return the cost model."""
    from vmm.techniques.cost import MECHANISMS

    rows = [(f"`{name}`", str(m.cycles), m.what, m.processor, m.source) for name, m in MECHANISMS.items()]
    return table(("mechanism", "cycles", "what it is", "measured on", "source"), rows)


def findings() -> str:
    """Return what trap-and-emulate says of each sensitive instruction."""
    from vmm.techniques.trap import WHAT

    return table(("row", "the finding says"), list(WHAT.items()))


def exit_statuses() -> str:
    """Return the statuses of `trapline run`."""
    from vmm.cli.status import MEANINGS

    return table(("status", "meaning"), [(f"`{status}`", meaning) for status, meaning in MEANINGS.items()])


def intercepts() -> str:
    """Return the intercepts that can be armed."""
    from vmm.cpu.intercepts import ALWAYS, EXIT_CODES
    from vmm.cpu.portable import PortableEngine

    def when(name: str) -> str:
        if name in ALWAYS:
            return "always"
        return "always on the portable engine" if name in PortableEngine.needs else "when asked for"

    rows = [(f"`{name}`", f"{code:02X}h", when(name)) for name, code in EXIT_CODES.items()]
    return table(("intercept", "AMD-V exit code", "armed"), rows)


# -- the command


def options(*verb: str) -> str:
    """Return the options and arguments of one verb, group by group."""
    groups: dict[str, list[tuple[str, ...]]] = {}
    for parameter in parameters(*verb):
        title = parameter.rich_help_panel or ""
        groups.setdefault(title, []).append((f"`{_usage(parameter)}`", parameter.help or ""))
    parts = []
    for title, rows in groups.items():
        caption = f"**{title}**\n\n" if title else ""
        parts.append(caption + table(("", "meaning"), rows))
    return "\n\n".join(parts)


def parameters(*verb: str) -> list[Any]:
    """Return what the command line library knows of a verb's parameters."""
    command = _command()
    for name in verb:
        command = command.commands[name]
    return list(command.params)


@cache
def _command() -> Any:  # noqa: ANN401 - typer does not export its classes
    from typer.main import get_command

    from vmm.cli import build_app

    return get_command(build_app([]))


def _usage(parameter: Any) -> str:  # noqa: ANN401 - typer does not export its classes
    """Return an option with its value, or an argument, as a command line shows it."""
    if not hasattr(parameter, "is_flag"):
        return str(parameter.metavar or parameter.name.upper())
    names = ", ".join(parameter.opts)
    if parameter.is_flag:
        return names
    if choices := getattr(parameter.type, "choices", None):
        return f"{names} {'|'.join(choices)}"
    return f"{names} {parameter.metavar or 'TEXT'}"


# -- the board


def port_map() -> str:
    """Return who answers which ports on a machine whose PCI functions have been set up."""
    from devices.pci.setup import configure
    from vmm.board import Board, Fittings, Outside
    from vmm.bus import PORTS, PortBus
    from vmm.clock import MachineClock, ManualTime
    from vmm.memory import MIB, Memory

    def nowhere(*values: object) -> None:
        del values

    bus = PortBus()
    outside = Outside(nowhere, nowhere, nowhere, nowhere, nowhere, nowhere)
    board = Board(Memory(16 * MIB), bus, MachineClock(ManualTime()), outside, Fittings(0, {}))
    configure(board.pci)
    rows: list[tuple[str, ...]] = []
    first = 0
    for port in range(1, PORTS + 1):
        if port < PORTS and bus.owner(port) == bus.owner(first):
            continue
        if (owner := bus.owner(first)) is not None:
            ports = f"{first:X}h" if port == first + 1 else f"{first:X}h-{port - 1:X}h"
            rows.append((ports, owner))
        first = port
    return table(("ports", "owner"), rows)


# -- constants of the source


def constants(module: str, *wanted: str) -> str:
    """Return names, values and comments of constants; `A..B` means A to B in the order of the source."""
    found = {constant.name: constant for constant in constants_of(module)}
    order = list(found)
    rows = []
    for entry in wanted:
        first, _, last = entry.partition(_RANGE)
        names = order[order.index(first) : order.index(last) + 1] if last else [first]
        rows += [(f"`{name}`", hexadecimal(found[name].value), found[name].comment) for name in names]
    if not any(row[2] for row in rows):
        return table(("name", "value"), [row[:2] for row in rows])
    return table(("name", "value", "from the source"), rows)


def constants_of(module: str) -> list[Constant]:
    """Return the integer constants of a module, in the order of its source."""
    path = ROOT / (module.replace(".", "/") + ".py")
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    values = vars(importlib.import_module(module))
    found = []
    for node in ast.parse(source).body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        value = values.get(node.target.id)
        if isinstance(value, int) and node.end_lineno is not None:
            comment = lines[node.end_lineno - 1].partition("  # ")[2]
            found.append(Constant(node.target.id, value, comment))
    return found


def pci_registers(module: str, name: str) -> str:
    """Return the PCI configuration registers that a function declares."""
    registers = getattr(importlib.import_module(module), name)
    source = (ROOT / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
    comments = re.findall(rf"^{name}\b.*?^\)", source, re.MULTILINE | re.DOTALL)[0].splitlines()[1:-1]
    rows = []
    for register, line in zip(registers, comments, strict=True):
        what = line.partition("  # ")[2] or line.split("(")[1].split(",")[0].replace("+ ", "+")
        digits = register.size * 2
        rows.append(
            (
                hexadecimal(register.offset),
                str(register.size),
                what,
                f"{register.reset:0{digits}X}h",
                f"{register.writable:0{digits}X}h",
                f"{register.clearable:0{digits}X}h",
            )
        )
    return table(("offset", "bytes", "register", "reset", "writable", "cleared by ones"), rows)


def chip_registers() -> str:
    """Return the register map of the AIC-7870 with its bits."""
    from devices.aic7870.registers import TABLE, bits_of

    rows = []
    for row in TABLE:
        last = row.address + row.length - 1
        where = hexadecimal(row.address) if row.length == 1 else f"{row.address:02X}h-{last:02X}h"
        bits = [f"{bit.mask:02X}h `{bit.name}` {bit.meaning}".strip() for bit in bits_of(row)]
        rows.append((where, f"`{row.name}`", row.access, row.meaning, "<br>".join(bits)))
    return table(("address", "register", "access", "what it is", "bits"), rows)


def check_rules() -> str:
    """Return the rules `trapline disk check` goes by."""
    from disks.vhd.check_rules import RULES

    rows = [(f"`{rule.name}`", str(rule.severity), rule.meaning, rule.repair) for rule in RULES.values()]
    return table(("rule", "severity", "broken when, or what that means", "`--repair`"), rows)


TABLES: Final[dict[str, Callable[..., str]]] = {
    "CHIP_REGISTERS": chip_registers,
    "COSTS": costs,
    "EXIT_REASONS": exit_reasons,
    "EXIT_STATUSES": exit_statuses,
    "FINDINGS": findings,
    "INTERCEPTS": intercepts,
    "OPTIONS": options,
    "PORT_MAP": port_map,
    "CONSTANTS": constants,
    "CHECK_RULES": check_rules,
    "PCI_REGISTERS": pci_registers,
}
