# One row of a table as the inputs of many members at once: the arithmetic of fastmlp/tabular/encoding.py,
# operation for operation, so that the bits are the same; tests compare. NumPy takes thirty calls for what is
# a microsecond.
cimport numpy as cnp
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from cpython.sequence cimport PySequence_GetItem
from libc.math cimport isfinite, isnan, sqrt
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy

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
        if not PyFloat_Check(value) or not isfinite(PyFloat_AS_DOUBLE(value)):
            return None
        numbers[k] = PyFloat_AS_DOUBLE(value)
    return found


cdef class RowEncoder:
    """Encodings of many members as a function of one row.

    Parameters
    ----------
    numbers : tuple of arrays of float64
        Centre and factor, shape (members, numbers), and edges, (members, numbers, bins + 1).
    known : array of bool, shape (members, values)
        Of all category columns, one after the other: which values each member has seen.
    tables : list of arrays of float32, shape (values, inputs)
        Of each category column, the inputs of its values.
    with_missing : array of int64
        Numbers that have an input that says that they are missing.
    limits : tuple of float
        What scaled numbers are clipped to, smoothly; and before that; half of the narrowest bin.
    """
    cdef object given
    cdef const double[:, ::1] centre, factor
    cdef const double[:, :, ::1] edges
    cdef const uint8_t[:, ::1] known
    cdef const int64_t[::1] with_missing, values, widths
    cdef const float[::1] inputs
    cdef double clip, far, narrowest
    cdef Py_ssize_t members, numbers, categories, missing, bins, width

    def __init__(self, numbers, known, tables, with_missing, limits):
        self.given = numbers, known, tables, with_missing, limits
        self.centre, self.factor, self.edges = (np.ascontiguousarray(each, float) for each in numbers)
        self.known = np.ascontiguousarray(known).view(np.uint8)
        self.with_missing = np.ascontiguousarray(with_missing, np.int64)
        self.values = np.array([len(table) for table in tables], np.int64)
        self.widths = np.array([table.shape[1] for table in tables], np.int64)
        flat = [np.ravel(table) for table in tables]
        self.inputs = np.ascontiguousarray(np.concatenate(flat) if flat else np.empty(0), np.float32)
        self.clip, self.far, self.narrowest = limits
        self.members, self.numbers = self.centre.shape[0], self.centre.shape[1]
        self.categories, self.missing = len(tables), self.with_missing.shape[0]
        self.bins = self.edges.shape[2] - 1
        self.width = self.numbers * (1 + self.bins) + self.missing + np.sum(self.widths, dtype=int)
        if self.missing and not 0 <= np.min(with_missing) <= np.max(with_missing) < self.numbers:
            raise ValueError(f"with_missing is {with_missing} but places below {self.numbers} are expected")
        if not np.shape(self.factor) == np.shape(self.centre) == np.shape(self.edges)[:2]:
            raise ValueError("centre, factor and edges are expected of the same members and numbers")
        if self.known.shape[0] != self.members or self.known.shape[1] != np.sum(self.values):
            wanted = self.members, int(np.sum(self.values))
            raise ValueError(f"known has shape {known.shape} but {wanted} is expected")

    def __reduce__(self):
        return RowEncoder, self.given

    def __call__(self, const double[::1] numbers, const int32_t[::1] codes):
        """The inputs of each member, float32, shape (members, inputs or 1).

        Parameters
        ----------
        numbers : array of float64
            NaN where missing.
        codes : array of int32
            Of the categories; negative where missing or unknown.
        """
        cdef Py_ssize_t m
        cdef cnp.npy_intp shape[2]
        if numbers.shape[0] != self.numbers or codes.shape[0] != self.categories:
            raise ValueError(f"there are {numbers.shape[0]} numbers and {codes.shape[0]} codes but "
                             f"{self.numbers} and {self.categories} are expected")
        for m in range(self.categories):
            if codes[m] >= self.values[m]:
                raise ValueError(f"code {codes[m]} of category {m} is expected below {self.values[m]}")
        shape[0], shape[1] = self.members, max(self.width, 1)
        cdef cnp.ndarray found = cnp.PyArray_ZEROS(2, shape, cnp.NPY_FLOAT, 0)
        cdef float* out = <float*>cnp.PyArray_DATA(found)
        for m in range(self.members):
            self.encode(m, numbers, codes, out + m * shape[1])
        return found

    cdef void encode(self, Py_ssize_t m, const double[::1] numbers, const int32_t[::1] codes,
                     float* out) noexcept nogil:
        """The inputs of member m, into zeros."""
        cdef Py_ssize_t j, first_value = 0, table = 0
        cdef float* binned = out + self.width - self.numbers * self.bins
        for j in range(self.numbers):
            self.number(m, j, numbers[j], out + j, binned + j * self.bins)
        out += self.numbers
        for j in range(self.missing):
            out[j] = isnan(numbers[self.with_missing[j]])
        out += self.missing
        for j in range(self.categories):
            if codes[j] >= 0 and self.known[m, first_value + codes[j]]:
                memcpy(out, &self.inputs[table + codes[j] * self.widths[j]],
                       self.widths[j] * sizeof(float))
            out += self.widths[j]
            first_value += self.values[j]
            table += self.values[j] * self.widths[j]

    cdef void number(self, Py_ssize_t m, Py_ssize_t j, double value, float* out,
                     float* binned) noexcept nogil:
        """A scaled number, and its piecewise linear parts; 0 where it is missing."""
        cdef Py_ssize_t b
        cdef double low, high, half, share, scaled = (value - self.centre[m, j]) * self.factor[m, j]
        if isnan(scaled):
            return
        scaled = min(max(scaled, -self.far), self.far)
        share = scaled / self.clip
        scaled = scaled / sqrt(1 + share * share)
        out[0] = <float>scaled
        for b in range(self.bins):
            low, high = self.edges[m, j, b], self.edges[m, j, b + 1]
            half = max((high - low) / 2, self.narrowest)
            binned[b] = <float>min(max((scaled - (low + high) / 2) / half, -1.0), 1.0)
