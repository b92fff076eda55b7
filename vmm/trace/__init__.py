"""Events of a run, and the renderers that turn them into text, JSON and tables."""
