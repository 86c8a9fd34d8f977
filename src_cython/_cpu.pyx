"""What this processor can do, asked before a kernel module is loaded: the wrong one would crash.

The compiler's own check is used: it also asks whether the system saves the wide registers.
"""

cdef extern from *:
    """
    #if defined(__x86_64__) || defined(__amd64__)
    static int fm_cpu_features(const char **names) {
        int n = 0;
        __builtin_cpu_init();
    #define FM_ASK(feature) if (__builtin_cpu_supports(feature)) names[n++] = feature
        FM_ASK("avx2");
        FM_ASK("fma");
        FM_ASK("avx512f");
        FM_ASK("avx512bw");
        FM_ASK("avx512dq");
        FM_ASK("avx512vl");
    #undef FM_ASK
        return n;
    }
    #elif defined(__aarch64__) || defined(__arm64__)
    static int fm_cpu_features(const char **names) {  /* every aarch64 has Advanced SIMD */
        names[0] = "neon";
        return 1;
    }
    #else
    static int fm_cpu_features(const char **names) { (void)names; return 0; }
    #endif
    """
    int fm_cpu_features(const char **names) noexcept nogil


def features():
    """Return the instruction sets that kernels may be built for and that this machine can run.

    Returns
    -------
    frozenset of str
        Of ``avx2, fma, avx512f, avx512bw, avx512dq, avx512vl`` on x86-64; ``neon`` on aarch64;
        empty elsewhere.

    Examples
    --------
    >>> from fastmlp import _cpu
    >>> isinstance(_cpu.features(), frozenset)
    True
    """
    cdef const char *names[8]
    cdef int n = fm_cpu_features(names)
    return frozenset([(<bytes>names[i]).decode("ascii") for i in range(n)])
