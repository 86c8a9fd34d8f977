# One kernel at a time, on plain arrays: what tests compare and benchmarks time. Not used in training.
#
# An Affine is layer 1 of the network [1, I, O, 1]: its input is the output of layer 0, so that all
# three passes of an inner layer can be called alone. Panels are made and read by NumPy here, not by
# the library's own packing, so that a mistake in one cannot hide in the other.
cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from fastmlp._engine.native cimport Engine
from fastmlp._engine.crew cimport Crew
from fastmlp._engine.buffers cimport Buffers, Memory
from fastmlp._engine.kernels cimport load
from network cimport *
from rounding cimport ceil_div, round_up

import numpy as np

from fastmlp._network import spec
from fastmlp._network.data import Data
from fastmlp._engine import kernels

cnp.import_array()


cdef struct Meeting:
    fm_barrier* barrier
    int64_t* came


cdef void come(void* context, int32_t index) noexcept nogil:
    cdef Meeting* meeting = <Meeting*>context
    meeting.came[index] += 1
    fm_barrier_wait(meeting.barrier)


def meet(team):
    """Let every thread of a team come to a barrier; returns how often each index came."""
    cdef Crew crew = team.crew
    cdef cnp.ndarray came = np.zeros(team.size, np.int64)
    cdef fm_barrier barrier
    cdef Meeting meeting = Meeting(&barrier, <int64_t*>cnp.PyArray_DATA(came))
    fm_barrier_start(&barrier, team.size)
    with nogil:
        crew.call(come, &meeting)
    return came.tolist()


cdef object view(void* data, int64_t count, dtype):
    """An array over native memory; the caller keeps that alive."""
    cdef cnp.npy_intp shape = count
    return cnp.PyArray_SimpleNewFromData(1, &shape, np.dtype(dtype).num, data)


def is_trial(Engine engine):
    """Whether the last fit ended while it tried the number of threads that was not in use."""
    return engine.shift is not None and bool(engine.shift.pace.trial)


def pace(team, alone, double seconds):
    """Steps by the team and alone in `seconds`, where a step at time t takes team(t) or alone(t) seconds."""
    cdef fm_pace p
    cdef double now = 0
    steps = [0, 0]
    memset(&p, 0, sizeof(p))
    while now < seconds:
        steps[p.alone] += 1
        now += (alone if p.alone else team)(now)
        fm_pace_step_at(&p, now)
    return tuple(steps)


def leave_cpu():
    """Have this thread go to another CPU; the numbers of both, -1 where the system does not tell."""
    before = fm_this_cpu()
    fm_leave_cpu(before)
    return before, fm_this_cpu()


def to_panels(plain, int64_t rows, int64_t nr):
    """Lay (r, c) out as panels (ceil(c / nr), rows, nr), zero padded."""
    padded = np.zeros((rows, ceil_div(plain.shape[1], nr) * nr), plain.dtype)
    padded[:plain.shape[0], :plain.shape[1]] = plain
    return np.ascontiguousarray(padded.reshape(rows, -1, nr).swapaxes(0, 1))


def from_panels(panels, int64_t rows, int64_t columns):
    """Undo to_panels."""
    return panels.swapaxes(0, 1).reshape(panels.shape[1], -1)[:rows, :columns].copy()


