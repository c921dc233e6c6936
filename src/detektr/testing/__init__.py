"""Fakes, each named for what it does wrong; for our tests and for yours."""
