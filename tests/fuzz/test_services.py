"""Every firmware service, whatever registers and memory hold: no exception, no hang."""

from __future__ import annotations

import pytest

from tests.fuzz.services import SLOW_S, FuzzedServices

CALLS = 4_000
LONG = 150_000


@pytest.mark.quick("0")
@pytest.mark.parametrize("seed", range(4))
def test_any_call_of_any_service_ends(seed: int) -> None:
    services = FuzzedServices(seed)
    services.run(CALLS)
    assert services.longest_s < SLOW_S


@pytest.mark.verify
@pytest.mark.parametrize("seed", range(100, 110))
def test_any_call_of_any_service_ends_at_length(seed: int) -> None:
    services = FuzzedServices(seed)
    services.run(LONG)
    assert services.longest_s < SLOW_S
