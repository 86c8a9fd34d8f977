# Single kernels on plain arrays, for tests; compiled by probing.py and not shipped.
#
# An Affine is layer 1 of the network [1, I, O, 1]. Its input is the output of layer 0, so that all three
# passes of an inner layer can be called alone. NumPy converts panels here, not the library, so that errors
# cannot cancel out.
cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t

from fastmlp._engine.native cimport Buffers, Crew, Engine, Inputs, Memory, describe, load
from network cimport *
from rounding cimport ceil_div, round_up

import numpy as np

from fastmlp._engine import native
from fastmlp._network import spec
from fastmlp._network.data import Data

cnp.import_array()


cdef struct Meeting:
    fm_barrier* barrier
    int64_t* came


cdef void come(void* context, int32_t index) noexcept nogil:
    cdef Meeting* meeting = <Meeting*>context
    meeting.came[index] += 1
    fm_barrier_wait(meeting.barrier)


def meet(team):
    """Let every thread of a team reach a barrier; return how often each index did."""
    cdef Crew crew = team.crew
    cdef cnp.ndarray came = np.zeros(team.size, np.int64)
    cdef fm_barrier barrier
    cdef Meeting meeting = Meeting(&barrier, <int64_t*>cnp.PyArray_DATA(came))
    fm_barrier_start(&barrier, team.size)
    with nogil:
        fm_crew_call(crew.c, come, &meeting)
    return came.tolist()


def is_trial(Engine engine):
    """Return whether the last fit ended during a trial of the mode that was not in use."""
    return engine.context is not None and bool(engine.context.autotune.trial)


def autotune(team, alone, double seconds):
    """Return the steps by the team and alone in `seconds`; a step at time t takes team(t) or alone(t)."""
    cdef fm_autotune p
    cdef double now = 0
    steps = [0, 0]
    fm_autotune_start(&p)
    while now < seconds:
        steps[p.alone] += 1
        now += (alone if p.alone else team)(now)
        fm_autotune_step_at(&p, now)
    return tuple(steps)


def leave_cpu():
    """Move this thread to another CPU; return the numbers of both, -1 where they are unknown."""
    before = fm_this_cpu()
    fm_leave_cpu(before)
    return before, fm_this_cpu()


cdef object view(void* data, int64_t count, dtype):
    """Return native memory as an array; the caller keeps the memory alive."""
    cdef cnp.npy_intp shape = count
    return cnp.PyArray_SimpleNewFromData(1, &shape, np.dtype(dtype).num, data)


cdef class Panels:
    """Panels (ceil(columns / nr), rows, nr) in native memory."""
    cdef object array
    cdef int64_t columns

    @staticmethod
    cdef Panels at(void* data, int64_t columns, Engine engine, Buffers buffers):
        cdef Panels self = Panels.__new__(Panels)
        cdef int64_t nr = engine.kernels.nr, panels = ceil_div(columns, nr)
        self.columns = columns
        self.array = view(data, panels * buffers.c.panel_step, engine.spec.dtype).reshape(panels, -1, nr)
        return self

    def write(self, plain):
        """Copy (rows, columns) in, padded with zeros."""
        panels, rows, nr = self.array.shape
        padded = np.zeros((rows, panels * nr), plain.dtype)
        padded[:len(plain), :self.columns] = plain
        self.array[...] = padded.reshape(rows, panels, nr).swapaxes(0, 1)

    def read(self, int64_t rows):
        """Return the first rows as (rows, columns)."""
        return self.array.swapaxes(0, 1).reshape(self.array.shape[1], -1)[:rows, :self.columns].copy()


