"""The loop: epochs of steps, validation, a metric, and the end of training.

The loop knows a module, a step, batches and a folder. An epoch is a function of the weights and the
optimizer at its start, the options and its own number, so that a run that was killed and resumed
ends with the same bits as an uninterrupted one (on the CPU, with the same number of processes).
Nothing is read back from the device within an epoch. Not here: models and batches (train.py), best
weights and early stopping (stopping.py), learning rates (optimizers.py).
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch

from gtn_label.text import quoted

from ..files import brief
from ..run.store import RunFolder
from ..run.verdict import TrainingSpec, verdict
from ..seeds import derive
from .averaging import Average
from .batches import Batches, bounds, share
from .callbacks import Callback, Callbacks, Logger, Training, check_hooks
from .checkpoint import FORMAT, NEEDED, Pace, continue_folder, read_checkpoint, start_folder
from .fabric import cpu_threads, seeded
from .job import Job, Loss
from .optimizers import Schedule, check_schedule, make_optimizer
from .progress import TensorBoard, curve_names, describe, progress_bar
from .stopping import Best
from .sums import NotFinite, Sums
from .training_options import COMPUTING, Metric, TrainingOptions, TrainingResult

__all__ = ["Diverged", "Job", "train"]

# Errors of torch and of our own code about a state that belongs to another model, or to none.
_MISFITS = (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError)


class Diverged(RuntimeError):
    """A loss is no longer finite. Other options or data may mend that: see the exit codes."""

    exit_code = 2


def train(
    job: Job,
    folder: RunFolder,
    options: TrainingOptions,
    fabric: Any,
    *,
    metric: Metric | None,
    progress: bool,
    resume: bool,
    overwrite: bool = False,
    tensorboard: bool,
    say: Callable[[str], None] | None = None,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
) -> TrainingResult:
    """Train until patience or epochs run out; the model then holds its best weights, in eval mode.

    Raises
    ------
    ValueError
        If the folder holds another run, one that has ended, or an unfinished one and `resume` is
        false; if there are too few rows; if `patience` has nothing to go by.
    RuntimeError
        If a loss is not finite.
    OSError
        If a file cannot be written; earlier ones stay whole.
    """
    if options.patience is not None and metric is None and job.validation is None:
        raise ValueError(
            "patience needs validation data or a metric to go by, and there is neither"
        )
    check_hooks(callbacks, loggers)
    check_schedule(options)
    run = _Run(job, folder, options, fabric, metric, callbacks)
    config = {
        "stage": job.stage,
        **job.config,
        "options": options.config(),
        "metric": None if metric is None else metric.config(),
    }
    ended = _Run(job, folder, options, fabric, metric)

    @functools.cache
    def kept() -> dict[str, Any]:
        return read_checkpoint(folder, lambda path: fabric.load(path, weights_only=True))

    spec = TrainingSpec(
        config, COMPUTING, ended.load_completed, lambda: run.passed(kept()["history"])
    )
    judged = verdict(folder, spec, resume=resume, overwrite=overwrite)
    if judged.action == "refuse":
        raise ValueError(judged.why)
    if judged.action == "reuse":
        return ended.result()
    if judged.why and say is not None:
        word = "rebuilt" if judged.action == "rebuild" else "continued"
        longer = word == "continued" and "max_epochs" in judged.why
        moved = longer and options.schedule in ("linear", "cosine")
        more = f"; the learning rate now falls until epoch {options.max_epochs}" if moved else ""
        say(f"{job.stage}: {word}: {judged.why}{more}")
    resumed = judged.action == "resume"
    state = kept() if resumed else None
    fabric.barrier()  # all have read before one of them writes
    if not resumed:
        job.prepare()
    run.set_up(state)
    state = None  # as large as the optimizer
    kept.cache_clear()
    if fabric.is_global_zero:
        if not resumed:
            start_folder(folder, config)
        elif judged.why:
            continue_folder(folder, config, run.epoch)
        folder.sweep()
        folder.write_metrics(run.history)
    with TensorBoard(folder, run.epoch, wanted=tensorboard and fabric.is_global_zero) as board:
        run.to_the_end([*board.loggers, *loggers], show=progress and fabric.is_global_zero)
    return run.result()


class _Run:
    """The state of one run, and its epochs."""

    def __init__(
        self,
        job: Job,
        folder: RunFolder,
        options: TrainingOptions,
        fabric: Any,
        metric: Metric | None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.job, self.folder, self.options = job, folder, options
        self.fabric, self.metric = fabric, metric
        processes = fabric.world_size
        self.cuts = bounds(job.batches.n, options.batch_size, processes)
        self.validation_cuts = (
            []
            if job.validation is None
            else bounds(job.validation.n, options.batch_size, processes)
        )
        self.monitored = "validation_loss" if metric is None else metric.name
        self.best = self.no_best()
        self.has_evaluations = metric is not None or job.validation is not None
        self.callbacks = Callbacks(callbacks)
        self.epoch = 0
        self.history: list[dict[str, Any]] = []

    def no_best(self) -> Best:
        metric = self.metric
        return Best(
            larger_is_better=metric is not None and metric.larger_is_better,
            patience=self.options.patience,
        )

    # ------------------------------------------------------------------------------ state

    def set_up(self, state: dict[str, Any] | None) -> None:
        """Move the model to its device and restore a checkpoint."""
        model = self.job.model
        if self.fabric.world_size > 1 and self.fabric.device.type == "cuda":
            model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.model = model
        optimizer = make_optimizer(self.fabric.to_device(model), self.options)
        self.schedule = Schedule(self.options, optimizer)
        loss = Loss(model, self.job.step)
        self.loss, self.optimizer = self.fabric.setup(loss, optimizer)
        if self.fabric.world_size == 1 and self.options.precision == "32-true":
            self.loss = loss  # Fabric's wrapper would do nothing, for 7 % of a small network's step
        self.average = Average(model, self.options.ema) if self.options.ema else None
        self.evaluated = model if self.average is None else self.average.model
        self.job.follow(self.evaluated if self.options.ema_labels else model)
        if state is None:
            return
        try:
            model.load_state_dict(state["model"])
            if self.average is not None:
                self.evaluated.load_state_dict(state["average"])
            optimizer.load_state_dict(state["optimizer"])
            self.fabric.strategy.precision.load_state_dict(state["precision"])
            self.best.load_state_dict(state["best"])
            self.schedule.load_state_dict(state.get("schedule", {}))
            self.callbacks.load_state_dict(state.get("callbacks", {}))
        except _MISFITS as error:
            raise ValueError(
                f"checkpoint {quoted(self.folder.state)} does not fit the model: {brief(error)}"
            ) from None
        self.epoch, self.history = state["epoch"], state["history"]

    def load_completed(self) -> bool:
        """Load a completed run's weights and history; return False if incomplete.

        The object cannot train afterwards.
        """
        try:
            self.history = self.folder.read_metrics() if self.folder.metrics.exists() else []
            self.epoch = len(self.history)
            for line in self.history:
                if lacking := sorted(NEEDED - {*line}):
                    raise ValueError(
                        f"{quoted(self.folder.metrics)} lacks {', '.join(lacking)} in a line"
                    )
                if self.monitored in line:
                    self.best.update(line["epoch"], line[self.monitored], None)
            if not self.history or not self.ended:
                return False
            found = self.job.load(self.folder.weights).state_dict()
            self.check_shapes(found)
        except ValueError as error:
            raise ValueError(brief(error)) from None
        self.job.model.load_state_dict(found)
        self.fabric.to_device(self.job.model).eval()
        return True

    def passed(self, history: list[dict[str, Any]]) -> bool:
        """True if a run of these options would have ended before the last line of a history."""
        best, early = self.no_best(), False
        for line in history[:-1]:
            if self.monitored in line:
                best.update(line["epoch"], line[self.monitored], None)
            early = early or best.exhausted
        return early or len(history) > self.options.max_epochs

    def check_shapes(self, found: dict[str, torch.Tensor]) -> None:
        """Refuse another model's weights, of which torch would copy those that fit."""
        shapes = {name: tensor.shape for name, tensor in found.items()}
        wanted = {name: tensor.shape for name, tensor in self.job.model.state_dict().items()}
        if shapes != wanted:
            raise ValueError("its weights are those of another model")

    def save_checkpoint(self) -> None:
        state = {
            "format": FORMAT,
            "epoch": self.epoch,
            "model": self.model,
            "optimizer": self.optimizer,
            "precision": self.fabric.strategy.precision.state_dict(),
            "best": self.best.state_dict(),
            "history": self.history,
        }
        if self.average is not None:
            state["average"] = self.evaluated.state_dict()
        more = {"schedule": self.schedule.state_dict(), "callbacks": self.callbacks.state_dict()}
        self.fabric.save(self.folder.checkpoint, state | {k: v for k, v in more.items() if v})

    def save_best(self) -> None:
        """Let the model hold its best weights, and write them."""
        if self.best.weights:
            self.model.load_state_dict(self.best.weights)
        elif self.average is not None:
            self.model.load_state_dict(self.evaluated.state_dict())
        self.model.eval()
        if self.fabric.is_global_zero:
            self.job.save(self.model, self.folder.weights)

    def result(self) -> TrainingResult:
        last = self.history[-1]
        evaluated = self.best.value is not None
        stopped = "patience" if self.best.exhausted else "max_epochs"
        if self.stopped:
            stopped = "callback"
        return TrainingResult(
            epochs=self.epoch,
            best_epoch=self.best.epoch if evaluated else self.epoch,
            best_value=self.best.value if self.best.value is not None else last["train_loss"],
            history=self.history,
            seconds=sum(line["seconds"] for line in self.history),
            stopped=stopped,
        )

    # ------------------------------------------------------------------------------ epochs

    @property
    def stopped(self) -> bool:
        """True if a callback has ended the run."""
        return bool(self.history) and "stopped" in self.history[-1]

    @property
    def ended(self) -> bool:
        return self.epoch >= self.options.max_epochs or self.best.exhausted or self.stopped

    def to_the_end(self, loggers: list[Logger], *, show: bool) -> None:
        """Run the epochs that are left, and finish the folder."""
        seen = Training(
            self.job.stage, self.evaluated, self.folder.path, self.options.max_epochs, loggers
        )
        pace = Pace(self.options, self.epoch)
        first, last_resumable = self.fabric.is_global_zero, self.last_resumable()
        with progress_bar(self.job.stage, len(self.cuts), self.epoch, self.options, show) as bar:
            if first:
                seen.epoch = self.epoch
                for callback in self.callbacks:
                    callback.start(seen)
            while not self.ended:
                line = self.one_epoch(self.epoch + 1, bar)
                self.epoch += 1
                if first:
                    self.tell(seen, line)
                if self.agreed(seen.stopped):
                    line["stopped"] = 1
                self.history.append(line)
                if first:
                    self.folder.append_metrics(line)
                due = self.epoch == last_resumable or self.agreed(pace.due(self.epoch))
                if due and not self.ended and self.job.resumable(self.epoch):
                    with pace.timed(self.epoch):
                        self.save_checkpoint()
        keep = self.options.keep_last
        if keep and pace.saved != self.epoch and self.job.resumable(self.epoch):
            self.save_checkpoint()
        self.save_best()
        if first:
            self.folder.end(keep_last=keep)
            seen.model = self.model
            for callback in self.callbacks:
                callback.end(seen)

    def tell(self, seen: Training, line: dict[str, Any]) -> None:
        """Let callbacks and loggers see an epoch."""
        seen.epoch = self.epoch
        self.evaluated.eval()
        figures = {name: line[name] for name in curve_names(line)}
        seen.log({**figures, "learning_rate": self.schedule.rate})
        for callback in self.callbacks:
            callback.epoch_end(seen, line)

    def last_resumable(self) -> int:
        """Last epoch that has a checkpoint for a longer run, if the last of all cannot have one."""
        if not self.options.keep_last:
            return 0
        epochs = range(self.options.max_epochs, self.epoch, -1)
        return next((epoch for epoch in epochs if self.job.resumable(epoch)), 0)

    def agreed(self, value: float) -> float:
        """A number of process 0, on all processes."""
        if self.fabric.world_size == 1:
            return value
        sent = torch.tensor(float(value), dtype=torch.float64, device=self.fabric.device)
        torch.distributed.broadcast(sent, src=0)
        return float(sent.item())

    def one_epoch(self, epoch: int, bar: Any) -> dict[str, Any]:
        began = time.perf_counter()
        facts = self.job.batches.start(epoch, self.fabric.device)
        seed = self.options.seed
        line: dict[str, Any] = {"epoch": epoch}
        device, rank = self.fabric.device, self.fabric.global_rank
        with seeded(derive(seed, "epoch", epoch, rank), device), cpu_threads(self.options.threads):
            line |= self.train_epoch(epoch, bar)
            if self.job.validation is not None:
                line |= self.validate(epoch)
        if self.metric is not None and (
            epoch % self.metric.every == 0 or epoch == self.options.max_epochs
        ):
            line[self.metric.name] = self.measure(epoch)
        if self.monitored in line:
            self.best.update(epoch, line[self.monitored], self.evaluated)
        chosen_by = self.monitored if self.has_evaluations else "train_loss"
        self.schedule.after_epoch(line.get(chosen_by))
        if bar is not None:
            bar.set_postfix_str(describe(line, self.options))
        return {**line, "seconds": time.perf_counter() - began, **facts}

    def train_epoch(self, epoch: int, bar: Any) -> dict[str, float]:
        options, batches, processes = self.options, self.job.batches, self.fabric.world_size
        order = torch.randperm(batches.n, generator=_generator(options.seed, "order", epoch))
        noise = _generator(options.seed, "noise", epoch)
        self.model.train()
        sums = Sums(self.cuts)
        for number, (begin, end) in enumerate(self.cuts, (epoch - 1) * len(self.cuts) + 1):
            batch = self.batch(batches, order, begin, end, noise)
            self.optimizer.zero_grad(set_to_none=True)
            loss, _, figures = self.loss(*batch)
            # DDP averages gradients over processes, whose shares of a batch may differ by a row.
            self.fabric.backward(loss * (processes / (end - begin)))
            if options.clip_norm is not None:
                self.fabric.clip_gradients(
                    self.loss, self.optimizer, max_norm=options.clip_norm, error_if_nonfinite=False
                )
            self.schedule.before_step(epoch, number)
            self.optimizer.step()
            self.schedule.after_step()
            if self.average is not None:
                self.average.update(number)
            sums.add(loss, figures)
            if bar is not None:
                bar.update()
        return self.means(sums, epoch, "train")

    def validate(self, epoch: int) -> dict[str, float]:
        batches = self.job.validation
        assert batches is not None
        batches.start(1, self.fabric.device)
        order = torch.arange(batches.n)
        noise = _generator(self.options.seed, "validation")  # the same in every epoch
        self.model.eval()
        sums = Sums(self.validation_cuts)
        # The average is no module of Fabric's, which sets the precision of its own.
        precision = contextlib.nullcontext() if self.average is None else self.fabric.autocast()
        forward = self.loss if self.average is None else Loss(self.evaluated, self.job.step)
        with torch.no_grad(), precision:
            for begin, end in self.validation_cuts:
                loss, _, figures = forward(*self.batch(batches, order, begin, end, noise))
                sums.add(loss, figures)
        return self.means(sums, epoch, "validation")

    def means(self, sums: Sums, epoch: int, kind: str) -> dict[str, float]:
        try:
            return sums.means(self.fabric, kind)
        except NotFinite as error:
            self.fail(epoch, f"the {kind} loss of epoch {epoch}, {error}, and must be finite")

    def batch(
        self, batches: Batches, order: torch.Tensor, begin: int, end: int, noise: torch.Generator
    ) -> tuple[Any, ...]:
        """This process's share of a batch; noise is drawn for the whole batch, then shared."""
        first, last = share(begin, end, self.fabric.global_rank, self.fabric.world_size)
        taken = batches.take(order[first:last])
        if not batches.noise_dim:
            return taken
        drawn = torch.randn(end - begin, batches.noise_dim, generator=noise)
        return (*taken, drawn[first - begin : last - begin].to(self.fabric.device))

    def measure(self, epoch: int) -> float:
        """Evaluate the metric, on process 0."""
        assert self.metric is not None
        found = 0.0
        if self.fabric.is_global_zero:
            self.evaluated.eval()
            device, seed = self.fabric.device, derive(self.options.seed, "metric", epoch)
            with seeded(seed, device), torch.no_grad():
                try:
                    found = self.metric.measure(self.evaluated)
                except ValueError as error:  # of the generator's latents
                    self.fail(epoch, f"{error}, after epoch {epoch}")
        found = self.agreed(found)
        if not math.isfinite(found):
            what = f"the metric {self.metric.name!r} of epoch {epoch} is {found}"
            self.fail(epoch, f"{what}, and must be finite")
        return found

    def fail(self, epoch: int, what: str) -> NoReturn:
        """Raise for a value that is not finite; keep the best weights so far."""
        kept = "nothing was kept"
        if self.folder.checkpoint.exists():
            kept = f"{quoted(self.folder.checkpoint)} is unchanged since an earlier epoch"
        if self.best.weights:
            self.save_best()
            kept = (
                f"the best weights (epoch {self.best.epoch}) are in {quoted(self.folder.weights)}"
            )
        raise Diverged(
            f"{self.job.stage}: {what}; {kept}. A smaller learning rate than "
            f"{self.options.learning_rate:g} may help, or look for odd values in the data"
        )


def _generator(seed: int, *use: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(derive(seed, *use))
