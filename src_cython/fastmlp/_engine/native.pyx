# distutils: extra_compile_args = -O1
# At -Os, a call of a microsecond would take longer.
#
# The native engine as Python sees it. It fills the structs of network.pxd and calls the kernel table of one
# CPU level, with whole epochs and whole batches of rows. It computes nothing itself, and checks no user
# input: fastmlp._validation.check has done that. parameters.pyx holds the parameters.
cimport cython
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport isfinite
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

from fastmlp._engine.buffers cimport (
    Buffers, Derivatives, Inputs, ThreadContext, fits, inputs_of, target_stride)
from fastmlp._engine.crew cimport Crew
from fastmlp._engine.jobs cimport *
from fastmlp._engine.parameters cimport Parameters, Steps
from fastmlp._engine.passes cimport Pass, Signals, poll_of_caller, run
from network cimport *
from rounding cimport ceil_div

import dataclasses

import numpy as np

from fastmlp._engine.kernels import shuffle
from fastmlp._network.groups import PLAIN, table as groups_table
from fastmlp._network.data import Data, Shard
from fastmlp._network.sparse import SparseRows
from fastmlp._network.spec import BLOCK_ROWS as _BLOCK_ROWS

cnp.import_array()

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


cdef object moved_inputs(x, plan):
    """Return the columns of few sparse rows if steps leave the weights of other inputs alone, or None."""
    rests = plan.optimizer.n_slots == 0 and not (plan.l1 or plan.l2 or plan.share)
    if type(x) is not SparseRows or not rests or 16 * x.nnz > x.shape[1]:
        return None
    return np.unique(x.indices)


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

    cdef void describe(self, fm_data* c, data) except *:
        """Describe the user's arrays, SparseRows or RowSource; `data` must outlive the struct."""
        cdef cnp.ndarray x
        c.starts, c.columns, c.values = NULL, NULL, NULL
        c.source, c.x, c.x_row_stride, c.x_column_stride = NULL, NULL, 0, 0
        if cnp.PyArray_Check(data.x):
            x = data.x
            c.x = <const char*>cnp.PyArray_DATA(x)
            c.x_row_stride, c.x_column_stride = x.strides[0], x.strides[1]
        elif type(data.x) is SparseRows:
            c.starts = <const int64_t*>cnp.PyArray_DATA(data.x.indptr)
            c.columns = <const int32_t*>cnp.PyArray_DATA(data.x.indices)
            c.values = cnp.PyArray_DATA(data.x.values)
        else:
            c.source = <const fm_row_source*>PyCapsule_GetPointer(data.x.row_source, FM_ROWS_CAPSULE)
        c.n = data.x.shape[0]
        c.targets, c.labels, c.weights, c.output_weights = NULL, NULL, NULL, NULL
        if data.targets is not None:
            if data.targets.ndim == 1:
                c.labels = <const int32_t*>cnp.PyArray_DATA(data.targets)
            else:
                c.targets = cnp.PyArray_DATA(data.targets)
        if data.weights is not None:
            c.weights = cnp.PyArray_DATA(data.weights)
        if data.output_weights is not None:
            c.output_weights = cnp.PyArray_DATA(data.output_weights)
        c.jacobians, c.jacobian_weight = NULL, data.jacobian_weight
        if data.jacobians is not None:
            c.jacobians = cnp.PyArray_DATA(data.jacobians)

    def epoch(self, data, plan):
        """Train on every batch once and return the mean objective, or one that is not finite."""
        team = self.helpers(plan.team, True)
        cdef Pass epoch = self.begin(data, plan, team.size if team is not None else 1)
        self.steps.is_whole = False  # until the epoch has succeeded
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
        cdef cnp.ndarray rates = plan.learning_rates
        cdef ThreadContext context
        cdef Steps steps = self.steps
        if steps is None:
            raise RuntimeError("no optimizer was started")
        net[0] = self.net
        self.describe(&task.data, data)
        if task.data.labels != NULL or data.is_gradient:
            self.choose_loss(net, task.data.labels != NULL, data.is_gradient)
        if plan.order is not None:
            task.order = <int64_t*>cnp.PyArray_DATA(plan.order)
            task.data.n = len(plan.order)
        if plan.drops_last:
            task.data.n -= task.data.n % <int64_t>plan.batch_size
        task.batch = plan.batch_size
        totals = self.set_totals(task, data)
        drops = self.set_dropout(task, plan.dropouts)
        stores = plan.clip_norm > 0 or plan.l1 > 0 or plan.share is not None
        context = self.context_for(net, self.context, task.batch, n_threads, drops, stores, data)
        self.use_operators(net, context)
        context.buffers.take_output_weights(self.kernels, &task.data)
        self.context = None  # until the epoch has ended
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
        context.copied = None  # until the epoch has succeeded
        task.optimizer = steps.optimizer
        task.hyper = steps.hyper
        if plan.weight_decays is not None:
            task.decays = <double*>cnp.PyArray_DATA(plan.weight_decays)
        else:
            task.hyper[3] = plan.optimizer.hyper[3]
        task.rates = <double*>cnp.PyArray_DATA(rates)
        if self.bounds is not None:
            task.lower, task.upper = cnp.PyArray_DATA(self.bounds[0]), cnp.PyArray_DATA(self.bounds[1])
        table = self.set_groups(epoch, plan.groups, plan.optimizer.degree)
        task.l1, task.clip_norm = plan.l1, plan.clip_norm
        task.l2, task.l2_per_batch = plan.l2, plan.l2_per_batch
        task.seed, task.step = plan.seed, plan.step
        for i in range(2):  # the optimizer never touches a slot that it does not have
            task.slots[i] = steps.slots[i] if steps.slots[i] != NULL else net.parameters
        epoch.report.powers = steps.powers
        epoch.hand(self.kernels, context, fresh, self.n_parameters, (data, plan, table, steps, totals))
        if plan.sums is not None:
            epoch.report.loss_sum, epoch.report.weight_sum = plan.sums
        if plan.share is not None:
            self.share(epoch, plan.share)
        return epoch

    cdef int share(self, Pass epoch, share) except -1:
        """Make an epoch one process's part of a shared epoch; it reports the losses of its own rows."""
        cdef fm_task* task = &epoch.task
        cdef void* gradients = epoch.context.buffers.c.gradients
        cdef cnp.npy_intp size = self.n_parameters + NOTES
        cdef cnp.ndarray totals = share.totals
        memset(gradients, 0, size * self.kernels.element_size)  # frozen layers store none
        task.stores, task.row = True, share.row
        task.totals = <double*>cnp.PyArray_DATA(totals)
        if not share.is_first:
            task.l1 = task.l2 = 0
        epoch.add_up = share.add_up
        epoch.summed = cnp.PyArray_SimpleNewFromData(1, &size, self.typenum, gradients)
        cnp.set_array_base(epoch.summed, epoch.context)
        return 0

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
        return 0

    cdef object set_totals(self, fm_task* task, data):
        """Let an epoch use targets that are gradients as they are; return an array that must outlive it."""
        cdef cnp.ndarray totals
        if not data.is_gradient:
            return None
        totals = np.ones(ceil_div(task.data.n, task.batch))
        task.totals = <double*>cnp.PyArray_DATA(totals)
        return totals

    cdef object set_groups(self, Pass epoch, groups, degree):
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

    cdef tuple set_dropout(self, fm_task* task, dropouts):
        """Set the dropout, (batches, hidden layers) or the network's; return which layers have any."""
        cdef cnp.ndarray given
        if dropouts is None:
            task.dropout, task.dropout_step = self.dropout, 0
            return self.drops
        given = dropouts
        task.dropout, task.dropout_step = <double*>cnp.PyArray_DATA(given), given.shape[1]
        return tuple(given.any(axis=0).tolist())

    cdef ThreadContext context_for(self, const fm_network* net, ThreadContext last, int64_t batch,
                                   int n_threads, tuple drops, bint stores, data):
        """Return the last context if it fits, else a new one; with memory for gradients that are stored."""
        cdef int64_t n_tangents = 0 if data.jacobians is None else net.operators[net.n_operators - 1].n_out
        cdef int64_t rows = min(batch, max(1, BLOCK_ROWS // (1 + n_tangents)))
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
        if (stores or batch > rows) and buffers.gradients == NULL:
            buffers.gradients = context.memory.take(self.n_parameters + NOTES)
        if batch > rows and buffers.sums == NULL:
            buffers.sums = <double*>context.memory.take(self.n_parameters, sizeof(double))
        return context

    cdef int use_operators(self, fm_network* net, ThreadContext context) except -1:
        """Use the operators whose layers all have transposed weights, if the context needs them."""
        if context.derivatives is not None:
            net.operators = context.derivatives.linear.operators
            context.derivatives.c.net, context.derivatives.c.linear = &self.net, net
        return 0

    def gradients(self, data, double l2=0.0, team=None, double l1=0.0):
        """Return (objective, [dW], [db], ...) of all rows as one batch."""
        cdef Pass batch = Pass.__new__(Pass)
        cdef fm_task* task = &batch.task
        cdef ThreadContext context
        cdef double objective
        self.describe(&task.data, data)
        keep = self.read(&batch.net)
        self.choose_loss(&batch.net, task.data.labels != NULL, data.is_gradient)
        task.batch = task.data.n
        task.optimizer = -1
        task.l1, task.l2 = l1, l2
        team = self.helpers(team, True)
        table = self.set_groups(batch, PLAIN, 0)
        context = self.call_contexts.pop() if self.call_contexts else None
        n_threads = team.size if team is not None else 1
        context = self.context_for(&batch.net, context, task.batch, n_threads, (), True, data)
        self.use_operators(&batch.net, context)
        context.buffers.take_output_weights(self.kernels, &task.data)
        batch.net.copies = context.copies
        self.kernels.renew_copies(&batch.net)
        PyErr_CheckSignals()
        batch.hand(self.kernels, context, None, 0, (data, keep, table, self.set_totals(task, data)))
        objective = run(batch, team)
        PyErr_CheckSignals()
        gradients = self.unpack(context.buffers.c.gradients)
        self.call_contexts.append(context)
        return objective, *gradients

    def shuffle(self, order, seed):
        """Permute an index array in place; ValueError for 2**32 rows or more."""
        shuffle(order, seed, self.level)

    # ------------------------------------------------------------ predictions

    cdef Buffers borrow_buffers(self, x):
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

    cdef void return_buffers(self, Buffers buffers):
        (self.call_buffers if buffers.inputs.most_entries < 0 else self.sparse_buffers).append(buffers)

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
        self.describe(&data, Data(x, None))
        keep = self.read(&net)
        if not linked:
            self.drop_link(&net)
        job.net, job.data = &net, &data
        job.predictions, job.block_losses = <char*>cnp.PyArray_DATA(out), NULL
        self.divide_rows(&job, x, team)
        del keep

    def predict_row(self, x):
        """Return the prediction (1, C) of one plain finite row (1, I), which needs no checks; else None."""
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
        out = cnp.PyArray_SimpleNew(2, dims, self.typenum)
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
        cdef atomic_int stop
        cdef Signals signals = Signals()
        cdef Buffers buffers
        cdef int64_t columns = self.operators[self.net.n_operators - 1].n_out
        cdef cnp.ndarray out = np.empty((x.shape[0], columns, x.shape[1]), self.spec.dtype)
        self.describe(&data, Data(x, None))
        try:
            buffers = self.call_jacobians.pop()
        except IndexError:
            buffers = Buffers.make(self.kernels, &self.net, CALL_ROWS, 1, True,
                                   Inputs(self.net.operators[0].n_in, -1), True)
        fm_stop_clear(&stop)
        fm_poll_start(&interrupt, poll_of_caller(), <void*>signals, &stop)
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
        cdef cnp.ndarray array, out
        formulas = self.formulas()
        if formulas is not None:
            with np.errstate(all="ignore"):
                return formulas.differentiate(x, v, p, q)
        is_gradient = p is not None or q is not None
        n_out = self.operators[self.net.n_operators - 1].n_out
        out = np.empty((x.shape[0], x.shape[1] if is_gradient else n_out), self.spec.dtype)
        memset(&arguments, 0, sizeof(arguments))
        if v is not None:
            self.describe(&directions, Data(v, None))
            arguments.directions = &directions
        if p is not None:
            array = p
            arguments.p = cnp.PyArray_DATA(array)
        if q is not None:
            array = q
            arguments.q = cnp.PyArray_DATA(array)
        arguments.out = cnp.PyArray_DATA(out)
        self.divide_derivatives(arguments, x, team)
        return out

    def derivatives(self, x, team=None):
        """Return outputs (n, C) before the link, jacobians and hessians, of a frozen engine."""
        cdef fm_derivatives arguments
        formulas = self.formulas()
        if formulas is not None:
            with np.errstate(all="ignore"):
                return formulas.derivatives(x)
        shape = (x.shape[0], self.operators[self.net.n_operators - 1].n_out, x.shape[1], x.shape[1])
        cdef cnp.ndarray values = np.empty(shape[:2], self.spec.dtype)
        cdef cnp.ndarray jacobian = np.empty(shape[:3], self.spec.dtype)
        cdef cnp.ndarray hessian = np.empty(shape, self.spec.dtype)
        memset(&arguments, 0, sizeof(arguments))
        arguments.values, arguments.jacobian = cnp.PyArray_DATA(values), cnp.PyArray_DATA(jacobian)
        arguments.hessian = cnp.PyArray_DATA(hessian)
        self.divide_derivatives(arguments, x, team)
        return values, jacobian, hessian

    cdef object formulas(self):
        """Return the network in NumPy if it has custom activations, of which kernels know no curvature."""
        cdef int32_t l
        for l in range(self.net.n_operators):
            if self.operators[l].function != NULL:
                from fastmlp._engine.numpy import numpy_engine

                engine = numpy_engine.Engine(self.spec)
                engine.set_parameters(*self.parameters())
                return engine
        return None

    cdef int divide_derivatives(self, fm_derivatives arguments, x, team) except -1:
        """Compute derivatives at the rows of x with the team; each thread has its own memory."""
        cdef fm_data data
        cdef DerivativesJob job
        cdef fm_counter counter
        cdef Crew crew
        cdef Signals signals = Signals()
        cdef Derivatives memory
        cdef const fm_derivatives* all_memory[MAX_THREADS]
        cdef int n_threads = team.size if team is not None else 1
        self.describe(&data, Data(x, None))
        borrowed = []
        for i in range(n_threads):
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
        job.poll, job.poll_context = poll_of_caller(), <void*>signals
        fm_stop_clear(&job.stop)
        if n_threads == 1:
            with nogil:
                run_derivatives(&job, 0)
        else:
            crew = team.crew
            with nogil:
                crew.call(run_derivatives, &job)
        self.call_derivatives += borrowed
        if signals.error is not None:
            raise signals.error
        return 0

    def evaluate(self, data, team=None):
        """Return the weighted mean loss, without penalty and dropout."""
        if data.jacobians is not None:
            return self.gradients(data, 0.0, team)[0]
        cdef fm_data c
        cdef fm_network net
        self.describe(&c, data)
        keep = self.read(&net)
        self.choose_loss(&net, c.labels != NULL)
        cdef RowsJob job
        cdef cnp.ndarray sums = np.zeros(max(1, ceil_div(c.n, CALL_ROWS)))
        job.net, job.data = &net, &c
        job.block_losses = <double*>cnp.PyArray_DATA(sums)
        self.divide_rows(&job, data.x, team)
        del keep
        return mean_loss(sums, data)

    cdef void divide_rows(self, RowsJob* job, x, team) except *:
        """Run a job on all rows of x with the team; each thread has its own buffers."""
        cdef Crew crew
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
        job.poll, job.poll_context = poll_of_caller(), <void*>signals
        fm_stop_clear(&job.stop)
        job.buffers = all_buffers
        borrowed = []
        for i in range(job.n_threads):
            buffers = self.borrow_buffers(x)
            buffers.take_output_weights(self.kernels, job.data)
            borrowed.append(buffers)
            all_buffers[i] = &buffers.c
        if job.n_threads == 1:
            with nogil:
                run_rows(job, 0)
        else:
            crew = team.crew
            with nogil:
                crew.call(run_rows, job)
        for buffers in borrowed:
            self.return_buffers(buffers)
        if signals.error is not None:
            raise signals.error
