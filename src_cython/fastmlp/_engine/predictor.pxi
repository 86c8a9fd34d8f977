# Predictions with little overhead: a frozen copy of a model's weights behind a fast call.
#
# The fast path asks NumPy's C API whether x has exactly the layout that the kernels read, and passes the
# pointer on. Everything else (lists, other dtypes, wrong shapes) is converted and checked by
# fastmlp._validation.check. A single row needs stack memory alone, so calls from many threads write to
# nothing in common.
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_New, PyCapsule_SetContext
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy

from fastmlp._engine.jobs cimport QUICK_WEIGHTS, predict_rows
from network cimport *

import numpy as np

from fastmlp._engine import cpu_levels, linked, thread_count
from fastmlp._engine.explainable import Explainable, of_predictor
from fastmlp._engine.exportable import Exportable
from fastmlp._network.sparse import SparseRows, is_sparse
from fastmlp._validation import check

cdef extern from *:
    """
    /* Let calls pass their arguments as a C array, not as a tuple and a dictionary (PEP 590). The limited API
     * of Python 3.11 has none of this: there they come to __call__. */
    #ifdef Py_LIMITED_API
    typedef PyObject *(*vectorcallfunc)(PyObject *, PyObject *const *, size_t, PyObject *);
    #define PyVectorcall_NARGS(n) ((Py_ssize_t)(n))
    #define take_vectorcalls(type, offset) ((void)(offset))
    #else
    static void take_vectorcalls(PyObject *type, Py_ssize_t offset) {
        ((PyTypeObject *)type)->tp_vectorcall_offset = offset;
        ((PyTypeObject *)type)->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
    }
    #endif
    """
    void take_vectorcalls(object type, Py_ssize_t offset)
    ctypedef object (*vectorcallfunc)(object called, PyObject* const* values, size_t n, PyObject* names)
    Py_ssize_t PyVectorcall_NARGS(size_t n)

cpdef enum:
    FEW_ROWS = 4  # preparing a block takes longer than predicting these one by one


cdef struct Context:
    const fm_kernels* kernels
    const fm_network* net
    int64_t n_in, n_out, scratch_bytes
    PyObject* owner


cdef int predict_context(const Context* c, const char* x, int64_t n, char* out) noexcept nogil:
    return predict_rows(c.kernels, c.net, c.scratch_bytes, x, n, out)


cdef int predict_c(const void* context, const void* x, int64_t n, void* out) noexcept nogil:
    """The function for C code: predict n contiguous rows; 0, or -1 if out of memory."""
    return predict_context(<const Context*>context, <const char*>x, n, <char*>out)


cdef int derivatives_c(const void* context, const void* x, int64_t n, void* values, void* jacobian,
                       void* hessian) noexcept with gil:
    """The function for C code: all derivatives at n contiguous rows; 0, or -1 if they cannot be computed."""
    cdef const Context* c = <const Context*>context
    cdef Predictor predictor = <Predictor>c.owner
    cdef cnp.npy_intp dims[2]
    cdef void** places = [values, jacobian, hessian]
    cdef cnp.ndarray result
    dims[0], dims[1] = n, c.n_in
    try:
        rows = cnp.PyArray_SimpleNewFromData(2, dims, predictor.typenum, <void*>x)
        for k, result in enumerate(linked.derivatives(predictor._frozen(), rows)):
            memcpy(places[k], cnp.PyArray_DATA(result), <size_t>cnp.PyArray_NBYTES(result))
        return 0
    except BaseException:
        return -1


cdef void release_owner(object capsule) noexcept:
    Py_DECREF(<object>(<Context*>PyCapsule_GetContext(capsule)).owner)


def restored(spec, parameters, n_threads, weight_type=None):
    """Return a predictor from its pickle, on the CPU level of this process."""
    return Predictor(spec, cpu_levels.level(), *parameters, n_threads=n_threads, weight_type=weight_type)


