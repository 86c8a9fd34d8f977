# Where a network's numbers lie: for native.pyx, predictor.pyx, and probe.pyx.
from libc.stdint cimport int64_t

from fastmlp._engine.memory cimport Memory
from network cimport *


cdef class Parameters:
    cdef readonly object spec
    cdef readonly str level
    cdef const fm_kernels* kernels
    cdef fm_network net  # as published
    cdef fm_operator* operators
    cdef dict losses  # row of each
    cdef bint takes_lock  # an activation is a Python function: one thread computes
    cdef bint loss_takes_lock  # the same of the loss
    cdef tuple tensors  # Spec.tensors as items: kinds, and the shapes of each
    cdef const fm_tensor** flat  # the same, kind by kind; NULL: empty
    cdef double* dropout  # probability of each hidden layer
    cdef tuple drops  # whether it is above 0
    cdef Memory memory
    cdef object published, spare  # arenas
    cdef int64_t n_parameters  # elements of the arena, padding included
    cdef int64_t copy_sizes[COPIES]  # the same of the arenas of copies
    cdef int64_t weight_count  # true weights

    cdef fm_function* function_of(self, function, bint* takes_lock) except NULL
    cdef int choose_loss(self, fm_network* net, bint has_labels) except -1
    cdef int drop_link(self, fm_network* net) except -1
    cdef object helpers(self, team, bint with_loss)
    cdef int lay_out_row(self) except -1
    cdef object empty_arena(self)
    cdef object read(self, fm_network* net)
    cdef object publish(self, parameters)
    cdef object unread_arena(self)
    cdef int take_copies(self, Memory memory, void** copies) except -1
    cdef int keep_copies(self) except -1
    cdef void lay_out(self, fm_tensor* tensor, int64_t n_rows, int64_t n_columns, bint is_transposed) noexcept
    cdef int pack(self, kinds, void* arena_start) except -1
    cdef tuple unpack(self, const void* arena_start)
