"""`python -m gtn_train` is the `gtn-train` command; the command itself lives in cli/main.py."""

from .cli.main import main

if __name__ == "__main__":
    main()
