# The parameters of a network and the state of its optimizer.
from libc.stdint cimport int32_t, int64_t

from fastmlp._engine.kernels cimport Memory
from network cimport *


cdef class Steps:
    cdef int32_t optimizer, n_slots  # the optimizer's row, and the number of its state arrays, the slots
    cdef double hyper[4]
    cdef Memory memory
    cdef int64_t size  # elements of a slot
    cdef void* slots[2]  # NULL: unused
    cdef double powers[2]
    cdef int64_t taken  # number of steps in complete epochs
    cdef bint is_whole  # whether the last epoch was completed


cdef class Parameters:
    cdef readonly object spec
    cdef readonly str level
    cdef const fm_kernels* kernels
    cdef fm_network net  # it has the published parameters' arena
    cdef fm_operator* operators
    cdef dict losses  # name -> row
    cdef tuple optimizers  # names by row
    cdef bint takes_lock  # whether an activation is a Python function, so that only one thread computes
    cdef bint loss_takes_lock  # whether the loss is a Python function
    cdef tuple tensors  # items of Spec.tensors: each kind and its shapes
    cdef const fm_tensor** flat  # all tensors, kind by kind; NULL for an empty one
    cdef double* dropout  # probability of each hidden layer
    cdef tuple drops  # whether the dropout of each hidden layer is above 0
    cdef Memory memory
    cdef object published, spare  # arenas
    cdef object stale  # inputs, outside of which `spare` has the published weights; None: it may have others
    cdef int64_t n_parameters  # elements of an arena, padding included
    cdef int64_t copy_sizes[COPIES]  # elements of the arenas of copies
    cdef int64_t weight_count  # weights without padding
    cdef Steps steps
    cdef tuple bounds  # arenas: lower and upper bounds of the parameters in training; None: there are none

    cdef int choose_loss(self, fm_network* net, bint has_labels, bint is_gradient=*) except -1
    cdef int drop_link(self, fm_network* net) except -1
    cdef object helpers(self, team, bint with_loss)
    cdef object empty_arena(self)
    cdef object read(self, fm_network* net)
    cdef object publish(self, parameters)
    cdef object unread_arena(self)
    cdef int take_copies(self, Memory memory, void** copies, const int64_t* sizes) except -1
    cdef int keep_copies(self) except -1
    cdef int narrow(self, str weight_type) except -1
    cdef int pack(self, kinds, void* arena_start) except -1
    cdef tuple unpack(self, const void* arena_start)
