# Functions of the user's as the kernels call them: for parameters.pyx.
from network cimport *


cdef bint describe_function(fm_function* c, function, dtype) except? True
