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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.oracles import MissingError, require_tool

TREE: Final = Path(__file__).resolve().parents[3]
CACHE: Final = TREE / ".cache" / "guests"
APT_TIMEOUT_S: Final = 300
HOST_SOURCES: Final = Path("/etc/apt/sources.list.d")

APT_CONFIG: Final = """\
APT::Architectures {{ "{native}"; "{other}"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "2";
Dir::State "{state}";
Dir::State::status "{state}/status";
Dir::Cache "{state}";
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

    def use_sources(self) -> None:
        """Have the index of source packages too, from the archives of the host's packages."""
        parts = self._state / "sources.list.d"
        if parts.is_dir():
            return
        parts.mkdir()
        for file in sorted(HOST_SOURCES.glob("*.sources")):
            stanzas = file.read_text().replace("Types: deb\n", "Types: deb deb-src\n")
            (parts / file.name).write_text(stanzas)
        lines = [HOST_SOURCES.with_name("sources.list"), *sorted(HOST_SOURCES.glob("*.list"))]
        entries = [line for file in lines if file.is_file() for line in file.read_text().splitlines()]
        sources = [line.replace("deb ", "deb-src ", 1) for line in entries if line.startswith("deb ")]
        (parts / "host.list").write_text("\n".join([*entries, *sources, ""]))
        with self._config.open("a") as config:
            config.write(f'Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "{parts}";\n')
        self.update()

    def download_source(self, package: str, folder: Path) -> Path | None:
        """Fetch the source of `package` as its authors released it; None if the archive does not give it."""
        self._run("apt-get", "source", "--download-only", package, folder=folder)
        return next(iter(sorted(folder.glob("*.orig.tar.*"))), None)

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


def unpacked_source(name: str, folder: str) -> Path:
    """Return a folder of the source of a Debian package, downloading it at first use.

    Raises:
        MissingError: no apt here, or the archive has no such source.
    """
    place = CACHE / "source" / name
    with cache_lock():
        if place.is_dir():
            return place / folder
        apt = Apt(CACHE / "apt-source")
        apt.prepare()
        apt.use_sources()
        work = CACHE / f"{name}-source.new"
        shutil.rmtree(work, ignore_errors=True)
        (work / "root").mkdir(parents=True)
        archive = apt.download_source(name, work)
        if archive is None:
            raise MissingError(f"the source of Debian package {name} cannot be downloaded by apt-get")
        subprocess.run(
            [require_tool("tar"), "-xf", archive, "-C", work / "root", "--strip-components=1", "--wildcards",
             f"*/{folder}"],
            check=True,
        )  # fmt: skip
        place.parent.mkdir(exist_ok=True)
        (work / "root").rename(place)
        shutil.rmtree(work)
    return place / folder
