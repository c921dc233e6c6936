"""A process and its surroundings: its streams, open files, seen time, faults, and the border to user code."""
