# Directional derivatives, gradients and second derivatives with respect to the inputs, before the link.
#
# Training on derivatives by the inputs has the tangents of a block, those of each output, as further rows of
# the same buffers. A block of rows passes through the network with its activations apart from the rest, which
# is linear but for normalisations: `linear` has the operators without activations, so that all passes can use
# those of layers.pxd. Tangents s of z and t of y go forward. The gradient p by s goes back with the slopes,
# then q by z, to which the curvature of each activation adds f''(z) s P, P the gradient by t. The formulas
# are those of fastmlp/_engine/numpy/forward_pass.py.
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

from ctables cimport *
from layers cimport *
from network cimport *
from operators cimport *
from rounding cimport ceil_div, round_up


cdef inline int64_t tangent_row(const fm_derivatives* d, int64_t row, int64_t o) noexcept nogil:
    """Return the row of the tangents o of a row of points."""
    return row + (1 + o) * d.tangent_step


cdef inline void curve(const fm_derivatives* d, int32_t l, int32_t k, int64_t first, int64_t rows,
                       const fm_draws* draws) noexcept nogil:
    """Replace z in y[l] by the activation, with dropout, and store its derivatives with operator k.

    That is the one before for a parametric activation; its outputs become the derivative by alpha.
    """
    cdef const fm_operator* op = &d.net.operators[l]
    cdef const fm_activation* f = &ACTIVATIONS[op.inner if k < l else op.activation]
    cdef const real* alpha
    cdef real* y
    cdef real* slope
    cdef real* curvature
    cdef int64_t p, at
    cdef int nv
    for p in range(op.panels):
        at = p * d.points.panel_step + first * NR
        nv = vectors(op.n_out, p * NR)
        y = <real*>d.points.y[l] + at
        slope, curvature = <real*>d.slope[k] + at, <real*>d.curvature[k] + at
        f.forward_curved(y, slope, curvature, rows, nv)
        if k < l:
            alpha = tensor_at(d.linear, op, WEIGHTS) + p * NR
            copy_block(slope, <real*>d.points.dz[k] + at, rows, nv)
            blend_keeping(<real*>d.points.y[k] + at, alpha, y, slope, rows, nv)
            scale_block(curvature, alpha, curvature, rows, nv)
        else:
            drop_out(op, y, slope, p, rows, first, draws)
            drop_out(op, curvature, <real*>d.weight[k] + at, p, rows, first, draws)  # not in use yet
        if op.n_out - p * NR < nv * LANES:
            clear_padding(y, rows, op.n_out - p * NR)


cdef inline void forward_curves(const fm_derivatives* d, int64_t first, int64_t rows, const fm_draws* draws,
                                fm_interrupt_poll* interrupt) noexcept nogil:
    """Compute the outputs of all operators, and the derivatives of their activations, of gathered rows."""
    cdef const fm_buffers* points = d.points
    cdef const fm_operator* op
    cdef int32_t l
    for l in range(d.net.n_operators):
        op = &d.net.operators[l]
        if op.kind == PARAMETRIC:
            copy_panels(<real*>points.y[l - 1] + first * NR, points.panel_step, op.n_out, rows,
                        <real*>points.y[l] + first * NR)
            curve(d, l, l - 1, first, rows, draws)
        else:
            forward(d.linear, points, l, first, rows, draws, interrupt)
        if d.slope[l] != NULL and d.net.operators[l + 1].kind != PARAMETRIC:  # the last has no slope
            curve(d, l, l, first, rows, draws)


