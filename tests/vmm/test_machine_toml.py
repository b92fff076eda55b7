"""MACHINE.toml: what it may say, and errors that name file, key and what is allowed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vmm import machine_toml
from vmm.config import MIB, DriveConfig, MachineConfig, SerialConfig
from vmm.errors import ConfigError
from vmm.machine_toml import load_machine
from vmm.scsi_config import ScsiAdapter, ScsiDrive

FULL = """
name = "everything"
memory = "64M"
cpu = "pentium3"
boot = ["cd", "hd"]
bios = "bios.bin"
vgabios = "/roms/vga.bin"
serial = ["stdio", "file:com2.log"]
clock = "virtual"
engine = "portable"
msr = "ignore"
technique = "hardware"
paging = "shadow"
translation = "patch"
rtc = 2005-10-17T08:00:00
snapshot = true
undo = "keep"
allow_roots = ["bases", "/srv/bases"]
ignore_parent_id = true
scsi_fault = ["hang,id=0,op=28", "absent,adapter=0"]

[kernel]
image = "vmlinuz"
initrd = "initrd.gz"
append = "console=ttyS0"
entry = "16"
load_address = "1M"

[[hd]]
path = "a.vhd"

[[hd]]
path = "b.img"
index = 3
sync = "never"
parent_writable = true
read_only = true
snapshot = true

[[cd]]
path = "c.iso"

[[scsi_adapter]]
kind = "aic7870"

[[scsi_adapter]]
kind = "virtio"

[[scsi_hd]]
path = "d.vhd"

[[scsi_hd]]
path = "e.img"
adapter = 1
id = 9
format = "raw"
sync = "always"

