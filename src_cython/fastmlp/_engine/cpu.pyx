"""What this processor can do, asked before a kernel module is loaded: the wrong one would crash."""

cdef extern from "simd/cpu.h" nogil:
    enum:
        FM_MOST_FEATURES
    int fm_cpu_features(const char **names)


def features():
    """Return the instruction sets that kernels may be built for and that this machine can run.

    Returns
    -------
    frozenset of str
        Of ``avx2, fma, avx512f, avx512bw, avx512dq, avx512vl`` on x86-64; ``neon`` on aarch64;
        empty elsewhere.

    Examples
    --------
    >>> from fastmlp._engine import cpu
    >>> isinstance(cpu.features(), frozenset)
    True
    """
    cdef const char *names[FM_MOST_FEATURES]
    cdef int n = fm_cpu_features(names)
    return frozenset([(<bytes>names[i]).decode("ascii") for i in range(n)])
