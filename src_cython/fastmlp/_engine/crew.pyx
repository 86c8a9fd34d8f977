# Threads that wait natively for the next native job: thread_pool.py starts them, the engine gives the jobs.
from fastmlp._engine.memory cimport Memory
from fastmlp._engine.jobs cimport CALL_ROWS as _CALL_ROWS, MAX_THREADS as _MAX_THREADS
from network cimport *

# For fastmlp._engine.thread_count, which decides how many threads pay.
CALL_ROWS = _CALL_ROWS
MAX_THREADS = _MAX_THREADS


cdef class Crew:
    """A caller and its helpers. A helper is a thread that has entered serve()."""

    def __cinit__(self):
        self.memory = Memory(1)
        self.c = <fm_crew*>self.memory.take(sizeof(fm_crew))
        fm_crew_start(self.c)

    def serve(self):
        """Do jobs until dismissed; the interpreter lock is not held."""
        with nogil:
            fm_crew_serve(self.c)

    def muster(self, int wanted):
        """Wait for the helpers that were started; how many came. Who comes later goes home."""
        cdef int came
        with nogil:
            came = fm_crew_muster(self.c, wanted)
        return came

    def dismiss(self):
        """Let the helpers go, those too that are still on their way."""
        fm_crew_muster(self.c, 0)
        fm_crew_open(self.c, NULL, NULL)

    cdef void call(self, fm_job job, void* context) noexcept nogil:
        """Run job(context, index): index 0 on this thread, the others on helpers that come in time."""
        fm_crew_call(self.c, job, context)
