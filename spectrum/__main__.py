"""`python -m spectrum` is the `spectrum` command."""

from spectrum.cli.main import main

if __name__ == "__main__":
    main()
