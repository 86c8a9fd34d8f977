# Native memory: aligned blocks, the buffers of a batch, and the threads and pieces of an epoch. Only
# layouts are computed here.
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy

from layout cimport place_transposed
from network cimport *
from rounding cimport ceil_div, round_up

import numpy as np

from fastmlp._engine import cpu, kernels
from fastmlp._network.sparse import SparseRows

cnp.import_array()

cdef enum:
    MOST_ENTRIES = 2147483647  # of a block; 32-bit numbers count them
    PANEL_WORDS = 4  # marks of the columns that pad the last panel
    IDENTITY = 0  # row of ACTIVATIONS
    LONG_PIECES = 16  # a network with fewer full pieces per thread has pieces of half the length


cdef class Memory:
    """Zeroed arrays that live as long as this object; `itemsize` bytes per element by default."""

    def __init__(self, int64_t itemsize):
        self.arrays = []
        self.itemsize = itemsize

    cdef void* take(self, int64_t count, int64_t itemsize=0) except NULL:
        array = kernels.allocate(max(count, 1) * (itemsize or self.itemsize))
        self.arrays.append(array)
        return cnp.PyArray_DATA(array)


cdef bint any_rounded(const fm_network* net):
    return any(net.operators[l].tensors[WEIGHTS].gradient == BFLOAT16_TILES for l in range(net.n_operators))


cdef int take_rounded(fm_buffers* c, const fm_kernels* k, const fm_network* net, Memory memory,
                      int64_t rows) except -1:
    """Take the memory for factors in bfloat16, of 2 bytes."""
    cdef const fm_operator* op
    cdef int64_t widest = 0
    cdef int32_t l
    c.columns = <void**>memory.take(net.n_operators, sizeof(void*))
    c.pairs = <void**>memory.take(net.n_operators, sizeof(void*))
    for l in range(net.n_operators):
        op = &net.operators[l]
        if op.tensors[WEIGHTS].gradient == BFLOAT16_TILES:
            widest = max(widest, op.n_in, op.n_out)
            c.columns[l] = memory.take(op.tensors[WEIGHTS].rows * rows, 2)
            c.pairs[l] = memory.take(op.panels * k.nr * rows, 2)
    c.rounded = memory.take(round_up(widest, k.chunk) * rows, 2)
    return 0


cdef Inputs inputs_of(const fm_network* net, x, int64_t rows) except *:
    """Describe a network's inputs of so many rows of an array, SparseRows or RowSource."""
    cdef const fm_row_source* source
    if cnp.PyArray_Check(x):
        return Inputs(net.operators[0].n_in, -1)
    if type(x) is SparseRows:
        lengths = np.diff(x.indptr)
        if len(lengths) > rows:
            lengths = np.partition(lengths, len(lengths) - rows)[len(lengths) - rows:]
        return Inputs(0, lengths.sum())
    source = <const fm_row_source*>PyCapsule_GetPointer(x.row_source, FM_ROWS_CAPSULE)
    if source.fill_sparse == NULL:
        return Inputs(net.operators[0].n_in, -1)
    return Inputs(source.n_dense, rows * source.entries)


cdef bint fits(Buffers buffers, Inputs inputs):
    """Return whether the buffers can hold such inputs."""
    cdef int64_t room = buffers.inputs.most_entries
    return (buffers.inputs.n_dense == inputs.n_dense and (room < 0) == (inputs.most_entries < 0)
            and room >= inputs.most_entries)


cdef int64_t target_stride(const fm_kernels* k, const fm_network* net):
    """Return the distance of two rows of targets.

    Losses read whole vectors, which must not reach into a row that another thread may be writing. Custom
    losses read plain rows.
    """
    is_plain = net.targets_width == 1 or net.loss_function != NULL
    return net.targets_width if is_plain else round_up(net.targets_width, k.lanes)


cdef int take_entries(Buffers buffers, const fm_network* net, int64_t rows, int n_threads,
                      bint training) except -1:
    """Take the memory for the entries of sparse rows."""
    cdef fm_entries* c = &buffers.entries
    cdef Memory memory = buffers.memory
    cdef int64_t n = buffers.inputs.most_entries
    if n >= MOST_ENTRIES:
        raise MemoryError(f"a batch has up to {n} stored values but at most {MOST_ENTRIES - 1} are expected: "
                          "use smaller batches")
    buffers.c.entries = c
    c.first = <int64_t*>memory.take(rows, sizeof(int64_t))
    c.end = <int64_t*>memory.take(rows, sizeof(int64_t))
    c.rows = <int32_t*>memory.take(n, sizeof(int32_t))
    c.columns = <int32_t*>memory.take(n, sizeof(int32_t))
    c.x = memory.take(n)
    c.y = memory.take(n) if net.operators[0].kind == SCALE else c.x
    if training:
        c.dy = memory.take(n)
        c.next = <int32_t*>memory.take(n, sizeof(int32_t))
        c.n_columns, c.n_words = net.operators[0].n_in, net.operators[0].n_in // 64 + PANEL_WORDS
        c.heads = <int32_t*>memory.take(n_threads * c.n_columns, sizeof(int32_t))
        c.marks = <uint64_t*>memory.take(n_threads * c.n_words, sizeof(uint64_t))
    return 0


