"""The whole job: train, quantize, freeze, reload, compare, and write down what came out."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Callable

import paddle

from ..compat import legacy_static
from .checkpoint import save_values, values_of
from .data import Dataset
from .experiment import Experiment, Settings
from .metrics import Score, score
from .output_folder import output_folder
from .pictures import training_picture
from .reload import predict_in_new_process

# Rounding may turn one image in ten thousand.
_IMAGES_PER_DIFFERENCE = 10_000


@dataclass(frozen=True)
class Result:
    """What a run found.

    Attributes:
        scores: by form of the net: float, quantized, frozen.
        sizes: bytes on disk, by form: the float and the frozen model, the quantized checkpoint.
        differing: test images whose top-1 the reloaded model sees differently from the
            quantized program.
        images: number of test images.
    """

    scores: dict[str, Score]
    sizes: dict[str, int]
    differing: int
    images: int

    @property
    def agrees(self) -> bool:
        """The reloaded model gives the quantized program's top-1, rounding aside."""
        return self.differing <= self.images // _IMAGES_PER_DIFFERENCE

    def agreement(self) -> str:
        """One sentence on what the new process saw."""
        if not self.differing:
            return f"Reloaded in a new process: the same top-1 on all {self.images} test images."
        return (
            f"Reloaded in a new process: another top-1 on {self.differing} of {self.images} "
            f"test images{'' if self.agrees else ', more than rounding explains'}."
        )

    def table(self) -> str:
        """The scores and sizes as text."""
        lines = [f"{'':9}   {'top-1':>8}   {'top-5':>8}   {'loss':>7}   {'on disk':>10}"]
        lines += [
            f"{form:9}   {result.top1:6.2f} %   {result.top5:6.2f} %   {result.loss:7.4f}"
            f"   {self.sizes[form] / 1000:7.1f} kB"
            for form, result in self.scores.items()
        ]
        return "\n".join(lines)


def run(
    settings: Settings,
    data: Dataset,
    output: str | Path,
    on_step: Callable[[str, int, float, float], None] | None = None,
) -> Result:
    """Train, quantize, freeze and reload; write everything into ``output``, or nothing.

    ``output`` then holds ``metrics.json``, ``training.png``, ``checkpoint.npz`` (values of the
    quantized net), ``float/`` and ``frozen/`` (inference models).

    Args:
        settings: what to do.
        data: what to do it with.
        output: folder for the results.
        on_step: called after each iteration with the stage's name, the iteration, loss and top-1.

    Raises:
        ValueError: settings that do not fit the data, or an output folder that cannot be written.
        FloatingPointError: training diverged.
    """
    with output_folder(output) as folder, legacy_static():
        experiment = Experiment(settings, data, on_step)
        float_stage = experiment.train_float()
        experiment.save_float(folder / "float" / "model")
        quantized = experiment.train_quantized()
        save_values(values_of(quantized.program, experiment.scope), folder / "checkpoint.npz")
        experiment.save_frozen(quantized, folder / "frozen" / "model")

        reloaded = predict_in_new_process(folder / "frozen" / "model", data.test.inputs())
        result = Result(
            scores={
                "float": float_stage.score,
                "quantized": quantized.score,
                "frozen": score(reloaded, data.test.labels),
            },
            sizes={
                "float": _bytes(folder / "float"),
                "quantized": _bytes(folder / "checkpoint.npz"),
                "frozen": _bytes(folder / "frozen"),
            },
            differing=int((reloaded.argmax(axis=1) != quantized.logits.argmax(axis=1)).sum()),
            images=len(data.test),
        )
        training_picture(
            folder / "training.png",
            f"{settings.net} on {data.name}: {settings.weight} W{settings.weight_bits}, "
            f"{settings.activation} A{settings.activation_bits}, "
            f"first and last layer {settings.first_last_bits} bits",
            {"float": float_stage.curve, "quantized": quantized.curve},
            result.scores,
        )
        (folder / "metrics.json").write_text(_as_json(settings, data, result), encoding="utf-8")
    return result


def _bytes(path: Path) -> int:
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def _as_json(settings: Settings, data: Dataset, result: Result) -> str:
    content = {
        "settings": asdict(settings),
        "data": {
            "name": data.name,
            "training_images": len(data.train),
            "test_images": len(data.test),
        },
        "scores": {form: asdict(value) for form, value in result.scores.items()},
        "bytes": result.sizes,
        "reloaded_differs": result.differing,
        "versions": {
            "python": platform.python_version(),
            "paddle": paddle.__version__,
            **{name: metadata.version(name) for name in ("paddleslim", "numpy")},
        },
    }
    return json.dumps(content, indent=2) + "\n"