cdef class Affine:
    """One dense layer with `batch` rows on the kernels of a level.

    load() fills its arrays; forward(), backward_input() and backward_weights() run the kernel and
    nothing else; y, dx, dw and db read the results.
    """
    cdef Engine engine
    cdef Buffers buffers
    cdef Memory memory
    cdef void* gradient
    cdef void* bias_gradient
    cdef fm_watch watch  # that never says stop
    cdef atomic_int stop
    cdef int64_t padded
    cdef readonly int64_t batch, n_in, n_out, nr
    cdef readonly object dtype

    def __init__(self, str level, dtype, int64_t batch, int64_t n_in, int64_t n_out,
                 activation="identity", below="identity", double fill=0.0):
        self.dtype = np.dtype(dtype)
        fm_stop_clear(&self.stop)
        fm_watch_start(&self.watch, NULL, NULL, &self.stop)
        network = spec.build([1, n_in, n_out, 1], [below, activation], "squared_error", self.dtype)
        self.engine = Engine(network, level)
        self.buffers = Buffers.make(self.engine.kernels, &self.engine.net, batch, 1, True)
        self.batch, self.n_in, self.n_out = batch, n_in, n_out
        self.nr = self.engine.kernels.nr
        self.padded = round_up(batch, self.engine.kernels.row_multiple)
        self.memory = Memory(self.dtype.itemsize)
        cdef fm_tensor* weights = &self.engine.operators[1].tensors[WEIGHTS]
        cdef int64_t size = weights.panels * weights.rows * self.nr
        self.gradient = self.memory.take(size)
        self.bias_gradient = self.memory.take(weights.panels * self.nr)
        for array in (self._panels(self.buffers.c.y[1], n_out), self._panels(self.buffers.c.dz[0], n_in),
                      view(self.gradient, size, self.dtype)):
            array[...] = fill

    cdef int64_t _stride(self, int64_t p):
        """Distance of the rows of a weight panel: the last one is as narrow as its vectors, or its column."""
        cdef int64_t lanes = self.engine.kernels.lanes
        if self.n_out == 1:
            return 1
        return ceil_div(min(self.nr, self.n_out - p * self.nr), lanes) * lanes

    cdef object _panels(self, void* data, int64_t columns):
        panels = ceil_div(columns, self.nr)
        return view(data, panels * self.buffers.c.panel_step, self.dtype).reshape(panels, -1, self.nr)

    def load(self, x=None, w=None, b=None, dz=None, slope=None):
        """Set the input (batch, I), weights (I, O), biases (O,), gradient (batch, O), and, where the
        activation below keeps its derivative in a buffer, that (batch, I)."""
        n = self.buffers.c.panel_step // self.nr
        if x is not None:
            self._panels(self.buffers.c.y[0], self.n_in)[...] = to_panels(x, n, self.nr)
        if slope is not None and self.buffers.c.slope[0] != NULL:
            self._panels(self.buffers.c.slope[0], self.n_in)[...] = to_panels(slope, n, self.nr)
        if dz is not None:
            self._panels(self.buffers.c.dz[1], self.n_out)[...] = to_panels(dz, n, self.nr)
        if w is not None:
            zeros = np.zeros(self.n_out, self.dtype) if b is None else b
            self.engine.set_parameters(
                [np.zeros((1, self.n_in), self.dtype), w, np.zeros((self.n_out, 1), self.dtype)],
                [np.zeros(self.n_in, self.dtype), zeros, np.zeros(1, self.dtype)])
            self.engine.keep_copies()

    def forward(self, bint training=False):
        """y = activation(x @ w + b); with training also the derivative where it is kept."""
        cdef fm_draws draws = fm_draws(0, 0, 0, NULL)
        self.engine.kernels.forward(&self.engine.net, &self.buffers.c, 1, 0, self.padded,
                                    &draws if training else NULL, &self.watch)

    def backward_input(self):
        """dx = (dz @ w.T) * derivative of the activation below at x."""
        self.engine.kernels.backward_input(&self.engine.net, &self.buffers.c, 1, 0, self.padded,
                                           &self.watch)

    def backward_weights(self):
        """dw = x.T @ dz and db = sums of dz, piece by piece as in training."""
        cdef const fm_kernels* k = self.engine.kernels
        cdef fm_tensor* weights = &self.engine.operators[1].tensors[WEIGHTS]
        cdef int64_t rows = weights.rows if self.n_out == 1 else round_up(self.n_in, k.mr)
        cdef fm_piece piece
        cdef fm_ahead nothing
        cdef int64_t p, k_from, at
        piece.op = 1
        nothing.row = nothing.end = 0
        for p in range(weights.panels):
            piece.tensor, piece.panel = weights, p
            k_from = 0
            while k_from < rows:
                piece.k_from = k_from
                piece.k_to = min(k_from + k.piece_rows, rows)
                at = p * weights.rows * k.nr + k_from * self._stride(p)
                k.piece_gradient(&self.engine.net, &self.buffers.c, &piece, 0, self.batch,
                                 <char*>self.gradient + at * k.element_size, &nothing)
                k_from += k.piece_rows
            piece.tensor = &self.engine.operators[1].tensors[BIASES]
            k.piece_gradient(&self.engine.net, &self.buffers.c, &piece, 0, self.batch,
                             <char*>self.bias_gradient + p * k.nr * k.element_size, &nothing)

    @property
    def y(self):
        return from_panels(self._panels(self.buffers.c.y[1], self.n_out), self.batch, self.n_out)

    @property
    def slope(self):
        """The kept derivative (batch, O), or None."""
        if self.buffers.c.slope[1] == NULL:
            return None
        return from_panels(self._panels(self.buffers.c.slope[1], self.n_out), self.batch, self.n_out)

    @property
    def dx(self):
        return from_panels(self._panels(self.buffers.c.dz[0], self.n_in), self.batch, self.n_in)

    @property
    def dw(self):
        weights = self.engine.operators[1].tensors[WEIGHTS]
        flat = view(self.gradient, weights.panels * weights.rows * self.nr, self.dtype)
        pieces = []
        for p in range(weights.panels):
            stride = self._stride(p)
            start = p * weights.rows * self.nr
            pieces.append(flat[start:start + weights.rows * stride].reshape(weights.rows, stride))
        return np.concatenate(pieces, axis=1)[:self.n_in, :self.n_out]

    @property
    def db(self):
        panels = self.engine.operators[1].panels
        return view(self.bias_gradient, panels * self.nr, self.dtype)[:self.n_out].copy()