cdef class Predictor:
    """A trained network as a function: a frozen copy of the weights, made by ``MLP.predictor``.

    A call costs little more than the arithmetic. It is safe to call from many threads at once, and
    long work releases the interpreter lock. Rows are not checked for NaN: NaN in a row of x gives NaN
    in that row of the result.

    Parameters
    ----------
    spec : fastmlp._network.spec.Spec
        The network.
    level : str
        CPU level.
    *parameters : list of array
        Weights, biases and the other kinds of ``Spec.tensors``, like those of the MLP; copied.
    n_threads : int or None
        Number of threads for large batches; None is the default of the machine.
    weight_type : {None, "bfloat16", "int8"}
        Type in which single rows read the weights, which must be exact in it (`narrow.parameters`);
        None is the dtype.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> net = fastmlp.MLP([3, 8, 2], rng=0)
    >>> p = net.predictor()
    >>> x = np.ones((5, 3), np.float32)
    >>> bool((p(x) == net.predict(x)).all()), p(x[0]).shape
    (True, (2,))
    """
    cdef vectorcallfunc vectorcall
    cdef Engine engine
    cdef Engine full  # has all transposed copies; made by the first jacobian
    cdef readonly object n_threads, weight_type
    cdef Context context
    cdef int typenum
    cdef int64_t itemsize, weight_count

    def __cinit__(self, spec, str level, *parameters, n_threads=None, weight_type=None):
        self.vectorcall = call_quickly
        self.engine = Engine(spec, level)
        self.engine.set_parameters(*parameters)
        self.n_threads, self.weight_type = n_threads, weight_type
        if weight_type is not None:
            self.engine.narrow(weight_type)
        self.typenum = spec.dtype.num
        self.itemsize = spec.dtype.itemsize
        self.weight_count = self.engine.weight_count
        self.context.owner = <PyObject*>self
        self.context.kernels = self.engine.kernels
        self.context.net = &self.engine.net
        self.context.n_in = self.engine.operators[0].n_in
        self.context.n_out = self.engine.operators[self.engine.net.n_operators - 1].n_out
        self.context.scratch_bytes = self.engine.net.row_size * self.itemsize

    def __reduce__(self):
        return restored, (self.engine.spec, self.engine.parameters(), self.n_threads, self.weight_type)

    def parameters(self):
        """Return copies of (weights, biases), and of the MLP's gains, shifts, scales and alphas, if any."""
        return self.engine.parameters()

    to_onnx, to_c = Exportable.to_onnx, Exportable.to_c
    explain = Explainable.explain

    def _explained(self):
        return of_predictor(self)

    def _exported(self):
        return linked.exported(self.engine)

    @property
    def spec(self):
        """The network, a ``fastmlp._network.spec.Spec``."""
        return self.engine.spec

    @property
    def level(self):
        """CPU level of the kernels."""
        return self.engine.level

    cdef bint is_plain(self, x) noexcept:
        """Return whether x is an array that the kernels can read without a copy."""
        return (cnp.PyArray_CheckExact(x) and cnp.PyArray_TYPE(<cnp.ndarray>x) == self.typenum
                and cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>x))

    cdef bint is_row(self, cnp.ndarray x) noexcept:
        """Return whether a plain array is one contiguous row, (I,) or (1, I)."""
        cdef int ndim = cnp.PyArray_NDIM(x)
        return (ndim == 1 or (ndim == 2 and cnp.PyArray_DIM(x, 0) == 1)) \
            and cnp.PyArray_DIM(x, ndim - 1) == self.context.n_in \
            and (cnp.PyArray_STRIDE(x, ndim - 1) == self.itemsize or self.context.n_in == 1)

    cdef bint fits(self, out, int ndim, int64_t n) noexcept:
        """Return whether out can hold the result of n rows (ndim 1: of one row)."""
        return (self.is_plain(out) and cnp.PyArray_ISCARRAY(<cnp.ndarray>out)
                and cnp.PyArray_NDIM(<cnp.ndarray>out) == ndim
                and cnp.PyArray_DIM(<cnp.ndarray>out, ndim - 1) == self.context.n_out
                and (ndim == 1 or cnp.PyArray_DIM(<cnp.ndarray>out, 0) == n))

    def __call__(self, x, out=None):
        """Predict.

        Parameters
        ----------
        x : array-like, shape (I,) for one row or (n, I)
            An array of the model's dtype is not copied, whatever its strides. Or sparse rows, (n, I):
            ``SparseRows`` or a matrix of ``scipy.sparse``, whose values must be finite.
        out : array of the model's dtype, C-contiguous, optional
            Receives the result: shape (C,) for one row, else (n, C).

        Returns
        -------
        array of the model's dtype, shape (C,) or (n, C)
            After the link. With predicted variances the columns are all means, then all variances.

        Raises
        ------
        TypeError, ValueError
            If x or out is not as described.
        """
        return self.result_of(x, out)

    def predict(self, x, out=None):
        """Predict, as a call of the predictor does."""
        return self(x, out)

    def __repr__(self):
        return f"<{type(self).__name__}: {self.engine.spec.title}>"

    cdef result_of(self, x, out):
        cdef int ndim
        cdef cnp.npy_intp dims[2]
        if self.engine.takes_lock or not (self.is_plain(x) and self.is_row(<cnp.ndarray>x)):
            return self._general(x, out)
        ndim = cnp.PyArray_NDIM(<cnp.ndarray>x)
        if out is None:
            dims[0] = 1
            dims[ndim - 1] = self.context.n_out
            out = cnp.PyArray_SimpleNew(ndim, dims, self.typenum)
        elif isinstance(out, np.memmap):
            self(x, np.asarray(out))
            return out
        elif not self.fits(out, ndim, 1):
            raise check.bad_out(out, (1, self.context.n_out)[2 - ndim:], self.engine.spec.dtype)
        self._rows(<const char*>cnp.PyArray_DATA(<cnp.ndarray>x), 1,
                   <char*>cnp.PyArray_DATA(<cnp.ndarray>out))
        return out

    cdef int _rows(self, const char* x, int64_t n, char* out) except -1:
        cdef int status
        if self.weight_count * n < QUICK_WEIGHTS:
            status = predict_context(&self.context, x, n, out)
        else:
            with nogil:
                status = predict_context(&self.context, x, n, out)
        if status:
            raise MemoryError("no memory for the buffers of one row")

    def _numbers(self, x):
        """Return x as an array of the model's dtype, or raise if its shape cannot be predicted."""
        if not self.is_plain(x):
            x = check.numeric(x, "x").astype(self.engine.spec.dtype, copy=False)
        if x.ndim not in (1, 2) or x.shape[x.ndim - 1] != self.context.n_in:
            raise check.bad_rows(x.shape, self.context.n_in)
        return x

    def _result(self, out, shape):
        """Return `out` as an array for a result, or a new one."""
        if out is None:
            return np.empty(shape, self.engine.spec.dtype)
        out = np.asarray(out) if isinstance(out, np.memmap) else out
        if not self.fits(out, len(shape), shape[0]):
            raise check.bad_out(out, shape, self.engine.spec.dtype)
        return out

    def _general(self, x, out):
        """Convert x if necessary, then predict row by row, or blocks of rows with several threads."""
        result = out  # the caller gets back what it passed
        if is_sparse(x):
            x = check.inputs(x, self.engine.spec, name="x", empty=True)
            out = self._result(out, (x.shape[0], self.context.n_out))
            self._blocks(x.copy() if np.may_share_memory(x.values, out) else x, out)
            return out if result is None else result
        x = self._numbers(x)
        if not self.is_plain(x):
            x = np.array(x, self.engine.spec.dtype)  # x is misaligned, byte-swapped or of a subclass
        out = self._result(out, (*x.shape[:x.ndim - 1], self.context.n_out))
        rows = x.reshape(-1, self.context.n_in) if x.ndim == 1 else x
        n = rows.shape[0]
        if np.may_share_memory(x, out):  # results may be written before their rows are read
            rows = rows.copy()
        if n <= FEW_ROWS and not self.engine.takes_lock:
            rows = np.ascontiguousarray(rows)
            self._rows(<const char*>cnp.PyArray_DATA(<cnp.ndarray>rows), n,
                       <char*>cnp.PyArray_DATA(<cnp.ndarray>out))
        else:
            self._blocks(rows, out)
        return out if result is None else result

    def _blocks(self, rows, out):
        """Predict blocks of rows with several threads."""
        with thread_count.call_team(self.weight_count, rows.shape[0], self.n_threads) as team:
            self.engine.predict_into(rows, out, team)

    def sparse(self, indices, values, out=None):
        """Predict one row of which most inputs are 0.

        Parameters
        ----------
        indices : array-like of integers, shape (stored,)
            Numbers of the inputs that have a value, in any order; values of the same input are summed.
        values : array-like of numbers, shape (stored,)
            Their finite values.
        out : array of the model's dtype, shape (C,), C-contiguous, optional
            Receives the result.

        Returns
        -------
        array of the model's dtype, shape (C,)
            After the link, as for a dense row.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described.

        Examples
        --------
        >>> import numpy as np, fastmlp
        >>> p = fastmlp.MLP([1000, 8, 2], rng=0).predictor()
        >>> x = np.zeros(1000, np.float32)
        >>> x[[3, 500]] = 1.5, -2.0
        >>> bool((p.sparse([3, 500], [1.5, -2.0]) == p(x)).all())
        True
        """
        row = SparseRows((0, np.size(indices)), indices, values, self.context.n_in)
        result = self._result(out, (self.context.n_out,))
        self._blocks(row.astype(self.engine.spec.dtype), result)
        return result if out is None else out

    def jacobian(self, x):
        """Return the derivatives of the predictions with respect to x, by a backward pass per output.

        x is not checked for NaN, which some derivatives (relu's) hide; ``MLP.jacobian`` checks it.

        Parameters
        ----------
        x : array-like, shape (I,) for one row or (n, I)
            The points at which to differentiate.

        Returns
        -------
        array of the model's dtype, shape (C, I) or (n, C, I)
            Element [..., c, i] is d prediction c / d input i, the link included.

        Raises
        ------
        TypeError, ValueError
            If x is not as described.
        """
        x = self._numbers(x)
        derivatives = self._frozen().jacobian(self._aligned(x))
        return derivatives.reshape(*x.shape[:x.ndim - 1], self.context.n_out, self.context.n_in)

    def derivatives(self, x):
        """Return the predictions, their jacobians and their second derivatives.

        As for ``jacobian``, x is not checked for NaN. An order of magnitude faster than ``MLP.hessian`` for
        one row.

        Parameters
        ----------
        x : array-like, shape (I,) for one row or (n, I)
            The points at which to differentiate.

        Returns
        -------
        values : array of the model's dtype, shape (C,) or (n, C)
            As the predictor returns them, but for rounding.
        jacobian : array, shape (C, I) or (n, C, I)
            As ``jacobian`` returns it, but for rounding.
        hessian : array, shape (C, I, I) or (n, C, I, I)
            Exactly symmetric. Element [..., c, i, j] is the second derivative of prediction c by the inputs i
            and j, the link included.

        Raises
        ------
        TypeError, ValueError
            If x is not as described, or a custom activation has no ``curvature``.

        Examples
        --------
        >>> import numpy as np, fastmlp
        >>> p = fastmlp.MLP([3, 8, 2], activation="tanh", rng=0).predictor()
        >>> value, jacobian, hessian = p.derivatives(np.zeros(3))
        >>> value.shape, jacobian.shape, hessian.shape
        ((2,), (2, 3), (2, 3, 3))
        """
        x = self._numbers(x)
        results = linked.derivatives(self._frozen(), self._aligned(x))
        return tuple([a[0] for a in results]) if x.ndim == 1 else results

    def hessian(self, x):
        """Return the second derivatives of the predictions, those of ``derivatives``.

        Parameters
        ----------
        x : array-like, shape (I,) for one row or (n, I)
            The points at which to differentiate.

        Returns
        -------
        array of the model's dtype, shape (C, I, I) or (n, C, I, I)
            As ``derivatives`` returns them.

        Raises
        ------
        TypeError, ValueError
            As for ``derivatives``.
        """
        return self.derivatives(x)[2]

    cdef cnp.ndarray _aligned(self, cnp.ndarray x):
        """Return rows (n, I) that kernels can read."""
        cdef cnp.ndarray rows = x.reshape(-1, self.context.n_in)
        return rows if cnp.PyArray_ISALIGNED(rows) else rows.copy()

    cdef Engine _frozen(self):
        """Return the same engine with all transposed copies."""
        if self.full is None:
            self.full = self.engine.frozen()
        return self.full

    # ------------------------------------------------------------ for other compiled code

    cdef int takes_no_lock(self) except -1:
        """Raise if there are Python functions: C code calls without the interpreter lock."""
        if self.engine.takes_lock:
            names = [repr(f) for f in self.engine.spec.functions if not f.is_c]
            raise AttributeError(
                f"this predictor has no address that C code could call: {names[0]} is a Python function, "
                "which needs the interpreter's lock; give it as a fastmlp.CFunction")

    @property
    def function_address(self):
        """Address of ``int f(const void *context, const real *x, int64_t n, real *out)``.

        It writes n contiguous rows of predictions for n contiguous rows of x, needs no interpreter
        lock and at most 16 KiB of stack, may run in many threads at once, and returns 0 (or -1: out of
        memory, only possible with layers of hundreds of units). Valid while the predictor lives.
        """
        self.takes_no_lock()
        return <uintptr_t>&predict_c

    @property
    def context_address(self):
        """First argument of the function at ``function_address``."""
        return <uintptr_t>&self.context

    @property
    def derivatives_address(self):
        """Address of a function like that of ``function_address``, for values, jacobians and hessians.

        It is ``int f(const void *context, const real *x, int64_t n, real *values, real *jacobians,
        real *hessians)``, writes what ``derivatives`` returns, and holds the interpreter lock. -1 means an
        error, such as no memory.
        """
        return <uintptr_t>&derivatives_c

    @property
    def capsule(self):
        """Both addresses as a PyCapsule named "fastmlp.predict", the context as its context.

        The capsule keeps the predictor alive.
        """
        self.takes_no_lock()
        capsule = PyCapsule_New(<void*>&predict_c, "fastmlp.predict", release_owner)
        PyCapsule_SetContext(capsule, <void*>&self.context)
        Py_INCREF(self)
        return capsule


cdef object call_quickly(object called, PyObject* const* values, size_t n, PyObject* names):
    """Call a predictor: ``p(x)``, ``p(x, out)`` and ``p(x, out=out)`` here, all else by ``__call__``."""
    cdef Py_ssize_t k, n_places = PyVectorcall_NARGS(n), n_names = 0 if names == NULL else len(<tuple>names)
    if n_places == 1 and n_names == 0:
        return (<Predictor>called).result_of(<object>values[0], None)
    if (n_places == 2 and n_names == 0) or (n_places == n_names == 1 and (<tuple>names)[0] == "out"):
        return (<Predictor>called).result_of(<object>values[0], <object>values[1])
    arguments = [<object>values[k] for k in range(n_places + n_names)]
    by_name = dict(zip(<tuple>names, arguments[n_places:])) if n_names else {}
    return Predictor.__call__(called, *arguments[:n_places], **by_name)


cdef PyObject* place = <PyObject*>Predictor  # any object will do: only the distance of the field counts
take_vectorcalls(Predictor, <char*>&(<Predictor>place).vectorcall - <char*>place)
