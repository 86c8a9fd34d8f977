# Epochs under way, seen from Python: who runs them, and how a signal ends them. One epoch by all threads of a
# team, or many, of as many networks, each by one thread. Touches nothing of any engine.
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t

from fastmlp._engine.crew cimport Crew
from fastmlp._engine.jobs cimport *
from fastmlp._engine.shift cimport Shift
from network cimport *

from math import gcd
from threading import get_ident, main_thread

import numpy as np

cnp.import_array()


cdef class Signals:
    """Keeps what a signal handler, or whoever sums, raised until the native call is over."""


cdef int poll(void* context) noexcept nogil:
    """Give Python a chance to raise KeyboardInterrupt; runs on the thread that made the native call."""
    with gil:
        try:
            PyErr_CheckSignals()
        except BaseException as interrupt:
            (<Signals>context).interrupt = interrupt
            return 1
    return 0


cdef int add_up(void* context, int failed) noexcept nogil:
    """Sum the gradients of all processes; the error of another ends the epoch here as a signal does."""
    with gil:
        signals = <Signals>context
        try:
            signals.add_up(signals.summed, failed)
        except BaseException as error:
            if signals.interrupt is None:
                signals.interrupt = error
            return 1
    return 0


cdef fm_poll poll_of_caller() except *:
    """How the caller looks for signals: Python handles them in the main thread alone. Another thread that
    asked for the interpreter in the middle of its call would be ended there when the process ends, while
    helpers work on what lies on its stack."""
    if get_ident() == main_thread().ident:
        return poll
    return NULL


cdef class Pass:
    """One epoch of one network: what is to do, who does it, what has come out."""

    cdef void hand(self, const fm_kernels* k, Shift shift, fresh, int64_t n_parameters, kept):
        """Give the filled task to a shift; a good end is copied to a fresh arena, if there is one."""
        cdef fm_task* task = &self.task
        self.shift, self.fresh, self.kept = shift, fresh, kept
        task.net = &self.net
        task.buffers = &shift.buffers.c
        task.stores = (task.optimizer < 0 or task.clip_norm > 0 or task.l1 > 0
                       or task.batch > task.buffers.rows)
        shift.c.add_up = NULL
        self.report.status = RUNNING
        self.report.loss_sum = self.report.weight_sum = 0
        shift.c.alone_from = -1
        fm_barrier_start(shift.c.barrier, shift.c.n_threads)
        self.job = EpochJob(k, task, &shift.c, &self.report, NULL, n_parameters)
        if fresh is not None:
            self.job.fresh = cnp.PyArray_DATA(fresh)


cdef double run(Pass epoch, team) except? -1:
    """Enter the native epoch with every thread of the team; its result."""
    cdef Signals signals = Signals()
    cdef EpochJob* job = &epoch.job
    cdef fm_shift* shift = job.shift
    cdef Crew crew
    cdef atomic_int stop
    fm_stop_clear(&stop)
    shift.poll, shift.poll_context, shift.stop = poll_of_caller(), <void*>signals, &stop
    if epoch.add_up is not None:
        signals.add_up, signals.summed = epoch.add_up, epoch.summed
        shift.add_up = add_up
    if shift.n_threads == 1:
        with nogil:
            run_epoch(job, 0)
            settle(job)
    else:
        crew = team.crew
        shift.crew, shift.job, shift.job_context = crew.c, run_epoch, job
        with nogil:
            run_epoch(job, 0)
            fm_crew_close(crew.c)
            settle(job)
    if epoch.report.status == INTERRUPTED:
        raise signals.interrupt
    return objective_of(&epoch.report)


cdef int run_many(list passes, team, int n_threads) except -1:
    """Run the epochs of each pass, on one thread of the team at a time.

    Cut into parts, as few as divide the work evenly among the threads.
    """
    cdef Signals signals = Signals()
    cdef cnp.ndarray runs = np.empty(len(passes), np.uintp)  # addresses
    cdef ManyJob job
    cdef Pass each
    cdef Crew crew
    job.n = len(passes)
    job.parts = min((<Pass>passes[0]).many.epochs, n_threads // gcd(job.n, n_threads))
    job.runs = <Run**>cnp.PyArray_DATA(runs)
    job.poll, job.poll_context = poll_of_caller(), <void*>signals
    fm_counter_reset(&job.taken)
    fm_stop_clear(&job.stop)
    for i, each in enumerate(passes):
        job.runs[i] = &each.many
        each.many.done = each.shift.done
        fm_counter_reset(each.many.done)
        each.job.shift.poll_context, each.job.shift.stop = <void*>signals, &job.stop
    if team is None:
        with nogil:
            run_many_epochs(&job, 0)
    else:
        crew = team.crew
        with nogil:
            crew.call(run_many_epochs, &job)
    if signals.interrupt is not None:
        raise signals.interrupt
    return 0
