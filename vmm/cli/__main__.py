"""`python -m vmm.cli`: the same as `trapline`."""

from __future__ import annotations

from vmm.cli import main

main()
