"""Let the process keep the memory of freed tensors, which Paddle on a CPU asks for again at once.

Paddle takes every tensor from the C library and gives it back when it is done. The GNU C library
maps memory for large blocks and unmaps it: each page of a large activation is then faulted in and
cleared by the kernel at every step, which takes longer than most operators.
"""

from __future__ import annotations

import ctypes
import sys

# Parameters of mallopt, from malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8

# A block that is mapped unless told otherwise.
_PROBE = 32 << 20


def keep_memory() -> bool:
    """Do not return freed memory to the system; call it once, before the first tensor is made.

    ResNet-20 trains about twice as fast on a CPU. The price: the process does not shrink, and may
    hold more than it uses where tensors of a few equal sizes come and go: seven nets trained one
    after another in one process held 18 GB. Train each in a process of its own. It acts on this
    process alone, cannot be undone in it, and changes no result. ``MALLOC_MMAP_MAX_=0``,
    ``MALLOC_TRIM_THRESHOLD_=-1``, ``MALLOC_TOP_PAD_=67108864`` and ``MALLOC_ARENA_MAX=1`` in the
    environment do the same from outside.

    Returns:
        Whether it works: False, and nothing is changed, with another C library than GNU's; False
        with an allocator that took malloc's place, where the settings are without effect.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version") or not hasattr(libc, "mallopt"):
        return False
    settings = {
        # Large blocks come from the heap, like small ones; ...
        _MMAP_MAX: 0,
        # ... its free end is never given back, ...
        _TRIM_THRESHOLD: -1,
        # ... nor are those of threads' own heaps, of at most 64 MB, ...
        _TOP_PAD: 64 << 20,
        # ... and threads that start from now on share the one that has no such limit.
        _ARENA_MAX: 1,
    }
    accepted = [libc.mallopt(name, value) for name, value in settings.items()]
    return all(accepted) and _is_kept(libc)


def _is_kept(libc: ctypes.CDLL) -> bool:
    """Whether a large block that is freed and taken again still has its pages."""
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    faults = []
    for _ in range(2):
        before = _page_faults()
        block = libc.malloc(_PROBE)
        if not block:
            return False
        ctypes.memset(block, 1, _PROBE)
        libc.free(block)
        faults.append(_page_faults() - before)
    return faults[1] * 2 <= faults[0]


def _page_faults() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


__all__ = ["keep_memory"]
