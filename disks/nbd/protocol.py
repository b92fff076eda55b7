"""What goes over the wire of a Network Block Device: records and numbers, no behaviour.

All integers are big-endian.

NOT modelled: oldstyle negotiation, TLS, extended headers, CACHE, RESIZE.

Sources:
    [NBD] The NBD protocol, doc/proto.md of github.com/NetworkBlockDevice/nbd
"""

from __future__ import annotations

import struct
from typing import Final

# [NBD] "Newstyle negotiation", "Fixed newstyle negotiation"
GREETING: Final = struct.Struct(">8s8sH")  # magic, magic of options, handshake flags
INIT_MAGIC: Final = b"NBDMAGIC"
OPTION_MAGIC: Final = b"IHAVEOPT"
CLIENT_FLAGS: Final = struct.Struct(">I")
OPTION: Final = struct.Struct(">8sII")  # magic, option, bytes of data that follow
OPTION_REPLY: Final = struct.Struct(">QIII")  # magic, option, reply type, bytes of data that follow
OPTION_REPLY_MAGIC: Final = 0x0003_E889_0455_65A9
EXPORT_REPLY: Final = struct.Struct(">QH")  # size of the export, transmission flags
EXPORT_PADDING: Final = bytes(124)

FLAG_FIXED_NEWSTYLE: Final = 1 << 0  # [NBD] "Handshake flags", and the client's answer to them
FLAG_NO_ZEROES: Final = 1 << 1

HAS_FLAGS: Final = 1 << 0  # [NBD] "Transmission flags"
READ_ONLY: Final = 1 << 1
SEND_FLUSH: Final = 1 << 2
SEND_FUA: Final = 1 << 3
SEND_TRIM: Final = 1 << 5
SEND_WRITE_ZEROES: Final = 1 << 6
SEND_DF: Final = 1 << 7
CAN_MULTI_CONN: Final = 1 << 8
SEND_FAST_ZERO: Final = 1 << 11

OPT_EXPORT_NAME: Final = 1  # [NBD] "Option types"
OPT_ABORT: Final = 2
OPT_LIST: Final = 3
OPT_INFO: Final = 6
OPT_GO: Final = 7
OPT_STRUCTURED_REPLY: Final = 8
OPT_LIST_META_CONTEXT: Final = 9
OPT_SET_META_CONTEXT: Final = 10

REP_ACK: Final = 1  # [NBD] "Option reply types"
REP_SERVER: Final = 2
REP_INFO: Final = 3
REP_META_CONTEXT: Final = 4
REP_ERR_UNSUP: Final = 1 << 31 | 1
REP_ERR_INVALID: Final = 1 << 31 | 3
REP_ERR_UNKNOWN: Final = 1 << 31 | 6
REP_ERR_TOO_BIG: Final = 1 << 31 | 9

INFO_EXPORT: Final = 0  # [NBD] "NBD_REP_INFO"
INFO_DESCRIPTION: Final = 2
INFO_BLOCK_SIZE: Final = 3
INFO_EXPORT_REPLY: Final = struct.Struct(">HQH")  # type, size of the export, transmission flags
INFO_BLOCK_SIZE_REPLY: Final = struct.Struct(">HIII")  # type, minimum, preferred, maximum

BASE_ALLOCATION: Final = "base:allocation"  # [NBD] "The base: metadata namespace"
STATE_HOLE: Final = 1 << 0
STATE_ZERO: Final = 1 << 1

REQUEST: Final = struct.Struct(
    ">IHHQQI"
)  # [NBD] "Request message": magic, flags, type, cookie, offset, length
REQUEST_MAGIC: Final = 0x2560_9513
SIMPLE_REPLY: Final = struct.Struct(">IIQ")  # [NBD] "Simple reply message": magic, error, cookie
SIMPLE_REPLY_MAGIC: Final = 0x6744_6698
CHUNK: Final = struct.Struct(
    ">IHHQI"
)  # [NBD] "Structured reply chunk message": magic, flags, type, cookie, length
CHUNK_MAGIC: Final = 0x668E_33EF
CHUNK_OFFSET: Final = struct.Struct(">Q")
CHUNK_HOLE: Final = struct.Struct(">QI")  # offset, size
CHUNK_ERROR: Final = struct.Struct(">IH")  # error, bytes of message that follow
CHUNK_CONTEXT: Final = struct.Struct(">I")
DESCRIPTOR: Final = struct.Struct(">II")  # length, status

CMD_READ: Final = 0  # [NBD] "Request types"
CMD_WRITE: Final = 1
CMD_DISC: Final = 2
CMD_FLUSH: Final = 3
CMD_TRIM: Final = 4
CMD_WRITE_ZEROES: Final = 6
CMD_BLOCK_STATUS: Final = 7

CMD_FLAG_FUA: Final = 1 << 0  # [NBD] "Command flags"
CMD_FLAG_NO_HOLE: Final = 1 << 1
CMD_FLAG_DF: Final = 1 << 2
CMD_FLAG_REQ_ONE: Final = 1 << 3
CMD_FLAG_FAST_ZERO: Final = 1 << 4

REPLY_FLAG_DONE: Final = 1 << 0  # [NBD] "Structured reply flags"
REPLY_NONE: Final = 0  # [NBD] "Structured reply types"
REPLY_OFFSET_DATA: Final = 1
REPLY_OFFSET_HOLE: Final = 2
REPLY_BLOCK_STATUS: Final = 5
REPLY_ERROR: Final = 1 << 15 | 1

EPERM: Final = 1  # [NBD] "Error values"
EIO: Final = 5
ENOMEM: Final = 12
EINVAL: Final = 22
ENOSPC: Final = 28
ENOTSUP: Final = 95
ESHUTDOWN: Final = 108

DEFAULT_PORT: Final = 10809
MAX_STRING_BYTES: Final = 4096  # [NBD] "Conventions"
MINIMUM_BLOCK: Final = 512  # what we announce; [NBD] "Block size constraints"
PREFERRED_BLOCK: Final = 4096
MAXIMUM_BLOCK: Final = 1 << 25  # any client may send so much at once, [NBD] "Block size constraints"
