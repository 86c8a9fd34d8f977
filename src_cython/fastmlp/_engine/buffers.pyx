# The buffers of one batch, laid out for a network. Offsets only, no arithmetic on data.
from libc.stdint cimport int32_t, int64_t

from fastmlp._engine.memory cimport Memory
from network cimport *
from rounding cimport ceil_div, round_up


cdef class Buffers:
    """Memory of one batch: see fm_buffers."""

    @staticmethod
    cdef Buffers make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads,
                      bint training, bint for_jacobian=False, tuple drops=()):
        cdef Buffers self = Buffers.__new__(Buffers)
        cdef Memory memory = Memory(k.element_size)
        cdef fm_buffers* c = &self.c
        cdef const fm_operator* op
        # An odd number of row groups: panels a power of two apart would share a few sets of the cache.
        cdef int64_t padded = (ceil_div(rows, k.row_multiple) | 1) * k.row_multiple
        cdef int32_t n = net.n_operators
        cdef int32_t l
        self.memory = memory
        c.rows = rows
        c.panel_step = padded * k.nr
        c.x = memory.take(ceil_div(net.operators[0].n_in, k.nr) * c.panel_step)
        c.y = <void**>memory.take(n + 1, sizeof(void*))
        c.dz = <void**>memory.take(n + 1, sizeof(void*))
        c.y[0] = c.dz[0] = c.x
        c.y += 1  # what is before the first operator
        c.dz += 1
        c.slope = <void**>memory.take(n, sizeof(void*))
        c.statistics = <void**>memory.take(n, sizeof(void*))
        for l in range(n):
            op = &net.operators[l]
            c.y[l] = memory.take(op.panels * c.panel_step)
            if not training:
                continue
            c.dz[l] = memory.take(op.panels * c.panel_step) if l < n - 1 else c.y[l]
            does_drop = drops and op.ends and drops[op.hidden]
            is_blended = l < n - 1 and net.operators[l + 1].kind == PARAMETRIC
            keeps = is_blended or op.function != NULL or k.activation_keeps_slope(op.activation)
            if l < n - 1 and (does_drop or keeps):
                c.slope[l] = memory.take(op.panels * c.panel_step)
            if op.kind == LAYER_NORM:
                c.statistics[l] = memory.take(2 * padded)
        # Losses read whole vectors: none may reach into the next row, which another thread may be writing.
        # A function of the user's reads plain rows.
        is_plain = net.targets_width == 1 or net.loss_function != NULL
        c.target_stride = net.targets_width if is_plain else round_up(net.targets_width, k.lanes)
        c.targets = memory.take(padded * c.target_stride)
        c.labels = <int32_t*>memory.take(padded, sizeof(int32_t))
        c.loss_share = memory.take(padded)
        c.weight = memory.take(padded)
        c.row_loss = memory.take(padded)
        c.predictions = memory.take(rows * net.operators[n - 1].n_out) if for_jacobian else NULL
        widths = [net.operators[l].n_out for l in range(n) if net.operators[l].function != NULL]
        widths += [net.operators[n - 1].n_out] if net.loss_function != NULL else []
        if widths:
            c.plain_step = max(widths)
            for l in range(3):
                c.plain[l] = memory.take(padded * c.plain_step)
        c.scratch_size = k.scratch_size(net)
        c.scratch = memory.take(c.scratch_size * n_threads)
        if training:
            columns = TENSORS * sum(net.operators[l].n_out for l in range(n))
            c.column_squares = <double*>memory.take(columns, sizeof(double))
            c.column_magnitudes = <double*>memory.take(columns, sizeof(double))
        return self
