"""`trapline sequencer`: the program that a driver downloads into an AIC-7870, and a command through it."""

from __future__ import annotations

import json
import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from vmm.cli import status
from vmm.cli.errors import print_error
from vmm.cli.image_argument import complete_image, machine_of
from vmm.cli.kernel_options import AppendOption, InitrdOption, KernelOption
from vmm.cli.progress import Progress
from vmm.cli.run import EngineName
from vmm.cli.scsi_options import ScsiAdapterOption, ScsiCdOption, ScsiFaultOption, ScsiHdOption, scsi_changes
from vmm.cli.work_child import ask
from vmm.config import MachineConfig, parse_memory
from vmm.errors import UsageError, VmmError

if TYPE_CHECKING:
    from vmm.cli.sequencer_child import Seen, SequencerJob

CHILD: Final = "vmm.cli.sequencer_child"
DEFAULT_TIMEOUT_S: Final = 300.0
ANY: Final = "any"
EPILOG: Final = "\n".join(
    [
        "[bold]Exit status[/bold]",
        "  [cyan]0[/cyan]  all that was asked for is shown",
        "  [cyan]1[/cyan]  an error, told in one line on stderr",
        "  [cyan]2[/cyan]  wrong usage",
        "  [cyan]4[/cyan]  the run ended before: no program, no such command, or no stop",
        "",
        "[bold]Examples[/bold]",
        "  trapline sequencer system.vhd --scsi-hd data.vhd",
        "  trapline sequencer --scsi-hd system.vhd --trace-command read10",
        "  trapline sequencer --scsi-hd system.vhd --trace-command 2ah --json",
        "  trapline sequencer --scsi-hd system.vhd --break data-in",
        "  trapline sequencer --scsi-hd system.vhd --break 02a",
        "  trapline sequencer --kernel vmlinuz --initrd initrd.gz --append console=ttyS0 --scsi-hd data.vhd",
    ]
)


def _phases() -> list[str]:
    from devices.aic7870.watching import PHASE_NAMES

    return list(PHASE_NAMES)


def _commands() -> list[str]:
    from devices.scsi.commands import NAMES

    return [ANY, *(_key(name) for name in NAMES.values())]


def sequencer(
    image: Annotated[
        Path | None,
        typer.Argument(
            metavar="[IMAGE|MACHINE.toml|guest:NAME]",
            help="What `trapline run` takes. Disks are not written.",
            autocompletion=complete_image,
        ),
    ] = None,
    trace_command: Annotated[
        str | None,
        typer.Option(
            "--trace-command",
            metavar="NAME|CODE",
            help="Show every instruction of the first command of that name, such as read10 or 28h; "
            "any is the first of all.",
            autocompletion=_commands,
        ),
    ] = None,
    stop: Annotated[
        str | None,
        typer.Option(
            "--break",
            metavar="ADDRESS|PHASE",
            help="Stop there; show the sequencer and what led there. With --trace-command: in that command.",
            autocompletion=_phases,
        ),
    ] = None,
    adapter: Annotated[int, typer.Option(metavar="0-3", min=0, max=3, help="Which adapter.")] = 0,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long the machine may run.")
    ] = DEFAULT_TIMEOUT_S,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="1M to 3.5G; a plain number is MiB.")
    ] = None,
    engine: Annotated[EngineName | None, typer.Option(help="How code is run. Default auto.")] = None,
    scsi_adapter: ScsiAdapterOption = None,
    scsi_hd: ScsiHdOption = None,
    scsi_cd: ScsiCdOption = None,
    scsi_fault: ScsiFaultOption = None,
    kernel: KernelOption = None,
    initrd: InitrdOption = None,
    append: AppendOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show the program that a guest's driver downloads into an AIC-7870, or a command on its way through it.

    The machine runs until the driver has started the sequencer, the command has passed, or the break
    is reached. Names of scratch RAM and SCB are those of the BSD and Linux drivers, if it is their program.
    """
    if not 0 < timeout < 1e6:
        raise UsageError(f"--timeout {timeout:g}: expected seconds above 0 and below 1e6")
    from devices.aic7870.watching import parse_stop
    from vmm.cli.sequencer_child import Seen, SequencerJob

    try:
        stop_at = parse_stop(stop) if stop is not None else None
    except ValueError as error:
        raise UsageError(f"--break {error}") from None
    operation = _operation(trace_command) if trace_command is not None else None
    with ExitStack() as cleanup:
        base = machine_of(image, cleanup)
        changes: dict[str, Any] = {
            **scsi_changes(base, scsi_adapter, scsi_hd, scsi_cd, scsi_fault),
            "memory_bytes": parse_memory(memory) if memory is not None else None,
            "engine": engine.value if engine else None,
            "kernel": kernel,
            "initrd": tuple(initrd) if initrd else None,
            "append": append,
        }
        given = {name: value for name, value in changes.items() if value is not None}
        config = msgspec.structs.replace(base, **given, snapshot=True, undo=None).check()
        _require_aic7870(config, adapter)
        job = SequencerJob(config, adapter, timeout, stop_at, trace_command is not None, operation)
        progress = Progress()
        progress.tell("running until the driver has done its part")
        answer = ask(CHILD, json.dumps(msgspec.to_builtins(job)).encode(), timeout)
        progress.clear()
    if answer.fault:
        raise VmmError(answer.fault)
    seen = msgspec.json.decode(answer.data, type=Seen)
    if seen.fault:
        raise VmmError(seen.fault)
    _show(seen, as_json=as_json)
    _end(seen, job)


def _require_aic7870(config: MachineConfig, number: int) -> None:
    adapters = config.with_places().scsi_adapters
    if number >= len(adapters) or adapters[number].kind != "aic7870":
        what = "is a virtio adapter" if number < len(adapters) else "is not there"
        raise UsageError(
            f"--adapter {number}: it {what}, and the program is an AIC-7870's; "
            "add one with --scsi-hd PATH or --scsi-adapter aic7870"
        )


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _operation(text: str) -> int | None:
    """Return the first byte of the CDB: by name, as `28h`, or None for any."""
    from devices.scsi.commands import NAMES

    if text == ANY:
        return None
    codes = {_key(name): code for code, name in NAMES.items()}
    key = _key(text)
    if key in codes:
        return codes[key]
    digits = text.lower().removeprefix("0x").removesuffix("h")
    if not re.fullmatch(r"[0-9a-f]{1,2}", digits):
        raise UsageError(
            f"--trace-command {text!r}: no such command; write read10, inquiry and so on, 28h, or any"
        )
    return int(digits, 16)


def _show(seen: Seen, *, as_json: bool) -> None:
    if as_json:
        from vmm.cli.sequencer_print import facts

        typer.echo(json.dumps(facts(seen), indent=1))
    elif seen.steps or seen.command or seen.held is not None:
        from vmm.cli.sequencer_print import print_trace

        print_trace(seen, sys.stdout)
    elif seen.program:
        from vmm.cli.sequencer_print import print_program

        print_program(seen, sys.stdout)


def _end(seen: Seen, job: SequencerJob) -> None:
    """Say what is missing, and end with a status of its own for that."""
    missing = ""
    if not seen.program:
        missing = "no driver downloaded a program"
    elif job.stop is not None and seen.held is None:
        missing = "the break was not reached"
    elif job.trace and not seen.command:
        missing = "no such command came"
    elif job.trace and not seen.status and seen.held is None:
        missing = "the command did not end"
    if missing:
        print_error(f"{missing}: {seen.ended}" if seen.ended else missing)
        raise typer.Exit(status.TIMEOUT)