class Kernels:
    """The kernels of one level and dtype as functions of plain arrays."""

    def __init__(self, level, dtype="float32"):
        self.level, self.dtype = level, np.dtype(dtype)

    def affine_forward(self, x, w, b, activation="identity"):
        """activation(x @ w + b); outputs are poisoned with NaN first."""
        layer = Affine(self.level, self.dtype, len(x), *w.shape, activation, fill=np.nan)
        layer.load(x=x, w=w, b=b)
        layer.forward()
        return layer.y

    def affine_backward_input(self, dz, w, x=None, below="identity", slope=None):
        """(dz @ w.T) times the derivative of the activation below, whose output is x."""
        layer = Affine(self.level, self.dtype, len(dz), *w.shape, "identity", below, fill=np.nan)
        layer.load(dz=dz, w=w, x=x, slope=slope)
        layer.backward_input()
        return layer.dx

    def affine_backward_weights(self, x, dz):
        """(x.T @ dz, column sums of dz)."""
        layer = Affine(self.level, self.dtype, len(x), x.shape[1], dz.shape[1], fill=np.nan)
        layer.load(x=x, dz=dz)
        layer.backward_weights()
        return layer.dw, layer.db

    def activation(self, name, z):
        """(value, derivative) of an activation at z (n,), each from its own pass."""
        one = np.ones((1, 1), self.dtype)
        column = np.ascontiguousarray(z, self.dtype)[:, np.newaxis]
        forward = Affine(self.level, self.dtype, len(column), 1, 1, name)
        forward.load(x=column, w=one)
        forward.forward(training=True)
        backward = Affine(self.level, self.dtype, len(column), 1, 1, "identity", name)
        backward.load(x=forward.y, dz=np.ones_like(column), w=one, slope=forward.slope)
        backward.backward_input()
        forward.forward()  # the inference form of the value
        return forward.y[:, 0], backward.dx[:, 0]

    def loss(self, loss, z, targets):
        """(loss of each row, gradient of each row) at the pre-link outputs z, piece weights."""
        return _loss(self.level, self.dtype, loss, z, targets)

    def gather(self, x, order):
        """x[order] through the input panels."""
        return _gather(self.level, self.dtype, x, order)

    def step(self, optimizer, w, g, slots, learning_rate, powers, l2=0.0, scale=1.0):
        """One optimizer step in place on w and slots (1-D, any length); returns the new powers."""
        return _step(self.level, self.dtype, optimizer, w, g, slots, learning_rate, powers, l2, scale)


