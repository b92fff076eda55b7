"""The command line: one module a verb. Everything but the verb asked for is imported late."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import typer

    from vmm.cli.process import MachineProcess

COMPLETION_VARIABLE: Final = "_TRAPLINE_COMPLETE"
EXAMPLES: Final = "\n".join(
    [
        "[bold]Examples[/bold]",
        "  trapline run guest:snare",
        "  trapline run disk.vhd --trace exits",
        "  trapline compare guest:snare",
        "  trapline guests",
        "  trapline disk create new.vhd 10G",
    ]
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command; the entry point of the installed script."""
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))


def run_command(arguments: list[str]) -> int:
    """Parse and run; return the exit status. Wrong usage and errors are one line on stderr."""
    if arguments == ["--version"]:
        arguments = ["version"]
    from vmm.cli.errors import one_line

    with one_line() as failure:
        if os.environ.get(COMPLETION_VARIABLE) == "complete_bash":
            from vmm.cli.completion import complete_bash

            return complete_bash()
        if arguments and "-completion" in arguments[0]:
            from vmm.cli.completion import look_for_shell

            look_for_shell(arguments)
        process = _start_early(arguments)
        try:
            return _run_command(arguments, process)
        finally:
            if process is not None:
                process.discard()
    return failure.status


def _start_early(arguments: list[str]) -> MachineProcess | None:
    """Start the machine's process if one will be needed: it loads the engine while we parse."""
    if arguments[:1] != ["run"] or "--help" in arguments or COMPLETION_VARIABLE in os.environ:
        return None
    from vmm.cli.process import MachineProcess

    return MachineProcess()


def _run_command(arguments: list[str], process: MachineProcess | None) -> int:
    from typer.exceptions import Abort, TyperException
    from typer.main import get_command

    from vmm.cli import status
    from vmm.cli.errors import print_error

    try:
        outcome = get_command(build_app(arguments)).main(
            arguments, prog_name="trapline", standalone_mode=False, obj=process
        )
    except TyperException as error:
        if message := error.format_message():
            print_error(f"{message} (try --help)")
        return status.USAGE
    except Abort:
        return status.INTERRUPTED
    return outcome if isinstance(outcome, int) else status.OK


def build_app(arguments: list[str]) -> typer.Typer:
    """Return the typer application, with the verbs that `arguments` can reach."""
    import typer

    from vmm.cli.doctor import doctor
    from vmm.cli.run import EPILOG, run

    app = typer.Typer(
        help="A glass-box virtual machine monitor: real x86 guests, every trap shown.",
        epilog=EXAMPLES,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.command(epilog=EPILOG)(run)
    if arguments[:1] != ["run"]:
        from vmm.cli.compare import EPILOG as COMPARE_EPILOG
        from vmm.cli.compare import compare
        from vmm.cli.disk import app as disk_app
        from vmm.cli.guests import app as guests_app
        from vmm.cli.probe import EPILOG as PROBE_EPILOG
        from vmm.cli.probe import probe
        from vmm.cli.sequencer import EPILOG as SEQUENCER_EPILOG
        from vmm.cli.sequencer import sequencer

        app.command(epilog=COMPARE_EPILOG)(compare)
        app.command(epilog=PROBE_EPILOG)(probe)
        app.command(epilog=SEQUENCER_EPILOG)(sequencer)
        app.add_typer(disk_app, name="disk")
        app.add_typer(guests_app, name="guests")
    app.command()(doctor)
    app.command()(version)
    return app


def version() -> None:
    """Print the version."""
    import typer

    from vmm import __version__

    typer.echo(f"trapline {__version__}")
