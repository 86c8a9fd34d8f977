# Custom activations and losses: rows are copied from panels to plain order, passed to the function all at
# once, and its results are copied back.
from libc.stdint cimport int64_t

from ctables cimport *
from network cimport *
from operators cimport drop_out


cdef inline bint succeeds(const fm_function* function, const fm_block* block,
                          fm_interrupt_poll* interrupt) noexcept nogil:
    """Call a function with the caller's floating-point environment; if it fails, request a stop."""
    cdef fm_fpenv native
    cdef int failed
    if fm_stopped(interrupt):
        return False
    native = fm_get_fpenv()
    fm_restore_fpenv(interrupt.fpenv)
    failed = function.call(function, block, interrupt.context)
    fm_restore_fpenv(native)
    if failed:
        fm_stop(interrupt)
    return not failed


cdef inline real* plain_rows(const fm_buffers* buffers, int which, int64_t first) noexcept nogil:
    """Return the memory of plain rows from `first` on; threads do not overlap for any width."""
    return <real*>buffers.plain[which] + first * buffers.plain_step


cdef inline void apply_activation(const fm_network* net, const fm_buffers* buffers, int32_t l, int64_t first,
                                  int64_t rows, const fm_draws* draws,
                                  fm_interrupt_poll* interrupt) noexcept nogil:
    """Compute y = dropout(function(z)) of z in y[l], and the derivative if it is needed."""
    cdef const fm_operator* op = &net.operators[l]
    cdef int64_t columns = op.n_out
    cdef int64_t panel_step = buffers.panel_step
    cdef real* y = <real*>buffers.y[l] + first * NR
    cdef bint keeps = draws != NULL and buffers.slope[l] != NULL
    cdef real* slope = <real*>buffers.slope[l] + first * NR if keeps else NULL
    cdef real* z = plain_rows(buffers, 0, first)
    cdef fm_block block
    cdef int64_t r, p, at
    block.rows, block.columns, block.width = rows, columns, 0
    block.z, block.targets, block.labels = z, NULL, NULL
    block.value = plain_rows(buffers, 1, first)
    block.gradient = plain_rows(buffers, 2, first) if slope != NULL else NULL
    for r in range(rows):
        row_from_panels(y + r * NR, panel_step, columns, z + r * columns)
    if not succeeds(op.function, &block, interrupt):
        return
    for r in range(rows):
        row_to_panels(<real*>block.value + r * columns, panel_step, columns, y + r * NR)
        if slope != NULL:
            row_to_panels(<real*>block.gradient + r * columns, panel_step, columns, slope + r * NR)
    if slope != NULL:
        for p in range(op.panels):
            at = p * panel_step
            drop_out(op, y + at, slope + at, p, rows, first, draws)


cdef inline void apply_loss(const fm_network* net, const fm_buffers* buffers, int64_t first, int64_t rows,
                            fm_interrupt_poll* interrupt) noexcept nogil:
    """Compute row_loss, and replace the outputs z of the rows by their shares of the gradient."""
    cdef int32_t top = net.n_operators - 1
    cdef int64_t columns = net.operators[top].n_out
    cdef int64_t panel_step = buffers.panel_step
    cdef real* panels = <real*>buffers.y[top] + first * NR
    cdef real* z = plain_rows(buffers, 0, first)
    cdef real* gradient = plain_rows(buffers, 2, first)
    cdef real share
    cdef fm_block block
    cdef int64_t r, c
    block.rows, block.columns, block.width = rows, columns, net.targets_width
    block.z, block.value, block.gradient = z, <real*>buffers.row_loss + first, gradient
    block.labels = buffers.labels + first if net.has_labels else NULL
    block.targets = <real*>buffers.targets + first * buffers.target_stride if not net.has_labels else NULL
    for r in range(rows):
        row_from_panels(panels + r * NR, panel_step, columns, z + r * columns)
    if not succeeds(net.loss_function, &block, interrupt):
        return
    for r in range(rows):
        share = (<real*>buffers.loss_share)[first + r]
        for c in range(columns):
            gradient[r * columns + c] *= share
        row_to_panels(gradient + r * columns, panel_step, columns, panels + r * NR)
