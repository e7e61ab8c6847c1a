"""PyTorch's learnable fake quantization, timed on demand: the other process of kernels.py.

    python benchmarks/torch_fake_quantize.py THREADS SHAPE COPIES

It prints its version, then, for each line it reads, the seconds of one forward and backward.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import torch

# Alone, without the package, which needs Paddle.
path = Path(__file__).parents[1] / "paddle_custom_quant" / "keep_memory.py"
spec = importlib.util.spec_from_file_location("keep_memory", path)
assert spec and spec.loader
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.keep_memory()

torch.set_num_threads(int(sys.argv[1]))
shape, copies = [int(size) for size in sys.argv[2].split("x")], int(sys.argv[3])
x, dy = torch.randn(shape, requires_grad=True), torch.randn(shape)
scale = torch.tensor([0.3], requires_grad=True)
zero = torch.tensor([0.0], requires_grad=True)
print(torch.__version__, flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    for _ in range(copies):
        y = torch._fake_quantize_learnable_per_tensor_affine(x, scale, zero, -8, 7, 1.0)
        torch.autograd.grad(y, [x, scale, zero], dy)
    print((time.perf_counter() - start) / copies, flush=True)
