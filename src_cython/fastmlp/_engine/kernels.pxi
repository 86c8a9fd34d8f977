# What calls of kernels need: the table of functions of a CPU level, native memory, a crew of threads, and
# passes, which run epochs.
#
# One epoch is run by all threads of a team; many epochs, of as many networks, by one thread each. An
# exception of a signal handler or custom function is stored in a Signals object and raised when the native
# call has returned.
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport int32_t, int64_t, uint64_t, uintptr_t
from libc.string cimport memcpy

from fastmlp._engine.jobs cimport *
from layout cimport place_copy
from network cimport *
from rounding cimport ceil_div, round_up

import functools
import importlib
import os
import threading
import time
from math import gcd

import numpy as np

from fastmlp._engine import cpu
from fastmlp._engine.cpu_levels import DTYPES, kernel_module, level as level_in_use
from fastmlp._network.sparse import SparseRows

# Numbers of jobs.pxd that Python code has, too.
LIMITS = {"CALL_ROWS": CALL_ROWS, "MAX_THREADS": MAX_THREADS, "ALIGNMENT": ALIGNMENT}

cdef int64_t SHUFFLE_MOST = 0xffffffff  # rows; a draw has 32 bits

cdef enum:
    MOST_ENTRIES = 2147483647  # 32-bit numbers count the entries of a block
    PANEL_WORDS = 4  # marks of the columns that pad the last panel
    IDENTITY = 0  # row of ACTIVATIONS
    LONG_PIECES = 16  # a network with fewer full pieces per thread has pieces of half the length


# ---------------------------------------------------------------- the kernels of a level


cdef const fm_kernels* load(str level, str dtype) except NULL:
    """Return the kernel table of a level, which the CPU must support."""
    found = capsule(level, dtype)
    cdef const fm_kernels* kernels = <const fm_kernels*>PyCapsule_GetPointer(found, FM_CAPSULE)
    if kernels.abi != ABI:
        raise ImportError(f"{kernel_module(level, dtype)} has ABI {kernels.abi} but fastmlp expects {ABI}: "
                          "it is left over from another build, install fastmlp again")
    return kernels


@functools.cache
def capsule(str level, str dtype):
    """Import a kernel module and return its table; cached, because looking imports up is slow."""
    return importlib.import_module(kernel_module(level, dtype)).table


@functools.cache
def tables(str level, str dtype="float32"):
    """Return the names of the native (activations, losses, optimizers), in row order."""
    cdef const fm_kernels* k = load(level, dtype)
    cdef const char* name
    found = [], [], []
    for table, names in enumerate(found):
        while (name := k.row_name(table, len(names))) != NULL:
            names.append(name.decode())
    return tuple(map(tuple, found))


def compiler(str level, str dtype="float32"):
    """Return the compiler of a kernel module, and the level that it was built for."""
    cdef const fm_kernels* k = load(level, dtype)
    return k.compiler.decode(), k.level.decode()


def has_bfloat16(str level):
    """Return whether the compiler knew the instructions for products in bfloat16."""
    return bool(load(level, "float32").has_bfloat16)


def peak(str dtype, str level):
    """Return the multiply-add rate of one core in GFLOP/s, the best of several short loops."""
    cdef const fm_kernels* k = load(level, dtype)
    cdef double operations
    best = 0.0
    for _ in range(20):
        began = time.perf_counter()
        with nogil:
            operations = k.peak(200000)
        best = max(best, operations / (time.perf_counter() - began))
    return best / 1e9


cdef const fm_kernels* searching[2]  # the kernels of each of DTYPES, or NULL before the first search


def all_finite(cnp.ndarray x not None):
    """Return whether an array is finite; of an array that kernels cannot read as it lies, False."""
    cdef int k = cnp.PyArray_TYPE(x) - cnp.NPY_FLOAT
    if (k < 0 or k > 1 or not cnp.PyArray_ISBEHAVED_RO(x)
            or not (cnp.PyArray_IS_C_CONTIGUOUS(x) or cnp.PyArray_IS_F_CONTIGUOUS(x))):
        return False
    if searching[k] == NULL:
        searching[k] = load(level_in_use(), DTYPES[k])
    return bool(searching[k].finite(cnp.PyArray_DATA(x), cnp.PyArray_SIZE(x)))


def check_shuffle(int64_t n):
    """Raise ValueError if there are more rows than can be shuffled."""
    if n > SHUFFLE_MOST:
        raise ValueError(f"{n} rows cannot be shuffled but at most {SHUFFLE_MOST}: "
                         "pass shuffle=False, or fewer rows at a time to partial_fit")


def shuffle(cnp.ndarray[int64_t, ndim=1, mode="c"] order, uint64_t seed, str level):
    """Permute an index array in place; the seed alone determines the result."""
    cdef const fm_kernels* k = load(level, "float32")
    cdef int64_t* data = <int64_t*>cnp.PyArray_DATA(order)
    cdef int64_t n = order.shape[0]
    check_shuffle(n)
    with nogil:
        k.shuffle(data, n, seed)


# ---------------------------------------------------------------- memory


