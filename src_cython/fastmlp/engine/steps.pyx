# The state of an optimizer: arenas like the parameters', the powers of its betas. As the kernels have it, and
# as plain arrays: the sums m / (1 - beta_1) and v / (1 - beta_2) of c/tables/optimizers.h, to go on with the
# same bits.
from fastmlp.engine.parameters cimport Parameters
from fastmlp.engine.memory cimport Memory

from fastmlp.engine.kernels import tables


cdef class Steps:
    """What an optimizer remembers; an engine makes it."""

    @staticmethod
    cdef Steps make(Parameters network, str row, int n_slots, hyper):
        """All zero, before the first step."""
        cdef Steps self = Steps.__new__(Steps)
        self.optimizer = tables(network.level, network.spec.dtype.name)[2].index(row)
        self.n_slots = n_slots
        self.memory = Memory(network.kernels.element_size)
        for i in range(n_slots):
            self.slots[i] = self.memory.take(network.n_parameters)
        for i in range(4):
            self.hyper[i] = hyper[i]
        self.powers[0] = self.powers[1] = 1
        self.is_whole = True
        return self

    cdef dict plain(self, Parameters network):
        """Numbers and arrays that can be pickled."""
        return {
            "row": tables(network.level, network.spec.dtype.name)[2][self.optimizer],
            "hyper": tuple(self.hyper[i] for i in range(4)),
            "taken": self.taken,
            "powers": (self.powers[0], self.powers[1]),
            "slots": [network.unpack(self.slots[i]) for i in range(self.n_slots)],
        }

    @staticmethod
    cdef Steps from_plain(Parameters network, dict state):
        """What plain() was made of."""
        cdef Steps self = Steps.make(network, state["row"], len(state["slots"]), state["hyper"])
        self.taken = state["taken"]
        self.powers[0], self.powers[1] = state["powers"]
        for i, (weights, biases) in enumerate(state["slots"]):
            network.pack(weights, biases, self.slots[i])
        return self
