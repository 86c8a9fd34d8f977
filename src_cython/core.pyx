# The native engine, seen from Python: owns the arenas, fills the structs of c/network.h, and hands whole
# epochs and whole batches of rows to the kernel table of one CPU level. Nothing numerical is here,
# and nothing the user wrote is checked here (fastmlp.check has done that).
#
# Memory of an engine: one arena of parameters (weight panels and bias panels of all layers), one of
# transposed weights, one per optimizer slot, and the workspace of one batch. Arenas are zero outside
# the true sizes and stay so.
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport isfinite
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.string cimport memcpy

from fastmlp.crew cimport Crew
from fastmlp.workspace cimport QUICK_WEIGHTS, Memory, Space, Training, load
from jobs cimport *
from network cimport *
from rounding cimport ceil_div, round_up
from rows cimport predict_rows

import numpy as np

from fastmlp import arena
from fastmlp.spec import Data
from fastmlp.workspace import tables

cnp.import_array()

cdef enum:
    POLL_FLOPS = 20000000  # signals are looked at after about this much work: 10 ms at 2 GFLOP/s


cdef double sequential_sum(cnp.ndarray values) except? -1:
    """In order, in double: the same bits whatever NumPy's summation does."""
    cdef fm_control control = fm_own_control()
    try:
        return np.add.accumulate(values, dtype=float).item(len(values) - 1)
    finally:
        fm_restore_control(control)


cdef class Signals:
    """Keeps what a signal handler raised until the native call is over."""
    cdef object interrupt


cdef int poll(void* context) noexcept nogil:
    """Give Python a chance to raise KeyboardInterrupt; runs on the thread that called epoch."""
    with gil:
        try:
            PyErr_CheckSignals()
        except BaseException as interrupt:
            (<Signals>context).interrupt = interrupt
            return 1
    return 0


