"""What this processor can do, asked before a kernel module is loaded: the wrong one would crash."""

cdef extern from "simd/cpu.h" nogil:
    enum:
        FM_MOST_FEATURES
    int fm_cpu_features(const char **names)
    int fm_is_amd()
    long long fm_second_level_cache()

cdef extern from "threads/system.h" nogil:
    int fm_may_use_tiles()

import functools


def features():
    """Return the instruction sets that kernels may be built for and that this machine can run.

    Returns
    -------
    frozenset of str
        Of ``avx2, fma, avx512f, avx512bw, avx512dq, avx512vl, avx512_bf16, amx_bf16, amx_tile`` on
        x86-64; ``neon`` on aarch64; empty elsewhere.

    Examples
    --------
    >>> from fastmlp._engine import cpu
    >>> isinstance(cpu.features(), frozenset)
    True
    """
    cdef const char *names[FM_MOST_FEATURES]
    cdef int n = fm_cpu_features(names)
    return frozenset([(<bytes>names[i]).decode("ascii") for i in range(n)])


@functools.cache
def block_bytes():
    """Return how many bytes of a layer's inputs stay in the second-level cache while all its weights pass.

    192 KiB were the best of caches of 512 KiB, 1 MiB of those of 2 MiB.
    """
    size = fm_second_level_cache()
    return min(size // 2, 1 << 20) if size >= 1 << 20 else 192 << 10


@functools.cache
def bfloat16_products():
    """Return what multiplies bfloat16 faster than float32: 2 is AMX, 1 is AVX512-BF16, 0 is nothing."""
    found = features()
    if "avx512_bf16" not in found:
        return 0
    if {"amx_tile", "amx_bf16"} <= found and fm_may_use_tiles():
        return 2
    return 1 if fm_is_amd() else 0
