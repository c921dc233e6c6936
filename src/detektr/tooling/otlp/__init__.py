"""What is sent to an OpenTelemetry collector, over HTTP, by a process of its own: traces and log lines of a run."""
