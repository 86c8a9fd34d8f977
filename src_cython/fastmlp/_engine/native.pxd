# The classes of the native engine. rows.pyx and probe.pyx cimport some of them, and its functions here.
cimport cython
from libc.stdint cimport int32_t, int64_t

from fastmlp._engine.jobs cimport EpochJob, Run, Watch
from network cimport *


cdef const fm_kernels* load(str level, str dtype) except NULL


@cython.final
cdef class Memory:
    cdef list arrays
    cdef int64_t itemsize
    cdef void* take(self, int64_t count, int64_t itemsize=*) except NULL


cdef struct Inputs:  # a batch's
    int64_t n_dense, most_entries  # most entries of all its rows; -1: all inputs are dense


@cython.final
cdef class Buffers:
    cdef fm_buffers c
    cdef fm_entries entries
    cdef Inputs inputs
    cdef Memory memory
    cdef int take_output_weights(self, const fm_kernels* k, const fm_data* data) except -1

    @staticmethod
    cdef Buffers make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads,
                      bint training, Inputs inputs, bint for_jacobian=*, tuple drops=*)


@cython.final
cdef class Derivatives:
    cdef fm_derivatives c
    cdef fm_network linear
    cdef Buffers points, tangents
    cdef Memory memory

    @staticmethod
    cdef Derivatives make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads=*,
                          int64_t n_tangents=*, tuple drops=*, int64_t* copy_sizes=*)


@cython.final
cdef class ThreadContext:
    cdef fm_thread_context c
    cdef fm_autotune autotune
    cdef Buffers buffers
    cdef Derivatives derivatives  # memory of training on derivatives by the inputs, or None
    cdef int64_t copy_sizes[COPIES]  # elements of the arenas of copies
    cdef Memory memory
    cdef tuple drops  # whether each hidden layer may have dropout; (): none may
    cdef void* working  # arena of the parameters that an epoch updates; NULL before the first epoch
    cdef void* copies[COPIES]  # arenas of the copies of these parameters
    cdef object copied  # the published arena to which `working` and `copies` are equal, or None
    cdef fm_counter* done  # completed parts of a run of many epochs

    @staticmethod
    cdef ThreadContext make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads,
                            tuple drops, Inputs inputs, int64_t n_tangents, const int64_t* copy_sizes)


@cython.final
cdef class Crew:
    cdef fm_crew* c
    cdef Memory memory


@cython.final
cdef class Signals:
    cdef object error
    cdef object add_up, summed  # the function that sums over processes, and its argument
    cdef void watch(self, Watch* c) noexcept


@cython.final
cdef class Pass:
    cdef fm_network net
    cdef fm_task task
    cdef fm_report report
    cdef EpochJob job
    cdef Run run
    cdef fm_network measured  # the same network with the loss for held-out rows
    cdef ThreadContext context
    cdef object fresh  # the arena that receives the parameters of a successful epoch, or None
    cdef object references  # objects that the task points into
    cdef object held_buffers  # buffers for held-out rows
    cdef object add_up, summed  # see Signals; None with a single process

    cdef void hand(self, const fm_kernels* k, ThreadContext context, fresh, int64_t n_parameters, references)


@cython.final
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
    cdef double* dropout  # the share of each hidden layer that dropout sets to 0
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


cdef void describe(fm_data* c, data) except *


cdef class Engine(Parameters):
    cdef int typenum
    cdef int64_t row_bytes
    cdef ThreadContext context
    cdef object groups, degree, table  # the last epoch's; groups_table makes the table of the other two
    # free objects, which calls take and return
    cdef list call_buffers, sparse_buffers, call_contexts, call_derivatives, call_jacobians

    cdef Pass begin(self, data, plan, int n_threads)
    cdef int end(self, Pass epoch, plan, bint is_good) except -1
    cdef bint predict_row_into(self, const char* row, char* out) except -1
