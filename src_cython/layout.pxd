# The layout of tensors in an arena, for the native engine and the playground of the site.
from libc.stdint cimport int64_t

from network cimport *
from rounding cimport ceil_div, round_up


cdef inline void place_copy(fm_tensor* tensor, int kind, int64_t columns, int64_t rows,
                            int64_t* copy_sizes) noexcept nogil:
    """Place a copy of whole panels at the end of its arena."""
    tensor.copies[kind].offset = copy_sizes[kind]
    tensor.copies[kind].rows = rows
    copy_sizes[kind] += columns * rows


cdef inline void lay_out(const fm_kernels* k, fm_tensor* tensor, int64_t n_rows, int64_t n_columns,
                         bint is_transposed, int64_t* n_parameters, int64_t* copy_sizes) noexcept nogil:
    """Place a tensor at the end of the arena, and its copies at the ends of theirs."""
    cdef bint is_rounded = tensor.gradient == BFLOAT16_TILES
    cdef bint is_tiled = tensor.gradient == TILES or is_rounded
    cdef int64_t square
    cdef int c
    for c in range(COPIES):
        tensor.copies[c].offset = -1
    is_transposed = is_transposed and n_columns > 1
    tensor.n_rows, tensor.n_columns = n_rows, n_columns
    tensor.panels = ceil_div(n_columns, k.nr)
    tensor.offset = n_parameters[0]
    tensor.copies[TRANSPOSED].rows = round_up(n_columns, k.lanes) if n_columns > 1 else 1
    if n_columns == 1:
        tensor.rows = round_up(n_rows, k.nr)
        n_parameters[0] += tensor.rows
        if is_tiled:
            tensor.gradient = COLUMN
        return
    square = k.chunk if is_rounded else max(k.mr, k.lanes)  # transposed copies read whole squares
    tensor.rows = round_up(n_rows, square) if is_tiled else n_rows
    n_parameters[0] += tensor.panels * tensor.rows * k.nr
    if is_rounded:
        place_copy(tensor, PAIRED, tensor.panels * k.nr, tensor.rows, copy_sizes)
        if is_transposed:
            place_copy(tensor, PAIRED_TRANSPOSED, round_up(n_rows, k.nr), round_up(n_columns, k.chunk),
                       copy_sizes)
    elif is_transposed:
        place_copy(tensor, TRANSPOSED, round_up(n_rows, k.nr), tensor.copies[TRANSPOSED].rows, copy_sizes)
