"""The loop: epochs of steps, validation, a metric, and the end of training.

The loop knows a module, a step, batches and a folder. An epoch is a function of the weights and the
optimizer at its start, the options and its own number, so that a run that was killed and resumed
ends with the same bits as an uninterrupted one (on the CPU, with the same number of processes).
Nothing is read back from the device within an epoch. Not here: models and batches (train.py), best
weights and early stopping (stopping.py).
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gtn_label.text import quoted

from ..files import brief
from ..run.store import RunFolder
from ..run.verdict import TrainingSpec, verdict
from ..seeds import derive
from .averaging import Average
from .batches import Batches, bounds, share
from .checkpoint import FORMAT, NEEDED, read_checkpoint, start_folder
from .fabric import cpu_threads, seeded
from .progress import Curves, describe, progress_bar
from .steps import Step
from .stopping import Best
from .training_options import COMPUTING, Metric, TrainingOptions, TrainingResult

__all__ = ["Diverged", "Job", "train"]

# Errors of torch and of our own code about a state that belongs to another model, or to none.
_MISFITS = (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError)


class Diverged(RuntimeError):
    """A loss is no longer finite. Other options or data may mend that: see the exit codes."""

    exit_code = 2


@dataclass(frozen=True)
class Job:
    """A training: the model, its data and its step.

    Attributes
    ----------
    stage : str
        Name in messages.
    model : torch.nn.Module
    step : Step
    batches : Batches
    validation : Batches or None
    config : dict
        Everything beside the options that decides the run, in JSON types.
    prepare : callable
        Called before the first epoch, except in a resumed run.
    save : callable (model, path)
        Writes the weights.
    load : callable (path) -> module
        Reads them.
    resumable : callable (epoch) -> bool
        True if a run can be resumed after this epoch: only then is a checkpoint written.
    follow : callable (model)
        Takes the model that drifting labels follow: the one trained, or its average.
    """

    stage: str
    model: Any
    step: Step
    batches: Batches
    validation: Batches | None
    config: dict[str, Any]
    prepare: Callable[[], None]
    save: Callable[[Any, Path], None]
    load: Callable[[Path], Any]
    resumable: Callable[[int], bool] = lambda epoch: True
    follow: Callable[[Any], None] = lambda model: None


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
    run = _Run(job, folder, options, fabric, metric)
    config = {
        "stage": job.stage,
        **job.config,
        "options": options.config(),
        "metric": None if metric is None else metric.config(),
    }
    ended = _Run(job, folder, options, fabric, metric)
    spec = TrainingSpec(config, COMPUTING, ended.load_completed)
    judged = verdict(folder, spec, resume=resume, overwrite=overwrite)
    if judged.action == "refuse":
        raise ValueError(judged.why)
    if judged.action == "reuse":
        return ended.result()
    if judged.why and say is not None:
        say(f"{job.stage}: rebuilt: {judged.why}")
    state = None
    if judged.action == "resume":
        state = read_checkpoint(folder, lambda path: fabric.load(path, weights_only=True))
    fabric.barrier()  # all have read before one of them writes
    if state is None:
        job.prepare()
    run.set_up(state)
    if fabric.is_global_zero:
        if state is None:
            start_folder(folder, config)
        folder.sweep()
        folder.write_metrics(run.history)
    with Curves(folder, run.epoch, wanted=tensorboard and fabric.is_global_zero) as curves:
        run.to_the_end(curves, show=progress and fabric.is_global_zero)
    return run.result()


class _Loss(torch.nn.Module):  # type: ignore[misc]
    """A model and its step as one module, so that autocast and DDP cover the whole step."""

    def __init__(self, model: Any, step: Step) -> None:
        super().__init__()
        self.model = model
        self.step = step

    def forward(self, *batch: Any) -> Any:
        return self.step(self.model, batch)


class _Run:
    """The state of one run, and its epochs."""

    def __init__(
        self,
        job: Job,
        folder: RunFolder,
        options: TrainingOptions,
        fabric: Any,
        metric: Metric | None,
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
        self.best = Best(
            larger_is_better=metric is not None and metric.larger_is_better,
            patience=options.patience,
        )
        self.epoch = 0
        self.history: list[dict[str, Any]] = []

    # ------------------------------------------------------------------------------ state

    def set_up(self, state: dict[str, Any] | None) -> None:
        """Move the model to its device and restore a checkpoint."""
        model = self.job.model
        if self.fabric.world_size > 1 and self.fabric.device.type == "cuda":
            model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.model = model
        optimizer = _adam(self.fabric.to_device(model), self.options)
        loss = _Loss(model, self.job.step)
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
        except _MISFITS as error:
            raise ValueError(
                f"checkpoint {quoted(self.folder.checkpoint)} does not fit the model: "
                f"{brief(error)}"
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
        self.fabric.save(self.folder.checkpoint, state)

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
        return TrainingResult(
            epochs=self.epoch,
            best_epoch=self.best.epoch if evaluated else self.epoch,
            best_value=self.best.value if self.best.value is not None else last["train_loss"],
            history=self.history,
            seconds=sum(line["seconds"] for line in self.history),
            stopped="patience" if self.best.exhausted else "max_epochs",
        )

    # ------------------------------------------------------------------------------ epochs

    @property
    def ended(self) -> bool:
        return self.epoch >= self.options.max_epochs or self.best.exhausted

    def to_the_end(self, curves: Curves, *, show: bool) -> None:
        """Run the epochs that are left, and finish the folder."""
        saved = self.epoch
        with progress_bar(self.job.stage, len(self.cuts), self.epoch, self.options, show) as bar:
            while not self.ended:
                line = self.one_epoch(self.epoch + 1, bar)
                self.epoch += 1
                self.history.append(line)
                curves.add(line)
                if self.fabric.is_global_zero:
                    self.folder.append_metrics(line)
                due = self.epoch - saved >= self.options.checkpoint_every_epochs
                if due and not self.ended and self.job.resumable(self.epoch):
                    self.save_checkpoint()
                    saved = self.epoch
        self.save_best()
        if self.fabric.is_global_zero:
            self.folder.checkpoint.unlink(missing_ok=True)

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
        if bar is not None:
            bar.set_postfix_str(describe(line, self.options))
        return {**line, "seconds": time.perf_counter() - began, **facts}

    def train_epoch(self, epoch: int, bar: Any) -> dict[str, float]:
        options, batches, processes = self.options, self.job.batches, self.fabric.world_size
        for group in self.optimizer.param_groups:
            group["lr"] = options.rate(epoch)
        order = torch.randperm(batches.n, generator=_generator(options.seed, "order", epoch))
        noise = _generator(options.seed, "noise", epoch)
        self.model.train()
        sums = _Sums()
        for number, (begin, end) in enumerate(self.cuts, (epoch - 1) * len(self.cuts) + 1):
            batch = self.batch(batches, order, begin, end, noise)
            self.optimizer.zero_grad(set_to_none=True)
            loss, _, figures = self.loss(*batch)
            # DDP averages gradients over processes, whose shares of a batch may differ by a row.
            self.fabric.backward(loss * (processes / (end - begin)))
            self.optimizer.step()
            if self.average is not None:
                self.average.update(number)
            sums.add(loss, figures)
            if bar is not None:
                bar.update()
        return sums.means(self, epoch, "train", self.cuts)

    def validate(self, epoch: int) -> dict[str, float]:
        batches = self.job.validation
        assert batches is not None
        batches.start(1, self.fabric.device)
        order = torch.arange(batches.n)
        noise = _generator(self.options.seed, "validation")  # the same in every epoch
        self.model.eval()
        sums = _Sums()
        # The average is no module of Fabric's, which sets the precision of its own.
        precision = contextlib.nullcontext() if self.average is None else self.fabric.autocast()
        forward = self.loss if self.average is None else _Loss(self.evaluated, self.job.step)
        with torch.no_grad(), precision:
            for begin, end in self.validation_cuts:
                loss, _, figures = forward(*self.batch(batches, order, begin, end, noise))
                sums.add(loss, figures)
        return sums.means(self, epoch, "validation", self.validation_cuts)

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
                found = self.metric.measure(self.evaluated)
        if self.fabric.world_size > 1:
            sent = torch.tensor(found, dtype=torch.float64, device=self.fabric.device)
            torch.distributed.broadcast(sent, src=0)
            found = sent.item()
        if not math.isfinite(found):
            self.fail(epoch, f"the metric {self.metric.name!r} of epoch {epoch} is {found}")
        return found

    def fail(self, epoch: int, what: str) -> None:
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
            f"{self.job.stage}: {what}, and must be finite; {kept}. A smaller learning rate than "
            f"{self.options.learning_rate:g} may help, or look for odd values in the data"
        )


class _Sums:
    """Sums over the steps of an epoch, left on the device until its end."""

    def __init__(self) -> None:
        self._losses: list[torch.Tensor] = []
        self._figures: dict[str, list[torch.Tensor]] = {}

    def add(self, loss: torch.Tensor, figures: dict[str, torch.Tensor]) -> None:
        self._losses.append(loss.detach())
        for name, value in figures.items():
            self._figures.setdefault(name, []).append(value.detach())

    def means(
        self, run: _Run, epoch: int, kind: str, cuts: list[tuple[int, int]]
    ) -> dict[str, float]:
        """Means over rows, of all processes; raises for the first loss that is not finite."""
        columns = {"loss": self._losses, **self._figures}
        table = torch.stack([torch.stack(values) for values in columns.values()])
        if run.fabric.world_size > 1:
            table = run.fabric.all_reduce(table, reduce_op="sum")
        table = table.cpu().double()
        finite = torch.isfinite(table[0])
        if not bool(finite.all()):
            step = int(finite.int().argmin())
            begin, end = cuts[step]
            value = float(table[0, step]) / (end - begin)
            run.fail(epoch, f"the {kind} loss of epoch {epoch}, step {step + 1} is {value}")
        rows = cuts[-1][1]
        means = (table.sum(dim=1) / rows).tolist()
        return {f"{kind}_{name}": mean for name, mean in zip(columns, means, strict=True)}


def _generator(seed: int, *use: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(derive(seed, *use))


def _adam(model: Any, options: TrainingOptions) -> torch.optim.Optimizer:
    settings = {"lr": options.learning_rate, "weight_decay": options.weight_decay}
    try:
        return torch.optim.Adam(model.parameters(), **settings, fused=True)
    except RuntimeError:  # this torch has no fused kernel for the device
        return torch.optim.Adam(model.parameters(), **settings)
