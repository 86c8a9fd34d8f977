# distutils: extra_compile_args = -O2 -ftree-vectorize
# The loops over numbers are the compiler's to vectorise: that halves their time.
#
# Rows of a table as the inputs of networks: the one home of the arithmetic that fastmlp/tabular/encoding.py
# measures for. Tests compare it with NumPy, operation for operation and bit for bit. NumPy takes thirty calls
# for what is a microsecond of one row, and passes over all of a table for each of them.
cimport numpy as cnp
from cpython.float cimport PyFloat_AsDouble, PyFloat_Check
from cpython.sequence cimport PySequence_GetItem
from libc.math cimport isfinite, isnan, sqrt
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy, memset

import numpy as np

cnp.import_array()


def plain(row, const int64_t[::1] places):
    """The values of a row at places, if all are finite floats: an array; else None."""
    cdef Py_ssize_t n = places.shape[0], k
    cdef cnp.npy_intp size = n
    cdef cnp.ndarray found = cnp.PyArray_SimpleNew(1, &size, cnp.NPY_DOUBLE)
    cdef double* numbers = <double*>cnp.PyArray_DATA(found)
    for k in range(n):
        value = PySequence_GetItem(row, places[k])  # which looks at the length, as row[...] here does not
        if not PyFloat_Check(value) or not isfinite(PyFloat_AsDouble(value)):
            return None
        numbers[k] = PyFloat_AsDouble(value)
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


