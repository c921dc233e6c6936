"""What was seen: kept by the server of a pipeline, for as long as its file says."""
