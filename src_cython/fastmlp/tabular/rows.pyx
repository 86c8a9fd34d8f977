# Rows of a table as the inputs of networks: the one home of the arithmetic that fastmlp/tabular/encoding.py
# measures for. Tests compare it with NumPy, operation for operation and bit for bit. NumPy takes thirty calls
# for what is a microsecond of one row, and passes over all of a table for each of them.
cimport numpy as cnp
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from cpython.pycapsule cimport PyCapsule_New
from cpython.sequence cimport PySequence_GetItem
from libc.math cimport isfinite, isnan, sqrt
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy, memset

from network cimport FM_ROWS_CAPSULE, fm_row_source

import numpy as np

cnp.import_array()


cdef struct Encoding:  # how one member encodes; the arrays are those of an Encoder
    Py_ssize_t numbers, bins, missing, categories, width
    const double* centre  # (numbers,)
    const double* factor
    const double* middle  # (numbers, bins)
    const double* half
    const int64_t* with_missing  # (missing,)
    const uint8_t* known  # (values of all categories,)
    const int64_t* values  # (categories,): how many each has
    const int64_t* widths  # (categories,): inputs of each
    const float* inputs  # of all values of all categories
    double clip, far


cdef struct Rows:  # of a table, as the inputs of one member
    Encoding encoding
    const double* numbers  # (rows of the table, numbers)
    const int32_t* codes  # (rows of the table, categories)
    const int64_t* chosen  # which of these rows; NULL: all


def plain(row, const int64_t[::1] places):
    """The values of a row at places, if all are finite floats: an array; else None."""
    cdef Py_ssize_t n = places.shape[0], k
    cdef cnp.npy_intp size = n
    cdef cnp.ndarray found = cnp.PyArray_SimpleNew(1, &size, cnp.NPY_DOUBLE)
    cdef double* numbers = <double*>cnp.PyArray_DATA(found)
    for k in range(n):
        value = PySequence_GetItem(row, places[k])  # which looks at the length, as row[...] here does not
        if not PyFloat_Check(value) or not isfinite(PyFloat_AS_DOUBLE(value)):
            return None
        numbers[k] = PyFloat_AS_DOUBLE(value)
    return found


def smooth_clip(const double[::1] values, double centre, double factor, tuple limits):
    """Values of one column scaled, and clipped smoothly: x / sqrt(1 + (x / clip)**2).

    Parameters
    ----------
    values : array of float64, shape (n,)
        NaN stays NaN.
    centre, factor : float
        x is (value - centre) * factor.
    limits : tuple of float
        What scaled numbers are clipped to, smoothly; and before that.
    """
    cdef cnp.npy_intp n = values.shape[0]
    cdef double clip = limits[0], far = limits[1]
    cdef cnp.ndarray found = cnp.PyArray_SimpleNew(1, &n, cnp.NPY_DOUBLE)
    cdef double* out = <double*>cnp.PyArray_DATA(found)
    cdef Py_ssize_t k
    with nogil:
        for k in range(n):
            out[k] = clipped((values[k] - centre) * factor, clip, far)
    return found


cdef inline void* start(cnp.ndarray array) noexcept:
    return cnp.PyArray_DATA(array)


cdef inline double clipped(double scaled, double clip, double far) noexcept nogil:
    if isnan(scaled):
        return scaled
    scaled = min(max(scaled, -far), far)
    cdef double share = scaled / clip
    return scaled / sqrt(1 + share * share)




cdef inline void encode_number(const Encoding* c, Py_ssize_t j, double value, float* out, float* binned) noexcept nogil:
    """A scaled number, and its piecewise linear parts; 0 where it is missing."""
    cdef Py_ssize_t b
    cdef double share
    cdef double scaled = clipped((value - c.centre[j]) * c.factor[j], c.clip, c.far)
    cdef const double* middle = c.middle + j * c.bins
    cdef const double* half = c.half + j * c.bins
    if isnan(scaled):
        out[0] = 0
        memset(binned, 0, c.bins * sizeof(float))
        return
    out[0] = <float>scaled
    for b in range(c.bins):
        share = (scaled - middle[b]) / half[b]
        binned[b] = <float>min(max(share, -1.0), 1.0)


