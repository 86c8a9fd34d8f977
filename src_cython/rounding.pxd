# Rounding of integers up to multiples.
from libc.stdint cimport int64_t


cdef inline int64_t ceil_div(int64_t n, int64_t divisor) noexcept nogil:
    return (n + divisor - 1) // divisor


cdef inline int64_t round_up(int64_t n, int64_t multiple) noexcept nogil:
    return ceil_div(n, multiple) * multiple
