"""The disk behind a conversation: a dynamic VHD in memory."""

from __future__ import annotations

import pytest

from disks.image import BlockImage
from tests.disks.crash_recorder import RecordingFile
from tests.disks.nbd.dialogue import dynamic, opened


@pytest.fixture
def file() -> RecordingFile:
    return dynamic()


@pytest.fixture
def image(file: RecordingFile) -> BlockImage:
    return opened(file)
