"""One cell: from the shared float net to a result with its recipe, log and hashes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from paddle import static

from ..compat import legacy_static
from ..qat.onednn import use_onednn
from ..qat.post_training import quantize_post_training
from ..training.checkpoint import set_values, values_of
from ..training.data import Dataset, batches
from ..training.how import How
from ..training.metrics import Score, score
from ..training.provenance import facts
from ..training.recipe import Recipe
from ..training.recipe_file import recipe_as_data
from ..training.recipe_run import check_reusable, run_recipe
from ..training.stage_programs import FLOAT, QUANTIZED, build_stage
from ..training.tensor_file import read_tensors
from ..training.trainer import predict
from .cells import PlannedCell
from .proof import ENGINES, Proof, prove

RECIPE, LOG, RESULT = "recipe.yaml", "log.jsonl", "cell.json"
# A row of a log without what differs from run to run of the same training.
_TIMES = ("seconds", "images_per_second")
_POST_TRAINING_BATCHES = 8


def run_cell(
    planned: PlannedCell,
    data: Dataset,
    work: Path,
    float_run: Path,
    how: How,
) -> dict[str, bytes]:
    """Carry out a cell; go on with what its folder holds.

    A training that diverges, or quantizers that do not fit, are a result too: a failed cell.

    Args:
        planned: with a recipe.
        data: images.
        work: folder for checkpoints.
        float_run: folder of the float training.
        how: what does not change the result.

    Returns:
        Content of the cell's files: ``recipe.yaml``, ``log.jsonl``, ``cell.json``.

    Raises:
        ValueError: ``float_run`` does not hold the float net.
        RuntimeError: an engine gave no result.
        OSError: a checkpoint could not be written.
    """
    recipe = planned.recipe
    assert recipe is not None
    held: dict[str, Any] = {"name": planned.name, "cell": planned.cell.model_dump(mode="json")}
    values: dict[str, np.ndarray] = {}
    check_reusable(recipe, data, float_run)
    try:
        result = run_recipe(recipe, data, work, how, resume=True, reuse=float_run)
        scores = result.scores[recipe.seeds[0]]
        with legacy_static():
            score_, proof, values = _finish(planned, recipe, data, work)
        held.update(status="finished", reason="", score=asdict(score_))
        held.update(float_top1=scores[FLOAT].top1, lost=scores[FLOAT].top1 - score_.top1)
        held.update(proof=asdict(proof))
    except (ValueError, FloatingPointError) as error:
        held.update(status="failed", reason=" ".join(str(error).split()))
    held["seeds"] = {"float": _float_seed(recipe), "cell": planned.cell.seed}
    held.update(facts(data), threads=os.environ.get("OMP_NUM_THREADS", "all"))
    held["versions"] |= {name: import_module(name).__version__ for name in ENGINES}
    files = {RECIPE: _text(recipe), LOG: _log(work / f"seed-{recipe.seeds[0]}" / LOG)}
    held["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    held["sha256"]["values"] = _hash(values)
    return {**files, RESULT: (json.dumps(held, indent=2) + "\n").encode()}


def _finish(
    planned: PlannedCell, recipe: Recipe, data: Dataset, work: Path
) -> tuple[Score, Proof, dict[str, np.ndarray]]:
    """Prove it in an engine; score and values are those of the program that the engine repeats."""
    seed, setting = recipe.seeds[0], planned.cell.setting
    stage = FLOAT if recipe.hardware is None else QUANTIZED
    start = read_tensors(work / f"seed-{seed}" / f"{FLOAT}.safetensors")[0]
    programs = build_stage(recipe, stage, seed, data, start)
    classifier, program, scope = programs.classifier, programs.test, programs.scope
    if stage == QUANTIZED:
        trained = read_tensors(work / f"seed-{seed}" / f"{QUANTIZED}.safetensors")[0]
        set_values(trained, scope, programs.executor.place)
    else:
        order = batches(
            len(data.train), recipe.batch_size, _POST_TRAINING_BATCHES, planned.cell.seed
        )
        feeds = [{classifier.image: data.train.inputs(chosen)} for chosen in order]
        bits = planned.cell.bits
        use_onednn(program, False)  # its convolutions differ in the last bit
        made = quantize_post_training(
            program, feeds, setting, weights=bits, activations=bits, scope=scope
        )
        program, scope = made.program, made.scope
    images = data.test.inputs()
    proof = prove(program, scope, images, setting)
    with static.scope_guard(scope):
        logits = predict(programs.executor, program, classifier, data.test)
    return score(logits, data.test.labels), proof, values_of(program, scope)


def _float_seed(recipe: Recipe) -> int:
    shared = recipe.float_stage.seed
    return recipe.seeds[0] if shared is None else shared


def _text(recipe: Recipe) -> bytes:
    return yaml.safe_dump(recipe_as_data(recipe), sort_keys=False).encode()


def _log(path: Path) -> bytes:
    """The log without times: the same training has the same log."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = ({k: v for k, v in json.loads(line).items() if k not in _TIMES} for line in lines)
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _hash(values: Mapping[str, np.ndarray]) -> str:
    """Of names, shapes and bits of all values."""
    held = hashlib.sha256()
    for name, value in sorted(values.items()):
        held.update(f"{name} {value.dtype} {value.shape}".encode())
        held.update(np.ascontiguousarray(value).tobytes())
    return held.hexdigest()


__all__ = ["LOG", "RECIPE", "RESULT", "run_cell"]
