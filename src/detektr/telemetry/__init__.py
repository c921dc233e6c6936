"""Turns events, ledgers and status blocks into records: metrics, audit trail, log lines and the report."""
