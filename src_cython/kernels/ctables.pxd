# Declarations of the headers in c/ that depend on the dtype and level.
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from network cimport *


cdef extern from *:
    bint unlikely(bint) nogil  # Cython's hint to the compiler


cdef extern from "tables/losses.h" nogil:
    ctypedef float real  # the build may define it as double
    enum:
        LANES, MR, NR, NV, ROW_MULTIPLE
    ctypedef struct fm_loss_call:
        const real* targets
        const int32_t* labels
        const real* output_weights
        const real* loss_share
        real* z
        real* row_loss
        real* scratch
        int64_t panel_step, columns, width, target_stride
        real parameter
        const double* levels
    ctypedef struct fm_loss:
        const char* name
        void (*backward)(const fm_loss_call*, int64_t, int64_t) noexcept nogil
        void (*link)(real*, int64_t, int64_t) noexcept nogil
        void (*link_slope)(const real*, int64_t, int64_t, int64_t, real*) noexcept nogil
    const fm_loss* LOSSES
    void observed_error_backward(const fm_loss_call*, int64_t, int64_t)
    int FM_COUNT(const void*)
    int64_t FM_LOSS_SCRATCH(int64_t)
    void copy_values(real*, const real*, int64_t)

cdef extern from "tables/optimizers.h" nogil:
    ctypedef struct fm_scalars:
        real l2, scale, shrink
    ctypedef struct fm_optimizer:
        const char* name
        void (*step)(real*, const real*, real*, real*, int64_t, const fm_scalars*) noexcept nogil
        void (*block)(const real*, int64_t, int64_t, int64_t, const real*, int64_t, int, real*, real*,
                      real*, real*, const fm_scalars*, fm_prefetch*) noexcept nogil
        bint rests
    const fm_optimizer* OPTIMIZERS
    enum:
        NV_BESIDE
    void prepare_groups(int32_t, const double*, double, double, double, double*, const fm_group*, int32_t,
                        fm_scalars*)

cdef extern from "encoding.h" nogil:
    void fm_encode_row(const void*, int64_t, void*)
    int64_t fm_encode_sparse(const void*, int64_t, void*, int32_t*, void*)

cdef extern from "random/dropout.h" nogil:
    uint32_t dropout_key(uint64_t, uint64_t, uint32_t)
    void dropout_panel(real*, real*, int64_t, int, uint32_t, int64_t, int64_t, uint32_t, real)

cdef extern from "panels/panels.h" nogil:
    enum:
        FUSED_IDENTITY, FUSED_RELU
    ctypedef struct fm_activation:
        const char* name
        int fused
        void (*forward)(real*, int64_t, int) noexcept nogil
        void (*forward_keeping)(real*, real*, int64_t, int) noexcept nogil
        void (*backward)(const real*, real*, int64_t, int) noexcept nogil
        void (*forward_curved)(real*, real*, real*, int64_t, int) noexcept nogil
    const fm_activation* ACTIVATIONS
    void panel_plain(const real*, int64_t, int64_t, const real*, const real*, const real*, real*,
                     int64_t, int)
    void panel_added(const real*, int64_t, int64_t, const real*, const real*, const real*, real*,
                     int64_t, int)
    void panel_relu(const real*, int64_t, int64_t, const real*, const real*, const real*, real*,
                    int64_t, int)
    void panel_relu_slope(const real*, int64_t, int64_t, const real*, const real*, const real*, real*,
                          int64_t, int)
    enum:
        NN_CHAIN
    void panel_chained(const real*, int64_t, int64_t, const real*, const real*, real*, int64_t, int)
    int64_t nn_rows(int64_t, int64_t, int64_t)
    void block_tn(const real*, int64_t, int64_t, int64_t, const real*, int64_t, real*, int, fm_prefetch*)
    real dot_row(const real*, int64_t, const real*, int64_t, int64_t, real)
    void clear_padding(real*, int64_t, int64_t)
    void copy_tensor(const fm_tensor*, int, void*, void*)
    int vectors(int64_t, int64_t)
    int64_t panel_stride(const fm_tensor*, int64_t)
    void dot_rows(const real*, int64_t, const real*, int64_t, int64_t, real, real*, int64_t)
    void column_tn(const real*, int64_t, int64_t, int64_t, const real*, int64_t, real*)
    void row_from_panels(const real*, int64_t, int64_t, real*)
    void row_to_panels(const real*, int64_t, int64_t, real*)
    void gather_targets(const fm_data*, const int64_t*, int64_t, int64_t, int64_t, int64_t, int64_t, real*,
                        real*, int32_t*, real*)
    void gather_rows(const fm_data*, const int64_t*, int64_t, int64_t, int64_t, int64_t, int64_t, real* row,
                     real*)
    void multiply_block(const real*, const real*, real*, int64_t, int)
    void multiply_add_block(const real*, const real*, real*, int64_t, int)
    void sum_columns(const real*, int64_t, int64_t, int64_t, int, double*)
    void add_to_sums(double*, const real*, int64_t)
    void take_sums(real*, const double*, double, int64_t)
    void add_penalty(const real*, real*, int64_t, real)
    void add_signs(const real*, real*, int64_t, real)
    void keep_between(real*, const real*, const real*, int64_t)
    int32_t all_finite(const void*, int64_t)
    int32_t any_zero(const real*, int64_t)
    double fma_peak(int64_t)

