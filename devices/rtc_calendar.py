"""Dates and alarms as the MC146818 writes them: BCD or binary, 12 or 24 hours.

A guest may write any nonsense; it is taken for the nearest date that exists from 1970 to 2499. The
day of the week follows the date.

Sources: [146818] Motorola MC146818A Real-Time Clock plus RAM, ADI1026R1, 1984.
"""

from __future__ import annotations

import calendar
import datetime
from typing import Final, NamedTuple

# Date registers, [146818] figure 9; the century is the PC's addition
SECONDS: Final = 0x00
MINUTES: Final = 0x02
HOURS: Final = 0x04
WEEKDAY: Final = 0x06
DAY: Final = 0x07
MONTH: Final = 0x08
YEAR: Final = 0x09
CENTURY: Final = 0x32
DATE_REGISTERS: Final = (SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY)

BINARY: Final = 0x04  # register B: DM
HOURS_24: Final = 0x02  # register B: 24/12
PM: Final = 0x80  # in the hours register of 12-hour mode
DO_NOT_CARE: Final = 0xC0  # alarm registers, [146818] "Alarm"

FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 2499  # nanoseconds since 1970 stay below 2^64
DAY_S: Final = 86_400
EPOCH_DAY: Final = datetime.date(1970, 1, 1).toordinal()
LAST_DAY: Final = datetime.date.max.toordinal()


def _encode(number: int, mode: int) -> int:
    return number if mode & BINARY else number // 10 << 4 | number % 10


def _decode(register: int, mode: int) -> int:
    return register if mode & BINARY else (register >> 4) * 10 + (register & 0xF)


def _encode_hour(hour: int, mode: int) -> int:
    if mode & HOURS_24:
        return _encode(hour, mode)
    return _encode((hour + 11) % 12 + 1, mode) | (PM if hour >= 12 else 0)


def _decode_hour(register: int, mode: int) -> int:
    if mode & HOURS_24:
        return _decode(register, mode)
    return _decode(register & ~PM, mode) % 12 + (12 if register & PM else 0)


def encode_date(epoch_s: int, registers: bytearray, mode: int) -> None:
    """Write the date `epoch_s` seconds after 1970 into the date registers; `mode` is register B."""
    days, second = divmod(epoch_s, DAY_S)
    date = datetime.date.fromordinal((EPOCH_DAY + days - 1) % LAST_DAY + 1)
    registers[SECONDS] = _encode(second % 60, mode)
    registers[MINUTES] = _encode(second // 60 % 60, mode)
    registers[HOURS] = _encode_hour(second // 3600, mode)
    registers[WEEKDAY] = _encode(date.isoweekday() % 7 + 1, mode)
    registers[DAY] = _encode(date.day, mode)
    registers[MONTH] = _encode(date.month, mode)
    registers[YEAR] = _encode(date.year % 100, mode)
    registers[CENTURY] = _encode(date.year // 100, mode)


def decode_date(registers: bytearray, mode: int) -> int:
    """Return the seconds since 1970 that the date registers stand for."""
    number = {register: _decode(registers[register], mode) for register in DATE_REGISTERS}
    year = min(max(number[CENTURY] * 100 + number[YEAR], FIRST_YEAR), LAST_YEAR)
    month = min(max(number[MONTH], 1), 12)
    day = min(max(number[DAY], 1), calendar.monthrange(year, month)[1])
    days = datetime.date(year, month, day).toordinal() - EPOCH_DAY
    hour = min(_decode_hour(registers[HOURS], mode), 23)
    return days * DAY_S + hour * 3600 + min(number[MINUTES], 59) * 60 + min(number[SECONDS], 59)


class Alarm(NamedTuple):
    """The time of day at which the alarm goes off; None for "don't care"."""

    second: int | None
    minute: int | None
    hour: int | None

    @classmethod
    def decode(cls, second: int, minute: int, hour: int, mode: int) -> Alarm:
        """Read the three alarm registers; `mode` is register B."""
        return cls(
            None if second >= DO_NOT_CARE else _decode(second, mode),
            None if minute >= DO_NOT_CARE else _decode(minute, mode),
            None if hour >= DO_NOT_CARE else _decode_hour(hour, mode),
        )

    def after(self, epoch_s: int) -> int | None:
        """Return the first matching second after `epoch_s`, or None if no time of day matches."""
        second, minute, hour = self
        if (second or 0) > 59 or (minute or 0) > 59 or (hour or 0) > 23:
            return None
        due = epoch_s + 1
        if second is not None:
            due += (second - due) % 60
        if minute is not None and (wait := (minute - due // 60) % 60):
            due += wait * 60
            if second is None:
                due -= due % 60
        if hour is not None and (wait := (hour - due // 3600) % 24):
            due += wait * 3600
            if minute is None:
                due -= due % 3600 - due % 60
            if second is None:
                due -= due % 60
        return due
