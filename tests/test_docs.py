"""The documents speak of what is: options, files, tests, links and examples exist and work."""

from __future__ import annotations

import importlib.util
import itertools
import re
import shlex
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from guests.selftest import build
from tests.oracles import MissingError, run_tool
from vmm.config import FULL_TECHNIQUES

ROOT: Final = Path(__file__).resolve().parents[1]
DOCS: Final = ROOT / "docs"
PAGES: Final = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted(DOCS.rglob("*.md"))]
CODE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE: Final = re.compile(r"`([^`\n]+)`")
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
SOURCE: Final = re.compile(r"^(?:vmm|devices|disks|tests|guests|docs)/[\w./-]*$")
OPTION: Final = re.compile(r"(?<![\w-])--?[a-z][\w-]*")
TEST: Final = re.compile(r"^(tests/[\w/]+\.py)::(test_\w+)$")
VERBS: Final = (
    ("run",),
    ("compare",),
    ("probe",),
    ("sequencer",),
    ("guests", "copy"),
    ("guests",),
    ("disk", "create"),
    ("disk", "info"),
    ("disk", "chain"),
    ("disk", "whence"),
    ("disk", "check"),
    ("disk", "convert"),
    ("disk", "merge"),
    ("disk", "compact"),
    ("disk", "resize"),
    ("disk", "reparent"),
    ("disk", "mount"),
    ("doctor",),
    ("version",),
)
HAPPENED: Final = (
    "trapline: error:",
    " differ: ",
    "Traceback (most recent call last)",
    "No such file or directory",
)

QUICK_LIVES: Final = ("translation-cache",)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def load(name: str) -> ModuleType:
    """Import a module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tables = load("tables")
refresh_transcripts = load("refresh_transcripts")
lives = load("lives")
firmware_life = load("firmware_life")


@cache
def options_of(verb: tuple[str, ...]) -> set[str]:
    known = {name for parameter in tables.parameters(*verb) for name in parameter.opts}
    return known | {"--help"}


def commands(page: Path) -> list[str]:
    """Return every `trapline ...` of the page's blocks, continued lines joined, pipes cut off."""
    found = []
    for language, body in CODE.findall(page.read_text()):
        if language not in ("sh", "console"):
            continue
        for line in body.replace("\\\n", " ").splitlines():
            command = line.removeprefix("$ ").strip()
            if language == "sh" or line.startswith("$ "):
                found += [part.strip() for part in re.split(r" \| | && ", command)]
    return [re.sub(r"^(\w+=\w+ )+", "", command) for command in found]


def prose(page: Path) -> str:
    return CODE.sub("", page.read_text())


@every_page
def test_options_in_commands_are_options_of_their_verb(page: Path) -> None:
    for command in commands(page):
        words = shlex.split(command, comments=True)
        if words[:1] != ["trapline"]:
            continue
        verb = next((verb for verb in VERBS if tuple(words[1 : 1 + len(verb)]) == verb), None)
        assert verb is not None, command
        values = {"--append", "--send", "--expect"}  # what follows these is not for us
        given = [
            word.partition("=")[0]
            for before, word in itertools.pairwise(words)
            if before not in values and OPTION.fullmatch(word.partition("=")[0])
        ]
        assert set(given) <= options_of(verb), command


@every_page
def test_options_in_the_text_exist(page: Path) -> None:
    known = {option for verb in VERBS for option in options_of(verb)} | {
        "--install-completion",
        "--show-completion",
    }
    for text in INLINE.findall(prose(page)):
        if text.startswith("--"):
            assert re.split(r"[ =]", text)[0] in known, text


@every_page
def test_files_named_exist(page: Path) -> None:
    for text in INLINE.findall(prose(page)):
        if SOURCE.match(text) and text.isascii() and not re.search("NAME|_build", text):
            assert (ROOT / text).exists(), text


@every_page
def test_tests_named_exist(page: Path) -> None:
    for text in INLINE.findall(prose(page)):
        if named := TEST.match(text):
            assert f"def {named[2]}(" in (ROOT / named[1]).read_text(), text


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
            assert anchor in slugs, target


@every_page
def test_transcripts_show_commands_that_worked(page: Path) -> None:
    text = page.read_text()
    blocks = list(refresh_transcripts.BLOCK.finditer(text))
    assert len(blocks) == text.count("<!-- transcript")
    for block in blocks:
        transcript = refresh_transcripts.transcript_of(block)
        commands = transcript.commands
        assert commands
        assert len(block["body"].splitlines()) > len("\n".join(commands).splitlines())
        if not transcript.status:  # else what went wrong is what is shown
            assert not [word for word in HAPPENED if word in block["body"]]
        assert str(ROOT) not in block["body"]