cdef inline void forward_tangents(const fm_derivatives* d, int64_t first, int64_t at, int64_t rows,
                                  fm_interrupt_poll* interrupt) noexcept nogil:
    """Compute the tangents of all operators from those of the inputs: in rows from `at` on."""
    cdef int64_t panel_step = d.points.panel_step
    cdef const fm_operator* op
    cdef const real* before
    cdef const real* a
    cdef real* s
    cdef int64_t p, panel
    cdef int32_t l
    cdef int nv
    for l in range(d.net.n_operators - (d.tangent_step > 0)):  # training needs no tangents of the outputs
        if fm_poll_stop(interrupt, forward_work(d.net, l, rows)):
            return
        op = &d.linear.operators[l]
        before, a = <real*>d.tangents.y[l - 1] + at * NR, <real*>d.tangents.y[op.source] + at * NR
        s = <real*>d.before[l] + at * NR
        if d.net.operators[l].kind == PARAMETRIC:
            copy_panels(before, panel_step, op.n_out, rows, s)
        elif op.kind == LAYER_NORM:
            derive_rows(True, a, <real*>d.points.y[op.source] + first * NR, panel_step, op.n_out,
                        tensor_at(d.linear, op, WEIGHTS), <real*>d.points.statistics[l] + 2 * first, rows, s)
        elif op.kind == SCALE:
            scale_panels(d.linear, op, op.n_out, a, panel_step, rows, s)
        else:
            if op.kind == AFFINE:  # a sum without a first term; biases have no tangent
                for p in range(op.panels):
                    memset(s + p * panel_step, 0, rows * NR * sizeof(real))
                before = s
            sum_panels(d.linear, op, before, a, panel_step, rows, s)
        for p in range(op.panels):
            nv = vectors(op.n_out, p * NR)
            panel = p * panel_step
            if d.slope[l] != NULL:
                multiply_block(<real*>d.slope[l] + panel + first * NR, s + panel,
                               <real*>d.tangents.y[l] + panel + at * NR, rows, nv)
            if d.net.operators[l].kind == PARAMETRIC:
                tangent_by_alpha(<real*>d.before[l - 1] + panel + at * NR,
                                 <real*>d.points.dz[l - 1] + panel + first * NR,
                                 <real*>d.tangents.y[l - 1] + panel + at * NR, rows, nv)


cdef inline void pass_norm(const fm_derivatives* d, const fm_buffers* buffers, int32_t l, int64_t first,
                           int64_t at, int64_t rows, bint is_bent) noexcept nogil:
    """Compute dz[l-1] of a normalisation, see backward_pass.

    In training, its tangents s become those of normalised inputs, of which the gradient of gains is a sum.
    """
    cdef const fm_operator* op = &d.linear.operators[l]
    cdef const real* z = <real*>d.points.y[op.source] + first * NR
    cdef const real* gain = tensor_at(d.linear, op, WEIGHTS)
    cdef real* statistics = <real*>d.points.statistics[l]
    cdef const real* of_rows = statistics + 2 * first
    cdef real* dz = <real*>buffers.dz[l - 1] + at * NR
    cdef int64_t step = d.points.panel_step
    cdef real* s
    cdef int64_t o, r, row
    derive_rows(False, <real*>buffers.dz[l] + at * NR, z, step, op.n_out, gain, of_rows, rows, dz)
    for o in range(d.n_tangents if is_bent else 0):
        row = tangent_row(d, first, o)
        s = <real*>d.tangents.y[op.source] + row * NR
        normalize_rows_bend(<real*>d.tangents.dz[l] + row * NR, s, z, step, op.n_out, gain, of_rows, rows, dz)
        if d.tangent_step > 0:
            derive_rows(True, s, z, step, op.n_out, NULL, of_rows, rows, s)
            for r in range(row, row + rows):
                statistics[2 * r], statistics[2 * r + 1] = 0, 1


cdef inline void pass_activation(const fm_derivatives* d, real* dz, int32_t l, int64_t first, int64_t at,
                                 int64_t rows, bint is_tangent, bint is_bent) noexcept nogil:
    """Replace the gradient by y[l], or by its tangents, by that by z or by the tangents of z."""
    cdef const fm_operator* op = &d.net.operators[l]
    cdef const real* slope
    cdef int64_t p, panel, o, row
    cdef int nv
    for p in range(op.panels if d.slope[l] != NULL else 0):
        panel = p * d.points.panel_step
        nv = vectors(op.n_out, p * NR)
        slope = <real*>d.slope[l] + panel + first * NR
        if is_tangent:
            multiply_block(<real*>d.curvature[l] + panel + first * NR, dz + panel + at * NR,
                           <real*>d.weight[l] + panel + at * NR, rows, nv)
        multiply_block(slope, dz + panel + at * NR, dz + panel + at * NR, rows, nv)
        for o in range(d.n_tangents if is_bent else 0):
            row = panel + tangent_row(d, first, o) * NR
            multiply_add_block(<real*>d.weight[l] + row, <real*>d.before[l] + row, dz + panel + at * NR, rows,
                               nv)


