"""What each of several processes does in the tests; writes what came out.

``python -m tests.distributed.member FOLDER``
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import paddle
from paddle import static

import paddle_custom_quant as pcq
from paddle_custom_quant.scope import read
from paddle_custom_quant.training.models import NETS

STEPS, BATCH, SIDE = 20, 8, 16
# Learned scales, in a net without batch normalization; and states that are measured.
LEARNED = {"net": "LeNet", "weight": "LSQ", "activation": "PACT"}
MEASURED = {"net": "LeNetBN", "weight": "DSQ", "activation": "MovingAverageAbsMax"}


def trained(group, seed, net, weight, activation):
    """All values after the last step; the names of what is averaged."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(-1, 1, (STEPS, BATCH, 1, SIDE, SIDE)).astype("float32")
    labels = rng.integers(0, 10, (STEPS, BATCH, 1))
    quantizers = pcq.quantizers
    part = group.part(BATCH)
    with pcq.legacy_static(), paddle.utils.unique_name.guard():
        # Each process starts from values of its own: those of the first have to win.
        paddle.seed(seed + group.rank)
        main, startup, scope = static.Program(), static.Program(), static.Scope()
        with static.program_guard(main, startup):
            image = static.data("image", [-1, 1, SIDE, SIDE])
            label = static.data("label", [-1, 1], "int64")
            logits = NETS[net](10, 1, SIDE)(image)
            test = main.clone(for_test=True)
            loss = paddle.nn.functional.cross_entropy(logits, label)
            clip = paddle.nn.ClipGradByGlobalNorm(1.0)
            optimizer = paddle.optimizer.Momentum(1e-3, weight_decay=1e-3, grad_clip=clip)
            optimizer.minimize(loss)
        executor = static.Executor(paddle.CPUPlace())
        with static.scope_guard(scope):
            executor.run(startup)
            train = pcq.quant_aware(
                main,
                executor.place,
                {"quantize_op_types": ["conv2d", "mul", "matmul_v2"]},
                scope,
                weight_quantize_func=getattr(quantizers, weight)(4),
                act_quantize_func=getattr(quantizers, activation)(4, signed=True),
                optimizer_func=lambda: paddle.optimizer.Momentum(1e-3, weight_decay=1e-3),
                return_program=True,
            )
            averaged = pcq.data_parallel(train, group, scope=scope)
            calibration = [{"image": images[step][part]} for step in range(2)]
            pcq.calibrate(test, train, calibration, scope=scope, group=group)
            for step in range(STEPS):
                feed = {"image": images[step][part], "label": labels[step][part]}
                executor.run(train, feed, [])
        names = [v.name for v in train.list_vars() if v.persistable]
        values = {name: read(scope, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}, averaged


def check_exchange(group):
    """What the processes tell each other arrives whole."""
    own = np.arange(3 * group.rank + 1, dtype="float32")[:, None] - 0.1
    for rank, array in enumerate(group.gather(own)):
        expected = np.arange(3 * rank + 1, dtype="float32")[:, None] - 0.1
        assert array.dtype == np.float32 and (array == expected).all(), array
    assert group.total([1.5, group.rank]).tolist() == [3.0, 1.0]
    assert group.agreed(lambda: f"from {group.rank}".encode()) == b"from 0"

    def fail():
        raise OSError("the disk is full")

    try:
        group.agreed(fail)
    except OSError as error:
        assert str(error) == "the disk is full", error
    else:
        raise AssertionError("only the first process learned of the error")


def main(folder):
    """All of it, for one process."""
    group = pcq.process_group()
    check_exchange(group)
    held = {}
    for name, seed, form in (("a", 0, LEARNED), ("b", 3, LEARNED), ("m", 0, MEASURED)):
        values, _ = trained(group, seed, **form)
        held.update({f"{name} {key}": value for key, value in values.items()})
    np.savez(Path(folder, f"{group.rank}.npz"), **held)


if __name__ == "__main__":
    main(sys.argv[1])
