# The kernel modules of the CPU levels: for the engine, and for probe.pyx.
from network cimport fm_kernels


cdef const fm_kernels* load(str level, str dtype) except NULL