[[scsi_cd]]
path = "f.iso"
id = 6
"""


def load(folder: Path, text: str) -> MachineConfig:
    path = folder / "machine.toml"
    path.write_text(text)
    return load_machine(path)


def test_every_key_is_taken_and_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    def here(name: str) -> str:
        return str(tmp_path / name)

    assert load(tmp_path, FULL) == MachineConfig(
        name="everything",
        memory_bytes=64 * MIB,
        cpu="pentium3",
        boot=("cd", "hd"),
        bios=here("bios.bin"),
        vgabios="/roms/vga.bin",
        serial=(SerialConfig("stdio"), SerialConfig("file", here("com2.log"))),
        clock="virtual",
        engine="portable",
        msr="ignore",
        technique="hardware",
        paging="shadow",
        translation="patch",
        rtc_base_s=1_129_536_000,
        snapshot=True,
        undo="keep",
        allow_roots=(here("bases"), "/srv/bases"),
        ignore_parent_id=True,
        kernel=here("vmlinuz"),
        initrd=(here("initrd.gz"),),
        append="console=ttyS0",
        entry="16",
        load_address="1M",
        hd=(
            DriveConfig(path=here("a.vhd")),
            DriveConfig(
                path=here("b.img"),
                index=3,
                read_only=True,
                snapshot=True,
                sync="never",
                parent_writable=True,
            ),
        ),
        cd=(DriveConfig(path=here("c.iso"), read_only=True),),
        scsi_adapters=(ScsiAdapter("aic7870"), ScsiAdapter("virtio")),
        scsi_hd=(
            ScsiDrive(path=here("d.vhd")),
            ScsiDrive(path=here("e.img"), adapter=1, id=9, format="raw", sync="always"),
        ),
        scsi_cd=(ScsiDrive(path=here("f.iso"), read_only=True, id=6),),
        scsi_faults=("hang,id=0,op=28", "absent,adapter=0"),
    )


def test_a_file_without_keys_is_the_default_machine(tmp_path: Path) -> None:
    assert load(tmp_path, "# nothing\n") == MachineConfig()


@pytest.mark.parametrize(
    ("text", "key", "allowed"),
    [
        ("memroy = 1", "memroy: unknown key", "memory"),
        ("memory = true", "memory: expected", "1 MiB to 3.5 GiB"),
        ("memory = '9G'", "memory: found '9G'", "1 MiB to 3.5 GiB"),
        ("cpu = 'z80'", "cpu: found 'z80'", '"pentium3"'),
        ("engine = 'fast'", "engine: invalid", '"accelerated"'),
        ("clock = 1", "clock:", '"virtual"'),
        ("boot = ['net']", "boot[0]: invalid", 'a list of "floppy", "cd" and "hd"'),
        ("boot = ['hd', 'hd']", "boot: found", "each at most once"),
        ("serial = ['stdio', 'tcp']", "serial[1]: found 'tcp'", '"file:PATH"'),
        ("serial = 'stdio'", "serial: expected array", '"stdio"'),
        ("rtc = 'noon'", "rtc: invalid", "without zone"),
        ("rtc = 2005-10-17T08:00:00Z", "rtc: found", "without zone"),
        ("[kernel]", "kernel.image: is missing", "bzImage"),
        ("[kernel]\nimage = 1", "kernel.image: expected str", "bzImage"),
        ("[[hd]]", "hd[0].path: is missing", "raw or VHD"),
        ("[[hd]]\npath = 'a'\n[[hd]]\npath = 'b'\nindex = 4", "hd[1].index: found 4", "0 to 3"),
        ("[[hd]]\npath = 'a'\nsize = 1", "hd[0].size: unknown key", "path, read_only, snapshot"),
        ("[[cd]]\npath = 'a'\nread_only = true", "cd[0].read_only: unknown key", "path, index"),
        ("hd = 'a.img'", "hd: expected array", ""),
        ("[[floppy]]", "floppy[0].path: is missing", "1440 KiB"),
        ("[[floppy]]\npath = 'a'\nindex = 1", "floppy[0].index: unknown key", "path, read_only, snapshot"),
        ("[[scsi_adapter]]\nkind = 'lsi'", "scsi_adapter[0].kind: invalid", '"aic7870" or "virtio"'),
        ("[[scsi_adapter]]", "scsi_adapter[0].kind: is missing", '"aic7870" or "virtio"'),
        ("[[scsi_hd]]\nid = 1", "scsi_hd[0].path: is missing", "raw or VHD"),
        ("[[scsi_hd]]\npath = 'a'\nid = 7", "scsi_hd[0].id: found 7", "7 is the adapter's own"),
        ("[[scsi_hd]]\npath = 'a'\nadapter = 4", "scsi_hd[0].adapter: found 4", "0 to 3"),
        ("[[scsi_hd]]\npath = 'a'\nindex = 0", "scsi_hd[0].index: unknown key", "adapter, id"),
        ("[[scsi_cd]]\npath = 'a'\nid = 16", "scsi_cd[0].id: found 16", "8 to 15"),
        ("parallel = 'stdio'", "parallel: found 'stdio'", '"file:PATH"'),
        ("parallel = 'file:'", "parallel: found 'file:'", '"file:PATH"'),
    ],
)
def test_an_error_names_file_key_and_what_is_allowed(
    tmp_path: Path, text: str, key: str, allowed: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)

    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'machine.toml'}: {key}")
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"memory = ", b"\xff\xfe\0", b"[[hd]"])
def test_what_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "machine.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match="not a TOML file"):
        load_machine(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_machine(tmp_path / "none.toml")


def test_every_key_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs/machine-toml.md").read_text()
    documented = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    tables = (
        machine_toml.MachineTable,
        machine_toml.KernelTable,
        machine_toml.HdTable,
        machine_toml.CdTable,
        machine_toml.FloppyTable,
        machine_toml.ScsiAdapterTable,
        machine_toml.ScsiHdTable,
        machine_toml.ScsiCdTable,
    )
    keys = {key for table in tables for key in table.__struct_fields__} - {
        "kernel", "hd", "cd", "floppy", "scsi_adapter", "scsi_hd", "scsi_cd",
    }  # fmt: skip

    assert documented == keys


def test_the_documented_example_loads(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/machine-toml.md").read_text()
    example = re.search(r"```toml\n(.*?)```", page, re.DOTALL)

    assert example is not None
    assert load(tmp_path, example[1]).name == "a small Linux"
