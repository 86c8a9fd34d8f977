# The kernels of one CPU level and dtype: a table of functions, exported in a capsule.
#
# Kernels get pointers and return numbers: they use no Python objects, no globals, and allocate nothing.
# epoch.pxd has training, inference.pxd prediction; tiles, activations, losses and optimizers are in c/.
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int32_t, int64_t

from ctables cimport *
from derivatives cimport differentiate
from epoch cimport *
from inference cimport *
from layers cimport *
from network cimport *
from rounding cimport round_up
from pieces cimport *


cdef extern from *:
    """
    #ifdef __clang__
    #define FM_COMPILER "clang " __clang_version__
    #else
    #define FM_COMPILER "gcc " __VERSION__
    #endif
    enum { PIECE_ROWS = 4 * NR };
    """
    const char* FM_COMPILER
    const char* FM_LEVEL_NAME
    enum:
        PIECE_ROWS


cdef int64_t scratch_size(const fm_network* net) noexcept nogil:
    cdef int64_t of_loss = FM_LOSS_SCRATCH(net.operators[net.n_operators - 1].n_out)
    cdef int64_t size = max(of_loss, PIECE_ROWS * NR, net.operators[0].n_in)
    return round_up(size, 64) + 64 + scalars_size(net)


cdef void renew_copies(const fm_network* net) noexcept nogil:
    cdef fm_piece whole  # a whole panel of a tensor
    cdef int32_t l, t
    cdef int64_t p
    for l in range(net.n_operators):
        for t in range(TENSORS):
            whole.tensor = &net.operators[l].tensors[t]
            whole.k_from, whole.k_to = 0, round_up(whole.tensor.n_rows, MR)
            for p in range(whole.tensor.panels):
                whole.panel = p
                renew_piece(net, &whole, COPIES)


cdef void step(int32_t optimizer, const double* hyper, double rate, double* powers, double l2,
               double scale, void* w, const void* g, void* s0, void* s1, int64_t n) noexcept nogil:
    cdef fm_scalars scalars
    cdef fm_group group = fm_group(1, 1, 1, 1, 1, 1)
    prepare_groups(optimizer, hyper, rate, hyper[3], l2, powers, &group, 1, &scalars)
    scalars.scale = <real>scale
    OPTIMIZERS[optimizer].step(<real*>w, <real*>g, <real*>s0, <real*>s1, n, &scalars)


cdef bint activation_keeps_slope(int32_t row) noexcept nogil:
    return ACTIVATIONS[row].backward == NULL


cdef const char* row_name(int32_t table, int32_t row) noexcept nogil:
    """Return the name of an activation (table 0), loss (1) or optimizer (2); NULL after the last row."""
    if table == 0:
        return ACTIVATIONS[row].name if row < FM_COUNT(ACTIVATIONS) else NULL
    if table == 1:
        return LOSSES[row].name if row < FM_COUNT(LOSSES) else NULL
    return OPTIMIZERS[row].name if row < FM_COUNT(OPTIMIZERS) else NULL


cdef fm_kernels KERNELS
KERNELS.abi = ABI
KERNELS.element_size = sizeof(real)
KERNELS.lanes = LANES
KERNELS.mr = MR
KERNELS.nr = NR
KERNELS.row_multiple = ROW_MULTIPLE
KERNELS.piece_rows = PIECE_ROWS
KERNELS.level = FM_LEVEL_NAME
KERNELS.compiler = FM_COMPILER
KERNELS.has_bfloat16 = FM_HAS_BFLOAT16
KERNELS.chunk = FM_CHUNK
KERNELS.row_name = row_name
KERNELS.activation_keeps_slope = activation_keeps_slope
KERNELS.scratch_size = scratch_size
KERNELS.copy_tensor = copy_tensor
KERNELS.renew_copies = renew_copies
KERNELS.renew_piece = renew_trained_piece
for c in range(COPIES):
    KERNELS.copy_element_size[c] = COPY_KINDS[c].element_size
KERNELS.epoch = epoch
KERNELS.predict = predict
KERNELS.predict_row = predict_row
KERNELS.jacobian = jacobian
KERNELS.differentiate = differentiate
KERNELS.evaluate = evaluate
KERNELS.finite = all_finite
KERNELS.shuffle = shuffle_indices
KERNELS.encode_row = fm_encode_row
KERNELS.encode_sparse = fm_encode_sparse
KERNELS.peak = fma_peak
KERNELS.gather = gather
KERNELS.forward = forward
KERNELS.output_loss = output_loss
KERNELS.backward_input = backward_input
KERNELS.piece_gradient = piece_gradient
KERNELS.step = step

table = PyCapsule_New(&KERNELS, FM_CAPSULE, NULL)
