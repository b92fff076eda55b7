"""`trapline disk`: make disk images, look at them, change them.

Errors leave as exceptions; the main command turns them into one line.
"""

from __future__ import annotations

import typer

from vmm.cli.disk.create import CREATE_EXAMPLES, create
from vmm.cli.disk.info import INFO_EXAMPLES, info
from vmm.cli.disk.merge import MERGE_EXAMPLES, merge

app = typer.Typer(help="Make disk images, look at them, change them.", no_args_is_help=True)

app.command(epilog=CREATE_EXAMPLES)(create)
app.command(epilog=INFO_EXAMPLES)(info)
app.command(epilog=MERGE_EXAMPLES)(merge)
