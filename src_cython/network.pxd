# Cython's view of c/network.h, the seam between native.pyx and the kernel modules.
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t


cdef extern from "network.h" nogil:
    enum:
        FM_ABI
        FM_SHUFFLE_MOST
        FM_RUNNING
        FM_INTERRUPTED
        FM_DIVERGED
    const char* FM_CAPSULE

    ctypedef unsigned int fm_control
    fm_control fm_own_control()
    void fm_restore_control(fm_control)
    double fm_quotient(double, double)

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
    int64_t fm_counter_take(fm_counter*, int)

    ctypedef struct fm_pace:
        int32_t trial
        int32_t alone
    void fm_pace_resume(fm_pace*)
    int32_t fm_pace_step(fm_pace*)
    int32_t fm_pace_step_at(fm_pace*, double)

    ctypedef struct fm_ahead:
        const char* x
        const int64_t* order
        int64_t row_stride, row_bytes, row, end, at

    ctypedef struct atomic_int:
        pass

    ctypedef struct fm_watch:
        fm_control control
    void fm_watch_start(fm_watch*, int (*)(void*) noexcept nogil, void*, atomic_int*)
    int fm_watch_stop(fm_watch*, double)
    void fm_stop_clear(atomic_int*)
    int fm_stopped(const fm_watch*)

    ctypedef struct fm_layer:
        int64_t n_in, n_out, rows, panels, weight, bias, transposed, t_rows
        int32_t activation

    ctypedef struct fm_network:
        int32_t n_layers, loss
        int64_t targets_width
        double loss_parameter
        const fm_layer* layers
        void* parameters
        void* transposed

    ctypedef struct fm_space:
        int64_t rows, panel
        void* x
        void** y
        void** dz
        void** aux
        void* targets
        int64_t target_stride
        int32_t* labels
        void* share
        void* weight
        void* row_loss
        void* predictions
        void* scratch
        int64_t scratch_size

    ctypedef struct fm_data:
        const char* x
        int64_t x_row_stride, x_column_stride, n
        const void* targets
        const int32_t* labels
        const void* weights

    ctypedef struct fm_unit:
        int32_t layer, panel
        int64_t k_from, k_to

    ctypedef struct fm_group:
        double rate, epsilon, decay, l2, norm

    ctypedef struct fm_draws:
        uint64_t seed, step
        int64_t row
        const double* dropout

    ctypedef struct fm_epoch:
        const fm_network* net
        const fm_space* space
        fm_data data
        const int64_t* order
        int64_t batch, block
        int32_t optimizer
        double hyper[4]
        const double* decays
        const fm_group* groups
        int32_t n_groups
        const int32_t* group_of
        int32_t first_trained
        double powers[2]
        void* slots[2]
        void* gradients
        double* sums
        double* column_squares
        const double* rates
        const double* dropout
        int64_t dropout_step
        double l2, clip_norm
        int32_t l2_per_batch
        uint64_t seed, step
        const fm_unit* units
        const int64_t* unit_first
        fm_counter* counters
        int32_t n_threads
        fm_crew* crew
        fm_job job
        void* job_context
        int64_t next_batch, alone_from
        fm_pace* pace
        int (*poll)(void*) noexcept nogil
        void* poll_context
        atomic_int* stop
        fm_barrier* barrier
        int32_t status
        double objective, loss_sum, weight_sum

    ctypedef struct fm_kernels:
        int32_t abi, element_size, lanes, mr, nr, row_multiple, unit_rows
        const char* level
        const char* compiler
        int32_t n_activations, n_losses, n_optimizers
        const char* (*activation_name)(int32_t) noexcept nogil
        const char* (*loss_name)(int32_t) noexcept nogil
        const char* (*optimizer_name)(int32_t) noexcept nogil
        int32_t (*activation_needs_aux)(int32_t) noexcept nogil
        int64_t (*scratch_size)(const fm_network*) noexcept nogil
        void (*pack)(const fm_layer*, const void*, const void*, void*) noexcept nogil
        void (*unpack)(const fm_layer*, const void*, void*, void*) noexcept nogil
        void (*transpose)(const fm_network*) noexcept nogil
        void (*epoch)(fm_epoch*, int32_t) noexcept nogil
        void (*predict)(const fm_network*, const fm_space*, const fm_data*, int64_t, int64_t,
                        void*, fm_watch*) noexcept nogil
        void (*predict_row)(const fm_network*, const void*, void*, void*) noexcept nogil
        int64_t (*row_scratch_size)(const fm_network*) noexcept nogil
        void (*jacobian)(const fm_network*, const fm_space*, const fm_data*, int64_t, int64_t,
                         void*, fm_watch*) noexcept nogil
        void (*evaluate)(const fm_network*, const fm_space*, const fm_data*, int64_t, int64_t,
                         double*, fm_watch*) noexcept nogil
        int32_t (*finite)(const void*, int64_t) noexcept nogil
        int32_t (*finite_row)(const void*, int64_t) noexcept nogil
        void (*shuffle)(int64_t*, int64_t, uint64_t) noexcept nogil
        double (*peak)(int64_t) noexcept nogil
        void (*gather)(const fm_network*, const fm_space*, const fm_data*, const int64_t*, int64_t,
                       int64_t, int64_t) noexcept nogil
        void (*forward)(const fm_network*, const fm_space*, int32_t, int64_t, int64_t,
                        const fm_draws*, fm_watch*) noexcept nogil
        void (*output_loss)(const fm_network*, const fm_space*, int64_t, int64_t,
                            int32_t) noexcept nogil
        void (*backward_input)(const fm_network*, const fm_space*, int32_t, int64_t,
                               int64_t, fm_watch*) noexcept nogil
        void (*unit_gradient)(const fm_network*, const fm_space*, const fm_unit*, int64_t,
                              int64_t, void*, fm_ahead*) noexcept nogil
        void (*bias_gradient)(const void*, int64_t, void*) noexcept nogil
        void (*step)(int32_t, const double*, double, double*, double, double, void*, const void*, void*,
                     void*, int64_t) noexcept nogil
