"""``python -m repro`` is the console script."""

from repro.cli import main

if __name__ == "__main__":
    main()
