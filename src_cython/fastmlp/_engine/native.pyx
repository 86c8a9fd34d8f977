# distutils: extra_compile_args = -O1
# At -Os, a call of a microsecond would take longer. Flags that clang does not know are errors there.
#
# The native engine as Python sees it, one module of four files: each module has a copy of what Cython needs
# for itself, 20 kB of a wheel. A file imports what it uses, and sees all that is above it here.
cimport numpy as cnp

cnp.import_array()

include "kernels.pxi"  # the kernels of a level, memory, threads, and passes
include "parameters.pxi"  # the parameters, and the state of their optimizer
include "engine.pxi"  # training and predictions of many rows
include "predictor.pxi"  # predictions of few rows
