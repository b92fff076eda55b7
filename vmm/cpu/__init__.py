"""The physical processor: engine, state overlay, delivery, intercepts."""