cdef void encode(const Encoding* c, const double* numbers, const int32_t* codes, float* out) noexcept nogil:
    """The inputs of a row: scaled numbers, which are missing, categories, parts of numbers."""
    cdef Py_ssize_t j, k
    cdef float* binned = out + c.width - c.numbers * c.bins
    cdef const uint8_t* known = c.known
    cdef const float* inputs = c.inputs
    for j in range(c.numbers):
        encode_number(c, j, numbers[j], out + j, binned + j * c.bins)
    out += c.numbers
    for j in range(c.missing):
        k = c.with_missing[j]
        out[j] = isnan((numbers[k] - c.centre[k]) * c.factor[k])
    out += c.missing
    for j in range(c.categories):
        if codes[j] >= 0 and known[codes[j]]:
            memcpy(out, inputs + codes[j] * c.widths[j], c.widths[j] * sizeof(float))
        else:
            memset(out, 0, c.widths[j] * sizeof(float))
        out += c.widths[j]
        known += c.values[j]
        inputs += c.values[j] * c.widths[j]


cdef void fill(const void* context, int64_t row, void* out) noexcept nogil:
    """The inputs of a row, for the gather of an engine."""
    cdef const Rows* c = <const Rows*>context
    if c.chosen != NULL:
        row = c.chosen[row]
    (<float*>out)[0] = 0  # all that there is where nothing is known of a row: a network has an input
    encode(&c.encoding, c.numbers + row * c.encoding.numbers, c.codes + row * c.encoding.categories, <float*>out)


cdef class EncodedRows:
    """The inputs of a member for rows of a table, computed whenever somebody asks for them.

    Engines take it in the place of an array, see fastmlp._network.data.RowSource. Made by
    ``Encoder.rows``.
    """
    cdef Rows c
    cdef fm_row_source source
    cdef object kept  # what the pointers point into
    cdef object chosen
    cdef readonly object row_source
    cdef readonly tuple shape

    dtype = np.dtype(np.float32)
    ndim = 2

    @staticmethod
    cdef EncodedRows make(const Rows* c, kept, chosen, Py_ssize_t n):
        cdef EncodedRows self = EncodedRows.__new__(EncodedRows)
        self.c, self.kept, self.chosen = c[0], kept, chosen
        if chosen is not None:
            self.c.chosen = <const int64_t*>cnp.PyArray_DATA(chosen)
        self.shape = n, max(c.encoding.width, 1)
        self.source.fill, self.source.context = fill, &self.c
        self.row_source = PyCapsule_New(&self.source, FM_ROWS_CAPSULE, NULL)
        return self

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        """The same of some rows, by a slice, a mask or their numbers; nothing is computed."""
        chosen = np.arange(len(self)) if self.chosen is None else self.chosen
        chosen = np.ascontiguousarray(chosen[rows], np.int64)
        return EncodedRows.make(&self.c, self.kept, chosen, len(chosen))

    def __array__(self, dtype=None, copy=None):
        """All of them, as an array of their own."""
        cdef Py_ssize_t n = self.shape[0], k
        cdef cnp.ndarray found = np.empty(self.shape, self.dtype)
        cdef float* out = <float*>cnp.PyArray_DATA(found)
        cdef Py_ssize_t width = self.shape[1]
        with nogil:
            for k in range(n):
                fill(&self.c, k, out + k * width)
        return found if dtype is None else found.astype(dtype, copy=False)


