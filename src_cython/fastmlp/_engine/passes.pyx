# Native epochs and the calls from native code to Python: signals, sums over processes, custom functions.
#
# One epoch is run by all threads of a team; many epochs, of as many networks, by one thread each. An
# exception of a signal handler or custom function is stored in a Signals object and raised when the native
# call has returned.
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int32_t, int64_t, uintptr_t

from fastmlp._engine.buffers cimport ThreadContext
from fastmlp._engine.crew cimport Crew
from fastmlp._engine.jobs cimport *
from network cimport *
from rounding cimport ceil_div

from math import gcd
from threading import get_ident

import numpy as np

from fastmlp._engine.thread_pool import MAIN

cnp.import_array()


cdef class Signals:
    """The first exception during a native call."""


cdef int poll(void* context) noexcept nogil:
    """Let Python handle signals; runs on the thread that made the native call."""
    with gil:
        try:
            PyErr_CheckSignals()
        except BaseException as error:
            (<Signals>context).error = error
            return 1
    return 0


cdef int add_up(void* context, int failed) noexcept nogil:
    """Sum the gradients of all processes; an error in one of them stops the epoch in all."""
    with gil:
        signals = <Signals>context
        try:
            signals.add_up(signals.summed, failed)
        except BaseException as error:
            if signals.error is None:
                signals.error = error
            return 1
    return 0


cdef fm_poll poll_of_caller() except *:
    """Return the poll of the calling thread, NULL outside the main thread.

    Python handles signals in the main thread alone. When the process ends, Python would end any other thread
    that takes the interpreter lock, while helpers still use that thread's stack.
    """
    if get_ident() == MAIN[0]:
        return poll
    return NULL


cdef class Pass:
    """One epoch of one network: its task, context and report."""

    cdef void hand(self, const fm_kernels* k, ThreadContext context, fresh, int64_t n_parameters, references):
        """Set the task's buffers and threads; if the epoch succeeds, `fresh` receives the parameters."""
        cdef fm_task* task = &self.task
        self.context, self.fresh, self.references = context, fresh, references
        task.net = &self.net
        task.buffers = &context.buffers.c
        task.stores = (task.optimizer < 0 or task.clip_norm > 0 or task.l1 > 0
                       or task.batch > task.buffers.rows)
        context.c.add_up = NULL
        context.c.alone_from = -1
        context.c.first_batch, context.c.end_batch = 0, ceil_div(task.data.n, task.batch)
        self.report.status = RUNNING
        fm_barrier_start(context.c.barrier, context.c.n_threads)
        self.job = EpochJob(k, task, &context.c, &self.report, NULL, n_parameters, NULL, 0)
        if fresh is not None:
            self.job.fresh = cnp.PyArray_DATA(fresh)


cdef double run(Pass epoch, team) except? -1:
    """Run an epoch with every thread of the team; return the mean objective."""
    cdef Signals signals = Signals()
    cdef EpochJob* job = &epoch.job
    cdef fm_thread_context* context = job.context
    cdef Crew crew
    cdef atomic_int stop
    fm_stop_clear(&stop)
    context.poll, context.poll_context, context.stop = poll_of_caller(), <void*>signals, &stop
    if epoch.add_up is not None:
        signals.add_up, signals.summed = epoch.add_up, epoch.summed
        context.add_up = add_up
    if context.n_threads == 1:
        with nogil:
            run_epoch(job, 0)
            settle(job)
    else:
        crew = team.crew
        context.crew, context.job, context.job_context = crew.c, run_epoch, job
        with nogil:
            run_epoch(job, 0)
            fm_crew_close(crew.c)
            settle(job)
    if epoch.report.status == INTERRUPTED:
        raise signals.error
    return objective_of(&epoch.report)


