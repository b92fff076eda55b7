"""`trapline run`: reads the options into a job and hands it to the supervisor."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from vmm.cli import status
from vmm.cli.dialogue import Dialogue
from vmm.cli.drive_options import (
    AllowRootOption,
    HdOption,
    IgnoreParentIdOption,
    SnapshotOption,
    UndoActionOption,
    UndoOption,
    chosen_undo,
)
from vmm.cli.image_argument import complete_image, machine_of
from vmm.cli.job import Job, RunOptions
from vmm.cli.kernel_options import (
    BOOTING,
    AppendOption,
    EntryOption,
    InitrdOption,
    KernelOption,
    LoadAddressOption,
)
from vmm.cli.scsi_options import ScsiAdapterOption, ScsiCdOption, ScsiFaultOption, ScsiHdOption, scsi_changes
from vmm.cli.technique_options import (
    PagingOption,
    TechniqueName,
    TechniqueOption,
    TranslationOption,
    technique_changes,
)
from vmm.cli.trace_options import complete_trace, read_traces
from vmm.cli.wires import (
    DisplayOption,
    ParallelOption,
    ScreenshotOption,
    SerialOption,
    check_screenshot,
    serial_ports,
    with_display,
)
from vmm.config import (
    BOOT_DEVICES,
    CPU_MODELS,
    DriveConfig,
    MachineConfig,
    parse_boot,
    parse_memory,
)
from vmm.errors import UsageError

MACHINE: Final = "The machine"
DRIVING: Final = "Driving the run"
SHOWING: Final = "What left the guest"


class EngineName(StrEnum):
    """Values of `--engine`."""

    AUTO = "auto"
    PORTABLE = "portable"
    ACCELERATED = "accelerated"


class ClockName(StrEnum):
    """Values of `--clock`."""

    HOST = "host"
    VIRTUAL = "virtual"


class MsrName(StrEnum):
    """Values of `--msr`."""

    FAULT = "fault"
    IGNORE = "ignore"


EPILOG: Final = "\n".join(
    [
        "[bold]Exit status[/bold]",
        *(f"  [cyan]{code:>5}[/cyan]  {meaning}" for code, meaning in status.MEANINGS.items()),
        "",
        "[bold]Examples[/bold]",
        "  trapline run disk.vhd",
        "  trapline run guest:snare",
        "  trapline run guest:snare --technique trap",
        "  trapline run disk.vhd --technique hardware --paging shadow",
        "  trapline run disk.vhd --display vnc",
        "  trapline run child.vhd --undo --allow-root /srv/bases",
        "  trapline run --hd system.vhd --hd scratch.vhd,sync=never",
        "  trapline run --scsi-hd system.vhd --scsi-cd install.iso,id=6",
        "  trapline run --scsi-adapter virtio --scsi-hd system.vhd,sync=never",
        "  trapline run --scsi-hd system.vhd,disconnect=mid-data --scsi-fault hang,op=28 --trace scsi",
        "  trapline run --kernel vmlinuz --initrd initrd.gz --append console=ttyS0",
        "  trapline run --kernel os.elf --initrd 'ramdisk.img root' --append debug",
        "  trapline run --kernel boot.bin --load-address 0x7c00",
        "  trapline run disk.vhd --expect login: --timeout 60 --trace exits=boot.jsonl",
        "  trapline run --scsi-hd system.vhd --trace scsi=commands.txt",
        "  trapline run dos.img --expect 'C:>' --send 'dir\\n' --expect free",
    ]
)


def _reasons() -> list[str]:
    from vmm.trace.reasons import CATALOGUE

    return list(CATALOGUE)


def run(
    context: typer.Context,
    image: Annotated[
        Path | None,
        typer.Argument(
            metavar="[IMAGE|MACHINE.toml|guest:NAME]",
            help="A raw or VHD disk, a CD or floppy image, a machine file, or a guest of ours.",
            autocompletion=complete_image,
        ),
    ] = None,
    cd: Annotated[
        list[str] | None,
        typer.Option("--cd", metavar="PATH", help="A CD image; repeatable.", rich_help_panel=MACHINE),
    ] = None,
    floppy: Annotated[
        list[str] | None,
        typer.Option(
            "--floppy", metavar="PATH", help="A floppy image; the second is B:.", rich_help_panel=MACHINE
        ),
    ] = None,
    boot: Annotated[
        str | None,
        typer.Option(
            metavar="ORDER",
            help="What is tried first, such as hd,cd. Default floppy,cd,hd.",
            rich_help_panel=MACHINE,
            autocompletion=lambda: ["hd,cd", "cd,hd", *BOOT_DEVICES],
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="1M to 3.5G; a plain number is MiB. Default 128M.", rich_help_panel=MACHINE
        ),
    ] = None,
    cpu: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="core2duo or pentium3. Default core2duo.",
            rich_help_panel=MACHINE,
            autocompletion=lambda: list(CPU_MODELS),
        ),
    ] = None,
    apic: Annotated[
        bool,
        typer.Option(
            "--apic", metavar="", help="Add local APIC, I/O APIC and MP table.", rich_help_panel=MACHINE
        ),
    ] = False,
    engine: Annotated[
        EngineName | None,
        typer.Option(help="How code is run; see trapline doctor. Default auto.", rich_help_panel=MACHINE),
    ] = None,
    clock: Annotated[
        ClockName | None,
        typer.Option(
            help="virtual: time from executed code, the same run gives the same trace. Default host.",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    msr: Annotated[
        MsrName | None,
        typer.Option(
            help="What unknown MSRs do: fault (#GP) or ignore. Default fault.", rich_help_panel=MACHINE
        ),
    ] = None,
    technique: TechniqueOption = None,
    translation: TranslationOption = None,
    paging: PagingOption = None,
    hd: HdOption = None,
    scsi_adapter: ScsiAdapterOption = None,
    scsi_hd: ScsiHdOption = None,
    scsi_cd: ScsiCdOption = None,
    scsi_fault: ScsiFaultOption = None,
    snapshot: SnapshotOption = False,
    undo: UndoOption = False,
    undo_action: UndoActionOption = None,
    allow_root: AllowRootOption = None,
    ignore_parent_id: IgnoreParentIdOption = False,
    bios: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A BIOS image instead of our firmware.", rich_help_panel=BOOTING),
    ] = None,
    vgabios: Annotated[
        str | None, typer.Option(metavar="FILE", help="Its VGA BIOS image.", rich_help_panel=BOOTING)
    ] = None,
    kernel: KernelOption = None,
    initrd: InitrdOption = None,
    append: AppendOption = None,
    entry: EntryOption = None,
    load_address: LoadAddressOption = None,
    serial: SerialOption = None,
    parallel: ParallelOption = None,
    display: DisplayOption = None,
    screenshot: ScreenshotOption = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Wait for text on a serial port, the debug port or the screen; after the last, end with 0.",
            rich_help_panel=DRIVING,
        ),
    ] = None,
    send: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Type keys:TEXT or serial:TEXT after the --expect of the same position.",
            rich_help_panel=DRIVING,
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="End the run after this time.", rich_help_panel=DRIVING),
    ] = None,
    trace: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND[=FILE]",
            help="exits, instructions or scsi, to stderr or a file; .jsonl gives JSON lines.",
            rich_help_panel=SHOWING,
            autocompletion=complete_trace,
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", metavar="", help="Say in a sentence why each exit is one.", rich_help_panel=SHOWING
        ),
    ] = False,
    trace_reason: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PREFIX",
            help="Only exits of this reason, such as io.out or exception.",
            rich_help_panel=SHOWING,
            autocompletion=_reasons,
        ),
    ] = None,
    trace_range: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A-B|A+N", help="Only instructions at these linear addresses.", rich_help_panel=SHOWING
        ),
    ] = None,
    trace_cpl: Annotated[
        list[int] | None,
        typer.Option(
            metavar="0-3",
            min=0,
            max=3,
            help="Only this privilege level; repeatable.",
            rich_help_panel=SHOWING,
        ),
    ] = None,
    trace_count: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="At most this many events a trace.", rich_help_panel=SHOWING),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="The result and the exit table as one JSON line.", rich_help_panel=SHOWING
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", metavar="", help="No exit table at the end.", rich_help_panel=SHOWING),
    ] = False,
) -> None:
    """Run a guest and show what trapped.

    In a terminal the guest's screen is shown and the keyboard is the guest's; Ctrl-] opens a prompt for
    the monitor. Without a terminal, or with --serial stdio, COM1 is there instead.
    """
    options = RunOptions(
        expect=tuple(expect or ()),
        send=tuple(send or ()),
        timeout_s=timeout,
        screenshot=screenshot,
        traces=read_traces(
            trace or ["exits"] * explain, trace_reason or [], trace_range or [], trace_cpl or [], trace_count
        ),
        explain=explain,
        json=as_json,
        quiet=quiet,
    )
    options = with_display(options, display, serial, append)
    with ExitStack() as cleanup:
        base = machine_of(image, cleanup, paravirtual=technique is TechniqueName.PARA)
        changes = {
            "hd": base.hd + tuple(DriveConfig.parse(text) for text in hd or ()),
            "cd": base.cd + tuple(DriveConfig(path=path, read_only=True) for path in cd or ()),
            **scsi_changes(base, scsi_adapter, scsi_hd, scsi_cd, scsi_fault),
            "floppy": base.floppy + tuple(DriveConfig(path=path) for path in floppy or ()),
            "boot": parse_boot(boot) if boot is not None else None,
            "memory_bytes": parse_memory(memory) if memory is not None else None,
            "cpu": cpu,
            "apic": True if apic else None,
            "engine": engine.value if engine else None,
            "clock": clock.value if clock else None,
            "msr": msr.value if msr else None,
            **technique_changes(technique, translation, paging),
            "snapshot": True if snapshot else None,
            "undo": chosen_undo(undo, undo_action),
            "allow_roots": base.allow_roots + tuple(allow_root or ()),
            "ignore_parent_id": True if ignore_parent_id else None,
            "bios": bios,
            "vgabios": vgabios,
            "kernel": kernel,
            "initrd": tuple(initrd) if initrd else None,
            "append": append,
            "entry": entry.value if entry else None,
            "load_address": load_address,
            "serial": serial_ports(serial, base.serial, options),
            "parallel": parallel,
        }
        job = Job(_replaced(base, changes).check(), _checked(options))
        from vmm.cli.supervisor import supervise

        code = supervise(job, context.obj)
    raise typer.Exit(code)


def _replaced(base: MachineConfig, changes: dict[str, Any]) -> MachineConfig:
    given = {name: value for name, value in changes.items() if value is not None}
    return msgspec.structs.replace(base, **given)


def _checked(options: RunOptions) -> RunOptions:
    """Return the options; raise ConfigError for what can be seen to be wrong before the run."""
    if options.timeout_s is not None and not 0 < options.timeout_s < 1e9:
        raise UsageError(f"--timeout {options.timeout_s:g}: expected seconds above 0 and below 1e9")
    if options.screenshot is not None:
        check_screenshot(Path(options.screenshot))
    Dialogue(options.expect, options.send)
    return options
