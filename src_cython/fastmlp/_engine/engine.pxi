# The native engine. It fills the structs of network.pxd and calls the kernel table of one
# CPU level, with whole epochs and whole batches of rows. It computes nothing itself, and checks no user
# input: fastmlp._validation.check has done that. parameters.pxi holds the parameters.
cimport cython
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport isfinite
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset

from fastmlp._engine.jobs cimport *
from network cimport *
from rounding cimport ceil_div

import dataclasses

import numpy as np

from fastmlp._engine.protocol import Epochs
from fastmlp._network.groups import PLAIN, table as groups_table
from fastmlp._network.data import Data, Shard
from fastmlp._network.sparse import SparseRows
from fastmlp._network.spec import BLOCK_ROWS as _BLOCK_ROWS

cdef int64_t BLOCK_ROWS = _BLOCK_ROWS
cdef int64_t NOTES = Shard.NOTES


cdef double sequential_sum(cnp.ndarray values) except? -1:
    """Sum in order, in float64, so that the bits do not depend on NumPy's way of summing."""
    cdef fm_fpenv fpenv = fm_set_fpenv()
    try:
        return np.add.accumulate(values, dtype=float).item(len(values) - 1)
    finally:
        fm_restore_fpenv(fpenv)


cdef double mean_loss(cnp.ndarray block_sums, data) except? -1:
    """Return the mean loss of all rows from the weighted sums of their blocks."""
    total = data.rows if data.weights is None else sequential_sum(data.weights)
    return fm_quotient(sequential_sum(block_sums), total) if total > 0 else 0.0


cdef double mean_weight(weight_sum) except? -1:
    """Return `WeightSum.mean` in the rounding mode of native code."""
    return fm_quotient(weight_sum.total, weight_sum.rows) if weight_sum.rows else 0.0


cdef object moved_inputs(x, plan):
    """Return the columns of few sparse rows if steps leave the weights of other inputs alone, or None."""
    if type(x) is not SparseRows or 16 * x.nnz > x.shape[1]:
        return None
    if plan.optimizer.n_slots > 0 or plan.l1 or plan.l2 or plan.share:
        return None
    return np.unique(x.indices)


cdef void* start_of(array) except? NULL:
    """Return the memory of an array; NULL for None."""
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)


cdef void describe(fm_data* c, data) except *:
    """Describe the user's arrays, SparseRows or RowSource; `data` must outlive the struct."""
    cdef cnp.ndarray x
    c.starts, c.columns, c.values = NULL, NULL, NULL
    c.source, c.x, c.x_row_stride, c.x_column_stride = NULL, NULL, 0, 0
    if cnp.PyArray_Check(data.x):
        x = data.x
        c.x = <const char*>cnp.PyArray_DATA(x)
        c.x_row_stride, c.x_column_stride = x.strides[0], x.strides[1]
    elif type(data.x) is SparseRows:
        c.starts, c.values = <const int64_t*>start_of(data.x.indptr), start_of(data.x.values)
        c.columns = <const int32_t*>start_of(data.x.indices)
    else:
        c.source = <const fm_row_source*>PyCapsule_GetPointer(data.x.row_source, FM_ROWS_CAPSULE)
    c.n = data.x.shape[0]
    c.targets, c.labels = start_of(data.targets), NULL
    if c.targets != NULL and data.targets.ndim == 1:
        c.targets, c.labels = NULL, <const int32_t*>c.targets
    c.weights, c.output_weights = start_of(data.weights), start_of(data.output_weights)
    c.jacobians, c.jacobian_weight = start_of(data.jacobians), data.jacobian_weight


cdef object set_totals(fm_task* task, data):
    """Let an epoch use targets that are gradients as they are; return an array that must outlive it."""
    totals = np.ones(ceil_div(task.data.n, task.batch)) if data.is_gradient else None
    task.totals = <double*>start_of(totals)
    return totals


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
    cdef Buffers buffers = borrow_buffers(engine, data.x)
    cdef cnp.ndarray out
    columns = engine.operators[engine.net.n_operators - 1].n_out
    out = np.empty((len(sums), data.rows, columns), engine.spec.dtype)
    describe(&run.held, data)
    buffers.take_output_weights(engine.kernels, &run.held)
    member.measured = member.net
    member.measured.operators = engine.net.operators  # those of an epoch with derivatives lack activations
    engine.choose_loss(&member.measured, run.held.labels != NULL)
    if not linked:
        engine.drop_link(&member.measured)
    run.measured, run.buffers = &member.measured, &buffers.c
    run.predictions = <char*>cnp.PyArray_DATA(out)
    run.block_losses = <double*>cnp.PyArray_DATA(sums)
    member.held_buffers, member.references = buffers, (member.references, data, sums, out)
    return out


