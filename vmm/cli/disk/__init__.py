"""`trapline disk`: make disk images, look at them, change them.

Errors leave as exceptions; the main command turns them into one line.
"""

from __future__ import annotations

import typer

from vmm.cli.disk.chain import CHAIN_EXAMPLES, chain
from vmm.cli.disk.check import CHECK_EXAMPLES, check
from vmm.cli.disk.convert import CONVERT_EXAMPLES, convert
from vmm.cli.disk.create import CREATE_EXAMPLES, create
from vmm.cli.disk.info import INFO_EXAMPLES, info
from vmm.cli.disk.merge import MERGE_EXAMPLES, merge
from vmm.cli.disk.mount import MOUNT_EXAMPLES, mount
from vmm.cli.disk.reshape import (
    COMPACT_EXAMPLES,
    REPARENT_EXAMPLES,
    RESIZE_EXAMPLES,
    compact,
    reparent,
    resize,
)
from vmm.cli.disk.whence import WHENCE_EXAMPLES, whence

app = typer.Typer(help="Make disk images, look at them, change them.", no_args_is_help=True)

app.command(epilog=CREATE_EXAMPLES)(create)
app.command(epilog=INFO_EXAMPLES)(info)
app.command(epilog=CHAIN_EXAMPLES)(chain)
app.command(epilog=WHENCE_EXAMPLES)(whence)
app.command(epilog=CHECK_EXAMPLES)(check)
app.command(epilog=CONVERT_EXAMPLES)(convert)
app.command(epilog=MERGE_EXAMPLES)(merge)
app.command(epilog=COMPACT_EXAMPLES)(compact)
app.command(epilog=RESIZE_EXAMPLES)(resize)
app.command(epilog=REPARENT_EXAMPLES)(reparent)
app.command(epilog=MOUNT_EXAMPLES)(mount)
