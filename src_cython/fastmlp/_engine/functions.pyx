# Functions of the user's as the kernels call them: C functions as they are, Python ones with the lock of the
# interpreter, which is taken for the call alone. What these raise is kept until the native call is over, as
# what a signal handler raises is (passes.pyx).
cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uintptr_t

from fastmlp._engine.passes cimport Signals
from network cimport *

import numpy as np

cnp.import_array()

# The types of the C functions, in words in docs/functions.md.
ctypedef void (*c_activation)(const void* context, int64_t n, const void* z, void* value,
                              void* slope) noexcept nogil
ctypedef void (*c_loss)(const void* context, int64_t n, int64_t columns, int64_t width, const void* z,
                        const void* targets, const int32_t* labels, void* value,
                        void* gradient) noexcept nogil


cdef int call_c_activation(const fm_function* f, const fm_block* b, void* failure) noexcept nogil:
    (<c_activation>f.address)(f.context, b.rows * b.columns, b.z, b.value, b.gradient)
    return 0


cdef void call_c_row(const fm_function* f, int64_t n, const void* z, void* value,
                     fm_control control) noexcept nogil:
    cdef fm_control own = fm_get_control()
    fm_restore_control(control)
    (<c_activation>f.address)(f.context, n, z, value, NULL)
    fm_restore_control(own)


cdef int call_c_loss(const fm_function* f, const fm_block* b, void* failure) noexcept nogil:
    (<c_loss>f.address)(f.context, b.rows, b.columns, b.width, b.z, b.targets, b.labels, b.value, b.gradient)
    return 0


cdef object view(const void* start, int64_t rows, int64_t columns, int typenum):
    """Memory of the kernels as an array; 0 columns: of one dimension. Nobody may keep it."""
    cdef cnp.npy_intp[2] shape = [rows, columns]
    return cnp.PyArray_SimpleNewFromData(2 if columns else 1, shape, typenum, <void*>start)


cdef int call_python_activation(const fm_function* f, const fm_block* b, void* failure) noexcept with gil:
    try:
        value, slope = (<object>f.address).value_and_slope(view(b.z, b.rows, b.columns, f.typenum))
        np.copyto(view(b.value, b.rows, b.columns, f.typenum), value)
        if b.gradient != NULL:
            np.copyto(view(b.gradient, b.rows, b.columns, f.typenum), slope)
        return 0
    except BaseException as error:
        (<Signals>failure).interrupt = error
        return 1


cdef int call_python_loss(const fm_function* f, const fm_block* b, void* failure) noexcept with gil:
    try:
        if b.labels != NULL:
            targets = view(b.labels, b.rows, 0, cnp.NPY_INT32)
        else:
            targets = view(b.targets, b.rows, b.width, f.typenum)
        z = view(b.z, b.rows, b.columns, f.typenum)
        value, gradient = (<object>f.address).value_and_gradient(z, targets)
        np.copyto(view(b.value, b.rows, 0, f.typenum), value)
        np.copyto(view(b.gradient, b.rows, b.columns, f.typenum), gradient)
        return 0
    except BaseException as error:
        (<Signals>failure).interrupt = error
        return 1


cdef bint describe_function(fm_function* c, function, dtype) except? True:
    """Fill the struct of a CustomActivation or CustomLoss, which must outlive it; true: it takes the lock."""
    cdef uintptr_t address, context
    is_loss = hasattr(function, "value_and_gradient")
    c.typenum = dtype.num
    if function.is_c:
        address, context = function.function.address(dtype), function.function.context_address
        c.address, c.context = <const void*>address, <const void*>context
        c.call = call_c_loss if is_loss else call_c_activation
        c.row = call_c_row
        return False
    c.address, c.context = <const void*>function, NULL
    c.call = call_python_loss if is_loss else call_python_activation
    return True