cdef class Engine:
    """A network on the kernels of one CPU level; the contract is in docs/architecture.md.

    Parameters
    ----------
    spec : fastmlp.spec.Spec
        The network.
    level : str
        A level of ``fastmlp._backend.available_levels()``.
    transpose_all : bool
        Keep the transposed weights of the first layer too: for derivatives with respect to inputs.
    """

    def __init__(self, spec, str level, bint transpose_all=False):
        cdef const fm_kernels* k = load(level, spec.dtype.name)
        cdef fm_layer* layer
        cdef int64_t at = 0
        cdef int64_t t_at = 0
        cdef int64_t square = max(k.mr, k.lanes)
        self.spec, self.level, self.kernels = spec, level, k
        self.memory = Memory(k.element_size)
        self.call_spaces = []
        self.optimizer = -1
        activations, losses, _ = tables(level, spec.dtype.name)
        self.losses = {name: row for row, name in enumerate(losses)}
        shapes = spec.shapes
        self.layers = <fm_layer*>self.memory.take(len(shapes), sizeof(fm_layer))
        for l, (n_in, n_out) in enumerate(shapes):
            layer = &self.layers[l]
            layer.n_in, layer.n_out = n_in, n_out
            transposed = (l > 0 or transpose_all) and n_out > 1
            layer.rows = round_up(n_in, k.nr if n_out == 1 else square if transposed else k.mr)
            layer.panels = ceil_div(n_out, k.nr)
            layer.weight = at
            at += layer.panels * layer.rows * (k.nr if n_out > 1 else 1)
            layer.bias = at
            at += layer.panels * k.nr
            layer.t_rows = round_up(n_out, k.lanes) if n_out > 1 else 1
            layer.transposed = t_at if transposed else -1
            if transposed:
                t_at += round_up(n_in, k.nr) * layer.t_rows
            self.weight_count += n_in * n_out
            if l < len(shapes) - 1:
                layer.activation = activations.index(spec.activations[l])
                drop = spec.dropout[l]
                if drop > 0:
                    layer.drop_threshold = <uint32_t>(drop * 4294967296.0)
                    layer.drop_keep = 1 / (1 - drop)
        self.n_parameters = at
        self.net.n_layers = len(shapes)
        self.net.loss = self.losses[spec.loss.native_row(False)]
        self.net.targets_width = spec.n_outputs
        self.net.loss_parameter = spec.loss.parameter
        self.net.layers = self.layers
        self.parameters_arena = arena.allocate(at * k.element_size)
        self.net.parameters = cnp.PyArray_DATA(self.parameters_arena)
        self.net.transposed = self.memory.take(t_at)
        self.typenum = spec.dtype.num
        self.row_bytes = k.row_scratch_size(&self.net) * k.element_size

    # ------------------------------------------------------------ parameters

    def parameters(self):
        """Copies of (weights, biases)."""
        return self.unpack(self.net.parameters)

    cdef tuple unpack(self, const void* arena_start):
        weights, biases = [], []
        for l, (n_in, n_out) in enumerate(self.spec.shapes):
            w, b = np.empty((n_in, n_out), self.spec.dtype), np.empty(n_out, self.spec.dtype)
            self.kernels.unpack(&self.layers[l], arena_start, cnp.PyArray_DATA(w), cnp.PyArray_DATA(b))
            weights.append(w)
            biases.append(b)
        return weights, biases

    def set_parameters(self, weights, biases):
        """Copy plain (I, O) weights and (O,) biases in."""
        plain = [[np.ascontiguousarray(a, self.spec.dtype) for a in arrays] for arrays in (weights, biases)]
        for l, (n_in, n_out) in enumerate(self.spec.shapes):
            if plain[0][l].shape != (n_in, n_out) or plain[1][l].shape != (n_out,):
                raise ValueError(f"layer {l} has weights {plain[0][l].shape} and biases "
                                 f"{plain[1][l].shape} but expects {(n_in, n_out)} and {(n_out,)}")
        for l in range(self.net.n_layers):
            self.kernels.pack(&self.layers[l], cnp.PyArray_DATA(plain[0][l]),
                              cnp.PyArray_DATA(plain[1][l]), self.net.parameters)
        self.kernels.transpose(&self.net)

    def snapshot(self):
        """A copy of the parameters, for restore."""
        return self.parameters_arena.copy()

    def restore(self, snapshot):
        """Put a snapshot back."""
        self.parameters_arena[:] = snapshot
        self.kernels.transpose(&self.net)

    def finite(self):
        """Whether every parameter is finite."""
        return bool(self.kernels.finite(self.net.parameters, self.n_parameters))

    # ------------------------------------------------------------ training

    def start(self, optimizer):
        """Zero the state of an optimizer; the one of the epochs to come."""
        self.slot_memory = Memory(self.kernels.element_size)
        for i in range(2):  # a slot the optimizer lacks is never touched
            self.slots[i] = self.net.parameters
            if i < optimizer.n_slots:
                self.slots[i] = self.slot_memory.take(self.n_parameters)
        self.powers[0] = self.powers[1] = 1
        self.optimizer = tables(self.level, self.spec.dtype.name)[2].index(optimizer.native_row)
        for i in range(4):
            self.hyper[i] = optimizer.hyper[i]

    cdef void describe(self, fm_data* c, data) except *:
        """Point a struct at the user's arrays; data must outlive it."""
        cdef cnp.ndarray x = data.x
        c.x = <const char*>cnp.PyArray_DATA(x)
        c.n = x.shape[0]
        c.x_row_stride = x.strides[0]
        c.x_column_stride = x.strides[1]
        c.targets = NULL
        c.labels = NULL
        c.weights = NULL
        if data.targets is not None:
            if data.targets.ndim == 1:
                c.labels = <const int32_t*>cnp.PyArray_DATA(data.targets)
            else:
                c.targets = cnp.PyArray_DATA(data.targets)
        if data.weights is not None:
            c.weights = cnp.PyArray_DATA(data.weights)

    cdef fm_network network_for(self, fm_data* data):
        """The network with the row of its loss that fits the targets."""
        cdef fm_network net = self.net
        net.loss = self.losses[self.spec.loss.native_row(data.labels != NULL)]
        return net

    def epoch(self, data, plan):
        """Train on every batch once; the mean objective, or the first non-finite one."""
        cdef fm_epoch e
        cdef fm_network net
        cdef int n_threads = plan.team.size if plan.team is not None else 1
        cdef cnp.ndarray rates = plan.learning_rates
        cdef Memory memory
        if self.optimizer < 0:
            raise RuntimeError("no optimizer was started")
        self.describe(&e.data, data)
        net = self.network_for(&e.data)
        e.net = &net
        e.order = NULL if plan.order is None else <int64_t*>cnp.PyArray_DATA(plan.order)
        e.batch = min(<int64_t>plan.batch_size, e.data.n)
        if self.training is None or self.training.key != (e.batch, n_threads):
            self.training = None  # the old workspace goes before the new one comes
            self.training = Training.make(self.kernels, &self.net, e.batch, n_threads)
        e.optimizer = self.optimizer
        e.hyper = self.hyper
        e.rates = <double*>cnp.PyArray_DATA(rates)
        e.l2, e.l2_per_batch, e.clip_norm = plan.l2, plan.l2_per_batch, plan.clip_norm
        e.seed, e.step = plan.seed, plan.step
        e.gradients = NULL
        if e.clip_norm > 0:
            memory = Memory(self.kernels.element_size)
            e.gradients = memory.take(self.n_parameters)
        e.slots[0], e.slots[1] = self.slots[0], self.slots[1]
        e.powers[0], e.powers[1] = self.powers[0], self.powers[1]
        result = self.run(&e, self.training, plan.team, n_threads)
        self.powers[0], self.powers[1] = e.powers[0], e.powers[1]
        return result if self.finite() else np.nan

    cdef double run(self, fm_epoch* e, Training training, team, int n_threads) except? -1:
        """Enter the native epoch with every thread of the team; touches nothing of the engine."""
        cdef Signals signals = Signals()
        cdef EpochJob job = EpochJob(self.kernels, e)
        cdef Crew crew
        e.space = &training.space.c
        e.column_squares = training.column_squares
        e.units = training.units
        e.unit_first = training.unit_first
        e.counters = training.counters
        e.n_threads = n_threads
        e.pace = &training.pace
        e.alone_from = -1
        e.poll_every = 1 + POLL_FLOPS // (6 * self.weight_count * e.batch + 1)
        e.poll = poll
        e.poll_context = <void*>signals
        e.barrier = training.barrier
        e.status = FM_RUNNING
        e.loss_sum = e.weight_sum = 0
        fm_barrier_start(e.barrier, n_threads)
        if n_threads == 1:
            with nogil:
                self.kernels.epoch(e, 0)
        else:
            crew = team.crew
            e.crew, e.job, e.job_context = crew.c, run_epoch, &job
            with nogil:
                self.kernels.epoch(e, 0)
                fm_crew_close(crew.c)
        if e.status == FM_INTERRUPTED:
            raise signals.interrupt
        if e.status == FM_DIVERGED:
            return e.loss_sum if not isfinite(e.loss_sum) else np.nan
        return fm_quotient(e.loss_sum, e.weight_sum) if e.weight_sum > 0 else 0.0

    def gradients(self, data, double l2=0.0):
        """(objective, weight gradients, bias gradients) of all rows as one batch."""
        cdef fm_epoch e
        cdef fm_network net
        cdef Memory memory = Memory(self.kernels.element_size)
        cdef Training training
        cdef double objective
        self.describe(&e.data, data)
        net = self.network_for(&e.data)
        # No dropout in a gradient that is looked at: same layers, without it.
        cdef fm_layer* layers = <fm_layer*>memory.take(net.n_layers, sizeof(fm_layer))
        memcpy(layers, self.layers, net.n_layers * sizeof(fm_layer))
        for l in range(net.n_layers):
            layers[l].drop_keep = 0
        net.layers = layers
        e.net = &net
        e.order = NULL
        e.batch = e.data.n
        e.optimizer = -1
        e.rates = NULL
        e.l2, e.l2_per_batch, e.clip_norm = l2, 0, 0
        e.seed = e.step = 0
        e.gradients = memory.take(self.n_parameters)
        e.slots[0] = e.slots[1] = NULL
        training = Training.make(self.kernels, &self.net, e.batch, 1)
        objective = self.run(&e, training, None, 1)
        return objective, *self.unpack(e.gradients)

    # ------------------------------------------------------------ without training

    cdef Space borrow_space(self):
        try:
            return self.call_spaces.pop()
        except IndexError:
            return Space.make(self.kernels, &self.net, CALL_ROWS, 1, False)

    def predict(self, x, team=None):
        """Predictions (n, C) after the link."""
        out = np.empty((x.shape[0], self.layers[self.net.n_layers - 1].n_out), self.spec.dtype)
        self.predict_into(x, out, team)
        return out

    def predict_into(self, x, cnp.ndarray out, team=None):
        """The same into a C-contiguous array."""
        cdef fm_data data
        cdef RowsJob job
        self.describe(&data, Data(x, None))
        job.net, job.data = &self.net, &data
        job.predictions, job.block_losses = <char*>cnp.PyArray_DATA(out), NULL
        self.share_rows(&job, team)

    def predict_row(self, x):
        """The prediction (1, C) if x is one plain finite row (1, I), else None: the way of single
        predictions around the checks, which look at everything else."""
        cdef const char* row
        cdef char* result
        cdef int status
        cdef cnp.npy_intp dims[2]
        cdef const fm_kernels* k = self.kernels
        cdef cnp.ndarray a
        if not cnp.PyArray_CheckExact(x):
            return None
        a = <cnp.ndarray>x
        if (cnp.PyArray_TYPE(a) != self.typenum or cnp.PyArray_NDIM(a) != 2 or a.shape[0] != 1
                or a.shape[1] != self.layers[0].n_in or not cnp.PyArray_ISCARRAY_RO(a)
                or not k.finite_row(cnp.PyArray_DATA(a), a.shape[1])):
            return None
        dims[0] = 1
        dims[1] = self.layers[self.net.n_layers - 1].n_out
        out = cnp.PyArray_SimpleNew(2, dims, self.typenum)
        row, result = <const char*>cnp.PyArray_DATA(a), <char*>cnp.PyArray_DATA(out)
        if self.weight_count < QUICK_WEIGHTS:
            status = predict_rows(k, &self.net, self.row_bytes, row, 1, result)
        else:
            with nogil:
                status = predict_rows(k, &self.net, self.row_bytes, row, 1, result)
        return out if status == 0 else None

    def evaluate(self, data, team=None):
        """Weighted mean loss, without penalty."""
        cdef fm_data c
        self.describe(&c, data)
        cdef fm_network net = self.network_for(&c)
        cdef RowsJob job
        cdef cnp.ndarray sums = np.zeros(max(1, ceil_div(c.n, CALL_ROWS)))
        job.net, job.data = &net, &c
        job.block_losses = <double*>cnp.PyArray_DATA(sums)
        self.share_rows(&job, team)
        total = c.n if data.weights is None else sequential_sum(data.weights)
        return fm_quotient(sequential_sum(sums), total) if total > 0 else 0.0

    cdef void share_rows(self, RowsJob* job, team) except *:
        """Divide the rows among the team, each thread with a workspace of its own."""
        cdef Crew crew
        cdef Space space
        cdef fm_counter counter
        cdef const fm_space* spaces[MAX_THREADS]
        fm_counter_reset(&counter)
        job.kernels = self.kernels
        job.n_threads = team.size if team is not None else 1
        job.blocks = max(1, min(MOST_BLOCKS, job.data.n // (CALL_ROWS * 8 * job.n_threads)))
        job.counter = &counter
        job.spaces = spaces
        borrowed = []
        for i in range(job.n_threads):
            space = self.borrow_space()
            borrowed.append(space)
            spaces[i] = &space.c
        if job.n_threads == 1:
            with nogil:
                run_rows(job, 0)
        else:
            crew = team.crew
            with nogil:
                crew.call(run_rows, job)
        self.call_spaces.extend(borrowed)
