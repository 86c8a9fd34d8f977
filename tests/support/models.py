"""A small regression and its network, for the tests of what a user sees and of what goes wrong."""

import copy
import pickle

import numpy as np

import fastmlp

RNG = np.random.default_rng(7)
X = RNG.normal(size=(90, 3))
Y = np.column_stack([X[:, 0] * X[:, 1], np.sin(X[:, 2])])


def network(mlp, **options):
    """Return the network for X and Y, of the native kind or of the reference."""
    return mlp(**{"layer_sizes": [3, 8, 2], "activation": "tanh", "rng": 0} | options)


def saved(model, path, **options):
    """Return a model that has been in a file."""
    model.save(path, **options)
    return fastmlp.load(path)


class Watch:
    """Notes epochs and batches; wants to stop after a batch, by its step, or after an epoch."""

    def __init__(self, last=None, epoch=None):
        self.last, self.epoch, self.seen = last, epoch, []

    def __call__(self, state):
        self.seen.append(state.epoch)
        return state.epoch == self.epoch

    def on_batch(self, state, batch):
        assert state.epoch == batch.epoch - 1
        self.seen.append(batch)
        return batch.step == self.last

    @property
    def batches(self):
        return [each for each in self.seen if isinstance(each, fastmlp.Batch)]


# How a model of any class may go on: as it is, or as another that was made of it.
WAYS = {
    "itself": lambda model, path: model,
    "copy": lambda model, path: copy.copy(model),
    "deepcopy": lambda model, path: copy.deepcopy(model),
    "pickle": lambda model, path: pickle.loads(pickle.dumps(model)),
    "file": saved,
}
COPIES = {name: way for name, way in WAYS.items() if name != "itself"}


def digest(net):
    """Return the bytes of all parameters."""
    return net.parameters_vector.tobytes()