cdef class Encoder:
    """Encodings of many members as a function of rows.

    Parameters
    ----------
    numbers : tuple of arrays of float64
        Centre and factor, shape (members, numbers), and of the bins the middles and half the widths,
        (members, numbers, bins).
    known : array of bool, shape (members, values)
        Of all category columns, one after the other: which values each member has seen.
    tables : list of arrays of float32, shape (values, inputs)
        Of each category column, the inputs of its values.
    with_missing : array of int64
        Numbers that have an input that says that they are missing.
    limits : tuple of float
        What scaled numbers are clipped to, smoothly; and before that.
    """
    cdef object given
    cdef tuple arrays  # what the pointers point into
    cdef Encoding first  # of the first member
    cdef Py_ssize_t members, n_values  # of all categories

    def __init__(self, numbers, known, tables, with_missing, limits):
        cdef Encoding* c = &self.first
        self.given = numbers, known, tables, with_missing, limits
        centre, factor, middle, half = (np.ascontiguousarray(each, float) for each in numbers)
        seen = np.ascontiguousarray(known).view(np.uint8)
        missing = np.ascontiguousarray(with_missing, np.int64)
        values = np.array([len(table) for table in tables], np.int64)
        widths = np.array([table.shape[1] for table in tables], np.int64)
        inputs = np.concatenate([np.empty(0, np.float32), *map(np.ravel, tables)], dtype=np.float32)
        self.members, self.n_values = len(centre), np.sum(values, dtype=int)
        c.numbers, c.bins, c.missing, c.categories = centre.shape[1], middle.shape[2], len(missing), len(tables)
        c.width = c.numbers * (1 + c.bins) + c.missing + np.sum(widths, dtype=int)
        c.clip, c.far = limits
        if c.missing and not 0 <= np.min(missing) <= np.max(missing) < c.numbers:
            raise ValueError(f"with_missing is {with_missing} but places below {c.numbers} are expected")
        if not factor.shape == centre.shape == middle.shape[:2] or half.shape != middle.shape:
            raise ValueError("centre, factor and bins are expected of the same members and numbers")
        if seen.shape != (self.members, self.n_values):
            wanted = self.members, self.n_values
            raise ValueError(f"known has shape {known.shape} but {wanted} is expected")
        self.arrays = centre, factor, middle, half, seen, missing, values, widths, inputs
        c.centre, c.factor = <const double*>start(centre), <const double*>start(factor)
        c.middle, c.half = <const double*>start(middle), <const double*>start(half)
        c.known, c.with_missing = <const uint8_t*>start(seen), <const int64_t*>start(missing)
        c.values, c.widths = <const int64_t*>start(values), <const int64_t*>start(widths)
        c.inputs = <const float*>start(inputs)

    def __reduce__(self):
        return Encoder, self.given

    def __call__(self, const double[::1] numbers, const int32_t[::1] codes):
        """The inputs of each member for one row, float32, shape (members, inputs or 1).

        Parameters
        ----------
        numbers : array of float64
            NaN where missing.
        codes : array of int32
            Of the categories; negative where missing or unknown.
        """
        cdef const double* number = &numbers[0] if numbers.shape[0] else NULL
        cdef const int32_t* code = &codes[0] if codes.shape[0] else NULL
        cdef Py_ssize_t m
        cdef cnp.npy_intp shape[2]
        cdef Encoding own
        self.check(numbers.shape[0], codes.shape[0])
        self.check_codes(code, 1)
        shape[0], shape[1] = self.members, max(self.first.width, 1)
        cdef cnp.ndarray found = cnp.PyArray_ZEROS(2, shape, cnp.NPY_FLOAT, 0)
        for m in range(self.members):
            own = self.member(m)
            encode(&own, number, code, <float*>cnp.PyArray_DATA(found) + m * own.width)
        return found

    def rows(self, numbers, codes, Py_ssize_t m=0):
        """The inputs of one member for all rows of a table, float32, shape (n, inputs or 1).

        They are computed when they are needed: ``numpy.asarray`` makes an array of them.

        Parameters
        ----------
        numbers : array of float64, shape (n, numbers)
            NaN where missing.
        codes : array of int32, shape (n, categories)
            Of the categories; negative where missing or unknown.
        m : int
            Which member's.

        Returns
        -------
        EncodedRows
            It refers to both arrays, which must not change any more, if they are C-contiguous.
        """
        cdef const double[:, ::1] all_numbers = np.ascontiguousarray(numbers)
        cdef const int32_t[:, ::1] all_codes = np.ascontiguousarray(codes)
        cdef Py_ssize_t n = all_numbers.shape[0]
        cdef Rows c
        self.check(all_numbers.shape[1], all_codes.shape[1])
        if all_codes.shape[0] != n:
            raise ValueError(f"there are {all_codes.shape[0]} rows of codes but {n} are expected")
        if not 0 <= m < self.members:
            raise ValueError(f"member {m} is expected below {self.members}")
        c.encoding, c.chosen = self.member(m), NULL
        c.numbers = &all_numbers[0, 0] if n and c.encoding.numbers else NULL
        c.codes = &all_codes[0, 0] if n and c.encoding.categories else NULL
        self.check_codes(c.codes, n)
        return EncodedRows.make(&c, (self, all_numbers, all_codes), None, n)

    cdef Encoding member(self, Py_ssize_t m) noexcept:
        cdef Encoding c = self.first
        c.centre += m * c.numbers
        c.factor += m * c.numbers
        c.middle += m * c.numbers * c.bins
        c.half += m * c.numbers * c.bins
        c.known += m * self.n_values
        return c

    cdef int check(self, Py_ssize_t numbers, Py_ssize_t categories) except -1:
        if numbers != self.first.numbers or categories != self.first.categories:
            raise ValueError(f"there are {numbers} numbers and {categories} codes but "
                             f"{self.first.numbers} and {self.first.categories} are expected")
        return 0

    cdef int check_codes(self, const int32_t* codes, Py_ssize_t n) except -1:
        cdef Py_ssize_t k, j, code
        for k in range(n):
            for j in range(self.first.categories):
                code = codes[k * self.first.categories + j]
                if code >= self.first.values[j]:
                    raise ValueError(f"code {code} of category {j} is expected below {self.first.values[j]}")
        return 0
