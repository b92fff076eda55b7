"""What a machine may be made of, and how a wrong wish is told."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.config import (
    CPU_MODELS,
    DETERMINISTIC_RTC_S,
    MAX_MEMORY_BYTES,
    MIB,
    MIN_MEMORY_BYTES,
    DriveConfig,
    MachineConfig,
    SerialConfig,
    check_file,
    parse_boot,
    parse_memory,
    split_module,
)
from vmm.errors import ConfigError


@pytest.fixture
def disk(tmp_path: Path) -> str:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(512))
    return str(path)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64M", 64 * MIB),
        ("64", 64 * MIB),
        (64, 64 * MIB),
        ("1.5G", 1536 * MIB),
        ("2048k", 2 * MIB),
        ("1MiB", MIB),
    ],
)
def test_memory_sizes_have_binary_units_and_plain_numbers_are_mib(text: str | int, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    "text", ["", "lots", "0", "512K", "3.6G", "4G", "-1M", "1.00001M", "1e400G", "64T", "nan"]
)
def test_memory_outside_1_mib_to_3_5_gib_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="memory"):
        parse_memory(text)


@given(st.text())
def test_any_memory_text_gives_a_size_or_a_config_error(text: str) -> None:
    try:
        size = parse_memory(text)
    except ConfigError:
        return
    assert MIN_MEMORY_BYTES <= size <= MAX_MEMORY_BYTES


@pytest.mark.parametrize(
    ("text", "kind"), [("stdio", "stdio"), ("pty", "pty"), ("null", "null"), ("file:a:b", "file")]
)
def test_serial_port_names_where_it_ends(text: str, kind: str) -> None:
    port = SerialConfig.parse(text)

    assert port.kind == kind
    assert port.path == ("a:b" if kind == "file" else None)


@pytest.mark.parametrize("text", ["", "file", "file:", "pty:x", "tcp:1", "STDIO"])
def test_other_serial_ends_are_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match="stdio, pty, null or file:PATH"):
        SerialConfig.parse(text)


def test_boot_order_is_a_list_of_devices() -> None:
    assert parse_boot("cd, hd") == ("cd", "hd")


@pytest.mark.parametrize("text", ["", "net", "hd,hd", "hd,"])
def test_wrong_boot_order_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="boot"):
        parse_boot(text)


def test_disks_fill_places_from_the_primary_master_and_cds_from_the_secondary(disk: str) -> None:
    drive = DriveConfig(path=disk, read_only=True)
    config = MachineConfig(hd=(drive, drive), cd=(drive,)).check()

    assert [drive.index for drive in config.hd] == [0, 1]
    assert [drive.index for drive in config.cd] == [2]


def test_a_place_asked_for_is_kept_free_for_its_drive(disk: str) -> None:
    anywhere = DriveConfig(path=disk, read_only=True)
    config = MachineConfig(hd=(anywhere, DriveConfig(path=disk, read_only=True, index=0))).check()

    assert [drive.index for drive in config.hd] == [1, 0]


def test_a_fifth_drive_has_no_place(disk: str) -> None:
    with pytest.raises(ConfigError, match="room for 4 drives"):
        MachineConfig(cd=(DriveConfig(path=disk),) * 5).check()


def test_two_drives_at_one_place_are_refused_naming_both(disk: str) -> None:
    drive = DriveConfig(path=disk, index=1)

    with pytest.raises(ConfigError, match=f"index 1 is taken by {disk}"):
        MachineConfig(hd=(drive,), cd=(drive,)).check()


def test_module_is_a_path_and_arguments_unless_a_file_has_that_name(tmp_path: Path) -> None:
    spaced = tmp_path / "a b"
    spaced.write_bytes(b"x")
    assert split_module("disk.img root=1 ro") == ("disk.img", "root=1 ro")
    assert split_module(f"{spaced}") == (str(spaced), "")
    assert split_module("disk.img") == ("disk.img", "")


def test_one_image_cannot_be_two_writable_disks(disk: str) -> None:
    with pytest.raises(ConfigError, match="two writable disks"):
        MachineConfig(hd=(DriveConfig(path=disk), DriveConfig(path=disk))).check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "nothing to run"),
        ({"hd": (DriveConfig(path="/nowhere/x"),)}, "disk image /nowhere/x: no such file"),
        ({"hd": (DriveConfig(path="/"),)}, "it is a directory"),
        ({"hd": (DriveConfig(path="/dev/null"),)}, "expected a regular file"),
        ({"hd": (DriveConfig(path="bad\0name"),)}, "disk image"),
        ({"bios": "/nowhere/bios"}, "BIOS image /nowhere/bios: no such file"),
        ({"initrd": ("/nowhere",)}, "need a kernel"),
        ({"entry": "16"}, "need a kernel"),
        ({"load_address": "1M"}, "need a kernel"),
        ({"append": "quiet"}, "need a kernel"),
        ({"cpu": "z80"}, "cpu 'z80': expected one of"),
        ({"memory_bytes": MIB + 1}, "multiple of 4 KiB"),
        ({"serial": (SerialConfig(),) * 3}, "the machine has 2"),
        ({"serial": (SerialConfig("stdio"),) * 2}, "cannot both be stdio"),
        ({"serial": (SerialConfig("file", "/nowhere/x/y"),)}, "no such directory"),
    ],
)
def test_a_machine_that_cannot_be_built_is_refused_in_one_line(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        MachineConfig(**changes).check()  # type: ignore[arg-type]

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_file_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    with pytest.raises(ConfigError, match="the file is empty"):
        check_file(str(tmp_path / "empty"), "image")


def test_a_bios_of_odd_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bios").write_bytes(bytes(5000))

    with pytest.raises(ConfigError, match="5000 bytes, expected a multiple of 4 KiB"):
        MachineConfig(bios=str(tmp_path / "bios")).check()


def test_the_virtual_clock_never_shows_the_hosts_date() -> None:
    assert MachineConfig(clock="virtual").power_on_time_s(7) == DETERMINISTIC_RTC_S
    assert MachineConfig(clock="host").power_on_time_s(7) == 7
    assert MachineConfig(clock="virtual", rtc_base_s=9).power_on_time_s(7) == 9


def test_a_machine_survives_json() -> None:
    config = MachineConfig(
        hd=(DriveConfig(path="a", index=2),), serial=(SerialConfig("file", "b"),), boot=("cd",)
    )

    assert msgspec.json.decode(msgspec.json.encode(config), type=MachineConfig) == config


def test_the_processor_models_are_those_of_the_engine() -> None:
    from vmm.cpu.cpuid import DEFAULT_MODEL, MODELS

    assert set(CPU_MODELS) == set(MODELS)
    assert MachineConfig().cpu == DEFAULT_MODEL
