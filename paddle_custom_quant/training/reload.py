"""Run a saved model in a process that knows nothing of the training.

``python -m paddle_custom_quant.training.reload MODEL INPUTS.npy OUTPUTS.npy``
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

_BATCH = 500


def predict_saved(model: str | Path, inputs: np.ndarray) -> np.ndarray:
    """Outputs of a saved inference model, computed by ``paddle.inference`` on the CPU.

    Args:
        model: path without the suffixes ``.pdmodel`` and ``.pdiparams``.
        inputs: float32 ``[N, ...]``, the model's only input.

    Returns:
        ``[N, ...]``, the model's only output.
    """
    from paddle import inference

    config = inference.Config(f"{model}.pdmodel", f"{model}.pdiparams")
    config.disable_gpu()
    config.disable_glog_info()
    predictor = inference.create_predictor(config)
    source = predictor.get_input_handle(predictor.get_input_names()[0])
    result = predictor.get_output_handle(predictor.get_output_names()[0])
    parts = []
    for start in range(0, len(inputs), _BATCH):
        source.copy_from_cpu(np.ascontiguousarray(inputs[start : start + _BATCH]))
        predictor.run()
        parts.append(result.copy_to_cpu())
    return np.concatenate(parts)


def predict_in_new_process(model: str | Path, inputs: np.ndarray) -> np.ndarray:
    """:func:`predict_saved` in a new Python process.

    Raises:
        RuntimeError: the process failed; the message holds the end of what it wrote.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "inputs.npy"), Path(folder, "outputs.npy")
        np.save(source, inputs)
        command = [sys.executable, "-m", __name__, str(model), str(source), str(result)]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise RuntimeError(
                f"the process that reloads {model} ended with code {done.returncode}:\n"
                + done.stderr[-2000:]
            )
        return np.load(result, allow_pickle=False)


if __name__ == "__main__":
    _model, _inputs, _outputs = sys.argv[1:]
    np.save(_outputs, predict_saved(_model, np.load(_inputs, allow_pickle=False)))
