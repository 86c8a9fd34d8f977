# Prediction, evaluation and derivatives with respect to the inputs, on packed column panels.
#
# Blocks of rows use the same steps as training (layers.pxd). A single row has its own kernel (c/panels/row.h)
# with the same sums in the same order.
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

from ctables cimport *
from layers cimport *
from network cimport *
from rounding cimport ceil_div, round_up


cdef inline void predict(const fm_network* net, const fm_buffers* buffers, const fm_data* data, int64_t first,
                         int64_t last, void* out, fm_interrupt_poll* interrupt) noexcept nogil:
    """Write the predictions of rows [first, last), (last - first, C) row-major, block by block."""
    cdef fm_fpenv fpenv = fm_set_fpenv()
    cdef int32_t top = net.n_operators - 1
    cdef int64_t columns = net.operators[top].n_out
    cdef int64_t panel_step = buffers.panel_step
    cdef real* row
    cdef real* result = <real*>out
    cdef int64_t start, rows, r, block
    interrupt.fpenv = fpenv
    for block in range(ceil_div(last - first, buffers.rows)):
        if fm_stopped(interrupt):
            break
        start = first + block * buffers.rows
        rows = min(buffers.rows, last - start)
        gather_inputs(buffers, data, NULL, start, 0, rows, 0)
        forward_layers(net, buffers, 0, rows, NULL, interrupt)
        for r in range(rows):
            row = <real*>buffers.y[top] + r * NR
            if columns > NR - LANES:  # several panels, or the link would write into the next row
                row_from_panels(row, panel_step, columns, <real*>buffers.scratch)
                row = <real*>buffers.scratch
            LOSSES[net.link].link(row, columns, net.targets_width)
            copy_values(result, row, columns)
            result += columns
    fm_restore_fpenv(fpenv)


cdef inline void linked_rows(const fm_network* net, const fm_buffers* buffers, int64_t rows,
                             real* result) noexcept nogil:
    """Write the predictions of a block without changing its outputs."""
    cdef int32_t top = net.n_operators - 1
    cdef int64_t columns = net.operators[top].n_out
    cdef real* row = <real*>buffers.scratch
    cdef int64_t r
    for r in range(rows):
        row_from_panels(<real*>buffers.y[top] + r * NR, buffers.panel_step, columns, row)
        LOSSES[net.link].link(row, columns, net.targets_width)
        memcpy(result + r * columns, row, columns * sizeof(real))


cdef inline void predict_row(const fm_network* net, const void* x, void* scratch, void* out) noexcept nogil:
    """Write the prediction of one contiguous row, with the bits of predict."""
    cdef fm_fpenv fpenv = fm_set_fpenv()
    cdef const real* inputs = <const real*>x
    cdef const real* before
    cdef const real* a
    cdef real* y = <real*>scratch
    cdef const fm_operator* op = net.operators
    cdef int32_t l
    if net.row_at >= 0:
        y += net.row_at
        memset(y, 0, round_up(op.n_in, NR) * sizeof(real))
        memcpy(y, x, op.n_in * sizeof(real))
        inputs = y
    before = inputs
    for l in range(net.n_operators):
        op = &net.operators[l]
        y = <real*>scratch + op.row_at
        a = before
        if op.source != l - 1:
            a = inputs if op.source < 0 else <real*>scratch + net.operators[op.source].row_at
        one_row(net, op, before, a, y, <real*>scratch + net.few_at)
        if op.function != NULL:
            memcpy(<real*>scratch + net.function_at, y, op.n_out * sizeof(real))
            op.function.row(op.function, op.n_out, <real*>scratch + net.function_at, y, fpenv)
        before = y
    LOSSES[net.link].link(y, op.n_out, net.targets_width)
    copy_values(<real*>out, y, op.n_out)
    fm_restore_fpenv(fpenv)


cdef inline void jacobian(const fm_network* net, const fm_buffers* buffers, const fm_data* data,
                          int64_t first, int64_t last, void* out,
                          fm_interrupt_poll* interrupt) noexcept nogil:
    """Write d prediction / d input of rows [first, last): one backward pass for each output."""
    cdef fm_fpenv fpenv = fm_set_fpenv()
    cdef int32_t top = net.n_operators - 1
    cdef int64_t columns = net.operators[top].n_out
    cdef int64_t n_in = net.operators[0].n_in
    cdef int64_t panel_step = buffers.panel_step
    cdef real* predictions = <real*>buffers.predictions
    cdef real* slope = <real*>buffers.scratch
    cdef real* result = <real*>out
    cdef fm_draws no_dropout
    cdef int64_t block, start, rows, padded, r, c
    cdef int32_t l
    no_dropout.seed = no_dropout.step = no_dropout.row = 0
    no_dropout.dropout = NULL
    interrupt.fpenv = fpenv
    for block in range(ceil_div(last - first, buffers.rows)):
        start = first + block * buffers.rows
        rows = min(buffers.rows, last - start)
        if fm_stopped(interrupt):
            break
        padded = round_up(rows, ROW_MULTIPLE)
        gather_inputs(buffers, data, NULL, start, 0, rows, 0)
        forward_layers(net, buffers, 0, rows, &no_dropout, interrupt)
        linked_rows(net, buffers, rows, predictions)
        for c in range(columns):
            if fm_stopped(interrupt):
                break
            for r in range(rows):
                LOSSES[net.loss].link_slope(predictions + r * columns, columns, net.targets_width, c, slope)
                row_to_panels(slope, panel_step, columns, <real*>buffers.dz[top] + r * NR)
            for l in range(top, 0, -1):
                backward_input(net, buffers, l, 0, padded, interrupt)
            input_gradient(net, buffers, 0, padded)
            for r in range(rows):
                row_from_panels(<real*>buffers.x + r * NR, panel_step, n_in,
                                result + ((start - first + r) * columns + c) * n_in)
    fm_restore_fpenv(fpenv)


cdef inline void evaluate(const fm_network* net, const fm_buffers* buffers, const fm_data* data,
                          int64_t first, int64_t last, double* block_sums, void* out,
                          fm_interrupt_poll* interrupt) noexcept nogil:
    """Write the sum of weight * loss of each block of buffers.rows rows; also predictions, unless NULL."""
    cdef int64_t columns = net.operators[net.n_operators - 1].n_out
    cdef fm_fpenv fpenv = fm_set_fpenv()
    cdef int64_t start, rows, r, block
    cdef double total
    interrupt.fpenv = fpenv
    for block in range(ceil_div(last - first, buffers.rows)):
        if fm_stopped(interrupt):
            break
        start = first + block * buffers.rows
        rows = min(buffers.rows, last - start)
        gather(net, buffers, data, NULL, start, 0, rows, 0)
        for r in range(rows):
            (<real*>buffers.loss_share)[r] = 0
        forward_layers(net, buffers, 0, rows, NULL, interrupt)
        if out != NULL:
            linked_rows(net, buffers, rows, <real*>out + (start - first) * columns)
        output_loss(net, buffers, 0, rows, data, 0, interrupt)
        total = 0
        for r in range(rows):
            total += <double>(<real*>buffers.row_loss)[r] * <double>(<real*>buffers.weight)[r]
        block_sums[block] = total
    fm_restore_fpenv(fpenv)
