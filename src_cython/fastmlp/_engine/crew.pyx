# Threads that wait in native code for native jobs: thread_pool.py starts them, the engine provides the jobs.
from fastmlp._engine.buffers cimport Memory
from fastmlp._engine.jobs cimport CALL_ROWS as _CALL_ROWS, MAX_THREADS as _MAX_THREADS
from network cimport *

CALL_ROWS, MAX_THREADS = _CALL_ROWS, _MAX_THREADS


cdef class Crew:
    """A caller and its helpers: threads that have called serve()."""

    def __cinit__(self):
        self.memory = Memory(1)
        self.c = <fm_crew*>self.memory.take(sizeof(fm_crew))
        fm_crew_start(self.c)

    def serve(self):
        """Do jobs until dismissed, without the interpreter lock."""
        with nogil:
            fm_crew_serve(self.c)

    def muster(self, int wanted):
        """Wait for the helpers that were started; return how many came. Later ones return at once."""
        cdef int came
        with nogil:
            came = fm_crew_muster(self.c, wanted)
        return came

    def dismiss(self):
        """Let the helpers return, also those that have not come yet."""
        fm_crew_muster(self.c, 0)
        fm_crew_open(self.c, NULL, NULL)

    cdef void call(self, fm_job job, void* context) noexcept nogil:
        """Run job(context, index): index 0 on this thread, the others on helpers that come in time."""
        fm_crew_call(self.c, job, context)
