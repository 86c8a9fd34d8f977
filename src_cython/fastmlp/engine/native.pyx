# The native engine, seen from Python: fills the structs of c/network.h, and hands whole epochs and whole
# batches of rows to the kernel table of one CPU level. Nothing numerical is here, and nothing the user wrote
# is checked here (fastmlp.check has done that). Where weights and biases lie is the matter of parameters.pyx.
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport isfinite
from libc.stdint cimport int32_t, int64_t

from fastmlp.engine.crew cimport Crew
from fastmlp.engine.steps cimport Steps, Trained
from fastmlp.engine.workspace cimport QUICK_WEIGHTS, Space, Training
from fastmlp.engine.jobs cimport *
from network cimport *
from rounding cimport ceil_div
from fastmlp.engine.rows cimport predict_rows

import numpy as np

from fastmlp.groups import PLAIN, table as groups_table
from fastmlp.spec import BLOCK_ROWS as _BLOCK_ROWS, Data

cnp.import_array()

cdef int64_t BLOCK_ROWS = _BLOCK_ROWS


cdef double sequential_sum(cnp.ndarray values) except? -1:
    """In order, in double: the same bits whatever NumPy's summation does."""
    cdef fm_control control = fm_own_control()
    try:
        return np.add.accumulate(values, dtype=float).item(len(values) - 1)
    finally:
        fm_restore_control(control)


cdef object set_groups(fm_epoch* e, table):
    """Say what is trained, and how fast; the table, which is returned, must outlive the epoch."""
    e.groups = <const fm_group*>cnp.PyArray_DATA(table.factors)
    e.n_groups = len(table.factors)
    e.group_of = <const int32_t*>cnp.PyArray_DATA(table.group_of)
    e.first_trained = table.first_trained
    return table


cdef class Signals:
    """Keeps what a signal handler raised until the native call is over."""
    cdef object interrupt


cdef int poll(void* context) noexcept nogil:
    """Give Python a chance to raise KeyboardInterrupt; runs on the thread that called epoch."""
    with gil:
        try:
            PyErr_CheckSignals()
        except BaseException as interrupt:
            (<Signals>context).interrupt = interrupt
            return 1
    return 0


