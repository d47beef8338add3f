"""``python -m repro`` is the console script."""

from repro.cli.main import main

if __name__ == "__main__":
    main()
