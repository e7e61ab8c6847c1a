"""Quantization-aware training: placement, rules, the passes that PaddleSlim runs."""
