# Directional derivatives, gradients and second derivatives with respect to the inputs, before the link.
#
# A block of rows passes through the network with its activations apart from the rest, which is linear but
# for normalisations: `linear` has the operators without activations, so that all passes can use those of
# layers.pxd. Tangents s of z and t of y go forward. The gradient p by s goes back with the slopes, then q by
# z, to which the curvature of each activation adds f''(z) s P, P the gradient by t. The formulas are those of
# fastmlp/_engine/numpy/derivatives.py.
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from ctables cimport *
from layers cimport *
from network cimport *
from operators cimport *
from rounding cimport ceil_div, round_up


cdef inline void curve(const fm_derivatives* d, int32_t l, int64_t rows) noexcept nogil:
    """Replace z in y[l] by the activation, and store its derivatives."""
    cdef const fm_operator* op = &d.net.operators[l]
    cdef bint is_parametric = op.kind == PARAMETRIC
    cdef const fm_activation* f = &ACTIVATIONS[op.inner if is_parametric else op.activation]
    cdef const real* alpha
    cdef real* y
    cdef real* slope
    cdef real* curvature
    cdef int64_t p, at
    cdef int nv
    if d.slope[l] == NULL:
        return
    for p in range(op.panels):
        at = p * d.points.panel_step
        nv = vectors(op.n_out, p * NR)
        y = <real*>d.points.y[l] + at
        slope, curvature = <real*>d.slope[l] + at, <real*>d.curvature[l] + at
        f.forward_curved(y, slope, curvature, rows, nv)
        if is_parametric:
            alpha = tensor_at(d.net, op, WEIGHTS) + p * NR
            blend_keeping(<real*>d.points.y[l - 1] + at, alpha, y, slope, rows, nv)
            scale_block(curvature, alpha, curvature, rows, nv)
        if op.n_out - p * NR < nv * LANES:
            clear_padding(y, rows, op.n_out - p * NR)


cdef inline void forward_curves(const fm_derivatives* d, const int64_t* order, int64_t start, int64_t rows,
                                fm_interrupt_poll* interrupt) noexcept nogil:
    """Compute the outputs of all operators, and the derivatives of their activations, as gather_inputs."""
    cdef const fm_buffers* points = d.points
    cdef int64_t padded = round_up(rows, ROW_MULTIPLE)
    cdef fm_draws no_dropout
    cdef int32_t l
    no_dropout.seed = no_dropout.step = no_dropout.row = 0
    no_dropout.dropout = NULL
    gather_inputs(points, d.x, order, start, 0, rows, 0)
    for l in range(d.net.n_operators):
        if d.net.operators[l].kind == PARAMETRIC:
            copy_panels(<real*>points.y[l - 1], points.panel_step, d.net.operators[l].n_out, padded,
                        <real*>points.y[l])
        else:
            forward(d.linear, points, l, 0, padded, &no_dropout, interrupt)
        curve(d, l, padded)


cdef inline void forward_tangents(const fm_derivatives* d, int64_t padded,
                                  fm_interrupt_poll* interrupt) noexcept nogil:
    """Compute the tangents of all operators from those of the inputs."""
    cdef int64_t panel_step = d.points.panel_step
    cdef const fm_operator* op
    cdef const real* before
    cdef const real* a
    cdef real* s
    cdef int64_t p, at
    cdef int32_t l
    for l in range(d.net.n_operators):
        if fm_poll_stop(interrupt, forward_work(d.net, l, padded)):
            return
        op = &d.linear.operators[l]
        before, a = <real*>d.tangents.y[l - 1], <real*>d.tangents.y[op.source]
        s = <real*>d.before[l]
        if d.net.operators[l].kind == PARAMETRIC:
            copy_panels(before, panel_step, op.n_out, padded, s)
        elif op.kind == LAYER_NORM:
            normalize_rows_tangent(a, <real*>d.points.y[op.source], panel_step, op.n_out,
                                   tensor_at(d.net, op, WEIGHTS), <real*>d.points.statistics[l], padded, s)
        elif op.kind == SCALE:
            scale_panels(d.net, op, op.n_out, a, panel_step, padded, s)
        else:
            if op.kind == AFFINE:  # a sum without a first term; biases have no tangent
                for p in range(op.panels):
                    memset(s + p * panel_step, 0, padded * NR * sizeof(real))
                before = s
            sum_panels(d.net, op, before, a, panel_step, padded, s)
        for p in range(op.panels if d.slope[l] != NULL else 0):
            at = p * panel_step
            multiply_block(<real*>d.slope[l] + at, s + at, <real*>d.tangents.y[l] + at, padded,
                           vectors(op.n_out, p * NR))


