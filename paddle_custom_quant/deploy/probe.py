"""Try a saved program in a process of its own: a damaged one may end it, and takes nothing with it.

``python -m paddle_custom_quant.deploy.probe REQUEST``, where REQUEST is JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

_REFUSED = 3


def probe(
    model: str | Path, inputs: str | Path | None = None, outputs: Sequence[str] | None = None
) -> None:
    """Load and freeze a saved program in a new process, and run one sample.

    Args:
        model: as given to ``paddle.static.save``.
        inputs: ``.npy`` or ``.npz``, samples first; nothing is run without it.
        outputs: names of results; by default what nothing reads.

    Raises:
        ValueError: it cannot be loaded, frozen or run, or ended the process; one line.
    """
    request = {
        "model": str(model),
        "inputs": None if inputs is None else str(inputs),
        "outputs": list(outputs) if outputs else None,
    }
    done = subprocess.run(
        [sys.executable, "-m", __name__, json.dumps(request)],
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
    )
    if not done.returncode:
        return
    lines = done.stdout.strip().splitlines()
    if done.returncode == _REFUSED and lines:
        reason = lines[-1]
    elif done.returncode < 0:
        reason = (
            f"{model}: damaged: it ended the process that tried it by signal {-done.returncode}."
        )
    else:
        reason = f"{model}: damaged: the process that tried it ended with code {done.returncode}."
    raise ValueError(reason) from RuntimeError(done.stderr)


def _serve(request: dict[str, str | list[str] | None]) -> None:
    from ..compat import legacy_static
    from .freeze import freeze
    from .parity import run_one_sample
    from .saved import load_inputs, load_program

    model, inputs, outputs = request["model"], request["inputs"], request["outputs"]
    assert isinstance(model, str) and not isinstance(outputs, str)
    with legacy_static():
        program, scope = load_program(model)
        frozen = freeze(program, scope, outputs=outputs)
        if isinstance(inputs, str):
            run_one_sample(program, scope, frozen, load_inputs(inputs))


__all__ = ["probe"]

if __name__ == "__main__":
    try:
        _serve(json.loads(sys.argv[1]))
    except Exception as error:  # whatever a damaged file leads to
        traceback.print_exc()
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.filename:
            text = f"{error.filename}: {error.strerror}"
        print(text, flush=True)
        sys.exit(_REFUSED)
