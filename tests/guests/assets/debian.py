"""Debian's packages for guests: downloaded by apt, unpacked, never installed.

apt runs on index files of its own inside the cache, so that packages of another architecture can
be had on any Debian, by any user, and the host's package state is left as it is. A package that
is in the cache is used as it is; remove `.cache/guests` to get the archive's present one.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.oracles import MissingError, require_tool

TREE: Final = Path(__file__).resolve().parents[3]
CACHE: Final = TREE / ".cache" / "guests"
APT_TIMEOUT_S: Final = 300

APT_CONFIG: Final = """\
APT::Architectures {{ "{native}"; "{other}"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "2";
Dir::State "{state}";
Dir::State::status "{state}/status";
Dir::Cache "{state}";
"""
HOST_SOURCES: Final = Path("/etc/apt/sources.list.d")
SOURCES_CONFIG: Final = """\
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{parts}";
"""


@contextmanager
def cache_lock() -> Iterator[None]:
    """Hold the cache: one process fills it at a time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Apt:
    """apt over a private index in `state`, for amd64 and i386."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._config = state / "apt.conf"

    def prepare(self) -> None:
        """Write the configuration, and fetch the index if there is none."""
        require_tool("apt-get")
        (self._state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (self._state / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        (self._state / "status").touch()
        native = subprocess.run(
            [require_tool("dpkg"), "--print-architecture"], capture_output=True, text=True, check=True
        ).stdout.strip()
        other = "i386" if native == "amd64" else "amd64"
        self._config.write_text(APT_CONFIG.format(native=native, other=other, state=self._state))
        if not any((self._state / "lists").glob("*_Packages*")):
            self.update()

    def update(self) -> None:
        """Fetch the index files.

        The status is not looked at: when one of several archives does not answer, the others serve.
        """
        self._run("apt-get", "update")

    def dependency(self, package: str, pattern: str) -> str | None:
        """Return the dependency of the newest `package` whose name matches `pattern`."""
        done = self._run("apt-cache", "depends", package)
        found = re.search(rf"Depends: ({pattern})(?::\w+)?$", done.stdout, re.MULTILINE)
        return found.group(1) if found else None

    def download(self, package: str, folder: Path) -> Path | None:
        """Fetch a package file into `folder`; None if the archive does not give it."""
        done = self._run("apt-get", "download", package, folder=folder)
        files = sorted(folder.glob("*.deb"))
        return files[0] if done.returncode == 0 and files else None

    def prepare_sources(self) -> None:
        """Ask for source packages too, from where the host's own packages come."""
        parts = self._state / "sources.list.d"
        parts.mkdir(exist_ok=True)
        for file in HOST_SOURCES.glob("debian*.sources"):
            text = re.sub(r"^Types: deb$", "Types: deb deb-src", file.read_text(), flags=re.MULTILINE)
            (parts / file.name).write_text(text)
        with self._config.open("a") as file:
            file.write(SOURCES_CONFIG.format(parts=parts))
        self.update()

    def source(self, package: str, folder: Path) -> Path | None:
        """Fetch the upstream archive of a source package into `folder`; None if there is none."""
        self._run("apt-get", "--download-only", "source", package, folder=folder)
        return next(iter(folder.glob("*.orig.tar.*")), None)

    def _run(
        self, tool: str, *arguments: str, folder: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [require_tool(tool), "-q", *arguments],
            env={**os.environ, "APT_CONFIG": str(self._config), "LC_ALL": "C"},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=APT_TIMEOUT_S,
            check=False,
        )


def _fetch(apt: Apt, name: str, architecture: str, real_name: str | None, folder: Path) -> Path | None:
    """Download `name`, or the dependency of it that `real_name` matches."""
    wanted: str | None = name
    if real_name is not None:
        wanted = apt.dependency(f"{name}:{architecture}", real_name)
    return apt.download(f"{wanted}:{architecture}", folder) if wanted else None


def unpacked(name: str, architecture: str, real_name: str | None = None) -> Path:
    """Return the directory that holds the files of a Debian package, downloading it at first use.

    `real_name`: `name` is a metapackage; the files are those of its dependency with a name that
    matches this expression.

    Raises:
        MissingError: no apt here, or the archive has no such package.
    """
    place = CACHE / architecture / name
    with cache_lock():
        if place.is_dir():
            return place
        apt = Apt(CACHE / "apt")
        apt.prepare()
        work = CACHE / f"{name}-{architecture}.new"
        shutil.rmtree(work, ignore_errors=True)
        (work / "root").mkdir(parents=True)
        package = _fetch(apt, name, architecture, real_name, work)
        if package is None:  # the index may be older than the archive
            apt.update()
            package = _fetch(apt, name, architecture, real_name, work)
        if package is None:
            raise MissingError(f"Debian package {name}:{architecture} cannot be downloaded by apt-get")
        subprocess.run([require_tool("dpkg-deb"), "-x", package, work / "root"], check=True)
        place.parent.mkdir(exist_ok=True)
        (work / "root").rename(place)
        shutil.rmtree(work)
    return place


def source(name: str, part: str) -> Path:
    """Return the directory `part` of a Debian source package's upstream archive, downloading it at first use.

    Raises:
        MissingError: no apt here, or it gives no such source package.
    """
    place = CACHE / "source" / name
    with cache_lock():
        if not place.is_dir():
            work = CACHE / f"{name}-source.new"
            shutil.rmtree(work, ignore_errors=True)
            (work / "apt").mkdir(parents=True)
            apt = Apt(work / "apt")
            apt.prepare()
            apt.prepare_sources()
            archive = apt.source(name, work)
            if archive is None:
                raise MissingError(f"the source of Debian package {name} cannot be downloaded by apt-get")
            place.parent.mkdir(exist_ok=True)
            with tarfile.open(archive) as tar:
                root = os.path.commonpath(tar.getnames())
                wanted = [member for member in tar if member.name.startswith(f"{root}/{part}/")]
                tar.extractall(work / "files", wanted, filter="data")
            (work / "files" / root).rename(place)
            shutil.rmtree(work)
    return place / part
