"""The event router: who decides about an event that leaves the guest.

An event is a vector: below 100h an exception or software interrupt, from 100h on an intercept
(100h + SVM exit code). An exception goes to the engine's own delivery unless a handler claims its
vector; an intercept always comes here. Techniques, traces and safety plug in here, nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable

from vmm.cpu.engine import INTERCEPT_VECTOR, Action, Handler

_DELIVER = Action.DELIVER


class EventRouter:
    """Handlers by vector. `on_route(vector, to_python)` tells the engine what it need not deliver.

    Where a monitor stands between guest and processor events go to it and not here: see `Engine.route_all`.
    """

    def __init__(
        self, intercept: Callable[[int, bytes], Action], on_route: Callable[[int, bool], None]
    ) -> None:
        self._intercept = intercept
        self._on_route = on_route
        self._handlers: dict[int, Handler] = {}

    def claim(self, vector: int, handler: Handler) -> None:
        """Let `handler` decide about `vector` (an intercept: in place of its emulation)."""
        self._handlers[vector] = handler
        if vector < INTERCEPT_VECTOR:
            self._on_route(vector, True)

    def release(self, vector: int) -> None:
        """Give `vector` back to the engine (an intercept: to emulation)."""
        self._handlers.pop(vector, None)
        if vector < INTERCEPT_VECTOR:
            self._on_route(vector, False)

    def dispatch(self, vector: int, code: bytes) -> Action:
        """Decide about one event. `code`: the bytes at CS:RIP at an intercept, #GP or #UD, where known."""
        handler = self._handlers.get(vector)
        if handler is not None:
            return handler(vector, code)
        return self._intercept(vector, code) if vector >= INTERCEPT_VECTOR else _DELIVER
