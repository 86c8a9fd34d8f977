# Threads that wait for native jobs: for native.pyx, which has them.
from fastmlp._engine.memory cimport Memory
from network cimport *


cdef class Crew:
    cdef fm_crew* c
    cdef Memory memory
    cdef void call(self, fm_job job, void* context) noexcept nogil