def allocate(int64_t n_bytes):
    """Return a zeroed array of at least `n_bytes` bytes; start and size are multiples of 64.

    All native memory comes from here: a lack of it is NumPy's MemoryError, and a test can put an
    inaccessible page behind every block.
    """
    cdef cnp.npy_intp size = round_up(n_bytes, ALIGNMENT), room = size + ALIGNMENT
    raw = cnp.PyArray_ZEROS(1, &room, cnp.NPY_UINT8, False)
    cdef cnp.npy_intp start = ALIGNMENT - <uintptr_t>cnp.PyArray_DATA(raw) % ALIGNMENT
    return raw[start:start + size]


cdef class Memory:
    """Zeroed arrays that live as long as this object; `itemsize` bytes per element by default."""

    def __init__(self, int64_t itemsize):
        self.arrays = []
        self.itemsize = itemsize

    cdef void* take(self, int64_t count, int64_t itemsize=0) except NULL:
        array = allocate(max(count, 1) * (itemsize or self.itemsize))
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


cdef class Buffers:
    """Memory of one batch, see fm_buffers."""

    cdef int take_output_weights(self, const fm_kernels* k, const fm_data* data) except -1:
        """Take the memory for the weights of outputs, if the data have them."""
        if data.output_weights != NULL and self.c.output_weights == NULL:
            self.c.output_weights = self.memory.take(self.c.panel_step // k.nr * self.c.target_stride)

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
                place_copy(weights, TRANSPOSED, round_up(weights.n_rows, k.nr),
                           weights.copies[TRANSPOSED].rows, copy_sizes)
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
        fm_autotune_start(c.autotune)
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


# ---------------------------------------------------------------- threads


cdef class Crew:
    """A caller and its helpers: threads that have called serve()."""

    def __cinit__(self):
        self.memory = Memory(1)
        self.c = <fm_crew*>self.memory.take(sizeof(fm_crew))
        fm_crew_start(self.c)

    def serve(self):
        """Do jobs until dismissed, without the interpreter lock."""
        with nogil:
            fm_crew_serve(self.c)

    def muster(self, int wanted):
        """Wait for the helpers that were started; return how many came. Later ones return at once."""
        cdef int came
        with nogil:
            came = fm_crew_muster(self.c, wanted)
        return came

    def dismiss(self):
        """Let the helpers return, also those that have not come yet."""
        fm_crew_muster(self.c, 0)
        fm_crew_open(self.c, NULL, NULL)


# ---------------------------------------------------------------- passes


cdef unsigned long main_thread = threading.main_thread().ident  # which handles signals


def _start_anew():
    """Take the thread that has forked for the main thread of the child."""
    global main_thread
    main_thread = PyThread_get_thread_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


cdef class Signals:
    """The first exception during a native call."""

    cdef void watch(self, Watch* c) noexcept:
        """Let a native call of this thread handle signals, in the main thread, and stop at an exception.

        Python handles signals in the main thread alone. When the process ends, Python would end any other
        thread that takes the interpreter lock, while helpers still use that thread's stack.
        """
        c.poll = <fm_poll>poll if PyThread_get_thread_ident() == main_thread else NULL
        c.context = <void*>self
        fm_stop_clear(&c.stop)


cdef int call_team(fm_job job, void* context, team, Signals signals) except -1:
    """Run job(context, index) with index 0 here, the others on the helpers of a team that come in time."""
    cdef Crew crew
    if team is None:
        with nogil:
            job(context, 0)
    else:
        crew = team.crew
        with nogil:
            fm_crew_call(crew.c, job, context)
    if signals.error is not None:
        raise signals.error


cdef int poll(void* context) noexcept nogil:
    """Let Python handle signals; runs on the thread that made the native call."""
    with gil:
        try:
            PyErr_CheckSignals()
        except BaseException as error:
            (<Signals>context).error = error
            return 1
    return 0


cdef int add_up(void* context, int failed) noexcept nogil:
    """Sum the gradients of all processes; an error in one of them stops the epoch in all."""
    with gil:
        signals = <Signals>context
        try:
            signals.add_up(signals.summed, failed)
        except BaseException as error:
            if signals.error is None:
                signals.error = error
            return 1
    return 0


cdef class Pass:
    """One epoch of one network: its task, context and report."""

    cdef void hand(self, const fm_kernels* k, ThreadContext context, fresh, int64_t n_parameters, references):
        """Set the task's buffers and threads; if the epoch succeeds, `fresh` receives the parameters."""
        cdef fm_task* task = &self.task
        self.context, self.fresh, self.references = context, fresh, references
        task.net = &self.net
        task.buffers = &context.buffers.c
        task.stores = (task.optimizer < 0 or task.clip_norm > 0 or task.l1 > 0
                       or task.batch > task.buffers.rows)
        context.c.add_up = NULL
        context.c.alone_from = -1
        context.c.first_batch, context.c.end_batch = 0, ceil_div(task.data.n, task.batch)
        self.report.status = RUNNING
        fm_barrier_start(context.c.barrier, context.c.n_threads)
        self.job = EpochJob(k, task, &context.c, &self.report, NULL, n_parameters, NULL, 0)
        if fresh is not None:
            self.job.fresh = cnp.PyArray_DATA(fresh)


cdef double run(Pass epoch, team) except? -1:
    """Run an epoch with every thread of the team; return the mean objective."""
    cdef Signals signals = Signals()
    cdef EpochJob* job = &epoch.job
    cdef fm_thread_context* context = job.context
    cdef Crew crew
    cdef Watch watch
    signals.watch(&watch)
    context.poll, context.poll_context, context.stop = watch.poll, watch.context, &watch.stop
    if epoch.add_up is not None:
        signals.add_up, signals.summed = epoch.add_up, epoch.summed
        context.add_up = add_up
    if context.n_threads == 1:
        with nogil:
            run_epoch(job, 0)
            settle(job)
    else:
        crew = team.crew
        context.crew, context.job, context.job_context = crew.c, run_epoch, job
        with nogil:
            run_epoch(job, 0)
            fm_crew_close(crew.c)
            settle(job)
    if epoch.report.status == INTERRUPTED:
        raise signals.error
    return objective_of(&epoch.report)


cdef int run_many(list passes, team, int n_threads) except -1:
    """Run the epochs of each pass, on one thread of the team at a time.

    A run is cut, between batches, into as few parts as divide the work evenly among the threads.
    """
    cdef Signals signals = Signals()
    cdef cnp.ndarray runs = np.empty(len(passes), np.uintp)  # addresses
    cdef ManyJob job
    cdef Pass member
    job.n = len(passes)
    job.parts = n_threads // gcd(job.n, n_threads)
    job.runs = <Run**>cnp.PyArray_DATA(runs)
    signals.watch(&job.watch)
    fm_counter_reset(&job.taken)
    for i, member in enumerate(passes):
        job.runs[i] = &member.run
        member.run.done = member.context.done
        fm_counter_reset(member.run.done)
        member.job.context.poll_context, member.job.context.stop = <void*>signals, &job.watch.stop
    return call_team(run_many_epochs, &job, team, signals)


# ---------------------------------------------------------------- custom functions: C functions are called as
# they are, Python functions with the interpreter lock. docs/functions.md describes the types.

ctypedef void (*c_activation)(const void* context, int64_t n, const void* z, void* value,
                              void* slope) noexcept nogil
ctypedef void (*c_loss)(const void* context, int64_t n, int64_t columns, int64_t width, const void* z,
                        const void* targets, const int32_t* labels, void* value,
                        void* gradient) noexcept nogil


cdef int call_c_activation(const fm_function* f, const fm_block* b, void* signals) noexcept nogil:
    (<c_activation>f.address)(f.context, b.rows * b.columns, b.z, b.value, b.gradient)
    return 0


cdef void call_c_row(const fm_function* f, int64_t n, const void* z, void* value,
                     fm_fpenv fpenv) noexcept nogil:
    cdef fm_fpenv native = fm_get_fpenv()
    fm_restore_fpenv(fpenv)
    (<c_activation>f.address)(f.context, n, z, value, NULL)
    fm_restore_fpenv(native)


cdef int call_c_loss(const fm_function* f, const fm_block* b, void* signals) noexcept nogil:
    (<c_loss>f.address)(f.context, b.rows, b.columns, b.width, b.z, b.targets, b.labels, b.value, b.gradient)
    return 0


cdef object view(const void* start, int64_t rows, int64_t columns, int typenum):
    """Return native memory as an array, valid during the call; with 0 columns it has one dimension."""
    cdef cnp.npy_intp[2] shape = [rows, columns]
    return cnp.PyArray_SimpleNewFromData(2 if columns else 1, shape, typenum, <void*>start)


cdef int call_python(const fm_function* f, const fm_block* b, void* signals) noexcept with gil:
    """Call a Python activation (if the targets' width is 0) or loss, and copy its results."""
    function = <object>f.address
    try:
        z = view(b.z, b.rows, b.columns, f.typenum)
        if b.width == 0:
            value, gradient = function.value_and_slope(z)
        elif b.labels != NULL:
            value, gradient = function.value_and_gradient(z, view(b.labels, b.rows, 0, cnp.NPY_INT32))
        else:
            value, gradient = function.value_and_gradient(z, view(b.targets, b.rows, b.width, f.typenum))
        np.copyto(view(b.value, b.rows, 0 if b.width else b.columns, f.typenum), value)
        if b.gradient != NULL:
            np.copyto(view(b.gradient, b.rows, b.columns, f.typenum), gradient)
        return 0
    except BaseException as error:
        (<Signals>signals).error = error
        return 1


cdef bint describe_function(fm_function* c, function, dtype) except? True:
    """Describe a custom function, which must outlive `c`; true if it needs the interpreter lock."""
    cdef uintptr_t address, context
    c.typenum = dtype.num
    if not function.is_c:
        c.address, c.context, c.call = <const void*>function, NULL, call_python
        return True
    address, context = function.function.address(dtype), function.function.context_address
    c.address, c.context = <const void*>address, <const void*>context
    c.call = call_c_loss if hasattr(function, "value_and_gradient") else call_c_activation
    c.row = call_c_row
    return False