cdef int share_epoch(Engine self, Pass epoch, share) except -1:
    """Make an epoch one process's part of a shared epoch; it reports the losses of its own rows."""
    cdef fm_task* task = &epoch.task
    cdef void* gradients = epoch.context.buffers.c.gradients
    cdef cnp.npy_intp size = self.n_parameters + NOTES
    memset(gradients, 0, size * self.kernels.element_size)  # frozen layers store none
    task.stores, task.row = True, share.row
    task.totals = <double*>start_of(share.totals)
    if not share.is_first:
        task.l1 = task.l2 = 0
    epoch.add_up = share.add_up
    epoch.summed = cnp.PyArray_SimpleNewFromData(1, &size, self.typenum, gradients)
    cnp.set_array_base(epoch.summed, epoch.context)


cdef object set_groups(Engine self, Pass epoch, groups, degree):
    """Set the factors of each tensor; return their table, which must outlive the epoch."""
    cdef fm_task* task = &epoch.task
    if groups is not self.groups or degree != self.degree:
        self.table = groups_table(groups, self.tensors, degree)
        self.groups, self.degree = groups, degree
    table = self.table
    task.groups = <const fm_group*>cnp.PyArray_DATA(table.factors)
    task.n_groups = len(table.factors)
    task.group_of = <const int32_t*>cnp.PyArray_DATA(table.group_of)
    while epoch.net.operators[task.first_trained].hidden < table.first_trained:
        task.first_trained += 1
    return table


cdef tuple set_dropout(Engine self, fm_task* task, dropouts):
    """Set the dropout, (batches, hidden layers) or the network's; return which layers have any."""
    if dropouts is None:
        task.dropout, task.dropout_step = self.dropout, 0
        return self.drops
    task.dropout, task.dropout_step = <double*>start_of(dropouts), dropouts.shape[1]
    return tuple(dropouts.any(axis=0).tolist())