cdef class Affine:
    """One dense layer with `batch` rows on the kernels of a level.

    load() fills its arrays; forward(), backward_input() and backward_weights() run only the kernel; y, slope,
    dx, dw and db return the results. All memory for results has the value `fill` at first.
    """
    cdef Engine engine
    cdef Buffers buffers
    cdef Memory memory
    cdef void* gradient
    cdef void* bias_gradient
    cdef fm_interrupt_poll interrupt  # never stops
    cdef atomic_int stop
    cdef int64_t padded, batch, n_in, n_out, nr
    cdef object dtype

    def __init__(self, str level, dtype, int64_t batch, int64_t n_in, int64_t n_out,
                 activation="identity", below="identity", double fill=0.0):
        self.dtype = np.dtype(dtype)
        fm_stop_clear(&self.stop)
        fm_poll_start(&self.interrupt, NULL, NULL, &self.stop)
        network = spec.build([1, n_in, n_out, 1], [below, activation], "squared_error", self.dtype)
        self.engine = Engine(network, level)
        self.buffers = Buffers.make(self.engine.kernels, &self.engine.net, batch, 1, True, Inputs(1, -1))
        self.batch, self.n_in, self.n_out = batch, n_in, n_out
        self.nr = self.engine.kernels.nr
        self.padded = round_up(batch, self.engine.kernels.row_multiple)
        self.memory = Memory(self.dtype.itemsize)
        cdef fm_tensor* weights = &self.engine.operators[1].tensors[WEIGHTS]
        cdef int64_t size = weights.panels * weights.rows * self.nr
        self.gradient = self.memory.take(size)
        self.bias_gradient = self.memory.take(weights.panels * self.nr)
        self.panels(self.buffers.c.y[1], n_out).array[...] = fill
        self.panels(self.buffers.c.dz[0], n_in).array[...] = fill
        view(self.gradient, size, self.dtype)[...] = fill

    cdef int64_t stride(self, int64_t p):
        """Return the distance of the rows of weight panel p."""
        cdef int64_t lanes = self.engine.kernels.lanes
        if self.n_out == 1:
            return 1
        return round_up(min(self.nr, self.n_out - p * self.nr), lanes)

    cdef Panels panels(self, void* data, int64_t columns):
        return Panels.at(data, columns, self.engine, self.buffers)

    def load(self, x=None, w=None, b=None, dz=None, slope=None):
        """Set the input (batch, I), weights (I, O), biases (O,), gradient (batch, O), and, if it is stored,
        the derivative of the activation below, (batch, I)."""
        cdef fm_buffers* c = &self.buffers.c
        if x is not None:
            self.panels(c.y[0], self.n_in).write(x)
        if slope is not None and c.slope[0] != NULL:
            self.panels(c.slope[0], self.n_in).write(slope)
        if dz is not None:
            self.panels(c.dz[1], self.n_out).write(dz)
        if w is not None:
            zeros = np.zeros(self.n_out, self.dtype) if b is None else b
            self.engine.set_parameters(
                [np.zeros((1, self.n_in), self.dtype), w, np.zeros((self.n_out, 1), self.dtype)],
                [np.zeros(self.n_in, self.dtype), zeros, np.zeros(1, self.dtype)])
            self.engine.keep_copies()

    def forward(self, bint training=False):
        """Compute y = activation(x @ w + b), in training also the derivative if it is stored."""
        cdef fm_draws draws = fm_draws(0, 0, 0, NULL)
        self.engine.kernels.forward(&self.engine.net, &self.buffers.c, 1, 0, self.padded,
                                    &draws if training else NULL, &self.interrupt)

    def backward_input(self):
        """Compute dx = (dz @ w.T) * derivative of the activation below at x."""
        self.engine.kernels.backward_input(
            &self.engine.net, &self.buffers.c, 1, 0, self.padded, &self.interrupt)

    def backward_weights(self):
        """Compute dw = x.T @ dz and db = sums of dz, piece by piece as in training."""
        cdef const fm_kernels* k = self.engine.kernels
        cdef fm_tensor* weights = &self.engine.operators[1].tensors[WEIGHTS]
        cdef int64_t rows = weights.rows if self.n_out == 1 else round_up(self.n_in, k.mr)
        cdef fm_piece piece
        cdef fm_prefetch nothing
        cdef int64_t p, at
        piece.op = 1
        nothing.row = nothing.end = 0
        for p in range(weights.panels):
            piece.tensor, piece.panel, piece.k_from = weights, p, 0
            while piece.k_from < rows:
                piece.k_to = min(piece.k_from + k.piece_rows, rows)
                at = p * weights.rows * k.nr + piece.k_from * self.stride(p)
                k.piece_gradient(&self.engine.net, &self.buffers.c, &piece, 0, self.batch,
                                 <char*>self.gradient + at * k.element_size, &nothing)
                piece.k_from = piece.k_to
            piece.tensor = &self.engine.operators[1].tensors[BIASES]
            k.piece_gradient(&self.engine.net, &self.buffers.c, &piece, 0, self.batch,
                             <char*>self.bias_gradient + p * k.nr * k.element_size, &nothing)

    @property
    def y(self):
        return self.panels(self.buffers.c.y[1], self.n_out).read(self.batch)

    @property
    def slope(self):
        """The stored derivative (batch, O), or None."""
        if self.buffers.c.slope[1] == NULL:
            return None
        return self.panels(self.buffers.c.slope[1], self.n_out).read(self.batch)

    @property
    def dx(self):
        return self.panels(self.buffers.c.dz[0], self.n_in).read(self.batch)

    @property
    def dw(self):
        weights = self.engine.operators[1].tensors[WEIGHTS]
        size = weights.panels * weights.rows * self.nr
        panels = view(self.gradient, size, self.dtype).reshape(weights.panels, -1)
        widths = [self.stride(p) for p in range(weights.panels)]
        pieces = [panel[:weights.rows * n].reshape(-1, n) for panel, n in zip(panels, widths)]
        return np.concatenate(pieces, axis=1)[:self.n_in, :self.n_out]

    @property
    def db(self):
        panels = self.engine.operators[1].panels
        return view(self.bias_gradient, panels * self.nr, self.dtype)[:self.n_out].copy()


