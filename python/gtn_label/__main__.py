"""`python -m gtn_label` runs the command `gtn-label` (cli/main.py)."""

from .cli.entry import main

if __name__ == "__main__":
    main()
