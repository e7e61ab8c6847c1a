"""Paddle and PaddleSlim, imported without their reports on ccache and setuptools."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "No ccache found")
    warnings.filterwarnings("ignore", "Setuptools is replacing distutils")
    warnings.filterwarnings("ignore", "pkg_resources is deprecated")
    import paddle
    import paddle.utils.cpp_extension
    import paddleslim

__all__ = ["paddle", "paddleslim"]