cdef inline void backward_pass(const fm_derivatives* d, const fm_buffers* buffers, int64_t first, int64_t at,
                               int64_t rows, bint is_tangent, bint is_bent,
                               fm_interrupt_poll* interrupt) noexcept nogil:
    """Compute dz of all operators from the last, in rows from `at` on.

    They are those of the tangents of the points from `first` on, or of these points, which tangents may bend.
    """
    cdef int32_t l
    for l in range(d.net.n_operators - 1, 0, -1):
        if d.linear.operators[l].kind == LAYER_NORM:  # no other operator reads its inputs
            pass_norm(d, buffers, l, first, at, rows, is_bent)
        else:
            backward_input(d.linear, buffers, l, at, rows, interrupt)
        pass_activation(d, <real*>buffers.dz[l - 1], l - 1, first, at, rows, is_tangent, is_bent)


cdef inline void backward_tangents(const fm_derivatives* d, int64_t first, int64_t at, int64_t rows,
                                   bint with_inputs, fm_interrupt_poll* interrupt) noexcept nogil:
    """Pass the gradient of the last operator's tangents, in tangents.dz, back through all operators.

    `with_inputs` continues to the tangents of the inputs. Their gradient, in points.x, is that of the
    outputs themselves.
    """
    cdef fm_buffers buffers = d.points[0]
    buffers.dz = d.tangents.dz
    backward_pass(d, &buffers, first, at, rows, True, False, interrupt)
    if with_inputs:
        input_gradient(d.linear, &buffers, at, rows)


cdef inline void backward_points(const fm_derivatives* d, int64_t padded, bint is_bent,
                                 fm_interrupt_poll* interrupt) noexcept nogil:
    """Compute the gradients by z of all operators, from those of the last, and that by the inputs in x."""
    backward_pass(d, d.points, 0, 0, padded, False, is_bent, interrupt)
    input_gradient(d.linear, d.points, 0, padded)


cdef inline void jacobian_loss(const fm_task* task, const fm_derivatives* d, int64_t start, int64_t first,
                               int64_t last, int64_t o, int32_t thread) noexcept nogil:
    """Add the loss of the derivatives of output o, in x, and replace them by the gradient of it."""
    cdef const fm_buffers* buffers = task.buffers
    cdef const real* jacobians = <real*>task.data.jacobians
    cdef int64_t n_in = task.net.operators[0].n_in
    cdef int64_t r
    cdef fm_loss_call call
    for r in range(first, last):
        memcpy(<real*>d.jacobians + r * d.jacobian_stride,
               jacobians + (row_of(task.order, start + r) * d.n_tangents + o) * n_in, n_in * sizeof(real))
        (<real*>d.jacobian_share)[r] = (<real*>buffers.loss_share)[r] * <real>task.data.jacobian_weight
    call.targets, call.labels, call.output_weights = <real*>d.jacobians, NULL, NULL
    call.loss_share, call.row_loss = <real*>d.jacobian_share, <real*>d.jacobian_loss
    call.z = <real*>buffers.x + tangent_row(d, 0, o) * NR
    call.scratch = <real*>buffers.scratch + thread * buffers.scratch_size
    call.panel_step, call.columns, call.width = buffers.panel_step, n_in, n_in
    call.target_stride, call.parameter, call.levels = d.jacobian_stride, 0, NULL
    observed_error_backward(&call, first, last)
    for r in range(first, last):
        (<real*>buffers.row_loss)[r] += <real>task.data.jacobian_weight * (<real*>d.jacobian_loss)[r]