cdef ThreadContext context_for(Engine self, fm_network* net, ThreadContext last, fm_task* task, int n_threads,
                               tuple drops, bint stores, data):
    """Return the last context if it fits, else a new one; with memory for gradients that are stored.

    With derivatives, the network gets the operators whose layers all have transposed weights.
    """
    cdef int64_t n_tangents = 0 if data.jacobians is None else net.operators[net.n_operators - 1].n_out
    cdef int64_t rows = min(task.batch, max(1, BLOCK_ROWS // (1 + n_tangents)))
    cdef Inputs inputs = inputs_of(net, data.x, rows)
    cdef ThreadContext context = last
    cdef fm_buffers* buffers
    if (last is None or last.buffers.c.rows != rows or last.c.n_threads != n_threads
            or last.buffers.c.target_stride != target_stride(self.kernels, net)
            or (last.derivatives is None) != (n_tangents == 0)
            or not fits(last.buffers, inputs) or last.drops != drops):
        context = ThreadContext.make(self.kernels, net, rows, n_threads, drops, inputs, n_tangents,
                                     self.copy_sizes)
        self.take_copies(context.memory, context.copies, context.copy_sizes)
    buffers = &context.buffers.c
    if (stores or task.batch > rows) and buffers.gradients == NULL:
        buffers.gradients = context.memory.take(self.n_parameters + NOTES)
    if task.batch > rows and buffers.sums == NULL:
        buffers.sums = <double*>context.memory.take(self.n_parameters, sizeof(double))
    context.buffers.take_output_weights(self.kernels, &task.data)
    if context.derivatives is not None:
        net.operators = context.derivatives.linear.operators
        context.derivatives.c.net, context.derivatives.c.linear = &self.net, net
    return context


cdef Buffers borrow_buffers(Engine self, x):
    """Return buffers for blocks of these rows."""
    cdef Inputs inputs = inputs_of(&self.net, x, CALL_ROWS)
    cdef Buffers buffers
    try:
        buffers = (self.call_buffers if inputs.most_entries < 0 else self.sparse_buffers).pop()
        if fits(buffers, inputs):
            return buffers
    except IndexError:
        pass
    return Buffers.make(self.kernels, &self.net, CALL_ROWS, 1, False, inputs)


cdef void return_buffers(Engine self, Buffers buffers):
    (self.call_buffers if buffers.inputs.most_entries < 0 else self.sparse_buffers).append(buffers)


cdef object formulas_of(Engine self):
    """Return the network in NumPy if it has custom activations, of which kernels know no curvature."""
    cdef int32_t l
    for l in range(self.net.n_operators):
        if self.operators[l].function != NULL:
            from fastmlp._engine.numpy import numpy_engine

            engine = numpy_engine.Engine(self.spec)
            engine.set_parameters(*self.parameters())
            return engine
    return None


cdef int divide_derivatives(Engine self, fm_derivatives arguments, x, team) except -1:
    """Compute derivatives at the rows of x with the team; each thread has its own memory."""
    cdef fm_data data
    cdef DerivativesJob job
    cdef fm_counter counter
    cdef Signals signals = Signals()
    cdef Derivatives memory
    cdef const fm_derivatives* all_memory[MAX_THREADS]
    describe(&data, Data(x, None))
    borrowed = []
    for i in range(team.size if team is not None else 1):
        try:
            memory = self.call_derivatives.pop()
        except IndexError:
            memory = Derivatives.make(self.kernels, &self.net, CALL_ROWS)
        borrowed.append(memory)
        memory.c.x, memory.c.directions = &data, arguments.directions
        memory.c.p, memory.c.q, memory.c.out = arguments.p, arguments.q, arguments.out
        memory.c.values, memory.c.jacobian = arguments.values, arguments.jacobian
        memory.c.hessian = arguments.hessian
        all_memory[i] = &memory.c
    fm_counter_reset(&counter)
    job.kernels, job.memory, job.n, job.counter = self.kernels, all_memory, data.n, &counter
    signals.watch(&job.watch)
    call_team(run_derivatives, &job, team, signals)
    self.call_derivatives += borrowed


cdef void divide_rows(Engine self, RowsJob* job, x, team, fm_job work=run_rows) except *:
    """Run a job on all rows of x with the team; each thread has its own buffers."""
    cdef Buffers buffers
    cdef Signals signals = Signals()
    cdef fm_counter counter
    cdef const fm_buffers* all_buffers[MAX_THREADS]
    fm_counter_reset(&counter)
    team = self.helpers(team, job.block_losses != NULL)
    job.kernels = self.kernels
    job.n_threads = team.size if team is not None else 1
    job.blocks = max(1, min(MOST_BLOCKS, job.data.n // (CALL_ROWS * 8 * job.n_threads)))
    job.counter = &counter
    signals.watch(&job.watch)
    job.buffers = all_buffers
    borrowed = []
    for i in range(job.n_threads):
        buffers = borrow_buffers(self, x)
        buffers.take_output_weights(self.kernels, job.data)
        borrowed.append(buffers)
        all_buffers[i] = &buffers.c
    call_team(work, job, team, signals)
    for buffers in borrowed:
        return_buffers(self, buffers)


cdef class Engine(Parameters):
    """A network on the kernels of one CPU level; protocol.py describes the methods."""

    def __init__(self, spec, str level, bint transpose_all=False):
        Parameters.__init__(self, spec, level, transpose_all)
        self.call_buffers, self.sparse_buffers, self.call_contexts = [], [], []
        self.call_derivatives, self.call_jacobians = [], []
        self.typenum = spec.dtype.num
        self.row_bytes = self.net.row_size * self.kernels.element_size

    # ------------------------------------------------------------ training

    @property
    def n_summed(self):
        """Number of elements that an epoch passes to Shard.add_up."""
        return self.n_parameters + NOTES

    def epoch(self, data, plan):
        """Train on every batch once and return the mean objective, or one that is not finite."""
        team = self.helpers(plan.team, True)
        cdef Pass epoch = self.begin(data, plan, team.size if team is not None else 1)
        self.steps.is_whole = False  # the end of the epoch sets it
        cdef object moved = moved_inputs(data.x, plan)
        cdef cnp.ndarray copied
        if moved is not None and self.stale is not None:
            copied = np.union1d(moved, self.stale)
            epoch.job.moved, epoch.job.n_moved = <const int32_t*>cnp.PyArray_DATA(copied), len(copied)
        result = run(epoch, team)
        self.end(epoch, plan, isfinite(result))
        if isfinite(result):
            self.stale = moved
        return result

    cdef Pass begin(self, data, plan, int n_threads):
        """Prepare an epoch; other threads see no change yet. Fields that are not set stay 0."""
        cdef Pass epoch = Pass.__new__(Pass)
        cdef fm_task* task = &epoch.task
        cdef fm_network* net = &epoch.net
        cdef ThreadContext context
        cdef Steps steps = self.steps
        if steps is None:
            raise RuntimeError("no optimizer was started")
        net[0] = self.net
        describe(&task.data, data)
        if task.data.labels != NULL or data.is_gradient:
            self.choose_loss(net, task.data.labels != NULL, data.is_gradient)
        if plan.order is not None:
            task.order = <int64_t*>cnp.PyArray_DATA(plan.order)
            task.data.n = len(plan.order)
        if plan.drops_last:
            task.data.n -= task.data.n % <int64_t>plan.batch_size
        task.batch = plan.batch_size
        totals = set_totals(task, data)
        drops = set_dropout(self, task, plan.dropouts)
        stores = plan.clip_norm > 0 or plan.l1 > 0 or plan.share is not None
        context = context_for(self, net, self.context, task, n_threads, drops, stores, data)
        self.context = None  # the end of the epoch sets it
        if context.working == NULL:
            context.working = context.memory.take(self.n_parameters)
        fresh = self.unread_arena()
        net.parameters, net.copies = context.working, context.copies
        if context.copied is not self.published:
            memcpy(context.working, cnp.PyArray_DATA(self.published),
                   self.n_parameters * self.kernels.element_size)
            PyErr_CheckSignals()  # copying many millions of weights takes a while
            self.kernels.renew_copies(net)
            PyErr_CheckSignals()
        context.copied = None  # the end of the epoch sets it
        task.optimizer = steps.optimizer
        task.hyper = steps.hyper
        task.decays, task.hyper[3] = <double*>start_of(plan.weight_decays), plan.optimizer.hyper[3]
        task.rates = <double*>start_of(plan.learning_rates)
        if self.bounds is not None:
            task.lower, task.upper = start_of(self.bounds[0]), start_of(self.bounds[1])
        table = set_groups(self, epoch, plan.groups, plan.optimizer.degree)
        task.l1, task.clip_norm = plan.l1, plan.clip_norm
        task.l2, task.per_batch = plan.l2, plan.per_batch
        task.mean_weight = mean_weight(plan.weights_of(data))
        task.seed, task.step = plan.seed, plan.step
        for i in range(2):  # the optimizer never touches a slot that it does not have
            task.slots[i] = steps.slots[i] if steps.slots[i] != NULL else net.parameters
        epoch.report.powers = steps.powers
        epoch.hand(self.kernels, context, fresh, self.n_parameters, (data, plan, table, steps, totals))
        if plan.sums is not None:
            epoch.report.loss_sum, epoch.report.weight_sum = plan.sums
        if plan.share is not None:
            share_epoch(self, epoch, plan.share)
        return epoch

    @staticmethod
    def train_many(engines, datas, plans, team=None, int epochs=1, seeds=None, held=None, bint stores=False):
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
                sums.append(np.zeros((epochs, ceil_div(held.rows[k].rows, CALL_ROWS))))
                predictions.append(hold_out(engine, member, held.rows[k], sums[k], held.linked))
        for engine in engines:
            engine.steps.is_whole = False
        run_many(passes, team, n_threads)
        is_good = bool(np.isfinite(losses).all())
        for k, engine in enumerate(engines):
            engine.end(passes[k], plans[k], is_good)
            if held is not None:
                return_buffers(engine, (<Pass>passes[k]).held_buffers)
                held_losses[k] = [mean_loss(part, held.rows[k]) for part in sums[k]]
        return Epochs(losses.T, held_losses.T, predictions, list(zip(*arenas)))

    cdef int end(self, Pass epoch, plan, bint is_good) except -1:
        """Publish the parameters after one or several epochs, or discard them."""
        cdef Steps steps = self.steps
        steps.powers = epoch.report.powers
        if plan.sums is not None:
            plan.sums = [epoch.report.loss_sum, epoch.report.weight_sum]
        if is_good:
            self.spare, epoch.context.copied = self.publish(epoch.fresh), epoch.fresh
            steps.taken += ceil_div(epoch.task.data.n, epoch.task.batch) * max(1, epoch.run.epochs)
            steps.is_whole = True
        self.context = epoch.context

    def gradients(self, data, double l2=0.0, team=None, double l1=0.0):
        """Return (objective, [dW], [db], ...) of all rows as one batch."""
        cdef Pass batch = Pass.__new__(Pass)
        cdef fm_task* task = &batch.task
        cdef ThreadContext context
        cdef double objective
        describe(&task.data, data)
        keep = self.read(&batch.net)
        self.choose_loss(&batch.net, task.data.labels != NULL, data.is_gradient)
        task.batch = task.data.n
        task.optimizer, task.mean_weight = -1, mean_weight(data.weight_sum())
        task.l1, task.l2 = l1, l2
        team = self.helpers(team, True)
        table = set_groups(self, batch, PLAIN, 0)
        context = self.call_contexts.pop() if self.call_contexts else None
        n_threads = team.size if team is not None else 1
        context = context_for(self, &batch.net, context, task, n_threads, (), True, data)
        batch.net.copies = context.copies
        self.kernels.renew_copies(&batch.net)
        PyErr_CheckSignals()
        batch.hand(self.kernels, context, None, 0, (data, keep, table, set_totals(task, data)))
        objective = run(batch, team)
        PyErr_CheckSignals()
        gradients = self.unpack(context.buffers.c.gradients)
        self.call_contexts.append(context)
        return objective, *gradients

    def shuffle(self, order, seed):
        """Permute an index array in place; ValueError for 2**32 rows or more."""
        shuffle(order, seed, self.level)

    # ------------------------------------------------------------ predictions

    def predict(self, x, team=None, bint linked=True):
        """Return the predictions (n, C); if not linked, the outputs before the link."""
        out = np.empty((x.shape[0], self.operators[self.net.n_operators - 1].n_out), self.spec.dtype)
        self.predict_into(x, out, team, linked)
        return out

    def predict_into(self, x, cnp.ndarray out, team=None, bint linked=True):
        """Write the predictions into a C-contiguous array."""
        cdef fm_data data
        cdef fm_network net
        cdef RowsJob job
        describe(&data, Data(x, None))
        keep = self.read(&net)
        if not linked:
            self.drop_link(&net)
        job.net, job.data = &net, &data
        job.predictions, job.block_losses = <char*>cnp.PyArray_DATA(out), NULL
        divide_rows(self, &job, x, team)
        del keep

    def coalitions(self, x, background, chosen, masks, out, team=None):
        """Write predictions of rows between two others, see coalitions.py; all arrays are contiguous."""
        cdef fm_data data
        cdef fm_network net
        cdef RowsJob job
        describe(&data, Data(masks, None))
        keep = self.read(&net)
        job.net, job.data, job.n_parameters, job.failed = &net, &data, self.n_parameters, False
        job.x, job.background = <char*>start_of(x), <char*>start_of(background)
        job.chosen = <const int64_t*>start_of(chosen)
        job.predictions, job.block_losses = <char*>start_of(out), NULL
        job.pairs, job.n_background, job.coalitions = out.shape[:3]
        job.pairs *= job.n_background
        job.mask_step = job.coalitions if data.n > job.coalitions else 0
        divide_rows(self, &job, masks, team, run_coalitions)
        del keep
        if job.failed:
            raise MemoryError("no memory for the shares of columns")

    def predict_row(self, x, bint flat=False):
        """Return the prediction (1, C) of one plain finite row (1, I), which needs no checks; else None.

        If it is to be flat, that of one output is (1,).
        """
        cdef cnp.npy_intp dims[2]
        cdef const fm_kernels* k = self.kernels
        cdef cnp.ndarray a
        if not cnp.PyArray_CheckExact(x):
            return None
        a = <cnp.ndarray>x
        if (self.takes_lock or cnp.PyArray_TYPE(a) != self.typenum or cnp.PyArray_NDIM(a) != 2
                or a.shape[0] != 1 or a.shape[1] != self.operators[0].n_in or not cnp.PyArray_ISCARRAY_RO(a)
                or not k.finite(cnp.PyArray_DATA(a), a.shape[1])):
            return None
        dims[0] = 1
        dims[1] = self.operators[self.net.n_operators - 1].n_out
        out = cnp.PyArray_SimpleNew(1 if flat and dims[1] == 1 else 2, dims, self.typenum)
        cdef const char* row = <const char*>cnp.PyArray_DATA(a)
        cdef bint is_done = self.predict_row_into(row, <char*>cnp.PyArray_DATA(out))
        return out if is_done else None

    @cython.final  # else a call of predict_row takes 40 ns more
    cdef bint predict_row_into(self, const char* row, char* out) except -1:
        """Write the prediction of one contiguous row; return whether there was memory for it."""
        cdef int status
        cdef fm_network net
        keep = self.read(&net)
        if self.weight_count < QUICK_WEIGHTS:
            status = predict_rows(self.kernels, &net, self.row_bytes, row, 1, out)
        else:
            with nogil:
                status = predict_rows(self.kernels, &net, self.row_bytes, row, 1, out)
        del keep
        return status == 0

    def shadow(self):
        """Return another engine for the same network; both can restore the same snapshots."""
        return type(self)(self.spec, self.level)

    def frozen(self):
        """Return an engine with a copy of the parameters, and transposed weights of every layer."""
        spec = dataclasses.replace(self.spec, dropout=(0.0,) * len(self.spec.dropout))
        cdef Engine engine = type(self)(spec, self.level, True)
        engine.set_parameters(*self.parameters())  # a snapshot has another layout
        engine.keep_copies()
        return engine

    def jacobian(self, x):
        """Return the derivatives of the predictions with respect to x, (n, C, I), of a frozen engine."""
        cdef fm_data data
        cdef fm_interrupt_poll interrupt
        cdef Watch watch
        cdef Signals signals = Signals()
        cdef Buffers buffers
        columns = self.operators[self.net.n_operators - 1].n_out
        cdef cnp.ndarray out = np.empty((x.shape[0], columns, x.shape[1]), self.spec.dtype)
        describe(&data, Data(x, None))
        try:
            buffers = self.call_jacobians.pop()
        except IndexError:
            buffers = Buffers.make(self.kernels, &self.net, CALL_ROWS, 1, True,
                                   Inputs(self.net.operators[0].n_in, -1), True)
        signals.watch(&watch)
        start_poll(&interrupt, &watch, 0)
        with nogil:
            self.kernels.jacobian(&self.net, &buffers.c, &data, 0, data.n, cnp.PyArray_DATA(out), &interrupt)
        self.call_jacobians.append(buffers)
        if signals.error is not None:
            raise signals.error
        return out

    def differentiate(self, x, v=None, p=None, q=None, team=None):
        """Return s (n, C) or a gradient by x (n, I), of a frozen engine."""
        cdef fm_derivatives arguments
        cdef fm_data directions
        formulas = formulas_of(self)
        if formulas is not None:
            with np.errstate(all="ignore"):
                return formulas.differentiate(x, v, p, q)
        is_gradient = p is not None or q is not None
        n_out = self.operators[self.net.n_operators - 1].n_out
        out = np.empty((x.shape[0], x.shape[1] if is_gradient else n_out), self.spec.dtype)
        memset(&arguments, 0, sizeof(arguments))
        if v is not None:
            describe(&directions, Data(v, None))
            arguments.directions = &directions
        arguments.p, arguments.q, arguments.out = start_of(p), start_of(q), start_of(out)
        divide_derivatives(self, arguments, x, team)
        return out

    def derivatives(self, x, team=None):
        """Return outputs (n, C) before the link, jacobians and hessians, of a frozen engine."""
        cdef fm_derivatives arguments
        formulas = formulas_of(self)
        if formulas is not None:
            with np.errstate(all="ignore"):
                return formulas.derivatives(x)
        shape = (x.shape[0], self.operators[self.net.n_operators - 1].n_out, x.shape[1], x.shape[1])
        results = tuple(np.empty(shape[:axes], self.spec.dtype) for axes in (2, 3, 4))
        memset(&arguments, 0, sizeof(arguments))
        arguments.values, arguments.jacobian = start_of(results[0]), start_of(results[1])
        arguments.hessian = start_of(results[2])
        divide_derivatives(self, arguments, x, team)
        return results

    def evaluate(self, data, team=None):
        """Return the weighted mean loss, without penalty and dropout."""
        if data.jacobians is not None:
            return self.gradients(data, 0.0, team)[0]
        cdef fm_data c
        cdef fm_network net
        describe(&c, data)
        keep = self.read(&net)
        self.choose_loss(&net, c.labels != NULL)
        cdef RowsJob job
        cdef cnp.ndarray sums = np.zeros(max(1, ceil_div(c.n, CALL_ROWS)))
        job.net, job.data = &net, &c
        job.block_losses = <double*>cnp.PyArray_DATA(sums)
        divide_rows(self, &job, data.x, team)
        del keep
        return mean_loss(sums, data)


def predict_each(engines, cnp.ndarray rows not None):
    """Return the prediction of each engine for its row, (engines, C), of an array (engines, I).

    The engines have one dtype and shape, and no Python functions.
    """
    if not engines:
        raise ValueError("there are no networks but at least one is expected")
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
