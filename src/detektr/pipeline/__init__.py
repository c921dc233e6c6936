"""The pipeline file: read, checked, and turned into a graph with its sizes."""
