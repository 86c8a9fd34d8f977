# Loading of kernel modules.
from network cimport fm_kernels


cdef const fm_kernels* load(str level, str dtype) except NULL