cdef class Buffers:
    """Memory of one batch, see fm_buffers."""

    cdef int take_output_weights(self, const fm_kernels* k, const fm_data* data) except -1:
        """Take the memory for the weights of outputs, if the data have them."""
        if data.output_weights != NULL and self.c.output_weights == NULL:
            self.c.output_weights = self.memory.take(self.c.panel_step // k.nr * self.c.target_stride)
        return 0

    @staticmethod
    cdef Buffers make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads,
                      bint training, Inputs inputs, bint for_jacobian=False, tuple drops=()):
        cdef Buffers self = Buffers.__new__(Buffers)
        cdef Memory memory = Memory(k.element_size)
        cdef fm_buffers* c = &self.c
        cdef const fm_operator* op
        # The number of row groups is odd: panels whose distance is a power of two share few sets of the
        # cache.
        cdef bint is_rounded = training and any_rounded(net)
        cdef int64_t multiple = k.chunk if is_rounded else k.row_multiple
        cdef int64_t padded = (ceil_div(rows, multiple) | 1) * multiple
        cdef int32_t n = net.n_operators
        cdef int32_t l
        self.memory, self.inputs = memory, inputs
        c.n_dense = inputs.n_dense
        if inputs.most_entries >= 0:
            take_entries(self, net, padded, n_threads, training)
        c.rows = rows
        c.panel_step = padded * k.nr
        c.block_size = <int64_t>cpu.block_bytes() // k.element_size
        c.x = memory.take(ceil_div(c.n_dense, k.nr) * c.panel_step)
        c.y = <void**>memory.take(n + 1, sizeof(void*))
        c.dz = <void**>memory.take(n + 1, sizeof(void*))
        c.y[0] = c.dz[0] = c.x
        c.y += 1  # now element -1 is the input
        c.dz += 1
        c.slope = <void**>memory.take(n, sizeof(void*))
        c.statistics = <void**>memory.take(n, sizeof(void*))
        for l in range(n):
            op = &net.operators[l]
            size = ceil_div(c.n_dense if op.kind == SCALE else op.n_out, k.nr) * c.panel_step
            c.y[l] = memory.take(size)
            if not training:
                continue
            c.dz[l] = memory.take(size) if l < n - 1 else c.y[l]
            does_drop = drops and op.ends and drops[op.hidden]
            is_blended = l < n - 1 and net.operators[l + 1].kind == PARAMETRIC
            keeps = is_blended or op.function != NULL or k.activation_keeps_slope(op.activation)
            if l < n - 1 and (does_drop or keeps):
                c.slope[l] = memory.take(size)
            if op.kind == LAYER_NORM:
                c.statistics[l] = memory.take(2 * padded)
        c.target_stride = target_stride(k, net)
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
        if is_rounded:
            take_rounded(c, k, net, memory, padded)
        c.scratch_size = k.scratch_size(net)
        c.scratch = memory.take(c.scratch_size * n_threads)
        if training:
            columns = TENSORS * sum(net.operators[l].n_out for l in range(n))
            c.column_squares = <double*>memory.take(columns, sizeof(double))
            c.column_magnitudes = <double*>memory.take(columns, sizeof(double))
        return self


cdef class Derivatives:
    """Memory for derivatives of blocks of rows, see fm_derivatives; the network has no custom activations."""

    @staticmethod
    cdef Derivatives make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads=1,
                          int64_t n_tangents=0, tuple drops=(), int64_t* copy_sizes=NULL):
        """Take the memory; of training, if there are tangents, where all layers have transposed weights."""
        cdef Derivatives self = Derivatives.__new__(Derivatives)
        cdef Memory memory = Memory(k.element_size)
        cdef fm_derivatives* c = &self.c
        cdef int32_t n = net.n_operators
        cdef fm_operator* operators = <fm_operator*>memory.take(n, sizeof(fm_operator))
        cdef fm_operator* op
        cdef fm_tensor* weights
        cdef int64_t size
        cdef int32_t l
        self.memory, self.linear = memory, net[0]
        self.linear.operators = operators
        for l in range(n):
            op = &operators[l]
            op[0] = net.operators[l]
            op.activation = IDENTITY
            op.ends = False
            if op.kind == PARAMETRIC:
                op.kind = SKIP  # its gradient is that of the operator before
            weights = &op.tensors[WEIGHTS]
            if n_tangents > 0 and weights.gradient == TILES and weights.copies[TRANSPOSED].offset < 0:
                place_transposed(k, weights, copy_sizes)
        inputs = Inputs(net.operators[0].n_in, -1)
        size = rows if n_tangents == 0 else (1 + n_tangents) * round_up(rows, k.row_multiple)
        self.points = self.tangents = Buffers.make(k, &self.linear, size, n_threads, True, inputs)
        self.points.c.rows = rows
        if n_tangents > 0:
            self.points.c.derivatives = c
            c.jacobian_stride = 1 if inputs.n_dense == 1 else round_up(inputs.n_dense, k.lanes)
            c.jacobians = memory.take(round_up(rows, k.row_multiple) * c.jacobian_stride)
            c.jacobian_share, c.jacobian_loss = memory.take(rows), memory.take(rows)
        else:
            self.tangents = Buffers.make(k, &self.linear, rows, 1, True, inputs)
        c.n_tangents = max(n_tangents, 1)
        c.net, c.linear = net, &self.linear
        c.points, c.tangents = &self.points.c, &self.tangents.c
        c.slope = <void**>memory.take(n, sizeof(void*))
        c.curvature = <void**>memory.take(n, sizeof(void*))
        c.before = <void**>memory.take(n, sizeof(void*))
        c.weight = <void**>memory.take(n, sizeof(void*))
        c.order = <int64_t*>memory.take(rows, sizeof(int64_t))
        for l in range(n):
            size = operators[l].panels * c.points.panel_step
            c.before[l] = c.tangents.y[l]
            does_drop = drops and net.operators[l].ends and drops[net.operators[l].hidden]
            is_blended = l < n - 1 and net.operators[l + 1].kind == PARAMETRIC
            if is_blended or does_drop or net.operators[l].activation != IDENTITY:
                c.slope[l], c.curvature[l] = memory.take(size), memory.take(size)
                c.before[l], c.weight[l] = memory.take(size), memory.take(size)
        return self


