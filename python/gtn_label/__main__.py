"""`python -m gtn_label` is the `gtn-label` command; the command itself lives in command.py."""

from .command import main

if __name__ == "__main__":
    main()
