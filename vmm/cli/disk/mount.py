"""`trapline disk mount`."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from vmm.cli.disk.options import AllowRoot, IgnoreParentId, human, parent_rules
from vmm.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from disks.image import BlockImage
    from disks.nbd.export import Export
    from disks.nbd.server import NbdServer
    from disks.vhd.parents import ParentRules
    from vmm.cli.disk.nbd_sockets import Place

MOUNT_EXAMPLES: Final = (
    "Examples:\n\ntrapline disk mount disk.vhd --socket /tmp/disk.sock\n\n"
    "trapline disk mount disk.vhd --tcp 10809 --read-only\n\n"
    "trapline disk mount child.vhd --allow-root bases --socket /tmp/child.sock --once"
)
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def mount(
    path: Annotated[Path, typer.Argument(help="An image.")],
    socket: Annotated[
        Path | None,
        typer.Option("--socket", metavar="PATH", help="Listen on a Unix socket, which only you can reach."),
    ] = None,
    tcp: Annotated[
        str | None,
        typer.Option("--tcp", metavar="[HOST:]PORT", help="Listen on a port; by default of this host only."),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Let clients read only.")] = False,
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="Let clients write, and forget at the end what they wrote.")
    ] = False,
    parent_writable: Annotated[
        bool, typer.Option("--parent-writable", help="Let clients write though other images stand on it.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="End when the last client has gone.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, on one line, when clients can connect.")
    ] = False,
    allow_root: AllowRoot = None,
    ignore_parent_id: IgnoreParentId = False,
) -> None:
    """Serve an image over NBD, until Ctrl-C: for nbd-client, nbdcopy, QEMU."""
    from disks.nbd.export import Export

    if read_only and snapshot:
        raise UsageError("--read-only and --snapshot contradict each other; give one of them")
    rules = parent_rules(allow_root, ignore_parent_id)
    export = Export(_open(path, read_only, snapshot, parent_writable, rules), path.name)
    try:
        with (
            _server(export, _listen(socket, tcp)) as (place, server),
            _signals_to(server.stop, server.wake_fd),
        ):
            if place.warning:
                _say(f"warning: {place.warning}")
            typer.echo(_announcement(path, export, place, as_json))
            server.serve(once=once)
    finally:
        with _signals_to(_nothing):
            export.close()


def _open(
    path: Path, read_only: bool, snapshot: bool, parent_writable: bool, rules: ParentRules
) -> BlockImage:
    from disks.open import open_image
    from disks.overlay import SnapshotImage

    image = open_image(path, read_only=read_only or snapshot, parents=rules)
    for warning in getattr(image, "warnings", ()):
        _say(f"warning: {warning}")
    if snapshot:
        return SnapshotImage(image)
    if not read_only and not parent_writable:
        _refuse_parent(image, path)
    return image


def _refuse_parent(image: BlockImage, path: Path) -> None:
    from disks.vhd.family import ParentInUseError, refuse_to_write_a_parent

    try:
        refuse_to_write_a_parent(image)
    except ParentInUseError as error:
        image.close()
        raise ConfigError(
            f"{error}. Mount a child of its own (trapline disk create NEW.vhd --parent {path}), or give "
            "--read-only or --snapshot; --parent-writable lets clients write it all the same"
        ) from None


def _listen(socket: Path | None, tcp: str | None) -> Place:
    from vmm.cli.disk.nbd_sockets import TcpPlace, UnixPlace, parse_tcp

    if (socket is None) == (tcp is None):
        raise UsageError("say where to listen, in one way: --socket PATH or --tcp [HOST:]PORT")
    return UnixPlace(socket) if socket is not None else TcpPlace(parse_tcp(tcp or ""))


@contextmanager
def _server(export: Export, place: Place) -> Iterator[tuple[Place, NbdServer]]:
    """Yield a server at a place; nothing is left of either afterwards."""
    from disks.nbd.server import NbdServer
    from vmm.clock import host_ns

    try:
        server = NbdServer(export, place.listener, host_ns, _say)
        try:
            yield place, server
        finally:
            server.close()
    finally:
        place.release()


def _announcement(path: Path, export: Export, place: Place, as_json: bool) -> str:
    """Return what to say once clients can connect."""
    if as_json:
        facts = {"path": str(path), "uri": place.uri, **place.facts, "pid": os.getpid()}
        return json.dumps({**facts, "virtual_bytes": export.size_bytes, "read_only": export.read_only})
    access = "read-only" if export.read_only else "read-write"
    size = human("virtual_bytes", export.size_bytes)
    return "\n".join(
        [
            f"{path}: {size}, {access}, at {place.uri}",
            f"  qemu-img info '{place.uri}'",
            f"  nbdcopy '{place.uri}' copy.raw",
            f"  nbd-client {place.client_options} /dev/nbd0    (as root; then: mount /dev/nbd0p1 /mnt)",
            "Ctrl-C ends it.",
        ]
    )


@contextmanager
def _signals_to(action: Callable[[], None], wake_fd: int = -1) -> Iterator[None]:
    """Call `action` for every signal that asks us to end, and wake whoever waits at `wake_fd`."""

    def asked(number: int, frame: FrameType | None) -> None:
        del number, frame
        action()

    before = {number: signal.signal(number, asked) for number in _ENDING}
    wake_before = signal.set_wakeup_fd(wake_fd, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(wake_before)
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing() -> None:
    """Leave what is under way alone."""


def _say(text: str) -> None:
    typer.echo(f"trapline: {text}", err=True)
