# Single rows: one after the other through a kernel of their own, with no memory but a part of the stack.
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport free, malloc

from network cimport *


cdef enum:
    QUICK_WEIGHTS = 30000  # below this much work, giving the interpreter lock back costs more
    STACK_BYTES = 8192  # of row buffers, the larger go to the heap: some threads have 64 KiB of stack or less
    ALIGNMENT = 64


cdef inline int predict_rows(const fm_kernels* k, const fm_network* net, int64_t scratch_bytes, const char* x,
                             int64_t n, char* out) noexcept nogil:
    """Rows of contiguous x; -1 when a wide network finds no memory."""
    cdef char stack[STACK_BYTES + ALIGNMENT]
    cdef char* raw = stack
    cdef char* scratch
    cdef int64_t i
    cdef int64_t row_bytes = net.operators[0].n_in * k.element_size
    cdef int64_t result_bytes = net.operators[net.n_operators - 1].n_out * k.element_size
    if scratch_bytes > STACK_BYTES:
        raw = <char*>malloc(scratch_bytes + ALIGNMENT)
        if raw == NULL:
            return -1
    scratch = <char*>((<uintptr_t>raw + ALIGNMENT - 1) & ~<uintptr_t>(ALIGNMENT - 1))
    for i in range(n):
        k.predict_row(net, x + i * row_bytes, scratch, out + i * result_bytes)
    if raw != stack:
        free(raw)
    return 0
