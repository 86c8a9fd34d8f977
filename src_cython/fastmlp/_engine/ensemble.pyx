# Training of many networks in one native call, each network on one thread at a time.
cimport numpy as cnp
from libc.stdint cimport int64_t, uint64_t

from fastmlp._engine.buffers cimport Buffers
from fastmlp._engine.jobs cimport CALL_ROWS, Run
from fastmlp._engine.native cimport Engine, mean_loss
from fastmlp._engine.passes cimport Pass, run_many
from network cimport *
from rounding cimport ceil_div

import numpy as np

from fastmlp._engine.protocol import Epochs
from fastmlp._engine.kernels import check_shuffle

cnp.import_array()


def train_many(engines, datas, plans, team=None, int epochs=1, seeds=None, held=None,
               bint linked=True, bint stores=False):
    """Train each engine for some epochs, see protocol.py."""
    cdef Engine engine
    cdef Pass member
    cdef int n_threads, k
    losses = np.zeros((len(engines), epochs))
    held_losses = np.zeros_like(losses)
    passes, sums, predictions, arenas = [], [], [], []
    for engine in engines:
        team = engine.helpers(team, True)
    n_threads = 1 if team is None else team.size  # the threads start now
    for k, engine in enumerate(engines):
        member = engine.begin(datas[k], plans[k], 1)
        repeat(member, plans[k].order, None if seeds is None else seeds[k], losses[k])
        passes.append(member)
        if stores:
            arenas.append(keep(engine, member))
        if held is not None:
            sums.append(np.zeros((epochs, ceil_div(held[k].rows, CALL_ROWS))))
            predictions.append(hold_out(engine, member, held[k], sums[k], linked))
    for engine in engines:
        engine.steps.is_whole = False
    run_many(passes, team, n_threads)
    is_good = bool(np.isfinite(losses).all())
    for k, engine in enumerate(engines):
        engine.end(passes[k], plans[k], is_good)
        if held is not None:
            engine.return_buffers((<Pass>passes[k]).held_buffers)
            held_losses[k] = [mean_loss(part, held[k]) for part in sums[k]]
    return Epochs(losses.T, held_losses.T, predictions, list(zip(*arenas)))


def predict_each(engines, cnp.ndarray rows not None):
    """Return the prediction of each engine for its row, (engines, C), of an array (engines, I).

    The engines have one dtype and shape, and no Python functions.
    """
    cdef Engine engine = engines[0]
    cdef cnp.npy_intp dims[2]
    cdef Py_ssize_t k
    dims[0], dims[1] = len(engines), engine.operators[engine.net.n_operators - 1].n_out
    if not (cnp.PyArray_ISCARRAY_RO(rows) and cnp.PyArray_TYPE(rows) == engine.typenum
            and cnp.PyArray_NDIM(rows) == 2 and rows.shape[0] == dims[0]
            and rows.shape[1] == engine.operators[0].n_in):
        raise ValueError(f"the rows have the shape {np.shape(rows)} but a row for each network is expected")
    cdef cnp.ndarray out = cnp.PyArray_SimpleNew(2, dims, engine.typenum)
    for k, engine in enumerate(engines):
        if not engine.predict_row_into(<const char*>cnp.PyArray_GETPTR2(rows, k, 0),
                                       <char*>cnp.PyArray_GETPTR2(out, k, 0)):
            raise MemoryError("no memory for the buffers of one row")
    return out


cdef int repeat(Pass member, order, seeds, cnp.ndarray losses) except -1:
    """Set the number of epochs, the memory for their losses, and the seeds of the shuffles."""
    cdef Run* run = &member.run
    run.job, run.epochs = &member.job, len(losses)
    run.losses = <double*>cnp.PyArray_DATA(losses)
    if seeds is not None:
        check_shuffle(len(order))
        run.seeds = <const uint64_t*>cnp.PyArray_DATA(seeds)
        run.order, run.n_order = <int64_t*>cnp.PyArray_DATA(order), len(order)
    member.references = member.references, order, seeds, losses
    return 0


cdef list keep(Engine engine, Pass member):
    """Keep the parameters after each epoch; return the arenas that receive them."""
    arenas = [engine.empty_arena() for _ in range(member.run.epochs - 1)] + [member.fresh]
    cdef cnp.ndarray addresses = np.array([arena.ctypes.data for arena in arenas], np.uintp)
    member.run.arenas = <void**>cnp.PyArray_DATA(addresses)
    member.references = member.references, arenas, addresses
    return arenas


cdef object hold_out(Engine engine, Pass member, data, cnp.ndarray sums, bint linked):
    """Evaluate held-out rows after each epoch; return the array that receives the predictions."""
    cdef Run* run = &member.run
    cdef Buffers buffers = engine.borrow_buffers(data.x)
    cdef cnp.ndarray out
    columns = engine.operators[engine.net.n_operators - 1].n_out
    out = np.empty((len(sums), data.rows, columns), engine.spec.dtype)
    engine.describe(&run.held, data)
    buffers.take_output_weights(engine.kernels, &run.held)
    member.measured = member.net
    member.measured.operators = engine.net.operators  # with derivatives, those of the epoch lack activations
    engine.choose_loss(&member.measured, run.held.labels != NULL)
    if not linked:
        engine.drop_link(&member.measured)
    run.measured, run.buffers = &member.measured, &buffers.c
    run.predictions = <char*>cnp.PyArray_DATA(out)
    run.block_losses = <double*>cnp.PyArray_DATA(sums)
    member.held_buffers, member.references = buffers, (member.references, data, sums, out)
    return out
