"""Train one stage of a recipe: from its start, or from a checkpoint, with the same result."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict
from typing import Any

import numpy as np
from paddle import static

from ..distributed import ProcessLost
from .batch_norm import reestimate_statistics
from .data import Augmentation, Batch, Dataset, Images, augmented_batches
from .divergence import Diverged, first_invalid, first_of_all, invalid_values, likely_cause
from .how import How, Progress
from .learning_rate import LearningRate
from .metrics import Score, score
from .recipe import Quantized, Recipe, Stage
from .recovery import Checkpoints
from .stage_programs import StagePrograms
from .step_settings import StepSettings
from .trainer import predict
from .watch import StageWatch


class StageTraining:
    """The training of one stage.

    Use it inside ``pcq.legacy_static()``.

    Args:
        name: of the stage.
        stage: epochs, learning rate, schedule.
        recipe: that it belongs to.
        seed: order and augmentation of the images, and every random number of the programs.
        programs: to run.
        data: images.
        checkpoints: where it saves and goes on from.
        how: what does not change the result.
        before: what the stage goes on from: its last training loss and its top-1.

    Raises:
        ValueError: the batch is larger than the data set, or no multiple of the processes.
    """

    def __init__(
        self,
        name: str,
        stage: Stage,
        recipe: Recipe,
        seed: int,
        programs: StagePrograms,
        data: Dataset,
        checkpoints: Checkpoints,
        how: How,
        before: tuple[float, float] | None = None,
    ) -> None:
        if recipe.batch_size > len(data.train):
            raise ValueError(
                f"batch_size must be at most the {len(data.train)} training images of {data.name}, "
                f"got {recipe.batch_size}."
            )
        if recipe.batch_size % how.group.size:
            raise ValueError(
                f"batch_size must be a multiple of the {how.group.size} processes that share a "
                f"batch, got {recipe.batch_size}."
            )
        self.name, self.stage, self.recipe, self.seed = name, stage, recipe, seed
        self.programs, self.data = programs, data
        self.checkpoints, self.how = checkpoints, how
        self.epoch = max(1, len(data.train) // recipe.batch_size)
        self.steps = round(stage.epochs * self.epoch) or int(stage.epochs > 0)
        self.rate = LearningRate(stage, self.epoch, self.steps)
        self.rows: list[dict[str, Any]] = []
        self._watch = StageWatch(stage, recipe, programs, data, before, how.tell)
        self._sums = [0.0, 0.0, 0.0]
        self._start: dict[str, np.ndarray] = {}
        self._started, self._seen = 0.0, 0  # since the process began the epoch
        self._step = 0
        self._settings = StepSettings(
            stage, programs, self.rate, self.epoch, self.steps, seed, how.group
        )

    def run(self, resume: bool) -> Score:
        """Train to the end of the stage; ``rows`` then has one entry for each epoch.

        Args:
            resume: go on from the newest sound checkpoint, if there is one.

        Raises:
            Diverged: training diverged.
            ProcessLost: another process has ended.
            OSError: a checkpoint could not be written.
            ValueError: the checkpoint is of another training.
        """
        try:
            with static.scope_guard(self.programs.scope), self.how.group.watched():
                return self._run(resume)
        except ProcessLost as error:
            raise ProcessLost(f"{error} Go on from the last checkpoint with --resume.") from None

    def _run(self, resume: bool) -> Score:
        self._start = self.programs.values()
        held = self.checkpoints.newest() if resume else None
        if held is not None:
            self._restore(*held)
            self.how.tell(f"{self.name}: going on after step {self._step} of {self.steps}.")
        self._started, self._seen = time.perf_counter(), 0
        # Closed whatever happens: worker processes are not left behind.
        with closing(self._batches(self._step, self.steps)) as made:
            for batch in made:
                self._one_step(batch)
                ended = self._step % self.epoch == 0 or self._step == self.steps
                if ended:
                    self._check_values()
                    self._end_epoch()
                every = self.how.checkpoint_every
                if ended or (every and self._step % every == 0):
                    self._save()
        self._reestimate()
        return self.evaluate()

    def evaluate(self) -> Score:
        """Score of the test images now.

        Raises:
            Diverged: an output is not finite.
        """
        programs = self.programs
        test = self.data.test
        part = self.how.group.part(len(test))
        own = Images(test.pixels[part], test.labels[part])
        with static.scope_guard(programs.scope):
            made = predict(programs.executor, programs.test, programs.classifier, own)
            logits = np.concatenate(self.how.group.gather(made))
            if not np.isfinite(logits).all():
                raise self._diverged("outputs on test images are not finite")
        return score(logits, test.labels)

    def _batches(self, first: int, last: int, whole: bool = False) -> Generator[Batch, None, None]:
        """This process's part of the batches."""
        held, size, pad = self.recipe.data, self.recipe.batch_size, self.stage.pad
        return augmented_batches(
            self.data.train,
            Augmentation(held.pad if pad is None else pad, held.flip, held.cutout),
            size,
            first=first,
            last=last,
            seed=self.seed,
            workers=self.how.workers,
            part=slice(size) if whole else self.how.group.part(size),
        )

    def _one_step(self, batch: Batch) -> None:
        program = self._settings.prepare(self._step)
        classifier = self.programs.classifier
        loss, logits = self.programs.executor.run(
            program,
            feed={classifier.image: batch.inputs, classifier.label: batch.labels[:, None]},
            fetch_list=[classifier.loss, classifier.logits],
        )
        # All processes go on with the same numbers: what one decides, all do.
        own = [float(np.ravel(loss)[0]), float((logits.argmax(axis=1) == batch.labels).sum())]
        total, right = self.how.group.total(own).tolist()
        value = total / self.how.group.size
        if not np.isfinite(value):
            raise self._diverged(f"the loss is {value}")
        if self._step == 0:
            self._watch.start(value)
        self._step += 1
        count = self.recipe.batch_size
        self._seen += count
        self._watch.step(self._step, right, count)
        self._sums = [self._sums[0] + value * count, self._sums[1] + right, self._sums[2] + count]
        if self.how.on_step:
            top1 = 100 * right / count
            self.how.on_step(Progress(self.name, self._step, self.steps, value, top1, count))

    def _diverged(self, what: str) -> Diverged:
        """Repeat the last steps from the last good values and find where it began."""
        failed = self._step
        kept = self.checkpoints.newest()
        values, first = (self._start, 0) if kept is None else (kept[0], kept[1]["step"])
        self.programs.set_values(values)
        classifier, executor = self.programs.classifier, self.programs.executor
        origin, before = None, values
        with closing(self._batches(first, failed + 1)) as made:
            for step, batch in enumerate(made, start=first):
                inputs, labels = batch.inputs, batch.labels[:, None]
                feed = {classifier.image: inputs, classifier.label: labels}
                program = self._settings.prepare(step)
                if step < failed - 1:
                    executor.run(program, feed=feed, fetch_list=[])
                    continue
                # The step before may have been the one whose gradients were not finite.
                before = self.programs.values()
                origin = first_of_all(
                    first_invalid(executor, program, feed, classifier.loss), self.how.group
                )
                if origin is not None:
                    failed = step
                    break
        self.programs.set_values(before)
        held = self.recipe.quantizers if isinstance(self.stage, Quantized) else None
        gradient_bits = None if held is None else held.gradients
        cause = likely_cause(
            self.programs.train, self.programs.scope, origin, self.rate.at(failed), gradient_bits
        )
        last = "none was written yet" if kept is None else f"that of step {first} is kept"
        return Diverged(
            f"stage {self.name} diverged at step {failed + 1}: {what}; it began in "
            f"{origin or 'no layer that could be found'}. Likely cause: {cause}. "
            f"Last good checkpoint: {last}."
        )

    def _end_epoch(self) -> None:
        total, right, count = self._sums
        seconds = time.perf_counter() - self._started
        result = self.evaluate()
        self.rows.append(
            {
                "stage": self.name,
                "epoch": round(self._step / self.epoch, 3),
                "step": self._step,
                "learning_rate": self.rate.at(self._step - 1),
                "train_loss": total / count,
                "train_top1": 100 * right / count,
                **{f"test_{key}": value for key, value in asdict(result).items()},
                "images_per_second": round(self._seen / seconds, 1),
                "seconds": round(seconds, 2),
            }
        )
        self.rate.epoch_ended(total / count)
        self._sums = [0.0, 0.0, 0.0]
        self._started, self._seen = time.perf_counter(), 0

    def _check_values(self) -> dict[str, np.ndarray]:
        values = self.programs.values()
        invalid = invalid_values(values)
        if invalid:
            raise self._diverged(f"{invalid[0]!r} is not finite")
        return values

    def _save(self) -> None:
        self.checkpoints.save(self._step, self._check_values(), self._state())

    def _reestimate(self) -> None:
        stage = self.stage
        if not isinstance(stage, Quantized) or not stage.reestimate_bn:
            return
        programs = self.programs
        image = programs.classifier.image
        last = self.steps + stage.reestimate_bn
        with closing(self._batches(self.steps, last, whole=True)) as made:
            feeds = ({image: batch.inputs} for batch in made)
            reestimate_statistics(programs.executor, programs.test, programs.scope, feeds)

    def _state(self) -> dict[str, Any]:
        return {
            "schedule": self.rate.state, "sums": self._sums, "rows": self.rows,
            "window": self._watch.window,
        }  # fmt: skip

    def _restore(self, values: dict[str, np.ndarray], state: dict[str, Any]) -> None:
        self.programs.set_values(values)
        self._step, self.rate.state = state["step"], state["schedule"]
        self._sums, self.rows = state["sums"], state["rows"]
        self._watch.window = state["window"]


__all__ = ["StageTraining"]
