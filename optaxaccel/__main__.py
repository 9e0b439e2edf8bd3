"""`python -m optaxaccel` is the command line."""

from optaxaccel.cli import main

main()
