"""The registers of an AIC-7870: one table of addresses, names, access, bits and what they do.

The disassembler, the traces and the register map in the documentation read it. Where reading and
writing an address mean different things there is a row for each.

Sources:
    [AIC] Adaptec AIC-7870 data book; the names are those of the BSD and Linux drivers.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from devices.aic7870 import sequencer_registers as sequencer

# SCSI cell
SCSISEQ: Final = 0x00
ENSELO: Final = 0x40
ENRSELI: Final = 0x10
ENAUTOATNO: Final = 0x08
SCSIRSTO: Final = 0x01

SXFRCTL0: Final = 0x01
FAST20: Final = 0x20
CLRSTCNT: Final = 0x10
SPIOEN: Final = 0x08
CLRCHN: Final = 0x02

SXFRCTL1: Final = 0x02
BITBUCKET: Final = 0x80
SWRAPEN: Final = 0x40
ENSTIMER: Final = 0x04

SCSISIGI: Final = 0x03
SCSISIGO: Final = 0x03
PHASE_BITS: Final = 0xE0  # C/D, I/O and MSG
IO_LINE: Final = 0x40
ATN_LINE: Final = 0x10
SEL_LINE: Final = 0x08
BSY_LINE: Final = 0x04
REQ_LINE: Final = 0x02
ACK_LINE: Final = 0x01

SCSIRATE: Final = 0x04
SCSIID: Final = 0x05
SCSIDATL: Final = 0x06
STCNT: Final = 0x08

SSTAT0: Final = 0x0B
CLRSINT0: Final = 0x0B
SELDO: Final = 0x40
SELDI: Final = 0x20
SELINGO: Final = 0x10
SDONE: Final = 0x04
SPIORDY: Final = 0x02
DMADONE: Final = 0x01
CLRSINT0_BITS: Final = 0x7A

SSTAT1: Final = 0x0C
CLRSINT1: Final = 0x0C
SELTO: Final = 0x80
CLRATNO: Final = 0x40
SCSIRSTI: Final = 0x20
PHASEMIS: Final = 0x10
BUSFREE: Final = 0x08
PHASECHG: Final = 0x02
REQINIT: Final = 0x01
CLRSINT1_BITS: Final = 0xAF

SIMODE0: Final = 0x10
SIMODE1: Final = 0x11
SCSIBUSL: Final = 0x12
SHADDR: Final = 0x14
SELID: Final = 0x19
BRDCTL: Final = 0x1D
BRDRW: Final = 0x04
BRDCS: Final = 0x08
BRDSTB: Final = 0x10
BRDDAT: Final = 0xE0
SEECTL: Final = 0x1E
EXTARBACK: Final = 0x80
EXTARBREQ: Final = 0x40
SEEMS: Final = 0x20
SEERDY: Final = 0x10
SEECS: Final = 0x08
SEECK: Final = 0x04
SEEDO: Final = 0x02
SEEDI: Final = 0x01
SBLKCTL: Final = 0x1F
SBLKCTL_WRITABLE: Final = 0xE0
DIAG_LED: Final = 0xC0
SELWIDE: Final = 0x02

# Sequencer: its own registers, 60h-6Fh, are in sequencer_registers.py
SCRATCH_RAM: Final = 0x20
SEQCTL: Final = sequencer.SEQCTL
SEQRAM: Final = sequencer.SEQRAM
SEQADDR: Final = sequencer.SEQADDR0
PAUSEDIS: Final = sequencer.PAUSEDIS

# Host and FIFO
PCI_IDS: Final = 0x80
DSCOMMAND0: Final = 0x84
DSCOMMAND1: Final = 0x85
DSPCISTATUS: Final = 0x86
HCNTRL: Final = 0x87
POWRDN: Final = 0x40
SWINT: Final = 0x10
PAUSE: Final = 0x04
INTEN: Final = 0x02
CHIPRST: Final = 0x01
HCNTRL_BITS: Final = 0x5F

HADDR: Final = 0x88
HCNT: Final = 0x8C
SCBPTR: Final = 0x90
INTSTAT: Final = 0x91
BRKADRINT: Final = 0x08
SCSIINT: Final = 0x04
CMDCMPLT: Final = 0x02
SEQINT: Final = 0x01
INTERRUPTS: Final = 0x0F

ERROR: Final = 0x92
CLRINT: Final = 0x92
ILLOPCODE: Final = 0x04
CLRPARERR: Final = 0x10

DFCNTRL: Final = 0x93
SCSIEN: Final = 0x20
SDMAEN: Final = 0x10
HDMAEN: Final = 0x08
DIRECTION: Final = 0x04
FIFOFLUSH: Final = 0x02
FIFORESET: Final = 0x01

DFSTATUS: Final = 0x94
FIFOQWDEMP: Final = 0x20
HDONE: Final = 0x08
DFTHRESH: Final = 0x04
FIFOFULL: Final = 0x02
FIFOEMP: Final = 0x01

DFDAT: Final = 0x99
SCBCNT: Final = 0x9A
SCBAUTO: Final = 0x80
QINFIFO: Final = 0x9B
QINCNT: Final = 0x9C
QOUTFIFO: Final = 0x9D
QOUTCNT: Final = 0x9E
SCB: Final = 0xA0

SCSI_DMA: Final = SCSIEN | SDMAEN
ENGINES: Final = SCSI_DMA | HDMAEN

# Double words of the register file
STCNT_WORD: Final = STCNT // 4
SHADDR_WORD: Final = SHADDR // 4
HADDR_WORD: Final = HADDR // 4
HCNT_WORD: Final = HCNT // 4


class ChipRegister(NamedTuple):
    """A row: `length` registers side by side, `bits` as "80 NAME meaning" (a mask and its name)."""

    address: int
    name: str
    access: str
    meaning: str
    bits: tuple[str, ...] = ()
    length: int = 1


class Bit(NamedTuple):
    """One bit or field of a register."""

    mask: int
    name: str
    meaning: str


_PHASE: Final = ("80 CD command or data", "40 IO towards the initiator", "20 MSG message")
_SSTAT0: Final = ("40 SELDO we selected a target", "20 SELDI a target reselected us", "10 SELINGO selecting")
_SCSI_INTS: Final = (
    "80 SELTO selection timed out", "40 ATNTARG ATN as a target", "20 SCSIRSTI the bus was reset",
    "10 PHASEMIS a phase other than SCSISIGO's", "08 BUSFREE the bus became free", "04 SCSIPERR parity error",
    "02 PHASECHG the phase changed", "01 REQINIT the target asks for a byte",
)  # fmt: skip

TABLE: Final = (
    ChipRegister(0x00, "SCSISEQ", "rw", "what to do on the bus", (
        "80 TEMODE target mode", "40 ENSELO arbitrate and select SCSIID", "20 ENSELI accept selection",
        "10 ENRSELI accept reselection", "08 ENAUTOATNO select with ATN", "04 ENAUTOATNI ATN when reselected",
        "02 ENAUTOATNP ATN on parity error", "01 SCSIRSTO drive RST")),
    ChipRegister(0x01, "SXFRCTL0", "rw", "transfer control 0", (
        "80 DFON digital filter", "40 DFPEXP filter period", "20 FAST20 reads 0",
        "10 CLRSTCNT STCNT and SHADDR to 0", "08 SPIOEN automatic PIO",
        "04 SCAMEN SCAM", "02 CLRCHN clear the PIO latch")),
    ChipRegister(0x02, "SXFRCTL1", "rw", "transfer control 1", (
        "80 BITBUCKET throw data away, send zeros", "40 SWRAPEN keep the odd byte", "20 ENSPCHK check parity",
        "18 STIMESEL selection time-out", "04 ENSTIMER selection timer on", "02 ACTNEGEN active negation",
        "01 STPWEN termination power")),
    ChipRegister(0x03, "SCSISIGI", "r", "lines of the bus", (
        *_PHASE, "10 ATN attention", "08 SEL selection", "04 BSY busy", "02 REQ request",
        "01 ACK acknowledge")),
    ChipRegister(0x03, "SCSISIGO", "w", "expected phase, and lines we drive", (
        *_PHASE, "10 ATNO set ATN", "08 SELO -", "04 BSYO -", "02 REQO -", "01 ACKO acknowledge by hand")),
    ChipRegister(0x04, "SCSIRATE", "rw", "synchronous transfer, kept", (
        "80 WIDEXFER 16 bits", "70 SXFR period", "0F SOFS offset")),
    ChipRegister(0x05, "SCSIID", "rw", "who selects whom", ("F0 TID target to select", "0F OID our id")),
    ChipRegister(0x06, "SCSIDATL", "rw", "automatic PIO: a byte and its acknowledge"),
    ChipRegister(0x07, "SCSIDATH", "rw", "upper byte of the bus, kept"),
    ChipRegister(0x08, "STCNT", "rw", "bytes left of the SCSI transfer", length=3),
    ChipRegister(0x0B, "SSTAT0", "r", "status of the SCSI cell 0", (
        "80 TARGET target mode", *_SSTAT0, "08 SWRAP odd byte kept", "04 SDONE STCNT is 0",
        "02 SPIORDY PIO byte ready", "01 DMADONE SDONE and HCNT is 0")),
    ChipRegister(0x0B, "CLRSINT0", "w", "clear bits of SSTAT0", (
        "40 CLRSELDO -", "20 CLRSELDI -", "10 CLRSELINGO -", "08 CLRSWRAP -", "02 CLRSPIORDY -")),
    ChipRegister(0x0C, "SSTAT1", "r", "status of the SCSI cell 1", _SCSI_INTS),
    ChipRegister(0x0C, "CLRSINT1", "w", "clear bits of SSTAT1", (
        "80 CLRSELTIMEO -", "40 CLRATNO drop ATN", "20 CLRSCSIRSTI -", "08 CLRBUSFREE -", "04 CLRSCSIPERR -",
        "02 CLRPHASECHG -", "01 CLRREQINIT -")),
    ChipRegister(0x0D, "SSTAT2", "r", "reads 0"),
    ChipRegister(0x0E, "SSTAT3", "r", "reads 0"),
    ChipRegister(0x0F, "SCSITEST", "rw", "test, kept"),
    ChipRegister(0x10, "SIMODE0", "rw", "which bits of SSTAT0 interrupt", (
        "40 ENSELDO -", "20 ENSELDI -", "10 ENSELINGO -", "08 ENSWRAP -", "04 ENSDONE -",
        "02 ENSPIORDY -", "01 ENDMADONE -")),
    ChipRegister(0x11, "SIMODE1", "rw", "which bits of SSTAT1 interrupt", (
        "80 ENSELTIMO -", "40 ENATNTARG -", "20 ENSCSIRST -", "10 ENPHASEMIS -", "08 ENBUSFREE -",
        "04 ENSCSIPERR -", "02 ENPHASECHG -", "01 ENREQINIT -")),
    ChipRegister(0x12, "SCSIBUSL", "r", "data lines, without acknowledge"),
    ChipRegister(0x13, "SCSIBUSH", "r", "upper data lines: 0"),
    ChipRegister(0x14, "SHADDR", "r", "host address of the next byte of the SCSI transfer", length=4),
    ChipRegister(0x18, "SELTIMER", "r", "SCAM clock: 0"),
    ChipRegister(0x19, "SELID", "r", "who reselected us", ("F0 SELID_ID id", "08 ONEBIT only one id seen")),
    ChipRegister(0x1A, "SCAMCTL", "rw", "SCAM, kept"),
    ChipRegister(0x1B, "SPIOCAP", "rw", "board options, kept"),
    ChipRegister(0x1C, "SLEEPCTL", "rw", "kept"),
    ChipRegister(0x1D, "BRDCTL", "rw", "logic on the board: cables, BIOS", (
        "E0 BRDDAT bank written, presence read", "10 BRDSTB strobe", "08 BRDCS select", "04 BRDRW 1 reads",
        "02 BRDCTL1 -", "01 BRDCTL0 -")),
    ChipRegister(0x1E, "SEECTL", "rw", "the serial EEPROM's pins", (
        "80 EXTARBACK granted", "40 EXTARBREQ ask for the external port", "20 SEEMS ask for the EEPROM",
        "10 SEERDY granted", "08 SEECS chip select", "04 SEECK clock", "02 SEEDO to the EEPROM",
        "01 SEEDI from the EEPROM")),
    ChipRegister(0x1F, "SBLKCTL", "rw", "straps and LED", (
        "80 DIAGLEDEN -", "40 DIAGLEDON -", "20 AUTOFLUSHDIS -", "08 SELBUSB second channel: 0",
        "02 SELWIDE 16-bit bus")),
    ChipRegister(0x20, "SCRATCH", "rw", "RAM for the firmware; survives CHIPRST", length=64),
    ChipRegister(0x60, "SEQCTL", "rw", "sequencer control", (
        "80 PERRORDIS -", "40 PAUSEDIS refuse the host's pause", "20 FAILDIS -", "10 FASTMODE -",
        "08 BRKADRINTEN interrupt at BRKADDR", "04 STEP one instruction", "02 SEQRESET to address 0",
        "01 LOADRAM download")),
    ChipRegister(0x61, "SEQRAM", "rw", "instruction memory at SEQADDR, byte by byte"),
    ChipRegister(0x62, "SEQADDR", "rw", "program counter", length=2),
    ChipRegister(0x64, "ACCUM", "rw", "accumulator"),
    ChipRegister(0x65, "SINDEX", "rw", "source index; argument of calls"),
    ChipRegister(0x66, "DINDEX", "rw", "destination index"),
    ChipRegister(0x67, "BRKADDR", "rw", "breakpoint; bit 15 off", length=2),
    ChipRegister(0x69, "ALLONES", "r", "FFh"),
    ChipRegister(0x6A, "ALLZEROS", "r", "0"),
    ChipRegister(0x6A, "NONE", "w", "nowhere"),
    ChipRegister(0x6B, "FLAGS", "r", "flags of the sequencer", ("02 ZERO -", "01 CARRY -")),
    ChipRegister(0x6C, "SINDIR", "r", "what SINDEX points at, then SINDEX + 1"),
    ChipRegister(0x6D, "DINDIR", "w", "where DINDEX points, then DINDEX + 1"),
    ChipRegister(0x6E, "FUNCTION1", "rw", "write a number in bits 6:4, read its bit"),
    ChipRegister(0x6F, "STACK", "r", "return addresses, low and high byte"),
    ChipRegister(0x80, "PCIID", "r", "vendor and device id", length=4),
    ChipRegister(0x84, "DSCOMMAND0", "rw", "PCI options, kept", (
        "80 CACHETHEN -", "40 DPARCKEN -", "20 MPARCKEN -", "10 EXTREQLCK -")),
    ChipRegister(0x85, "DSCOMMAND1", "rw", "address load select, kept", ("03 HADDLDSEL -",)),
    ChipRegister(0x86, "DSPCISTATUS", "rw", "FIFO threshold", ("C0 DFTHRSH of 8, 128, 192, 256 bytes",)),
    ChipRegister(0x87, "HCNTRL", "rw", "host control", (
        "40 POWRDN power down", "10 SWINT interrupt by software", "08 IRQMS -", "04 PAUSE stop, stopped",
        "02 INTEN drive INTA#", "01 CHIPRST reset, done")),
    ChipRegister(0x88, "HADDR", "rw", "host address of DMA; loads SHADDR", length=4),
    ChipRegister(0x8C, "HCNT", "rw", "bytes left of host DMA", length=3),
    ChipRegister(0x90, "SCBPTR", "rw", "which SCB is at A0h"),
    ChipRegister(0x91, "INTSTAT", "rw", "interrupts", (
        "F0 SEQINT_CODE which SEQINT", "08 BRKADRINT breakpoint or illegal opcode",
        "04 SCSIINT SSTAT0 or SSTAT1", "02 CMDCMPLT command complete",
        "01 SEQINT the firmware wants the driver")),
    ChipRegister(0x92, "ERROR", "r", "hardware errors", (
        "40 PCIERR -", "20 MPARERR -", "10 DPARERR -", "08 SQPARERR -", "04 ILLOPCODE illegal instruction",
        "02 ILLSADDR -", "01 ILLHADDR -")),
    ChipRegister(0x92, "CLRINT", "w", "clear interrupts", (
        "10 CLRPARERR -", "08 CLRBRKADRINT -", "04 CLRSCSIINT -", "02 CLRCMDINT -", "01 CLRSEQINT -")),
    ChipRegister(0x93, "DFCNTRL", "rw", "data FIFO and DMA", (
        "40 WIDEODD -", "20 SCSIEN SCSI side on", "10 SDMAEN SCSI DMA on", "08 HDMAEN host DMA on",
        "04 DIRECTION 1 towards SCSI", "02 FIFOFLUSH -", "01 FIFORESET -")),
    ChipRegister(0x94, "DFSTATUS", "r", "state of the data FIFO", (
        "40 DFCACHETH -", "20 FIFOQWDEMP fewer than 8 bytes", "10 MREQPEND 0", "08 HDONE HCNT is 0",
        "04 DFTHRESH threshold reached", "02 FIFOFULL full", "01 FIFOEMP empty")),
    ChipRegister(0x95, "DFWADDR", "rw", "kept"),
    ChipRegister(0x97, "DFRADDR", "rw", "kept"),
    ChipRegister(0x99, "DFDAT", "rw", "the data FIFO, byte by byte"),
    ChipRegister(0x9A, "SCBCNT", "rw", "the host's offset in the SCB", (
        "80 SCBAUTO count up at each access of the window", "1F SCBOFFSET offset")),
    ChipRegister(0x9B, "QINFIFO", "rw", "queue towards the sequencer"),
    ChipRegister(0x9C, "QINCNT", "r", "entries of QINFIFO"),
    ChipRegister(0x9D, "QOUTFIFO", "rw", "queue towards the host; FFh when empty"),
    ChipRegister(0x9E, "QOUTCNT", "r", "entries of QOUTFIFO"),
    ChipRegister(0x9F, "SFUNCT", "rw", "kept"),
    ChipRegister(0xA0, "SCB", "rw", "the SCB of SCBPTR; survives CHIPRST", length=32),
)  # fmt: skip

_BY_ACCESS: Final = {
    (row.address + at, way): (row, at) for row in TABLE for at in range(row.length) for way in row.access
}


def register_at(address: int, writing: bool = False) -> tuple[ChipRegister, int] | None:
    """Return the row that answers at an address and the byte in it; None where nothing is."""
    return _BY_ACCESS.get((address, "w" if writing else "r"))


def name_of(address: int, writing: bool = False) -> str:
    """Return the name of an address: `SSTAT1`, `STCNT+1`, `SCRATCH+1C`, or `C4h` where nothing is."""
    found = register_at(address, writing) or register_at(address, not writing)
    if found is None:
        return f"{address:02X}h"
    row, at = found
    return row.name if at == 0 else f"{row.name}+{at:X}"


def bits_of(row: ChipRegister) -> tuple[Bit, ...]:
    """Return the bits of a row, highest first."""
    bits = []
    for text in row.bits:
        mask, name, meaning = text.split(" ", 2)
        bits.append(Bit(int(mask, 16), name, "" if meaning == "-" else meaning))
    return tuple(bits)


def describe(address: int, value: int, writing: bool = False) -> str:
    """Return a value with the names of its bits: `09 BUSFREE REQINIT`."""
    found = register_at(address, writing)
    if found is None or not found[0].bits:
        return f"{value:02X}"
    names = []
    for bit in bits_of(found[0]):
        field = value & bit.mask
        lowest = bit.mask & -bit.mask
        if field:
            names.append(bit.name if bit.mask == lowest else f"{bit.name}={field // lowest:X}")
    return " ".join((f"{value:02X}", *names))
