"""Carry out a recipe: all stages for all seeds, in a folder that each number can be traced by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..compat import legacy_static
from ..deploy.storage import write_files
from .checkpoint import values_of
from .classifier import build_classifier
from .data import Dataset
from .how import How
from .metrics import Score
from .provenance import facts
from .recipe import Recipe, Stage
from .recipe_file import load_recipe, recipe_as_data
from .recovery import Checkpoints, differences
from .stage_programs import CONSTRAIN, CONTROL, FLOAT, QUANTIZED, build_stage
from .stage_training import StageTraining

# Each stage sees the images in an order of its own, whatever other stages there are.
_ORDER = (FLOAT, CONTROL, QUANTIZED, CONSTRAIN)
_SHARED = ("net", "data", "batch_size", "label_smoothing", "optimizer", FLOAT)


@dataclass(frozen=True)
class StageResult:
    """What a stage led to.

    Attributes:
        values: parameters and statistics, and those of the quantizers.
        score: on the test images.
        rows: one for each epoch.
    """

    values: dict[str, np.ndarray]
    score: Score
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class RecipeResult:
    """The scores of a finished recipe, by seed and stage."""

    scores: dict[int, dict[str, Score]]

    def lost(self, seed: int) -> float | None:
        """Points of top-1 that quantization costs: against the control, else the float net."""
        held = self.scores[seed]
        if QUANTIZED not in held:
            return None
        return held.get(CONTROL, held[FLOAT]).top1 - held[QUANTIZED].top1

    def table(self) -> str:
        """One line a seed and stage."""
        lines = [f"{'seed':>4}  {'stage':10}  {'top-1':>8}  {'top-5':>8}  {'loss':>7}  {'lost':>7}"]
        for seed, held in self.scores.items():
            for stage, result in held.items():
                lost = self.lost(seed) if stage == QUANTIZED else None
                lines.append(
                    f"{seed:4}  {stage:10}  {result.top1:6.2f} %  {result.top5:6.2f} %"
                    f"  {result.loss:7.4f}  {'' if lost is None else f'{lost:7.2f}'}".rstrip()
                )
        return "\n".join(lines)


def run_recipe(
    recipe: Recipe,
    data: Dataset,
    folder: str | Path,
    how: How | None = None,
    *,
    resume: bool = False,
    reuse: str | Path | None = None,
) -> RecipeResult:
    """Train all that a recipe asks for.

    ``folder`` then holds ``recipe.yaml``, ``run.json`` (versions, commit, data), ``result.json``
    and ``result.txt``, and for each seed ``seed-N`` with the checkpoints, the finished stages
    (``float.safetensors``, ...) and ``log.jsonl``, one line an epoch.

    Args:
        recipe: what to train.
        data: with which images.
        folder: for all that comes out.
        how: what does not change the result.
        resume: go on with what the folder holds.
        reuse: folder of another recipe's run: stages that are the same in both are taken from it.

    Raises:
        ValueError: the folder holds a training and ``resume`` is not set, or one of another recipe;
            quantizers that do not fit the net; a batch larger than the data set.
        FloatingPointError: training diverged.
        ProcessLost: another process of the run has ended.
        OSError: something could not be written.
    """
    folder, how = Path(folder), how or How()
    group = how.group
    if not group.is_first:
        how = replace(how, on_step=None, tell=lambda line: None)
    group.agreed(lambda: _begin(recipe, data, folder, resume, group.size))
    scores: dict[int, dict[str, Score]] = {}
    with legacy_static():
        for seed in recipe.seeds:
            one = _OneSeed(recipe, data, folder, seed, how, resume, reuse)
            scores[seed] = one.run()
    result = RecipeResult(scores)
    if group.is_first:
        _write_result(recipe, result, folder)
    return result


def _begin(recipe: Recipe, data: Dataset, folder: Path, resume: bool, processes: int) -> bytes:
    if (folder / "recipe.yaml").exists():
        _check_same(recipe, folder, resume)
    text = yaml.safe_dump(recipe_as_data(recipe), sort_keys=False)
    _write(folder / "recipe.yaml", text)
    _write(folder / "run.json", _json(facts(data, processes)))
    return b""


def _write_result(recipe: Recipe, result: RecipeResult, folder: Path) -> None:
    scores = result.scores
    held = {s: {k: asdict(v) for k, v in stages.items()} for s, stages in scores.items()}
    lost = {seed: result.lost(seed) for seed in scores}
    told = _json({"title": recipe.title, "scores": held, "lost": lost})
    _write(folder / "result.json", told)
    _write(folder / "result.txt", result.table() + "\n")


def check_reusable(recipe: Recipe, data: Dataset, folder: str | Path) -> None:
    """Raise ValueError unless a run's folder holds the float nets that a recipe starts from.

    Args:
        recipe: that is to start from them.
        data: with which images.
        folder: of the other run.
    """
    for seed in recipe.seeds:
        one = _OneSeed(recipe, data, Path(folder), seed, How(), False, None)
        held = Path(folder, f"seed-{one.float_seed}")
        found = Checkpoints(held, FLOAT, one.owner(FLOAT), one.how.tell).finished()
        if found is None:
            raise ValueError(
                f"{held} holds no finished float training: name the folder of a run of "
                f"{recipe.net} with seed {one.float_seed}."
            )
        with legacy_static():
            net = build_classifier(recipe.net, data.train.shape, data.classes)
        net.check_values(found[0])


class _OneSeed:
    def __init__(
        self,
        recipe: Recipe,
        data: Dataset,
        folder: Path,
        seed: int,
        how: How,
        resume: bool,
        reuse: str | Path | None,
    ) -> None:
        self.recipe, self.data, self.seed = recipe, data, seed
        self.how, self.resume = how, resume
        shared = recipe.float_stage.seed
        self.float_seed = seed if shared is None else shared
        self.folder = folder / f"seed-{seed}"
        # Where stages without quantizers may be found.
        seeds = [] if shared is None else [other for other in recipe.seeds if other != seed]
        self.others = [folder / f"seed-{other}" for other in seeds]
        if reuse is not None:
            same = Path(reuse, f"seed-{self.float_seed}")
            self.others += [same, *sorted(set(Path(reuse).glob("seed-*")) - {same})]
        self.results: dict[str, StageResult] = {}

    def run(self) -> dict[str, Score]:
        for name, stage in self._stages():
            owner = self.owner(name)
            own = Checkpoints(self.folder, name, owner, self.how.tell, self.how.group)
            held = own.finished() if self.resume else None
            for other in [] if held or name == QUANTIZED else self.others:
                held = self._from_other(other, name, owner)
                if held is not None:
                    own.finish(*held)
                    break
            if held is not None:
                values, state = held
                result = StageResult(values, Score(**state["score"]), state["rows"])
            else:
                result = self._train(name, stage, own)
            self.results[name] = result
            if self.how.group.is_first:
                self._write_log()
        return {name: result.score for name, result in self.results.items()}

    def _stages(self) -> list[tuple[str, Stage]]:
        recipe = self.recipe
        stages: list[tuple[str, Stage]] = [(FLOAT, recipe.float_stage)]
        if recipe.constrain is not None:
            stages.append((CONSTRAIN, recipe.constrain))
        if recipe.quantized is not None:
            if recipe.control:
                held = recipe.quantized
                control = Stage(**{key: getattr(held, key) for key in Stage.model_fields})
                stages.append((CONTROL, control))
            stages.append((QUANTIZED, recipe.quantized))
        return stages

    def _seed(self, name: str) -> int:
        return self.seed if name == QUANTIZED else self.float_seed

    def _train(self, name: str, stage: Stage, checkpoints: Checkpoints) -> StageResult:
        before = self.results.get(FLOAT)
        if name == QUANTIZED:
            before = self.results.get(CONSTRAIN, before)
        start = last = None
        if before is not None:
            start, last = before.values, (before.rows[-1]["train_loss"], before.score.top1)
        programs = build_stage(
            self.recipe, name, self._seed(name), self.data, start, self.how.group
        )
        how = replace(self.how, tell=lambda line: self.how.tell(f"seed {self.seed}, {line}"))
        entropy = [self._seed(name), _ORDER.index(name)]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        training = StageTraining(
            name, stage, self.recipe, seed, programs, self.data, checkpoints, how, last,
        )  # fmt: skip
        result = training.run(self.resume)
        values = values_of(programs.test, programs.scope)
        checkpoints.finish(values, {"score": asdict(result), "rows": training.rows})
        return StageResult(values, result, training.rows)

    def owner(self, name: str) -> dict[str, Any]:
        """What the result of a stage depends on."""
        held = recipe_as_data(self.recipe)
        held.pop("seeds")
        held[FLOAT].pop("seed")
        kept = [*_SHARED, *([CONSTRAIN] if name == CONSTRAIN else [])]
        if name == CONTROL:
            held[CONTROL] = {key: held[QUANTIZED][key] for key in Stage.model_fields}
            kept.append(CONTROL)
        parts = held if name == QUANTIZED else {key: held[key] for key in kept}
        owner = {"recipe": parts, "seed": self._seed(name), "images": self.data.sha256}
        return {**owner, "float_seed": self.float_seed} if name == QUANTIZED else owner

    def _from_other(self, other: Path, name: str, owner: Mapping[str, Any]) -> Any:
        try:
            held = Checkpoints(other, name, owner, self.how.tell, self.how.group).finished()
        except ValueError as error:
            self.how.tell(f"seed {self.seed}, {name}: not taken over: {error}")
            return None
        if held is not None:
            self.how.tell(f"seed {self.seed}, {name}: taken from {other}.")
        return held

    def _write_log(self) -> None:
        rows = [row for result in self.results.values() for row in result.rows]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        _write(self.folder / "log.jsonl", text)


def _check_same(recipe: Recipe, folder: Path, resume: bool) -> None:
    """Raise ValueError unless the folder may be gone on with, with this recipe."""
    if not resume:
        raise ValueError(f"{folder} holds a training: go on with --resume, or name another folder.")
    held, own = recipe_as_data(load_recipe(folder / "recipe.yaml")), recipe_as_data(recipe)
    # Further seeds are welcome.
    different = differences({**held, "seeds": None}, {**own, "seeds": None})
    if different:
        raise ValueError(
            f"{folder} holds a training with another recipe: {'; '.join(different[:3])}. "
            "Name another folder, or go on with its own recipe.yaml."
        )


def _json(held: Any) -> str:
    return json.dumps(held, indent=2) + "\n"


def _write(path: Path, text: str) -> None:
    write_files({path: text.encode()}, overwrite=True)


__all__ = ["RecipeResult", "StageResult", "check_reusable", "run_recipe"]
