# Declarations of the headers in c/ that do not depend on the dtype; kernels/ctables.pxd has the others.
from libc.stdint cimport int32_t, int64_t, uint64_t


cdef extern from "network.h" nogil:
    enum:
        TRANSPOSED "FM_TRANSPOSED"
        PAIRED "FM_PAIRED"
        PAIRED_TRANSPOSED "FM_PAIRED_TRANSPOSED"
        TRAINED "FM_TRAINED"
        BFLOAT16 "FM_BFLOAT16"
        INT8 "FM_INT8"
        COPIES "FM_COPIES"

    ctypedef struct fm_copy:
        int64_t offset, rows

    ctypedef struct fm_tensor:
        int64_t n_rows, n_columns, rows, panels, offset
        fm_copy copies[COPIES]
        int32_t gradient, index

    ctypedef struct fm_row_source:
        void (*fill)(const void* context, int64_t row, void* out) noexcept nogil
        void (*fetch)(const void* context, int64_t row) noexcept nogil
        const void* context
        int64_t (*fill_sparse)(const void* context, int64_t row, void* out, int32_t* columns,
                               void* values) noexcept nogil
        int64_t n_dense, entries

    ctypedef struct fm_data:
        const int64_t* starts
        const int32_t* columns
        const void* values
        const fm_row_source* source
        const char* x
        int64_t x_row_stride, x_column_stride, n
        const void* targets
        const int32_t* labels
        const void* weights
        const void* output_weights
        const void* jacobians
        double jacobian_weight

    ctypedef struct fm_entries:
        int64_t* first
        int64_t* end
        int32_t* rows
        int32_t* columns
        int32_t* next
        void* x
        void* y
        void* dy
        int64_t n_columns, n_words
        int32_t* heads
        uint64_t* marks
        int32_t active

    ctypedef struct fm_group:
        double rate, epsilon, decay, l1, l2, norm

cdef extern from "simd/fpenv.h" nogil:
    ctypedef unsigned int fm_fpenv
    fm_fpenv fm_set_fpenv()
    fm_fpenv fm_get_fpenv()
    void fm_restore_fpenv(fm_fpenv)
    double fm_quotient(double, double)

cdef extern from "threads/sync.h" nogil:
    ctypedef struct fm_barrier:
        int size
    void fm_barrier_start(fm_barrier*, int)
    void fm_barrier_wait(fm_barrier*)

    ctypedef struct fm_crew:
        pass
    ctypedef void (*fm_job)(void*, int32_t) noexcept nogil
    void fm_crew_start(fm_crew*)
    int fm_crew_muster(fm_crew*, int)
    void fm_crew_serve(fm_crew*)
    void fm_crew_open(fm_crew*, fm_job, void*)
    void fm_crew_close(fm_crew*)
    void fm_crew_call(fm_crew*, fm_job, void*)
    int fm_this_cpu()
    void fm_leave_cpu(int)

    ctypedef struct fm_counter:
        pass
    void fm_counter_reset(fm_counter*)
    int64_t fm_counter_take(fm_counter*)
    void fm_counter_done(fm_counter*)
    int64_t fm_counter_seen(const fm_counter*)
    void fm_wait_a_little(int)

cdef extern from "threads/autotune.h" nogil:
    ctypedef struct fm_autotune:
        int32_t trial
        int32_t alone
    void fm_autotune_start(fm_autotune*)
    void fm_autotune_resume(fm_autotune*)
    int32_t fm_autotune_step(fm_autotune*)
    int32_t fm_autotune_step_at(fm_autotune*, double)

cdef extern from "threads/interrupt_poll.h" nogil:
    ctypedef struct atomic_int:
        pass

    ctypedef int (*fm_poll)(void*) noexcept nogil
    ctypedef struct fm_interrupt_poll:
        fm_fpenv fpenv
        void* context
    double POLL_WORK
    void fm_poll_start(fm_interrupt_poll*, fm_poll, void*, atomic_int*)
    int fm_poll_stop(fm_interrupt_poll*, double)
    void fm_stop_clear(atomic_int*)
    void fm_stop(fm_interrupt_poll*)
    int fm_stopped(const fm_interrupt_poll*)

cdef extern from "panels/prefetch.h" nogil:
    ctypedef struct fm_prefetch:
        const char* x
        const int64_t* order
        int64_t row_stride, row_bytes, row, end, at
    void fm_prefetch_lines(fm_prefetch*)