cdef int run_many(list passes, team, int n_threads) except -1:
    """Run the epochs of each pass, on one thread of the team at a time.

    A run is cut, between batches, into as few parts as divide the work evenly among the threads.
    """
    cdef Signals signals = Signals()
    cdef cnp.ndarray runs = np.empty(len(passes), np.uintp)  # addresses
    cdef ManyJob job
    cdef Pass member
    cdef Crew crew
    job.n = len(passes)
    job.parts = n_threads // gcd(job.n, n_threads)
    job.runs = <Run**>cnp.PyArray_DATA(runs)
    job.poll, job.poll_context = poll_of_caller(), <void*>signals
    fm_counter_reset(&job.taken)
    fm_stop_clear(&job.stop)
    for i, member in enumerate(passes):
        job.runs[i] = &member.run
        member.run.done = member.context.done
        fm_counter_reset(member.run.done)
        member.job.context.poll_context, member.job.context.stop = <void*>signals, &job.stop
    if team is None:
        with nogil:
            run_many_epochs(&job, 0)
    else:
        crew = team.crew
        with nogil:
            crew.call(run_many_epochs, &job)
    if signals.error is not None:
        raise signals.error
    return 0


# ---------------------------------------------------------------- custom functions: C functions are called as
# they are, Python functions with the interpreter lock. docs/functions.md describes the types.

ctypedef void (*c_activation)(const void* context, int64_t n, const void* z, void* value,
                              void* slope) noexcept nogil
ctypedef void (*c_loss)(const void* context, int64_t n, int64_t columns, int64_t width, const void* z,
                        const void* targets, const int32_t* labels, void* value,
                        void* gradient) noexcept nogil


cdef int call_c_activation(const fm_function* f, const fm_block* b, void* signals) noexcept nogil:
    (<c_activation>f.address)(f.context, b.rows * b.columns, b.z, b.value, b.gradient)
    return 0


cdef void call_c_row(const fm_function* f, int64_t n, const void* z, void* value,
                     fm_fpenv fpenv) noexcept nogil:
    cdef fm_fpenv native = fm_get_fpenv()
    fm_restore_fpenv(fpenv)
    (<c_activation>f.address)(f.context, n, z, value, NULL)
    fm_restore_fpenv(native)


cdef int call_c_loss(const fm_function* f, const fm_block* b, void* signals) noexcept nogil:
    (<c_loss>f.address)(f.context, b.rows, b.columns, b.width, b.z, b.targets, b.labels, b.value, b.gradient)
    return 0


cdef object view(const void* start, int64_t rows, int64_t columns, int typenum):
    """Return native memory as an array, valid during the call; with 0 columns it has one dimension."""
    cdef cnp.npy_intp[2] shape = [rows, columns]
    return cnp.PyArray_SimpleNewFromData(2 if columns else 1, shape, typenum, <void*>start)


cdef int call_python(const fm_function* f, const fm_block* b, void* signals) noexcept with gil:
    """Call a Python activation (if the targets' width is 0) or loss, and copy its results."""
    function = <object>f.address
    try:
        z = view(b.z, b.rows, b.columns, f.typenum)
        if b.width == 0:
            value, gradient = function.value_and_slope(z)
        elif b.labels != NULL:
            value, gradient = function.value_and_gradient(z, view(b.labels, b.rows, 0, cnp.NPY_INT32))
        else:
            value, gradient = function.value_and_gradient(z, view(b.targets, b.rows, b.width, f.typenum))
        np.copyto(view(b.value, b.rows, 0 if b.width else b.columns, f.typenum), value)
        if b.gradient != NULL:
            np.copyto(view(b.gradient, b.rows, b.columns, f.typenum), gradient)
        return 0
    except BaseException as error:
        (<Signals>signals).error = error
        return 1


cdef bint describe_function(fm_function* c, function, dtype) except? True:
    """Describe a custom function, which must outlive `c`; true if it needs the interpreter lock."""
    cdef uintptr_t address, context
    c.typenum = dtype.num
    if not function.is_c:
        c.address, c.context, c.call = <const void*>function, NULL, call_python
        return True
    address, context = function.function.address(dtype), function.function.context_address
    c.address, c.context = <const void*>address, <const void*>context
    c.call = call_c_loss if hasattr(function, "value_and_gradient") else call_c_activation
    c.row = call_c_row
    return False