cdef tuple _loss(level, dtype, loss, z, targets):
    n, columns = z.shape
    network = spec.build([1, columns // loss.heads], "relu", loss, dtype)
    cdef Engine engine = Engine(network, level)
    cdef Buffers buffers = Buffers.make(engine.kernels, &engine.net, n, 1, True)
    cdef fm_network net = engine.net
    cdef int64_t nr = engine.kernels.nr
    labels = targets.ndim == 1
    net.loss = engine.losses[loss.native_row(labels)]
    panels = view(buffers.c.y[0], ceil_div(columns, nr) * buffers.c.panel_step, dtype)
    panels = panels.reshape(-1, buffers.c.panel_step // nr, nr)
    panels[...] = to_panels(z, buffers.c.panel_step // nr, nr)
    view(buffers.c.loss_share, n, dtype)[...] = 1
    view(buffers.c.weight, n, dtype)[...] = 1
    if labels:
        view(<void*>buffers.c.labels, n, np.int32)[...] = targets
    else:
        rows = view(buffers.c.targets, n * buffers.c.target_stride, dtype).reshape(n, buffers.c.target_stride)
        rows[:, :targets.shape[1]] = targets
    engine.kernels.output_loss(&net, &buffers.c, 0, n, 0, True, NULL)
    return view(buffers.c.row_loss, n, dtype).copy(), from_panels(panels, n, columns)


cdef object _gather(level, dtype, x, order):
    cdef Engine engine = Engine(spec.build([x.shape[1], 1], "relu", "squared_error", dtype), level)
    cdef Buffers buffers = Buffers.make(engine.kernels, &engine.net, len(order), 1, True)
    cdef fm_data data
    cdef cnp.ndarray indices = np.ascontiguousarray(order, np.int64)
    cdef int64_t nr = engine.kernels.nr
    engine.describe(&data, Data(x, None))
    engine.kernels.gather(&engine.net, &buffers.c, &data, <int64_t*>cnp.PyArray_DATA(indices), 0, 0,
                          len(order), 0)
    panels = view(buffers.c.x, ceil_div(x.shape[1], nr) * buffers.c.panel_step, dtype)
    return from_panels(panels.reshape(-1, buffers.c.panel_step // nr, nr), len(order), x.shape[1])


cdef tuple _step(level, dtype, optimizer, w, g, slots, double rate, powers, double l2, double scale):
    cdef const fm_kernels* k = load(level, dtype.name)
    cdef Memory memory = Memory(dtype.itemsize)
    cdef int64_t n = ceil_div(len(w), k.lanes) * k.lanes
    cdef double hyper[4]
    cdef double c_powers[2]
    cdef void* buffers[4]
    cdef int i
    row = kernels.tables(level, dtype.name)[2].index(optimizer.native_row)
    arrays = [w, g, *slots]
    for i in range(4):
        hyper[i] = optimizer.hyper[i]
        buffers[i] = memory.take(n)
        if i < len(arrays):
            view(buffers[i], len(w), dtype)[...] = arrays[i]
    c_powers[0], c_powers[1] = powers
    k.step(row, hyper, rate, c_powers, l2, scale, buffers[0], buffers[1], buffers[2], buffers[3], n)
    for i in range(len(arrays)):
        if i != 1:
            arrays[i][...] = view(buffers[i], len(w), dtype)
    return c_powers[0], c_powers[1]
