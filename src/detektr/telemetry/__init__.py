"""Turns events, ledgers and status blocks into metrics, audit records, log lines and the report."""
