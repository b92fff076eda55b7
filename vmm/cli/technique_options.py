"""The options that say what stands between the guest and the processor."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

import typer

TECHNIQUE: Final = "Technique"


class TechniqueName(StrEnum):
    """Values of `--technique`."""

    BARE = "bare"
    TRAP = "trap"
    TRANSLATION = "translation"
    HARDWARE = "hardware"
    PARA = "para"


class TranslationName(StrEnum):
    """Values of `--translation`."""

    PATCH = "patch"
    CACHE = "cache"


class PagingName(StrEnum):
    """Values of `--paging`."""

    SHADOW = "shadow"
    NESTED = "nested"


TechniqueOption = Annotated[
    TechniqueName | None,
    typer.Option(
        help="What stands between guest and processor. Default bare: nothing.", rich_help_panel=TECHNIQUE
    ),
]
TranslationOption = Annotated[
    TranslationName | None,
    typer.Option(
        help="How translation replaces instructions: in place, or in a cache. Default cache.",
        rich_help_panel=TECHNIQUE,
    ),
]
PagingOption = Annotated[
    PagingName | None,
    typer.Option(help="Page tables under hardware. Default nested.", rich_help_panel=TECHNIQUE),
]


def technique_changes(
    technique: TechniqueName | None, translation: TranslationName | None, paging: PagingName | None
) -> dict[str, Any]:
    """Return what the options change in a MachineConfig; None for what was not given."""
    return {
        "technique": technique.value if technique else None,
        "translation": translation.value if translation else None,
        "paging": paging.value if paging else None,
    }