cdef extern from "panels/copies.h" nogil:
    ctypedef struct fm_copy_kind:
        int64_t element_size
        void (*renew)(const fm_tensor*, const real*, void*, int64_t, int64_t, int64_t) noexcept nogil
        void (*row)(const fm_tensor*, const real*, const real*, const void*, real*) noexcept nogil
    const fm_copy_kind* COPY_KINDS

cdef extern from "panels/bfloat16.h" nogil:
    ctypedef unsigned short bfloat16
    enum:
        FM_CHUNK, FM_HAS_BFLOAT16
    void round_rows(const real*, int64_t, int64_t, int64_t, bfloat16*, int64_t)
    void round_pairs(const real*, int64_t, int64_t, int64_t, bfloat16*, int64_t)
    void round_columns(const real*, int64_t, int64_t, int64_t, bfloat16*)
    void bfloat16_products(int, const bfloat16*, int64_t, const bfloat16*, int64_t, const real*, real*,
                           int64_t, int64_t, int)

cdef extern from "random/shuffle.h" nogil:
    void shuffle_indices(int64_t*, int64_t, uint64_t)

cdef extern from "panels/row.h" nogil:
    void row_affine(const fm_tensor*, const real*, const real*, const void*, real*)

cdef extern from "panels/residual.h" nogil:
    void add_panels(const real*, const real*, int64_t, int64_t, int64_t, real*)
    void add_affine_panels(const real*, const real*, int64_t, const fm_tensor*, const real*, int64_t, real*)
    void copy_panels(const real*, int64_t, int64_t, int64_t, real*)
    void add_gradient(const real*, int64_t, int64_t, int64_t, const fm_tensor*, const real*, int64_t, int,
                      real*)

cdef extern from "panels/norm.h" nogil:
    void normalize_rows(const real*, int64_t, int64_t, const real*, const real*, int64_t, real*, real*)
    void derive_rows(bint, const real*, const real*, int64_t, int64_t, const real*, const real*, int64_t,
                     real*)
    void normalize_rows_bend(const real*, const real*, const real*, int64_t, int64_t, const real*,
                             const real*, int64_t, real*)
    void normalized_sums(const real*, const real*, const real*, int64_t, real*)

cdef extern from "panels/scale.h" nogil:
    void scale_block(const real*, const real*, real*, int64_t, int)
    void column_sums(const real*, int64_t, real*)
    void product_sums(const real*, const real*, int64_t, real*)

cdef extern from "panels/parametric.h" nogil:
    enum:
        BLEND_ROWS
    void copy_block(const real*, real*, int64_t, int)
    void blend_block(const real*, const real*, real*, int64_t, int)
    void blend_keeping(real*, const real*, real*, real*, int64_t, int)
    void tangent_by_alpha(const real*, const real*, real*, int64_t, int)

cdef extern from "panels/entries.h" nogil:
    enum:
        WIDE_ROW
    bint row_of_few(const fm_tensor*, const real*, const real*, const real*, real*, real*)
    void clear_entries(const fm_entries*, int32_t)
    void gather_entries(const fm_data*, const int64_t*, int64_t, int64_t, int64_t, int32_t, const fm_entries*,
                        int64_t, int64_t, real*, real*)
    void entry_panel(const fm_entries*, const real*, int64_t, int64_t, const real*, const real*, int64_t,
                     real*,
                     int)
    void entry_dots(const fm_entries*, const real*, const real*, int64_t, int64_t, int64_t, int64_t,
                    const real*,
                    const real*, int64_t, real*)
    void scale_entries(const fm_entries*, int64_t, int64_t, const real*)
    void clear_entry_row(const fm_entries*, int64_t)
    void entry_backward(const fm_entries*, int64_t, int64_t, const real*, int64_t, const fm_tensor*,
                        const real*, bint)
    void entry_block(const fm_entries*, const real*, int64_t, int64_t, const real*, int64_t, int64_t, real*,
                     int)
    void entry_numbers(const fm_entries*, const real*, int64_t, int64_t, const real*, int64_t, int64_t, real*)
    void entry_steps(const fm_entries*, const real*, int64_t, int64_t, const real*, int64_t, int, real*,
                     const fm_optimizer*, real*, const fm_scalars*)
