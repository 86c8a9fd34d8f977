# What calls of kernels need: their table, memory, threads, and passes, which run epochs.
from libc.stdint cimport int64_t

from fastmlp._engine.jobs cimport EpochJob, Run, Watch
from network cimport *


cdef const fm_kernels* load(str level, str dtype) except NULL


cdef class Memory:
    cdef list arrays
    cdef int64_t itemsize
    cdef void* take(self, int64_t count, int64_t itemsize=*) except NULL


cdef struct Inputs:  # a batch's
    int64_t n_dense, most_entries  # most entries of all its rows; -1: all inputs are dense


cdef class Buffers:
    cdef fm_buffers c
    cdef fm_entries entries
    cdef Inputs inputs
    cdef Memory memory
    cdef int take_output_weights(self, const fm_kernels* k, const fm_data* data) except -1

    @staticmethod
    cdef Buffers make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads,
                      bint training, Inputs inputs, bint for_jacobian=*, tuple drops=*)


cdef class Derivatives:
    cdef fm_derivatives c
    cdef fm_network linear
    cdef Buffers points, tangents
    cdef Memory memory

    @staticmethod
    cdef Derivatives make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads=*,
                          int64_t n_tangents=*, tuple drops=*, int64_t* copy_sizes=*)


cdef Inputs inputs_of(const fm_network* net, x, int64_t rows) except *
cdef bint fits(Buffers buffers, Inputs inputs)
cdef int64_t target_stride(const fm_kernels* k, const fm_network* net)


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


cdef class Crew:
    cdef fm_crew* c
    cdef Memory memory


cdef class Signals:
    cdef object error
    cdef object add_up, summed  # the function that sums over processes, and its argument
    cdef void watch(self, Watch* c) noexcept


cdef int call_team(fm_job job, void* context, team, Signals signals) except -1
cdef bint describe_function(fm_function* c, function, dtype) except? True


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


cdef double run(Pass epoch, team) except? -1
cdef int run_many(list passes, team, int n_threads) except -1