cdef class Kernels:
    """The kernels of one level and dtype as functions of plain arrays."""
    cdef str level
    cdef object dtype

    def __init__(self, level, dtype="float32"):
        self.level, self.dtype = level, np.dtype(dtype)

    def activation(self, name, z):
        """Return value and derivative of an activation at z (n,), each from its own pass."""
        one = np.ones((1, 1), self.dtype)
        column = np.ascontiguousarray(z, self.dtype)[:, np.newaxis]
        forward = Affine(self.level, self.dtype, len(column), 1, 1, name)
        forward.load(x=column, w=one)
        forward.forward(training=True)
        backward = Affine(self.level, self.dtype, len(column), 1, 1, "identity", name)
        backward.load(x=forward.y, dz=np.ones_like(column), w=one, slope=forward.slope)
        backward.backward_input()
        forward.forward()  # the value as in a prediction
        return forward.y[:, 0], backward.dx[:, 0]

    def loss(self, loss, z, targets, output_weights=None):
        """Return loss and gradient of each row at the outputs z before the link."""
        n, columns = z.shape
        network = spec.build([1, columns // loss.heads], "relu", loss, self.dtype)
        cdef Engine engine = Engine(network, self.level)
        cdef Buffers buffers = Buffers.make(engine.kernels, &engine.net, n, 1, True, Inputs(1, -1))
        cdef fm_network net = engine.net
        cdef fm_buffers* c = &buffers.c
        panels = Panels.at(c.y[0], columns, engine, buffers)
        panels.write(z)
        engine.choose_loss(&net, targets.ndim == 1)
        cdef fm_data data
        inputs, ones = np.zeros((n, 1), self.dtype), np.ones(n, self.dtype)
        describe(&data, Data(inputs, targets, ones, output_weights))
        buffers.take_output_weights(engine.kernels, &data)
        engine.kernels.gather(&net, c, &data, NULL, 0, 0, n, 0)
        view(c.loss_share, n, self.dtype)[...] = 1
        engine.kernels.output_loss(&net, c, 0, n, &data, 0, NULL)
        return view(c.row_loss, n, self.dtype).copy(), panels.read(n)

    def gather(self, x, order):
        """Return x[order], by way of the input panels."""
        network = spec.build([x.shape[1], 1], "relu", "squared_error", self.dtype)
        cdef Engine engine = Engine(network, self.level)
        cdef Buffers buffers = Buffers.make(engine.kernels, &engine.net, len(order), 1, True,
                                            Inputs(x.shape[1], -1))
        cdef cnp.ndarray indices = np.ascontiguousarray(order, np.int64)
        cdef fm_data data
        describe(&data, Data(x, None))
        engine.kernels.gather(&engine.net, &buffers.c, &data, <int64_t*>cnp.PyArray_DATA(indices), 0, 0,
                              len(order), 0)
        return Panels.at(buffers.c.x, x.shape[1], engine, buffers).read(len(order))

    def step(self, optimizer, w, g, slots, double learning_rate, powers, double l2=0.0, double scale=1.0):
        """Do one optimizer step in place on w and slots (1-D, any length); return the new powers."""
        cdef const fm_kernels* k = load(self.level, self.dtype.name)
        cdef Memory memory = Memory(self.dtype.itemsize)
        cdef int64_t n = round_up(len(w), k.lanes)
        cdef double[4] hyper = optimizer.hyper
        cdef double[2] new_powers = powers
        cdef void* buffers[4]
        cdef int i
        arrays = [w, g, *slots]
        for i in range(4):
            buffers[i] = memory.take(n)
            if i < len(arrays):
                view(buffers[i], len(w), self.dtype)[...] = arrays[i]
        row = native.tables(self.level, self.dtype.name)[2].index(optimizer.native_row)
        k.step(row, hyper, learning_rate, new_powers, l2, scale,
               buffers[0], buffers[1], buffers[2], buffers[3], n)
        for i in range(len(arrays)):
            if i != 1:
                arrays[i][...] = view(buffers[i], len(w), self.dtype)
        return new_powers[0], new_powers[1]