cdef class Engine(Trained):
    """A network on the kernels of one CPU level; the contract is in docs/architecture.md.

    Parameters
    ----------
    spec : fastmlp.spec.Spec
        The network.
    level : str
        A level of ``fastmlp.engine.backend.available_levels()``.
    transpose_all : bool
        Keep the transposed weights of the first layer too: for derivatives with respect to inputs.
    """

    def __init__(self, spec, str level, bint transpose_all=False):
        Trained.__init__(self, spec, level, transpose_all)
        self.call_spaces, self.call_trainings = [], []
        self.typenum = spec.dtype.num
        self.row_bytes = self.kernels.row_scratch_size(&self.net) * self.kernels.element_size

    # ------------------------------------------------------------ training

    cdef void describe(self, fm_data* c, data) except *:
        """Point a struct at the user's arrays; data must outlive it."""
        cdef cnp.ndarray x = data.x
        c.x = <const char*>cnp.PyArray_DATA(x)
        c.n = x.shape[0]
        c.x_row_stride = x.strides[0]
        c.x_column_stride = x.strides[1]
        c.targets = NULL
        c.labels = NULL
        c.weights = NULL
        if data.targets is not None:
            if data.targets.ndim == 1:
                c.labels = <const int32_t*>cnp.PyArray_DATA(data.targets)
            else:
                c.targets = cnp.PyArray_DATA(data.targets)
        if data.weights is not None:
            c.weights = cnp.PyArray_DATA(data.weights)

    cdef int32_t row_of_loss(self, fm_data* data) except -1:
        """The row of the loss that fits the targets."""
        return self.losses[self.spec.loss.native_row(data.labels != NULL)]

    def epoch(self, data, plan):
        """Train on every batch once; the mean objective, or the first that is not finite (NaN for a weight).

        In that case, and after any error, the parameters are those of before.
        """
        cdef fm_epoch e
        cdef fm_network net
        cdef int n_threads = plan.team.size if plan.team is not None else 1
        cdef cnp.ndarray rates = plan.learning_rates
        cdef Training training
        cdef Steps steps = self.steps
        if steps is None:
            raise RuntimeError("no optimizer was started")
        self.describe(&e.data, data)
        net = self.net
        net.loss = self.row_of_loss(&e.data)
        e.net = &net
        e.order = NULL if plan.order is None else <int64_t*>cnp.PyArray_DATA(plan.order)
        e.batch = min(<int64_t>plan.batch_size, e.data.n)
        drops = self.set_dropout(&e, plan.dropouts)
        training = self.workspace(self.training, e.batch, n_threads, drops, plan.clip_norm > 0)
        self.training = None  # until the epoch has ended well
        working = self.to_work_on()
        net.parameters = cnp.PyArray_DATA(working)
        net.transposed = training.transposed
        PyErr_CheckSignals()  # copies of many millions of weights take a while each
        if training.transposed_of is not self.published:
            self.kernels.transpose(&net)
            PyErr_CheckSignals()
        training.transposed_of = None  # until the epoch has ended well
        e.optimizer = steps.optimizer
        e.hyper = steps.hyper
        e.decays = NULL
        if plan.weight_decays is not None:
            e.decays = <double*>cnp.PyArray_DATA(plan.weight_decays)
        else:
            e.hyper[3] = plan.optimizer.decay(0)
        e.rates = <double*>cnp.PyArray_DATA(rates)
        table = set_groups(&e, groups_table(plan.groups, self.fan_ins, plan.optimizer.degree))
        e.l2, e.l2_per_batch, e.clip_norm = plan.l2, plan.l2_per_batch, plan.clip_norm
        e.seed, e.step = plan.seed, plan.step
        for i in range(2):  # a slot the optimizer lacks is never touched
            e.slots[i] = steps.slots[i] if steps.slots[i] != NULL else net.parameters
            e.powers[i] = steps.powers[i]
        crew = plan.team.crew if plan.team is not None else None
        steps.is_whole = False  # until the epoch has ended well
        result = self.run(&e, training, crew, n_threads)
        del table
        steps.powers[0], steps.powers[1] = e.powers[0], e.powers[1]
        if isfinite(result) and not self.kernels.finite(net.parameters, self.n_parameters):
            result = np.nan
        if isfinite(result):
            self.spare, training.transposed_of = self.publish(working), working
            steps.taken += ceil_div(e.data.n, e.batch)
            steps.is_whole = True
        self.training = training
        return result

    cdef tuple set_dropout(self, fm_epoch* e, dropouts):
        """Say which values drop out, by (batches, hidden layers), or as the network has it; returns where."""
        cdef cnp.ndarray given
        if dropouts is None:
            e.dropout, e.dropout_step = self.dropout, 0
            return self.drops
        given = dropouts
        e.dropout, e.dropout_step = <double*>cnp.PyArray_DATA(given), given.shape[1]
        return tuple(given.any(axis=0).tolist())

    cdef Training workspace(self, Training last, int64_t batch, int n_threads, tuple drops, bint stores):
        """The last workspace if it fits, else a new one; with room for whole gradients if they are stored."""
        cdef int64_t rows = min(batch, BLOCK_ROWS)
        cdef Training training = last
        if last is None or last.space.c.rows != rows or last.n_threads != n_threads or last.drops != drops:
            training = Training.make(self.kernels, &self.net, rows, n_threads, drops)
            training.transposed = training.memory.take(self.n_transposed)
        if (stores or batch > rows) and training.gradients == NULL:
            training.gradients = training.memory.take(self.n_parameters)
        if batch > rows and training.sums == NULL:
            training.sums = <double*>training.memory.take(self.n_parameters, sizeof(double))
        return training

    cdef double run(self, fm_epoch* e, Training training, Crew crew, int n_threads) except? -1:
        """Enter the native epoch with every thread of the team; touches nothing of the engine."""
        cdef Signals signals = Signals()
        cdef EpochJob job = EpochJob(self.kernels, e)
        cdef atomic_int stop
        fm_stop_clear(&stop)
        e.block = training.space.c.rows
        e.space = &training.space.c
        stores = e.optimizer < 0 or e.clip_norm > 0 or e.batch > e.block
        e.gradients = training.gradients if stores else NULL
        e.sums = training.sums
        e.column_squares = training.column_squares
        e.units = training.units
        e.unit_first = training.unit_first
        e.counters = training.counters
        e.n_threads = n_threads
        e.pace = &training.pace
        e.alone_from = -1
        e.poll = poll
        e.poll_context = <void*>signals
        e.stop = &stop
        e.barrier = training.barrier
        e.status = FM_RUNNING
        e.loss_sum = e.weight_sum = 0
        fm_barrier_start(e.barrier, n_threads)
        if n_threads == 1:
            with nogil:
                self.kernels.epoch(e, 0)
        else:
            e.crew, e.job, e.job_context = crew.c, run_epoch, &job
            with nogil:
                self.kernels.epoch(e, 0)
                fm_crew_close(crew.c)
        if e.status == FM_INTERRUPTED:
            raise signals.interrupt
        if e.status == FM_DIVERGED:
            return e.loss_sum if not isfinite(e.loss_sum) else np.nan
        return fm_quotient(e.loss_sum, e.weight_sum) if e.weight_sum > 0 else 0.0

    def gradients(self, data, double l2=0.0, team=None):
        """(objective, weight gradients, bias gradients) of all rows as one batch."""
        cdef fm_epoch e
        cdef fm_network net
        cdef int n_threads = team.size if team is not None else 1
        cdef Training training
        cdef double objective
        self.describe(&e.data, data)
        keep = self.read(&net)
        net.loss = self.row_of_loss(&e.data)
        e.net = &net
        e.order = NULL
        e.batch = e.data.n
        e.optimizer = -1
        e.rates = e.decays = e.dropout = NULL
        e.dropout_step = 0
        table = set_groups(&e, groups_table(PLAIN, self.fan_ins, 0))
        e.l2, e.l2_per_batch, e.clip_norm = l2, 0, 0
        e.seed = e.step = 0
        e.slots[0] = e.slots[1] = NULL
        training = self.call_trainings.pop() if self.call_trainings else None
        training = self.workspace(training, e.batch, n_threads, (), True)
        net.transposed = training.transposed
        self.kernels.transpose(&net)
        PyErr_CheckSignals()
        objective = self.run(&e, training, team.crew if team is not None else None, n_threads)
        PyErr_CheckSignals()
        gradients = self.unpack(training.gradients)
        self.call_trainings.append(training)
        del keep, table
        return objective, *gradients

    # ------------------------------------------------------------ without training

    cdef Space borrow_space(self):
        try:
            return self.call_spaces.pop()
        except IndexError:
            return Space.make(self.kernels, &self.net, CALL_ROWS, 1, False)

    def predict(self, x, team=None):
        """Predictions (n, C) after the link."""
        out = np.empty((x.shape[0], self.layers[self.net.n_layers - 1].n_out), self.spec.dtype)
        self.predict_into(x, out, team)
        return out

    def predict_into(self, x, cnp.ndarray out, team=None):
        """The same into a C-contiguous array."""
        cdef fm_data data
        cdef fm_network net
        cdef RowsJob job
        self.describe(&data, Data(x, None))
        keep = self.read(&net)
        job.net, job.data = &net, &data
        job.predictions, job.block_losses = <char*>cnp.PyArray_DATA(out), NULL
        self.share_rows(&job, team)
        del keep

    def predict_row(self, x):
        """The prediction (1, C) if x is one plain finite row (1, I), else None: the way of single
        predictions around the checks, which look at everything else."""
        cdef const char* row
        cdef char* result
        cdef int status
        cdef cnp.npy_intp dims[2]
        cdef fm_network net
        cdef const fm_kernels* k = self.kernels
        cdef cnp.ndarray a
        if not cnp.PyArray_CheckExact(x):
            return None
        a = <cnp.ndarray>x
        if (cnp.PyArray_TYPE(a) != self.typenum or cnp.PyArray_NDIM(a) != 2 or a.shape[0] != 1
                or a.shape[1] != self.layers[0].n_in or not cnp.PyArray_ISCARRAY_RO(a)
                or not k.finite_row(cnp.PyArray_DATA(a), a.shape[1])):
            return None
        dims[0] = 1
        dims[1] = self.layers[self.net.n_layers - 1].n_out
        out = cnp.PyArray_SimpleNew(2, dims, self.typenum)
        row, result = <const char*>cnp.PyArray_DATA(a), <char*>cnp.PyArray_DATA(out)
        keep = self.read(&net)
        if self.weight_count < QUICK_WEIGHTS:
            status = predict_rows(k, &net, self.row_bytes, row, 1, result)
        else:
            with nogil:
                status = predict_rows(k, &net, self.row_bytes, row, 1, result)
        del keep
        return out if status == 0 else None

    def differentiate(self, x):
        """Derivatives of the predictions with respect to the inputs, (n, C, I).

        For a network whose weights do not change and that keeps the transposed ones of every layer.
        """
        cdef fm_data data
        cdef fm_watch watch
        cdef atomic_int stop
        cdef Signals signals = Signals()
        cdef Space space
        cdef int64_t columns = self.layers[self.net.n_layers - 1].n_out
        cdef cnp.ndarray out = np.empty((x.shape[0], columns, x.shape[1]), self.spec.dtype)
        self.describe(&data, Data(x, None))
        space = Space.make(self.kernels, &self.net, min(max(data.n, 1), CALL_ROWS), 1, True, True)
        fm_stop_clear(&stop)
        fm_watch_start(&watch, poll, <void*>signals, &stop)
        with nogil:
            self.kernels.jacobian(&self.net, &space.c, &data, 0, data.n, cnp.PyArray_DATA(out), &watch)
        if signals.interrupt is not None:
            raise signals.interrupt
        return out

    def evaluate(self, data, team=None):
        """Weighted mean loss, without penalty."""
        cdef fm_data c
        cdef fm_network net
        self.describe(&c, data)
        keep = self.read(&net)
        net.loss = self.row_of_loss(&c)
        cdef RowsJob job
        cdef cnp.ndarray sums = np.zeros(max(1, ceil_div(c.n, CALL_ROWS)))
        job.net, job.data = &net, &c
        job.block_losses = <double*>cnp.PyArray_DATA(sums)
        self.share_rows(&job, team)
        del keep
        total = c.n if data.weights is None else sequential_sum(data.weights)
        return fm_quotient(sequential_sum(sums), total) if total > 0 else 0.0

    cdef void share_rows(self, RowsJob* job, team) except *:
        """Divide the rows among the team, each thread with a workspace of its own."""
        cdef Crew crew
        cdef Space space
        cdef Signals signals = Signals()
        cdef fm_counter counter
        cdef const fm_space* spaces[MAX_THREADS]
        fm_counter_reset(&counter)
        job.kernels = self.kernels
        job.n_threads = team.size if team is not None else 1
        job.blocks = max(1, min(MOST_BLOCKS, job.data.n // (CALL_ROWS * 8 * job.n_threads)))
        job.counter = &counter
        job.poll, job.poll_context = poll, <void*>signals
        fm_stop_clear(&job.stop)
        job.spaces = spaces
        borrowed = []
        for i in range(job.n_threads):
            space = self.borrow_space()
            borrowed.append(space)
            spaces[i] = &space.c
        if job.n_threads == 1:
            with nogil:
                run_rows(job, 0)
        else:
            crew = team.crew
            with nogil:
                crew.call(run_rows, job)
        self.call_spaces.extend(borrowed)
        if signals.interrupt is not None:
            raise signals.interrupt
