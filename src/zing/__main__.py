"""`python -m zing` is the command `zing`."""

from zing.cli import main

main()
