"""What outlives a run: a row a second of each edge and node, and a record of the run."""
