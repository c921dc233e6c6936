"""Turns events, ledgers and pages into records: metrics, audit trail, log lines and the report."""
