"""The command line: one module a verb. Everything but the verb asked for is imported late."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer


def main(arguments: list[str] | None = None) -> None:
    """Run the command; the entry point of the installed script."""
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))


def run_command(arguments: list[str]) -> int:
    """Parse and run; return the exit status. Wrong usage and errors are one line on stderr."""
    from typer.exceptions import TyperException
    from typer.main import get_command

    from vmm.cli import status
    from vmm.cli.errors import one_line, print_error

    app = build_app(arguments)
    with one_line() as failure:
        try:
            outcome = get_command(app).main(arguments, prog_name="trapline", standalone_mode=False)
        except TyperException as error:
            if message := error.format_message():
                print_error(f"{message} (try --help)")
            return status.USAGE
        except (KeyboardInterrupt, RuntimeError) as error:
            if type(error).__name__ not in ("Abort", "KeyboardInterrupt"):
                raise
            return status.SIGNAL_BASE + 2
        return outcome if isinstance(outcome, int) else status.OK
    return failure.status


def build_app(arguments: list[str]) -> typer.Typer:
    """Return the typer application, with the verbs that `arguments` can reach."""
    import typer

    from vmm.cli.doctor import doctor
    from vmm.cli.run import EPILOG, run

    app = typer.Typer(
        help="A glass-box virtual machine monitor: real x86 guests, every trap shown.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )
    app.command(epilog=EPILOG)(run)
    if arguments[:1] != ["run"]:
        from vmm.cli.disk import app as disk_app

        app.add_typer(disk_app, name="disk")
    app.command()(doctor)
    app.command()(version)
    return app


def version() -> None:
    """Print the version."""
    import typer

    from vmm import __version__

    typer.echo(f"trapline {__version__}")
