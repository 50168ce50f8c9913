"""`python -m gtn_train` is the `gtn-train` command; the command itself lives in `command`."""

from .command import main

if __name__ == "__main__":
    main()
