# Who trains, and where: the buffers of a batch, and the panels of all tensors divided among threads.
from libc.stdint cimport int64_t

from fastmlp._engine.buffers cimport Buffers
from fastmlp._engine.memory cimport Memory
from network cimport *
from rounding cimport ceil_div, round_up

import numpy as np


cdef enum:
    LONG_PIECES = 16  # for each thread, at least: or the pieces are half as long


cdef class Shift:
    """What fits of one shape share: see fm_shift. Also memory for what they work on."""

    @staticmethod
    cdef Shift make(const fm_kernels* k, const fm_network* net, int64_t rows, int n_threads, tuple drops):
        cdef Shift self = Shift.__new__(Shift)
        cdef Memory memory = Memory(k.element_size)
        cdef fm_shift* c = &self.c
        cdef fm_piece* own
        cdef const fm_tensor* tensor
        cdef int64_t* first
        self.memory, self.drops = memory, drops
        self.buffers = Buffers.make(k, net, rows, n_threads, True, False, drops)
        c.n_threads = n_threads
        c.pace = &self.pace
        # A long piece has fewer ends, where no tile hides the step of the one before; short ones are divided
        # more evenly.
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
                        # a narrow tile costs more than its share: loads are not shared
                        costs.append((k_to - k_from) * (0.5 + width))
        own = <fm_piece*>memory.take(len(pieces), sizeof(fm_piece))
        for i, (l, t, p, k_from, k_to, stride) in enumerate(pieces):
            tensor = &net.operators[l].tensors[t]
            own[i] = fm_piece(tensor, l, p, k_from, k_to,
                              tensor.offset + p * tensor.rows * k.nr + k_from * stride,
                              (k_to - k_from) * stride, 2.0 * k.nr * (k_to - k_from))
        c.barrier = <fm_barrier*>memory.take(1, sizeof(fm_barrier))
        c.counters = <fm_counter*>memory.take(n_threads, sizeof(fm_counter))
        self.done = <fm_counter*>memory.take(1, sizeof(fm_counter))
        first = <int64_t*>memory.take(n_threads + 1, sizeof(int64_t))
        ends = np.cumsum(costs)
        total = sum(costs)
        for t in range(1, n_threads):
            first[t] = np.searchsorted(ends, total * t / n_threads)
        first[n_threads] = len(pieces)
        c.pieces, c.piece_first = own, first
        return self
