# Where a network's numbers lie, and who may read them when: layout, published arenas, plain arrays.
#
# An arena of parameters holds the panels of all tensors; it is zero outside the true sizes and stays so. An
# arena that `published` has named is never written again. An epoch works on a copy, which takes its place
# when the epoch has ended well: whoever reads meanwhile sees the last whole epoch, and an epoch that fails
# has changed nothing. Snapshots are published arenas.
cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t, uintptr_t

from fastmlp._engine.functions cimport describe_function
from fastmlp._engine.kernels cimport load
from fastmlp._engine.memory cimport Memory
from network cimport *
from rounding cimport ceil_div, round_up

import numpy as np

from fastmlp._engine import arena
from fastmlp._engine.kernels import tables
from fastmlp._network import tensors
from fastmlp._network.operators import OPERATORS, operators as operators_of

cnp.import_array()

# The ways of tensors.TENSORS to find a gradient; that of a matrix with one column is found by COLUMN.
GRADIENTS = {"tiles": TILES, "sums": SUMS, "normal_products": NORMAL_PRODUCTS, "products": PRODUCTS}


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
    """The tensors of a network on the kernels of one CPU level, all 0 at first.

    Parameters
    ----------
    spec : fastmlp._network.spec.Spec
        The network.
    level : str
        A level of ``fastmlp._engine.native_engine.available_levels()``.
    transpose_all : bool
        Room for the transposed weights of the first layer too: for derivatives with respect to inputs.
    """

    def __init__(self, spec, str level, bint transpose_all=False):
        cdef const fm_kernels* k = load(level, spec.dtype.name)
        cdef fm_operator* op
        cdef fm_tensor* tensor
        self.spec, self.level, self.kernels = spec, level, k
        self.tensors = tuple((kind, tuple(shapes)) for kind, shapes in spec.tensors.items())
        self.memory = Memory(k.element_size)
        activations, losses, _ = tables(level, spec.dtype.name)
        self.losses = {name: row for row, name in enumerate(losses)}
        self.drops = tuple(p > 0 for p in spec.dropout)
        self.dropout = <double*>self.memory.take(len(spec.dropout), sizeof(double))
        for l, p in enumerate(spec.dropout):
            self.dropout[l] = p
        operators, kinds = operators_of(spec), list(OPERATORS)
        numbers = {(each.kind, each.layer): i for i, each in enumerate(tensors.each_tensor(spec.tensors))}
        self.flat = <const fm_tensor**>self.memory.take(len(numbers), sizeof(void*))
        self.operators = <fm_operator*>self.memory.take(len(operators), sizeof(fm_operator))
        for l, operator in enumerate(operators):
            op = &self.operators[l]
            op.kind, op.hidden = kinds.index(operator.kind), operator.layer
            op.n_in, op.n_out = operator.n_in, operator.n_out
            op.panels = ceil_div(op.n_out, k.nr)
            is_named = isinstance(operator.activation, str)
            op.activation = activations.index(operator.activation if is_named else "identity")
            if not is_named:
                op.function = self.function_of(operator.activation, &self.takes_lock)
            op.ends = operator.ends
            op.inner = activations.index(operator.inner)
            op.source = l - 1
            if operator.source is not None:
                op.source = operator.source
                (&self.operators[op.source].reader if op.source >= 0 else &self.net.reader)[0] = l
            for t, kind in enumerate(OPERATORS[operator.kind]):
                tensor = &op.tensors[t]
                tensor.gradient = GRADIENTS[tensors.TENSORS[kind].gradient]
                tensor.index = numbers[kind, operator.layer]
                is_matrix = tensor.gradient == TILES
                self.lay_out(tensor, op.n_in if is_matrix else 1, op.n_out,
                             is_matrix and (op.source >= 0 or transpose_all))
                self.flat[tensor.index] = tensor
        self.weight_count = spec.n_weights
        self.net.n_operators = len(operators)
        self.choose_loss(&self.net, False)
        self.net.targets_width = spec.n_outputs
        self.net.loss_parameter = spec.loss.parameter
        if spec.loss.is_custom:
            self.net.loss_function = self.function_of(spec.loss, &self.loss_takes_lock)
        self.net.operators = self.operators
        self.lay_out_row()
        self.publish(self.empty_arena())

    cdef fm_function* function_of(self, function, bint* takes_lock) except NULL:
        """What the kernels call for a function of the user's, which the spec keeps alive."""
        cdef fm_function* c = <fm_function*>self.memory.take(1, sizeof(fm_function))
        if describe_function(c, function, self.spec.dtype):
            takes_lock[0] = True
        return c

    cdef int choose_loss(self, fm_network* net, bint has_labels) except -1:
        """Take the row of the loss that fits the targets."""
        net.has_labels = has_labels
        net.loss = net.link = self.losses[self.spec.loss.native_row(has_labels)]
        return 0

    cdef int drop_link(self, fm_network* net) except -1:
        """Let predictions be the outputs of the last layer as they are."""
        net.link = self.losses["squared_error"]
        return 0

    cdef object helpers(self, team, bint with_loss):
        """The team, if it can help: Python functions are called by one thread, the caller."""
        return None if self.takes_lock or (with_loss and self.loss_takes_lock) else team

    cdef void lay_out(self, fm_tensor* tensor, int64_t n_rows, int64_t n_columns,
                      bint is_transposed) noexcept:
        """Give a tensor its place behind all others, and its copies theirs in the arenas of copies."""
        cdef const fm_kernels* k = self.kernels
        cdef bint is_tiled = tensor.gradient == TILES
        cdef int c
        for c in range(COPIES):
            tensor.copies[c].offset = -1
        is_transposed = is_transposed and n_columns > 1
        tensor.n_rows, tensor.n_columns = n_rows, n_columns
        tensor.panels = ceil_div(n_columns, k.nr)
        tensor.offset = self.n_parameters
        tensor.copies[TRANSPOSED].rows = round_up(n_columns, k.lanes) if n_columns > 1 else 1
        if n_columns == 1:
            tensor.rows = round_up(n_rows, k.nr)
            self.n_parameters += tensor.rows
            if is_tiled:
                tensor.gradient = COLUMN
            return
        square = max(k.mr, k.lanes) if is_transposed else k.mr
        tensor.rows = round_up(n_rows, square) if is_tiled else n_rows
        self.n_parameters += tensor.panels * tensor.rows * k.nr
        if is_transposed:
            tensor.copies[TRANSPOSED].offset = self.copy_sizes[TRANSPOSED]
            self.copy_sizes[TRANSPOSED] += round_up(n_rows, k.nr) * tensor.copies[TRANSPOSED].rows

    cdef int lay_out_row(self) except -1:
        """Give the inputs and outputs of each operator a place in the scratch of one row, that of others
        which nobody reads any more. Each holds any of them, and the link's padding."""
        cdef fm_network* net = &self.net
        cdef fm_operator* op
        cdef int32_t l
        width, readers = self.operators[0].n_in, {}
        net.row_at = -1
        for l in range(net.n_operators):
            op = &self.operators[l]
            width = max(width, op.n_out)
            readers[l - 1] = readers[op.source] = l
            if op.source < 0 and (op.n_out == 1 or op.kind == SCALE):
                net.row_at = 0  # they read whole vectors
        width = round_up(round_up(width, self.kernels.nr) + 64, 64)
        place = {-1: 0} if net.row_at == 0 else {}
        used = len(place)
        for l in range(net.n_operators):
            taken = {at for earlier, at in place.items() if readers[earlier] >= l}
            place[l] = min(set(range(len(taken) + 1)) - taken)
            used = max(used, place[l] + 1)
            self.operators[l].row_at = place[l] * width
        net.function_at = used * width
        if any(self.operators[l].function != NULL for l in range(net.n_operators)):
            used += 1
        net.row_size = used * width
        return 0

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

    cdef object unread_arena(self):
        """An arena to publish next: that of an earlier epoch if nobody reads it any more."""
        arena_of_old, self.spare = self.spare, None
        if arena_of_old is None or not FM_IS_ONLY_HERE(arena_of_old):
            return self.empty_arena()
        return arena_of_old

    cdef int take_copies(self, Memory memory, void** copies) except -1:
        """Take memory for the copies of all tensors, an arena for each kind of copy."""
        cdef int c
        for c in range(COPIES):
            copies[c] = memory.take(self.copy_sizes[c], self.kernels.copy_element_size[c])
        return 0

    cdef int keep_copies(self) except -1:
        """Make copies of the tensors of now; for networks that are not trained."""
        self.take_copies(self.memory, self.net.copies)
        self.kernels.renew_copies(&self.net)
        return 0

    cdef tuple unpack(self, const void* arena_start):
        cdef int i = 0
        kinds = []
        for _, shapes in self.tensors:
            kinds.append([np.empty(shape, self.spec.dtype) for shape in shapes])
            for array in kinds[len(kinds) - 1]:
                if self.flat[i] != NULL:
                    self.kernels.unpack(self.flat[i], arena_start, cnp.PyArray_DATA(array))
                i += 1
        return tuple(kinds)

    cdef int pack(self, kinds, void* arena_start) except -1:
        """Lay contiguous arrays of the right shapes and dtype out in an arena."""
        cdef int i = 0
        for arrays in kinds:
            for array in arrays:
                if self.flat[i] != NULL:
                    self.kernels.pack(self.flat[i], cnp.PyArray_DATA(array), arena_start)
                i += 1
        return 0

    def parameters(self):
        """Copies of (weights, biases), and of the other kinds of Spec.tensors."""
        cdef fm_network net
        keep = self.read(&net)
        copies = self.unpack(net.parameters)
        del keep
        return copies

    def set_parameters(self, *kinds):
        """Copy plain arrays in: what parameters() has returned, or the like of it."""
        plain = [[np.ascontiguousarray(a, self.spec.dtype) for a in arrays] for arrays in kinds]
        found = tuple(tuple(a.shape for a in arrays) for arrays in plain)
        if found != tuple(shapes for _, shapes in self.tensors):
            raise ValueError(f"parameters have shapes {found} but {dict(self.tensors)} are expected")
        fresh = self.empty_arena()
        self.pack(plain, cnp.PyArray_DATA(fresh))
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
