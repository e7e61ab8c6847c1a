"""The graph wing: run a function in a temporary program and splice it into a program's graph."""
