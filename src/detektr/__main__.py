"""`python -m detektr`: the command line."""

from detektr.cli import main

main()
