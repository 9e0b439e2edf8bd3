"""`optaxaccel` and `python -m optaxaccel` are the command line."""

from optaxaccel.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
