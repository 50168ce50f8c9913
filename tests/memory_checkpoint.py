"""A checkpoint in memory: where a run begins, and who hears of its progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gtn_label.io.checkpoint import Checkpoint


class Prefix(Checkpoint):
    """Starts a run from decided latents, passes its reports on, and keeps its `visited`."""

    def __init__(
        self,
        decided: Sequence[int] | np.ndarray = (),
        listen: Callable[[int], None] | None = None,
        start: int | None = None,
    ) -> None:
        super().__init__("no file")
        self.decided = np.asarray(decided, np.int64)
        self.listen = listen
        self.start = len(self.decided) if start is None else start
        self.visited = np.empty(0, np.int64)

    def open(self, fields, visited, m):
        visited[: len(self.decided)] = self.decided
        self.visited = visited
        return self.start

    def poll(self, done):
        if self.listen is not None:
            self.listen(done)

    def stopped(self):
        pass

    def ended(self):
        pass

    def refusal(self, rule):
        return ValueError(f"visited {rule}")
