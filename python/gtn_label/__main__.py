"""`python -m gtn_label` is the `gtn-label` command; the command itself lives in cli/main.py."""

from .cli.main import main

if __name__ == "__main__":
    main()
