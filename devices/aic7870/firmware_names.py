"""What the firmware of the BSD and Linux drivers calls its bytes of scratch RAM and of the SCB.

The chip knows nothing of these names: they are the driver's, and a listing of its program reads better
with them. The program is told by its first words.

Sources:
    Linux 6.1, drivers/scsi/aic7xxx/aic7xxx_reg.h_shipped: addresses and names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

BEGINNING: Final = {0: 0x0200_00B2, 1: 0x0211_11F7, 3: 0x0201_01F7}
"""Words of the program that hold no address: its restart."""

_PLACES: Final = (
    (0x20, 16, "BUSY_TARGETS"), (0x30, 2, "CMDSIZE_TABLE"), (0x32, 2, "DISC_DSB"),
    (0x34, 4, "CMDSIZE_TABLE_TAIL"), (0x38, 1, "MWI_RESIDUAL"), (0x39, 1, "NEXT_QUEUED_SCB"),
    (0x3A, 1, "MSG_OUT"), (0x3B, 1, "DMAPARAMS"), (0x3C, 1, "SEQ_FLAGS"),
    (0x3D, 1, "SAVED_SCSIID"), (0x3E, 1, "SAVED_LUN"), (0x3F, 1, "LASTPHASE"),
    (0x40, 1, "WAITING_SCBH"), (0x41, 1, "DISCONNECTED_SCBH"), (0x42, 1, "FREE_SCBH"),
    (0x43, 1, "COMPLETE_SCBH"), (0x44, 4, "HSCB_ADDR"), (0x48, 4, "SHARED_DATA_ADDR"),
    (0x4C, 1, "KERNEL_QINPOS"), (0x4D, 1, "QINPOS"), (0x4E, 1, "QOUTPOS"),
    (0x4F, 1, "KERNEL_TQINPOS"), (0x50, 1, "TQINPOS"), (0x51, 1, "ARG_1"),
    (0x52, 1, "ARG_2"), (0x53, 1, "LAST_MSG"), (0x54, 1, "SCSISEQ_TEMPLATE"),
    (0x56, 1, "INITIATOR_TAG"), (0x57, 1, "SEQ_FLAGS2"), (0xA0, 12, "SCB_CDB"),
    (0xAC, 4, "SCB_DATAPTR"), (0xB0, 4, "SCB_DATACNT"), (0xB4, 4, "SCB_SGPTR"),
    (0xB8, 1, "SCB_CONTROL"), (0xB9, 1, "SCB_SCSIID"), (0xBA, 1, "SCB_LUN"),
    (0xBB, 1, "SCB_TAG"), (0xBC, 1, "SCB_CDB_LEN"), (0xBD, 1, "SCB_SCSIRATE"),
    (0xBE, 1, "SCB_SCSIOFFSET"), (0xBF, 1, "SCB_NEXT"),
)  # fmt: skip

AIC7XXX: Final[Mapping[int, str]] = {
    first + at: f"{name}+{at:X}" if at else name for first, length, name in _PLACES for at in range(length)
}


def names_of(words: Sequence[int]) -> Mapping[int, str]:
    """Return the names for a program: those of the BSD and Linux drivers, or none if it is another."""
    known = len(words) > max(BEGINNING) and all(words[at] == word for at, word in BEGINNING.items())
    return AIC7XXX if known else {}
