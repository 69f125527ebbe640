"""`python -m dlcore.cli` is the same as `dlcore`."""

from dlcore.cli.main import main

if __name__ == "__main__":
    main()
