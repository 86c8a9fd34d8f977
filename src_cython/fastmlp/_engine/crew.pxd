# Threads that wait in native code for native jobs.
from fastmlp._engine.buffers cimport Memory
from network cimport *


cdef class Crew:
    cdef fm_crew* c
    cdef Memory memory
    cdef void call(self, fm_job job, void* context) noexcept nogil