cdef class ThreadContext:
    """The buffers of a batch, and the panels of all tensors divided among threads, see fm_thread_context.

    Epochs with the same batch size, threads and dropout layers share one.
    """

    @staticmethod
    cdef ThreadContext make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads,
                            tuple drops, Inputs inputs, int64_t n_tangents, const int64_t* copy_sizes):
        cdef ThreadContext self = ThreadContext.__new__(ThreadContext)
        cdef Memory memory = Memory(k.element_size)
        cdef fm_thread_context* c = &self.c
        cdef fm_piece* piece_array
        cdef const fm_tensor* tensor
        cdef int64_t* first
        self.memory, self.drops = memory, drops
        memcpy(self.copy_sizes, copy_sizes, sizeof(self.copy_sizes))
        if n_tangents > 0:
            self.derivatives = Derivatives.make(k, net, rows, n_threads, n_tangents, drops, self.copy_sizes)
            self.buffers, net = self.derivatives.points, &self.derivatives.linear
        else:
            self.buffers = Buffers.make(k, net, rows, n_threads, True, inputs, False, drops)
        c.n_threads = n_threads
        c.autotune = &self.autotune
        # The update of a piece's last tile overlaps with no other tile, so long pieces are faster; short ones
        # divide a small network more evenly.
        weights = sum(net.operators[l].n_in * net.operators[l].n_out for l in range(net.n_operators))
        is_large = weights >= LONG_PIECES * n_threads * k.piece_rows * k.nr
        piece_rows = k.piece_rows if is_large else k.piece_rows // 2
        pieces, costs = [], []
        for l in range(net.n_operators):
            for p in range(net.operators[l].panels):
                width = ceil_div(min(net.operators[l].n_out - p * k.nr, k.nr), k.lanes)
                for t in range(TENSORS):
                    tensor = &net.operators[l].tensors[t]
                    if tensor.n_columns == 0:
                        continue
                    rows = round_up(tensor.n_rows, k.mr) if tensor.gradient == TILES else tensor.rows
                    for k_from in range(0, rows, piece_rows):
                        k_to = min(k_from + piece_rows, rows)
                        pieces.append((l, t, p, k_from, k_to, width * k.lanes if tensor.n_columns > 1 else 1))
                        # A narrow tile costs more per column, because fewer columns share its broadcasts.
                        costs.append((k_to - k_from) * (0.5 + width))
        piece_array = <fm_piece*>memory.take(len(pieces), sizeof(fm_piece))
        for i, (l, t, p, k_from, k_to, stride) in enumerate(pieces):
            tensor = &net.operators[l].tensors[t]
            piece_array[i] = fm_piece(tensor, l, p, k_from, k_to,
                                      tensor.offset + p * tensor.rows * k.nr + k_from * stride,
                                      (k_to - k_from) * stride, 2.0 * k.nr * (k_to - k_from))
        c.barrier = <fm_barrier*>memory.take(1, sizeof(fm_barrier))
        c.counters = <fm_counter*>memory.take(n_threads, sizeof(fm_counter))
        self.done = <fm_counter*>memory.take(1, sizeof(fm_counter))
        first = <int64_t*>memory.take(n_threads + 1, sizeof(int64_t))
        ends = np.cumsum(costs)
        for t in range(1, n_threads):
            first[t] = np.searchsorted(ends, ends[len(ends) - 1] * t / n_threads)
        first[n_threads] = len(pieces)
        c.pieces, c.piece_first = piece_array, first
        return self