cdef inline void jacobian_phase(const fm_task* task, int64_t start, int64_t first, int64_t last, int64_t rows,
                                int64_t padded, const fm_draws* draws, int32_t thread,
                                fm_interrupt_poll* interrupt) noexcept nogil:
    """Compute outputs, losses and dz of the gathered rows [first, last), with those of their tangents.

    The derivative of half the square of a residual dz/dx - jacobian by the weights is that of the derivative
    of z in the direction of the residual. `padded` rows of points are followed by as many tangents for each
    output, so that the gradient of a weight is one sum over all; padding is 0.
    """
    cdef const fm_buffers* buffers = task.buffers
    cdef fm_derivatives d = buffers.derivatives[0]
    cdef int32_t top = d.net.n_operators - 1
    cdef int64_t columns = d.net.operators[top].n_out
    cdef int64_t panel_step = buffers.panel_step
    cdef int64_t o, r, at
    d.tangent_step = padded
    for r in range(first, first + rows):
        if r >= last or (<real*>buffers.weight)[r] == 0:  # 0 times an overflow would be NaN
            clear_row(buffers.x, r, panel_step, d.net.operators[0].n_in)
    forward_curves(&d, first, rows, draws, interrupt)
    output_loss(task.net, buffers, first, last, &task.data, thread, interrupt)
    for r in range(last, first + rows):
        clear_row(buffers.dz[top], r, panel_step, columns)
    for o in range(d.n_tangents):
        at = tangent_row(&d, first, o)
        for r in range(at, at + rows):
            clear_row(buffers.dz[top], r, panel_step, columns)
            (<real*>buffers.dz[top])[o // NR * panel_step + r * NR + o % NR] = 1
        backward_tangents(&d, first, at, rows, True, interrupt)
        jacobian_loss(task, &d, start, first, last, o, thread)
        for r in range(at + last - first, at + rows):
            clear_row(buffers.x, r, panel_step, d.net.operators[0].n_in)
        forward_tangents(&d, first, at, rows, interrupt)
    backward_pass(&d, buffers, first, first, rows, False, True, interrupt)


cdef inline void curve_rows(const fm_derivatives* d, const int64_t* order, int64_t start, int64_t rows,
                            fm_interrupt_poll* interrupt) noexcept nogil:
    """Gather rows, and compute outputs and derivatives of activations without dropout."""
    cdef fm_draws no_dropout
    no_dropout.seed = no_dropout.step = no_dropout.row = 0
    no_dropout.dropout = NULL
    gather_inputs(d.points, d.x, order, start, 0, rows, 0)
    forward_curves(d, 0, round_up(rows, ROW_MULTIPLE), &no_dropout, interrupt)


cdef inline void set_last(const fm_derivatives* d, const fm_buffers* buffers, const void* plain,
                          int64_t start, int64_t rows) noexcept nogil:
    """Copy plain rows from `start` on into dz of the last operator; NULL stands for zeros."""
    cdef int32_t top = d.net.n_operators - 1
    cdef int64_t columns = d.net.operators[top].n_out
    cdef int64_t r
    for r in range(round_up(rows, ROW_MULTIPLE)):
        clear_row(buffers.dz[top], r, buffers.panel_step, columns)
        if plain != NULL and r < rows:
            row_to_panels(<const real*>plain + (start + r) * columns, buffers.panel_step, columns,
                          <real*>buffers.dz[top] + r * NR)


cdef inline void set_directions(const fm_derivatives* d, int64_t first, int64_t copies, int64_t rows,
                                real value) noexcept nogil:
    """Set the tangent of an input in each row, from `first` on: another input in each copy of a sample."""
    cdef int64_t r, i
    for r in range(rows):
        i = first + r % copies
        if i < d.net.operators[0].n_in:
            (<real*>d.tangents.x)[i // NR * d.tangents.panel_step + r * NR + i % NR] = value


cdef inline void product_rows(const fm_derivatives* d, int64_t start, int64_t rows,
                              fm_interrupt_poll* interrupt) noexcept nogil:
    """Write the tangents of the outputs of a block, or the gradient of sum(p s) + sum(q z) by its inputs."""
    cdef int64_t padded = round_up(rows, ROW_MULTIPLE)
    cdef int32_t top = d.net.n_operators - 1
    cdef const real* result = <real*>d.tangents.y[top]
    cdef int64_t columns = d.net.operators[top].n_out
    cdef int64_t r
    if d.directions != NULL:
        gather_inputs(d.tangents, d.directions, NULL, start, 0, rows, 0)
        forward_tangents(d, 0, 0, padded, interrupt)
    if d.p != NULL:
        set_last(d, d.tangents, d.p, start, rows)
        backward_tangents(d, 0, 0, padded, False, interrupt)
    if d.p != NULL or d.q != NULL:
        set_last(d, d.points, d.q, start, rows)
        backward_points(d, padded, d.p != NULL, interrupt)
        result, columns = <real*>d.points.x, d.net.operators[0].n_in
    for r in range(rows):
        row_from_panels(result + r * NR, d.points.panel_step, columns, <real*>d.out + (start + r) * columns)


cdef inline void hessian_rows(const fm_derivatives* d, int64_t start, int64_t samples,
                              fm_interrupt_poll* interrupt) noexcept nogil:
    """Write outputs, jacobians and hessians of a block: two passes for each output and group of inputs.

    Few samples are copied, so that a pass has a direction in each copy. Hessians are exactly symmetric.
    """
    cdef int32_t top = d.net.n_operators - 1
    cdef int64_t n_out = d.net.operators[top].n_out
    cdef int64_t n_in = d.net.operators[0].n_in
    cdef int64_t panel_step = d.points.panel_step
    cdef int64_t copies = min(n_in, d.points.rows // samples)
    cdef int64_t rows = samples * copies
    cdef int64_t padded = round_up(rows, ROW_MULTIPLE)
    cdef real* row = <real*>d.points.scratch
    cdef real* matrix
    cdef int64_t o, i, j, r, k
    for r in range(padded):
        clear_row(d.tangents.x, r, panel_step, n_in)
    for r in range(rows):
        d.order[r] = start + r // copies
    curve_rows(d, d.order, 0, rows, interrupt)
    for r in range(samples):
        row_from_panels(<real*>d.points.y[top] + r * copies * NR, panel_step, n_out,
                        <real*>d.values + (start + r) * n_out)
    for o in range(n_out):
        set_last(d, d.tangents, NULL, 0, rows)
        for r in range(rows):
            (<real*>d.tangents.dz[top])[o // NR * panel_step + r * NR + o % NR] = 1
        backward_tangents(d, 0, 0, padded, True, interrupt)
        for r in range(samples):
            row_from_panels(<real*>d.points.x + r * copies * NR, panel_step, n_in,
                            <real*>d.jacobian + ((start + r) * n_out + o) * n_in)
        i = 0
        while i < n_in and not fm_stopped(interrupt):
            if o == 0 or copies < n_in:  # else the tangents are still there
                set_directions(d, i, copies, rows, 1)
                forward_tangents(d, 0, 0, padded, interrupt)
                set_directions(d, i, copies, rows, 0)
            set_last(d, d.points, NULL, 0, rows)
            backward_points(d, padded, True, interrupt)
            for r in range(rows):
                k = i + r % copies
                if k >= n_in:
                    continue
                row_from_panels(<real*>d.points.x + r * NR, panel_step, n_in, row)
                matrix = <real*>d.hessian + (d.order[r] * n_out + o) * n_in * n_in
                for j in range(k + 1):
                    matrix[k * n_in + j] = matrix[j * n_in + k] = row[j]
            i += copies


cdef inline void differentiate(const fm_derivatives* d, int64_t first, int64_t last,
                               fm_interrupt_poll* interrupt) noexcept nogil:
    """Write the derivatives of rows [first, last) to the results for all rows, block by block."""
    cdef fm_fpenv fpenv = fm_set_fpenv()
    cdef int64_t rows
    interrupt.fpenv = fpenv
    while first < last and not fm_stopped(interrupt):
        rows = min(d.points.rows, last - first)
        if d.hessian != NULL:
            hessian_rows(d, first, rows, interrupt)
        else:
            curve_rows(d, NULL, first, rows, interrupt)
            product_rows(d, first, rows, interrupt)
        first += rows
    fm_restore_fpenv(fpenv)
