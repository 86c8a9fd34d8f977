# Where a network's numbers lie, and who may read them when: layout, published arenas, plain arrays.
#
# An arena of parameters holds weight panels and bias panels of all layers; it is zero outside the true sizes
# and stays so. An arena that `published` has named is never written again. An epoch works on a copy, which
# takes its place when the epoch has ended well: whoever reads meanwhile sees the last whole epoch, and an
# epoch that fails has changed nothing. Snapshots are published arenas.
cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy

from fastmlp.engine.kernels cimport load
from fastmlp.engine.memory cimport Memory
from network cimport *
from rounding cimport ceil_div, round_up

import numpy as np

from fastmlp.engine import arena
from fastmlp.engine.kernels import tables

cnp.import_array()


cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define FM_IS_ONLY_HERE(o) 0 /* other threads may count it without our seeing it */
    #else
    #define FM_IS_ONLY_HERE(o) (Py_REFCNT(o) == 1)
    #endif
    """
    bint FM_IS_ONLY_HERE(object)


cdef class Parameters:
    """Weights and biases of a network on the kernels of one CPU level, all 0 at first.

    Parameters
    ----------
    spec : fastmlp.spec.Spec
        The network.
    level : str
        A level of ``fastmlp.engine.backend.available_levels()``.
    transpose_all : bool
        Room for the transposed weights of the first layer too: for derivatives with respect to inputs.
    """

    def __init__(self, spec, str level, bint transpose_all=False):
        cdef const fm_kernels* k = load(level, spec.dtype.name)
        cdef fm_layer* layer
        cdef int64_t at = 0
        cdef int64_t square = max(k.mr, k.lanes)
        self.spec, self.level, self.kernels = spec, level, k
        self.memory = Memory(k.element_size)
        activations, losses, _ = tables(level, spec.dtype.name)
        self.losses = {name: row for row, name in enumerate(losses)}
        shapes = spec.shapes
        self.dropout = <double*>self.memory.take(len(spec.dropout), sizeof(double))
        self.fan_ins = spec.fan_ins
        self.drops = tuple(p > 0 for p in spec.dropout)
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
            layer.transposed = self.n_transposed if transposed else -1
            if transposed:
                self.n_transposed += round_up(n_in, k.nr) * layer.t_rows
            self.weight_count += n_in * n_out
            if l < len(shapes) - 1:
                layer.activation = activations.index(spec.activations[l])
                self.dropout[l] = spec.dropout[l]
        self.n_parameters = at
        self.net.n_layers = len(shapes)
        self.net.loss = self.losses[spec.loss.native_row(False)]
        self.net.targets_width = spec.n_outputs
        self.net.loss_parameter = spec.loss.parameter
        self.net.layers = self.layers
        self.publish(self.empty_arena())

    cdef object empty_arena(self):
        return arena.allocate(self.n_parameters * self.kernels.element_size)

    cdef object read(self, fm_network* net):
        """Describe the network of now; the returned arena must live as long as that is used."""
        with cython.critical_section(self):
            net[0] = self.net
            return self.published

    cdef object publish(self, parameters):
        """Let readers see these parameters from now on; returns what they saw before."""
        with cython.critical_section(self):
            before, self.published = self.published, parameters
            self.net.parameters = cnp.PyArray_DATA(parameters)
            return before

    cdef object to_work_on(self):
        """A copy of the parameters, in the arena of an earlier epoch if nobody reads that any more."""
        working, self.spare = self.spare, None
        if working is None or not FM_IS_ONLY_HERE(working):
            working = self.empty_arena()
        memcpy(cnp.PyArray_DATA(working), cnp.PyArray_DATA(self.published),
               self.n_parameters * self.kernels.element_size)
        return working

    cdef int keep_transposed(self) except -1:
        """Make the transposed weights of now; for networks that are not trained."""
        self.net.transposed = self.memory.take(self.n_transposed)
        self.kernels.transpose(&self.net)
        return 0

    cdef tuple unpack(self, const void* arena_start):
        weights, biases = [], []
        for l, (n_in, n_out) in enumerate(self.spec.shapes):
            w, b = np.empty((n_in, n_out), self.spec.dtype), np.empty(n_out, self.spec.dtype)
            self.kernels.unpack(&self.layers[l], arena_start, cnp.PyArray_DATA(w), cnp.PyArray_DATA(b))
            weights.append(w)
            biases.append(b)
        return weights, biases

    cdef int pack(self, list weights, list biases, void* arena_start) except -1:
        """Lay contiguous arrays of the right shapes and dtype out in an arena."""
        for l in range(self.net.n_layers):
            self.kernels.pack(&self.layers[l], cnp.PyArray_DATA(weights[l]), cnp.PyArray_DATA(biases[l]),
                              arena_start)
        return 0

    def parameters(self):
        """Copies of (weights, biases)."""
        cdef fm_network net
        keep = self.read(&net)
        copies = self.unpack(net.parameters)
        del keep
        return copies

    def set_parameters(self, weights, biases):
        """Copy plain (I, O) weights and (O,) biases in."""
        plain = [[np.ascontiguousarray(a, self.spec.dtype) for a in arrays] for arrays in (weights, biases)]
        for l, (n_in, n_out) in enumerate(self.spec.shapes):
            if plain[0][l].shape != (n_in, n_out) or plain[1][l].shape != (n_out,):
                raise ValueError(f"layer {l} has weights {plain[0][l].shape} and biases "
                                 f"{plain[1][l].shape} but expects {(n_in, n_out)} and {(n_out,)}")
        fresh = self.empty_arena()
        self.pack(plain[0], plain[1], cnp.PyArray_DATA(fresh))
        self.publish(fresh)

    def snapshot(self):
        """The parameters of now, for restore: nothing is copied, and nothing will change them."""
        return self.published

    def restore(self, snapshot):
        """Put a snapshot, or a copy of one, back."""
        if <uintptr_t>cnp.PyArray_DATA(snapshot) % <uintptr_t>arena.ALIGNMENT:  # of a copy or pickle
            aligned = self.empty_arena()
            aligned[:] = snapshot
            snapshot = aligned
        self.publish(snapshot)

    def finite(self):
        """Whether every parameter is finite."""
        cdef fm_network net
        keep = self.read(&net)
        answer = bool(self.kernels.finite(net.parameters, self.n_parameters))
        del keep
        return answer
