"""`optaxaccel` and `python -m optaxaccel` are the command line."""

from optaxaccel.training.allocation import restart_with_huge_pages


def main() -> None:
    """Run the command line and leave with its exit status."""
    restart_with_huge_pages()
    from optaxaccel import cli

    cli.main()


if __name__ == "__main__":
    main()