cdef inline double clipped(double scaled, double clip, double far) noexcept nogil:
    if isnan(scaled):
        return scaled
    scaled = min(max(scaled, -far), far)
    cdef double share = scaled / clip
    return scaled / sqrt(1 + share * share)


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
    cdef const double[:, ::1] centre, factor
    cdef const double[:, :, ::1] middle, half
    cdef const uint8_t[:, ::1] known
    cdef const int64_t[::1] with_missing, values, widths
    cdef const float[::1] inputs
    cdef double clip, far
    cdef Py_ssize_t members, numbers, categories, missing, bins, width

    def __init__(self, numbers, known, tables, with_missing, limits):
        self.given = numbers, known, tables, with_missing, limits
        self.centre, self.factor, self.middle, self.half = (
            np.ascontiguousarray(each, float) for each in numbers
        )
        self.known = np.ascontiguousarray(known).view(np.uint8)
        self.with_missing = np.ascontiguousarray(with_missing, np.int64)
        self.values = np.array([len(table) for table in tables], np.int64)
        self.widths = np.array([table.shape[1] for table in tables], np.int64)
        flat = [np.ravel(table) for table in tables]
        self.inputs = np.ascontiguousarray(np.concatenate(flat) if flat else np.empty(0), np.float32)
        self.clip, self.far = limits
        self.members, self.numbers = self.centre.shape[0], self.centre.shape[1]
        self.categories, self.missing = len(tables), self.with_missing.shape[0]
        self.bins = self.middle.shape[2]
        self.width = self.numbers * (1 + self.bins) + self.missing + np.sum(self.widths, dtype=int)
        if self.missing and not 0 <= np.min(with_missing) <= np.max(with_missing) < self.numbers:
            raise ValueError(f"with_missing is {with_missing} but places below {self.numbers} are expected")
        if not (np.shape(self.factor) == np.shape(self.centre) == np.shape(self.middle)[:2]
                and np.shape(self.half) == np.shape(self.middle)):
            raise ValueError("centre, factor and bins are expected of the same members and numbers")
        if self.known.shape[0] != self.members or self.known.shape[1] != np.sum(self.values):
            wanted = self.members, int(np.sum(self.values))
            raise ValueError(f"known has shape {known.shape} but {wanted} is expected")

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
        self.check(numbers.shape[0], codes.shape[0])
        cdef Py_ssize_t m
        cdef cnp.ndarray found = self.array(self.members)
        cdef float* out = <float*>cnp.PyArray_DATA(found)
        self.check_codes(&codes[0] if self.categories else NULL, 1)
        for m in range(self.members):
            self.encode(m, &numbers[0] if self.numbers else NULL, &codes[0] if self.categories else NULL,
                        out + m * self.width)
        return found

    def table(self, numbers, codes, Py_ssize_t m=0):
        """The inputs of one member for all rows of a table, float32, shape (n, inputs or 1).

        Parameters
        ----------
        numbers : array of float64, shape (n, numbers)
            NaN where missing.
        codes : array of int32, shape (n, categories)
            Of the categories; negative where missing or unknown.
        m : int
            Which member's.
        """
        cdef const double[:, ::1] all_numbers = np.ascontiguousarray(numbers)
        cdef const int32_t[:, ::1] all_codes = np.ascontiguousarray(codes)
        self.check(all_numbers.shape[1], all_codes.shape[1])
        cdef Py_ssize_t n = all_numbers.shape[0], k
        if all_codes.shape[0] != n:
            raise ValueError(f"there are {all_codes.shape[0]} rows of codes but {n} are expected")
        if not 0 <= m < self.members:
            raise ValueError(f"member {m} is expected below {self.members}")
        cdef const double* number = &all_numbers[0, 0] if n and self.numbers else NULL
        cdef const int32_t* code = &all_codes[0, 0] if n and self.categories else NULL
        cdef cnp.ndarray found = self.array(n)
        cdef float* out = <float*>cnp.PyArray_DATA(found)
        self.check_codes(code, n)
        with nogil:
            for k in range(n):
                self.encode(m, number + k * self.numbers, code + k * self.categories, out + k * self.width)
        return found

    cdef void check(self, Py_ssize_t numbers, Py_ssize_t categories) except *:
        if numbers != self.numbers or categories != self.categories:
            raise ValueError(f"there are {numbers} numbers and {categories} codes but "
                             f"{self.numbers} and {self.categories} are expected")

    cdef void check_codes(self, const int32_t* codes, Py_ssize_t n) except *:
        cdef Py_ssize_t k, j, code
        for k in range(n):
            for j in range(self.categories):
                code = codes[k * self.categories + j]
                if code >= self.values[j]:
                    raise ValueError(f"code {code} of category {j} is expected below {self.values[j]}")

    cdef cnp.ndarray array(self, Py_ssize_t n):
        """Inputs of n rows, to be filled; zeros if nothing is known of a row: a network has an input."""
        cdef cnp.npy_intp shape[2]
        shape[0], shape[1] = n, max(self.width, 1)
        if self.width:
            return cnp.PyArray_SimpleNew(2, shape, cnp.NPY_FLOAT)
        return cnp.PyArray_ZEROS(2, shape, cnp.NPY_FLOAT, 0)

    cdef void encode(self, Py_ssize_t m, const double* numbers, const int32_t* codes,
                     float* out) noexcept nogil:
        """The inputs of member m: scaled numbers, which are missing, categories, parts of numbers."""
        cdef Py_ssize_t j, k, first_value = 0, table = 0
        cdef float* binned = out + self.width - self.numbers * self.bins
        for j in range(self.numbers):
            self.number(m, j, numbers[j], out + j, binned + j * self.bins)
        out += self.numbers
        for j in range(self.missing):
            k = self.with_missing[j]
            out[j] = isnan((numbers[k] - self.centre[m, k]) * self.factor[m, k])
        out += self.missing
        for j in range(self.categories):
            if codes[j] >= 0 and self.known[m, first_value + codes[j]]:
                memcpy(out, &self.inputs[table + codes[j] * self.widths[j]],
                       self.widths[j] * sizeof(float))
            else:
                memset(out, 0, self.widths[j] * sizeof(float))
            out += self.widths[j]
            first_value += self.values[j]
            table += self.values[j] * self.widths[j]

    cdef inline void number(self, Py_ssize_t m, Py_ssize_t j, double value, float* out,
                            float* binned) noexcept nogil:
        """A scaled number, and its piecewise linear parts; 0 where it is missing."""
        cdef Py_ssize_t b
        cdef double share
        cdef double scaled = clipped((value - self.centre[m, j]) * self.factor[m, j], self.clip, self.far)
        cdef const double* middle
        cdef const double* half
        if isnan(scaled):
            out[0] = 0
            memset(binned, 0, self.bins * sizeof(float))
            return
        out[0] = <float>scaled
        if self.bins:
            middle, half = &self.middle[m, j, 0], &self.half[m, j, 0]
            for b in range(self.bins):
                share = (scaled - middle[b]) / half[b]
                binned[b] = <float>min(max(share, -1.0), 1.0)