@every_page
def test_tables_can_be_made_from_the_code(page: Path) -> None:
    expanded = tables.expand(page.read_text())
    assert not re.search(r"^@[A-Z_]+.*@$", expanded, re.MULTILINE)


def test_every_option_of_the_command_is_in_the_reference() -> None:
    page = tables.expand((DOCS / "reference" / "command.md").read_text())
    for verb in VERBS:
        assert not [
            name for name in options_of(verb) - {"--help"} if name not in page and name.startswith("-")
        ]


def test_examples_in_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build.make_vhd(tmp_path / "selftest.vhd")
    monkeypatch.chdir(tmp_path)
    session: dict[str, object] = {}
    for language, body in CODE.findall((DOCS / "guide" / "python.md").read_text()):
        if language == "python":
            exec(compile(body, "docs/guide/python.md", "exec"), session)
    addresses = session["addresses"]
    assert isinstance(addresses, list)
    assert addresses[:2] == [0x300123, 0x300456]


def test_pictures_are_there_and_can_be_drawn_again() -> None:
    shown = {
        Path(target).name for page in PAGES for target in LINK.findall(prose(page)) if target.endswith(".png")
    }
    assert shown == set(refresh_transcripts.PICTURES)


@pytest.mark.guest
@pytest.mark.parametrize(
    "technique",
    [
        pytest.param(name, marks=[] if name in QUICK_LIVES else [pytest.mark.verify])
        for name in FULL_TECHNIQUES
    ],
)
def test_lives_are_what_traces_show(technique: str, accelerated: str) -> None:
    del accelerated  # Snare under the accelerated engine is what they are of
    for name, text in lives.Life(technique).snippets().items():
        assert (lives.FOLDER / f"{technique}-{name}.txt").read_text() == text, name


def test_every_life_is_in_a_chapter() -> None:
    chapters = "".join(page.read_text() for page in (DOCS / "techniques").glob("*.md"))
    for technique in FULL_TECHNIQUES:
        for name in lives.EVENTS:
            assert f"_generated/{technique}-{name}.txt" in chapters


@pytest.mark.guest
@pytest.mark.verify
@pytest.mark.timeout(firmware_life.TIMEOUT_S + 300)
def test_the_life_of_a_read_is_what_its_trace_shows(accelerated: str) -> None:
    del accelerated  # Debian under the accelerated engine is what it is of
    snippets = firmware_life.snippets()
    assert tuple(snippets) == firmware_life.PARTS
    for name, text in snippets.items():
        assert (firmware_life.FOLDER / f"read10-{name}.txt").read_text() == text, name


@pytest.mark.oracle
def test_the_life_of_a_read_is_of_the_program_that_debian_downloads() -> None:
    """Each line is an instruction of it, where one may be that follows the line before."""
    from tests.devices.aic7870.firmware import firmware
    from vmm.cli.sequencer_lines import HEAD, program_lines

    program = program_lines(firmware().words)
    before: int | None = None
    for name in firmware_life.PARTS:
        head, *lines = (firmware_life.FOLDER / f"read10-{name}.txt").read_text().splitlines()
        assert head == HEAD
        for line in lines:
            at, text = int(line[:3], 16), line[5:43].rstrip().removesuffix("..")
            assert program[at].text.startswith(text), line
            if before is not None and not re.search(r"\b(ret|j\w+|call)\b", program[before].text):
                assert at == before + 1, line
            before = at


def test_every_part_of_the_life_of_a_read_is_on_the_page() -> None:
    page = (DOCS / "reference" / "devices" / "aic7870.md").read_text()
    for name in firmware_life.PARTS:
        assert f"_generated/read10-{name}.txt" in page


def test_the_register_map_has_every_register_and_bit() -> None:
    from devices.aic7870.registers import TABLE, bits_of

    found = tables.chip_registers()
    for row in TABLE:
        assert f"`{row.name}`" in found
        assert all(f"`{bit.name}`" in found for bit in bits_of(row))


@pytest.mark.timeout(700)
def test_site_builds_without_warnings(tmp_path: Path) -> None:
    if importlib.util.find_spec("sphinx") is None:
        raise MissingError("Sphinx is missing (pip install -e '.[docs]')")
    run_tool(
        sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", tmp_path / "doctrees",
        DOCS, tmp_path / "html", timeout_s=600,
    )  # fmt: skip
    assert (tmp_path / "html" / "index.html").is_file()
