# The parameters of a network and the state of its optimizer: their layout, the published arenas, plain
# arrays.
#
# An arena holds the panels of all tensors, with zeros as padding. A published arena is never written again:
# an epoch works on a copy, which is published when the epoch has succeeded. So other threads always see the
# last complete epoch, and a failed epoch changes nothing. Snapshots are published arenas. The slots of an
# optimizer are arenas of the same layout.
cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy

from layout cimport lay_out
from network cimport *
from rounding cimport ceil_div, round_up

import numpy as np

from fastmlp._engine import cpu, optimizer_state
from fastmlp._network import tensors
from fastmlp._network.optimizers import SLOTS
from fastmlp._network.operators import OPERATORS

# How the gradients of tensors.TENSORS are computed; COLUMN replaces TILES for a matrix with one column.
GRADIENTS = {"tiles": TILES, "sums": SUMS, "normal_products": NORMAL_PRODUCTS, "products": PRODUCTS}


# Copies in narrow types (c/panels/row.h): their kind, rows of weights in a row of words, and rows of units.
NARROW = {"bfloat16": (BFLOAT16, 2, 0), "int8": (INT8, 4, 1)}


cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define FM_IS_ONLY_HERE(o) 0 /* other threads may hold references that are not counted yet */
    #else
    #define FM_IS_ONLY_HERE(o) (Py_REFCNT(o) == 1)
    #endif
    """
    bint FM_IS_ONLY_HERE(object)


cdef class Steps:
    """The state of an optimizer."""

    def __deepcopy__(self, memo):
        """A copy with memory of its own."""
        cdef Steps other = Steps.__new__(Steps)
        other.optimizer, other.n_slots, other.size = self.optimizer, self.n_slots, self.size
        other.hyper, other.powers = self.hyper, self.powers
        other.taken, other.is_whole = self.taken, self.is_whole
        other.memory = Memory(self.memory.itemsize)
        for i in range(self.n_slots):
            other.slots[i] = other.memory.take(self.size)
            memcpy(other.slots[i], self.slots[i], self.size * self.memory.itemsize)
        return other

cdef Steps first_steps(Parameters network, str row, hyper):
    """Return the state before the first step: all 0."""
    cdef Steps steps = Steps.__new__(Steps)
    steps.optimizer = network.optimizers.index(row)
    steps.n_slots = len(SLOTS[row])
    steps.memory, steps.size = Memory(network.kernels.element_size), network.n_parameters
    for i in range(steps.n_slots):
        steps.slots[i] = steps.memory.take(network.n_parameters)
    for i in range(4):
        steps.hyper[i] = hyper[i]
    steps.powers[0] = steps.powers[1] = 1
    steps.is_whole = True
    return steps


cdef Steps steps_of(Parameters network, state):
    """Return the state of an optimizer from plain arrays."""
    cdef Steps steps = first_steps(network, state.row, state.hyper)
    steps.taken = state.step
    steps.powers[0], steps.powers[1] = state.powers or [beta**state.step for beta in state.hyper[:2]]
    for i, kinds in enumerate(optimizer_state.in_units(state, optimizer_state.sums).slots):
        network.pack(kinds, steps.slots[i])
    return steps


cdef object as_arrays(Steps steps, Parameters network):
    """Return the state of an optimizer as plain arrays."""
    row = network.optimizers[steps.optimizer]
    hyper = tuple(steps.hyper[i] for i in range(4))
    slots = [network.unpack(steps.slots[i]) for i in range(steps.n_slots)]
    powers = steps.powers[0], steps.powers[1]
    sums = optimizer_state.sums(row, hyper)
    return optimizer_state.OptimizerState(row, hyper, steps.taken, slots, sums, powers)


cdef fm_function* function_of(Parameters self, function, bint* takes_lock) except NULL:
    """Describe a custom function, which the spec keeps alive, for the kernels."""
    cdef fm_function* c = <fm_function*>self.memory.take(1, sizeof(fm_function))
    if describe_function(c, function, self.spec.dtype):
        takes_lock[0] = True
    return c


cdef int lay_out_row(Parameters self) except -1:
    """Assign the outputs of each operator a place in the scratch memory of a single row.

    A place is reused when the operators that read it have run. All have the same size.
    """
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
            net.row_at = 0  # this operator reads whole vectors
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
    net.few_at = used * width  # columns of 32 bits, and values, of a quarter of the inputs
    net.row_size = net.few_at + round_up(self.operators[0].n_in // 2 + 64, 64)


cdef class Parameters:
    """The tensors of a network on the kernels of one CPU level, and the state of their optimizer.

    With `transpose_all` the first layer has transposed weights too, for derivatives of the inputs.
    """

    def __init__(self, spec, str level, bint transpose_all=False):
        cdef const fm_kernels* k = load(level, spec.dtype.name)
        cdef fm_operator* op
        cdef fm_tensor* tensor
        self.spec, self.level, self.kernels = spec, level, k
        rounded = spec.rounded if spec.compute else ()
        if any(rounded) and k.has_bfloat16 and not transpose_all:
            self.net.products = cpu.bfloat16_products()
        self.tensors = tuple((kind, tuple(shapes)) for kind, shapes in spec.tensors.items())
        self.memory = Memory(k.element_size)
        activations, losses, self.optimizers = tables(level, spec.dtype.name)
        self.losses = {name: row for row, name in enumerate(losses)}
        self.drops = tuple(p > 0 for p in spec.dropout)
        self.dropout = <double*>self.memory.take(len(spec.dropout), sizeof(double))
        for l, p in enumerate(spec.dropout):
            self.dropout[l] = p
        operators, kinds = spec.operators, list(OPERATORS)
        numbers = {(t.kind, t.layer): i for i, t in enumerate(tensors.each_tensor(spec.tensors))}
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
                op.function = function_of(self, operator.activation, &self.takes_lock)
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
                if op.kind == AFFINE and is_matrix and self.net.products and rounded[op.hidden]:
                    tensor.gradient = BFLOAT16_TILES
                lay_out(k, tensor, op.n_in if is_matrix else 1, op.n_out,
                        is_matrix and (op.source >= 0 or transpose_all),
                        &self.n_parameters, self.copy_sizes)
                self.flat[tensor.index] = tensor
        self.weight_count = spec.n_weights
        self.net.n_operators = len(operators)
        self.choose_loss(&self.net, False)
        self.net.targets_width = spec.n_outputs
        self.net.loss_parameter = spec.loss.parameter
        quantiles = spec.loss.levels
        levels = <double*>self.memory.take(len(quantiles), sizeof(double))
        for l, quantile in enumerate(quantiles):
            levels[l] = quantile
        self.net.loss_levels = levels
        if spec.loss.is_custom:
            self.net.loss_function = function_of(self, spec.loss, &self.loss_takes_lock)
        self.net.operators = self.operators
        lay_out_row(self)
        self.publish(self.empty_arena())

    cdef int choose_loss(self, fm_network* net, bint has_labels, bint is_gradient=False) except -1:
        """Set the network's loss and link to rows of the table; some losses have another row for labels.

        If the targets are gradients, the loss is the one whose gradient is the target.
        """
        net.has_labels = has_labels
        net.loss = net.link = self.losses[self.spec.loss.native_row(has_labels)]
        if is_gradient:
            net.loss, net.loss_function = self.losses["linear"], NULL
            net.targets_width = self.operators[net.n_operators - 1].n_out

    cdef int drop_link(self, fm_network* net) except -1:
        """Make the predictions of a network its outputs before the link."""
        net.link = self.losses["squared_error"]

    cdef object helpers(self, team, bint with_loss):
        """Return the team, or None if there are Python functions, which only the caller may call."""
        return None if self.takes_lock or (with_loss and self.loss_takes_lock) else team

    cdef object empty_arena(self):
        return allocate(self.n_parameters * self.kernels.element_size)

    cdef object read(self, fm_network* net):
        """Fill a network with the published parameters; keep the returned arena alive while it is used."""
        with cython.critical_section(self):
            memcpy(net, &self.net, sizeof(fm_network))
            return self.published

    cdef object publish(self, parameters):
        """Make these parameters visible; return the arena that was visible before."""
        with cython.critical_section(self):
            before, self.published, self.stale = self.published, parameters, None
            self.net.parameters = cnp.PyArray_DATA(parameters)
            return before

    cdef object unread_arena(self):
        """Return an arena to publish next: that of an earlier epoch if it has no readers left."""
        arena_of_old, self.spare = self.spare, None
        if arena_of_old is None or not FM_IS_ONLY_HERE(arena_of_old):
            self.stale = None
            return self.empty_arena()
        return arena_of_old

    cdef int take_copies(self, Memory memory, void** copies, const int64_t* sizes) except -1:
        """Allocate the copies of all tensors, one arena for each kind of copy."""
        cdef int c
        for c in range(COPIES):
            copies[c] = memory.take(sizes[c], self.kernels.copy_element_size[c])

    cdef int keep_copies(self) except -1:
        """Compute copies of the current tensors, for networks that are not trained."""
        self.take_copies(self.memory, self.net.copies, self.copy_sizes)
        self.kernels.renew_copies(&self.net)

    cdef int narrow(self, str weight_type) except -1:
        """Store the current weights, which numbers of a narrow type can hold, in that type, too.

        Predictions of single rows read these copies. The network has no transposed copies then, so it can
        neither be trained nor differentiated.
        """
        cdef int32_t kind, l, c
        cdef int64_t rows, units
        cdef fm_tensor* tensor
        kind, rows, units = NARROW[weight_type]
        for c in range(TRAINED):
            self.copy_sizes[c] = 0
        for l in range(self.net.n_operators):
            tensor = &self.operators[l].tensors[WEIGHTS]
            for c in range(TRAINED):
                tensor.copies[c].offset = -1
            if tensor.gradient in {TILES, BFLOAT16_TILES}:
                tensor.copies[kind].offset = self.copy_sizes[kind]
                tensor.copies[kind].rows = units + ceil_div(tensor.n_rows, rows)
                self.copy_sizes[kind] += tensor.panels * tensor.copies[kind].rows * self.kernels.nr
        self.keep_copies()
        self.net.narrow = kind

    cdef tuple unpack(self, const void* arena_start):
        """Return the tensors of an arena as plain arrays, a list for each kind."""
        cdef int i = 0
        kinds = []
        for _, shapes in self.tensors:
            kinds.append([np.empty(shape, self.spec.dtype) for shape in shapes])
            for array in kinds[len(kinds) - 1]:
                if self.flat[i] != NULL:
                    self.kernels.copy_tensor(self.flat[i], False, cnp.PyArray_DATA(array), <void*>arena_start)
                i += 1
        return tuple(kinds)

    cdef int pack(self, kinds, void* arena_start) except -1:
        """Copy contiguous arrays of the right shapes and dtype into an arena."""
        cdef int i = 0
        for arrays in kinds:
            for array in arrays:
                if self.flat[i] != NULL:
                    self.kernels.copy_tensor(self.flat[i], True, cnp.PyArray_DATA(array), arena_start)
                i += 1

    def parameters(self):
        """Return copies of (weights, biases) and the other kinds of Spec.tensors."""
        cdef fm_network net
        keep = self.read(&net)
        copies = self.unpack(net.parameters)
        del keep
        return copies

    def set_parameters(self, *kinds):
        """Publish copies of arrays, in the lists that `parameters` returns."""
        plain = [[np.ascontiguousarray(a, self.spec.dtype) for a in arrays] for arrays in kinds]
        found = tuple(tuple(a.shape for a in arrays) for arrays in plain)
        if found != tuple(shapes for _, shapes in self.tensors):
            raise ValueError(f"parameters have shapes {found} but {dict(self.tensors)} are expected")
        fresh = self.empty_arena()
        self.pack(plain, cnp.PyArray_DATA(fresh))
        self.publish(fresh)

    def set_bounds(self, lower, upper):
        """Keep every parameter between two numbers after each step; `shadow` has no bounds."""
        arenas = self.empty_arena(), self.empty_arena()
        for kinds, arena in zip((lower, upper), arenas):
            self.pack(kinds, cnp.PyArray_DATA(arena))
        self.bounds = arenas

    def snapshot(self):
        """Return the current parameters for `restore`; nothing is copied."""
        return self.published

    def restore(self, snapshot):
        """Go back to the parameters of a snapshot, or of a copy of one; ValueError for another layout."""
        if len(snapshot) != len(self.published):
            raise ValueError(
                f"the snapshot has {len(snapshot)} bytes but {len(self.published)} are expected: pass one of "
                "a model with the same compute, from a CPU with the same bfloat16 unit (fastmlp.show_config)")
        if <uintptr_t>cnp.PyArray_DATA(snapshot) % <uintptr_t>ALIGNMENT:  # a copied array
            aligned = self.empty_arena()
            aligned[:] = snapshot
            snapshot = aligned
        self.publish(snapshot)

    def finite(self):
        """Return whether every parameter is finite."""
        cdef fm_network net
        keep = self.read(&net)
        answer = bool(self.kernels.finite(net.parameters, self.n_parameters))
        del keep
        return answer

    def start(self, optimizer):
        """Prepare an optimizer for the next epochs, with a state of 0; change nothing on error."""
        self.steps = first_steps(self, optimizer.native_row, optimizer.hyper)

    def optimizer_state(self):
        """Return the optimizer's state, which later epochs change; None before the start."""
        return self.steps

    def set_optimizer_state(self, state):
        """Continue with a result of `optimizer_state`."""
        self.steps = state

    def can_go_on(self, int64_t step):
        """Return whether the state belongs to a complete epoch that ended after `step` steps."""
        return self.steps is not None and self.steps.is_whole and self.steps.taken == step

    def state(self, bint optimizer=True):
        """Return the parameters, and the optimizer's state if it can be continued, as named arrays."""
        has = optimizer and self.steps is not None and self.steps.is_whole
        state = as_arrays(self.steps, self) if has else None
        return optimizer_state.to_arrays(self.spec, self.parameters(), state)

    def set_state(self, state):
        """Continue with a state of either engine; change nothing on error."""
        parameters, optimizer = optimizer_state.from_arrays(state, self.spec)
        steps = None if optimizer is None else steps_of(self, optimizer)
        self.set_parameters(*parameters)
        self.steps = steps
