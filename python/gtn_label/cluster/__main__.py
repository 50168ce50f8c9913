"""`python -m gtn_label.cluster`: one process of a run, as torchrun starts it, or the only one."""

from ..cli.entry import came

if __name__ == "__main__":
    from .command import main

    main(earlier=came)
