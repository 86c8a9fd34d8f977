# The state of an optimizer: arenas like the parameters', the powers of its betas. As the kernels have it, and
# as plain arrays (fastmlp/optimizer_state.py).
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastmlp._engine.parameters cimport Parameters
from fastmlp._engine.memory cimport Memory

from fastmlp._engine import optimizer_state
from fastmlp._engine.kernels import tables


cdef class Steps:
    """What an optimizer remembers; an engine makes it."""

    @staticmethod
    cdef Steps make(Trained network, str row, int n_slots, hyper):
        """All zero, before the first step."""
        cdef Steps self = Steps.__new__(Steps)
        self.optimizer = network.rows.index(row)
        self.n_slots = n_slots
        self.memory, self.size = Memory(network.kernels.element_size), network.n_parameters
        for i in range(n_slots):
            self.slots[i] = self.memory.take(network.n_parameters)
        for i in range(4):
            self.hyper[i] = hyper[i]
        self.powers[0] = self.powers[1] = 1
        self.is_whole = True
        return self

    cdef object remembered(self, Trained network):
        """The same as plain arrays."""
        row = network.rows[self.optimizer]
        hyper = tuple(self.hyper[i] for i in range(4))
        slots = [network.unpack(self.slots[i]) for i in range(self.n_slots)]
        powers = self.powers[0], self.powers[1]
        sums = optimizer_state.sums(row, hyper)
        return optimizer_state.OptimizerState(row, hyper, self.taken, slots, sums, powers)

    @staticmethod
    cdef Steps of(Trained network, memory):
        """What is remembered in plain arrays."""
        cdef Steps self = Steps.make(network, memory.row, len(memory.slots), memory.hyper)
        self.taken = memory.step
        self.powers[0], self.powers[1] = memory.powers or [beta**memory.step for beta in memory.hyper[:2]]
        for i, kinds in enumerate(optimizer_state.in_units(memory, optimizer_state.sums).slots):
            network.pack(kinds, self.slots[i])
        return self

    def __deepcopy__(self, memo):
        """The same, of its own memory."""
        cdef Steps other = Steps.__new__(Steps)
        other.optimizer, other.n_slots, other.size = self.optimizer, self.n_slots, self.size
        other.hyper, other.powers = self.hyper, self.powers
        other.taken, other.is_whole = self.taken, self.is_whole
        other.memory = Memory(self.memory.itemsize)
        for i in range(self.n_slots):
            other.slots[i] = other.memory.take(self.size)
            memcpy(other.slots[i], self.slots[i], self.size * self.memory.itemsize)
        return other


cdef class Trained(Parameters):
    """Parameters and the state of the optimizer that moves them; base of the engine."""

    def __init__(self, spec, str level, bint transpose_all=False):
        Parameters.__init__(self, spec, level, transpose_all)
        self.rows = tables(level, spec.dtype.name)[2]

    def start(self, optimizer):
        """Zero the state of an optimizer, the one of the epochs to come. All of it, or nothing."""
        self.steps = Steps.make(self, optimizer.native_row, optimizer.n_slots, optimizer.hyper)

    def optimizer_state(self):
        """The state of the optimizer, which epochs go on to change; None before the first start."""
        return self.steps

    def set_optimizer_state(self, state):
        """Go on with what optimizer_state() has returned."""
        self.steps = state

    def can_go_on(self, int64_t step):
        """Whether an optimizer was started, and its last epoch was whole and ended after step steps."""
        return self.steps is not None and self.steps.is_whole and self.steps.taken == step

    def state(self, bint optimizer=True):
        """Parameters, and the optimizer's state if there is one to go on with, as plain named arrays."""
        has = optimizer and self.steps is not None and self.steps.is_whole
        state = self.steps.remembered(self) if has else None
        return optimizer_state.to_arrays(self.spec, self.parameters(), state)

    def set_state(self, state):
        """Go on with what state() of such a network has returned: in all, or not at all."""
        parameters, memory = optimizer_state.from_arrays(state, self.spec)
        steps = None if memory is None else Steps.of(self, memory)
        self.set_parameters(*parameters)
        self.steps = steps