cdef inline void pass_activation(const fm_derivatives* d, real* dz, int32_t l, int64_t rows, bint is_tangent,
                                 bint is_bent) noexcept nogil:
    """Replace the gradient by y[l], or by its tangents, by that by z or by the tangents of z."""
    cdef const fm_operator* op = &d.net.operators[l]
    cdef int64_t p, at
    cdef int nv
    for p in range(op.panels if d.slope[l] != NULL else 0):
        at = p * d.points.panel_step
        nv = vectors(op.n_out, p * NR)
        if is_tangent:
            multiply_block(<real*>d.curvature[l] + at, dz + at, <real*>d.weight[l] + at, rows, nv)
        multiply_block(<real*>d.slope[l] + at, dz + at, dz + at, rows, nv)
        if is_bent:
            multiply_add_block(<real*>d.weight[l] + at, <real*>d.before[l] + at, dz + at, rows, nv)


cdef inline void backward_pass(const fm_derivatives* d, const fm_buffers* buffers, int64_t padded,
                               bint is_tangent, bint is_bent, fm_interrupt_poll* interrupt) noexcept nogil:
    """Compute dz of all operators from the last; of the tangents, or of z, which they may bend."""
    cdef const fm_operator* op
    cdef int32_t l
    for l in range(d.net.n_operators - 1, 0, -1):
        op = &d.linear.operators[l]
        backward_input(d.linear, buffers, l, 0, padded, interrupt)
        if is_bent and op.kind == LAYER_NORM:
            normalize_rows_bend(<real*>d.tangents.dz[l], <real*>d.tangents.y[op.source],
                                <real*>d.points.y[op.source], buffers.panel_step, op.n_out,
                                tensor_at(d.net, op, WEIGHTS), <real*>d.points.statistics[l], padded,
                                <real*>buffers.dz[l - 1])
        pass_activation(d, <real*>buffers.dz[l - 1], l - 1, padded, is_tangent, is_bent)


cdef inline void backward_tangents(const fm_derivatives* d, int64_t padded, bint with_inputs,
                                   fm_interrupt_poll* interrupt) noexcept nogil:
    """Compute the gradients by the tangents of all operators from those of the last, in tangents.dz.

    With those of the inputs, in points.x: the gradient of the outputs themselves.
    """
    cdef fm_buffers buffers = d.points[0]
    buffers.dz = d.tangents.dz
    backward_pass(d, &buffers, padded, True, False, interrupt)
    if with_inputs:
        input_gradient(d.linear, &buffers, padded)


cdef inline void backward_points(const fm_derivatives* d, int64_t padded, bint is_bent,
                                 fm_interrupt_poll* interrupt) noexcept nogil:
    """Compute the gradients by z of all operators, from those of the last, and that by the inputs in x."""
    backward_pass(d, d.points, padded, False, is_bent, interrupt)
    input_gradient(d.linear, d.points, padded)


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
        forward_tangents(d, padded, interrupt)
    if d.p != NULL:
        set_last(d, d.tangents, d.p, start, rows)
        backward_tangents(d, padded, False, interrupt)
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
    forward_curves(d, d.order, 0, rows, interrupt)
    for r in range(samples):
        row_from_panels(<real*>d.points.y[top] + r * copies * NR, panel_step, n_out,
                        <real*>d.values + (start + r) * n_out)
    for o in range(n_out):
        set_last(d, d.tangents, NULL, 0, rows)
        for r in range(rows):
            (<real*>d.tangents.dz[top])[o // NR * panel_step + r * NR + o % NR] = 1
        backward_tangents(d, padded, True, interrupt)
        for r in range(samples):
            row_from_panels(<real*>d.points.x + r * copies * NR, panel_step, n_in,
                            <real*>d.jacobian + ((start + r) * n_out + o) * n_in)
        i = 0
        while i < n_in and not fm_stopped(interrupt):
            if o == 0 or copies < n_in:  # else the tangents are still there
                set_directions(d, i, copies, rows, 1)
                forward_tangents(d, padded, interrupt)
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
            forward_curves(d, NULL, first, rows, interrupt)
            product_rows(d, first, rows, interrupt)
        first += rows
    fm_restore_fpenv(fpenv)
