"""Events of a running guest and what shows them: text, JSON lines, tables, explanations."""
