# Encoding of rows of a table: of one row, or of each batch that an engine gathers. The arithmetic is in
# c/encoding.h, compiled for each CPU level with the kernels. Here are also loops over the values of a row or
# a column of Python objects, and from the outputs of networks to predictions.
cimport numpy as cnp
from cpython.dict cimport PyDict_GetItemWithError
from cpython.float cimport PyFloat_AsDouble
from cpython.pycapsule cimport PyCapsule_New
from cpython.ref cimport PyObject
from cpython.sequence cimport PySequence_GetItem
from libc.math cimport INFINITY, NAN, fmod, isinf, pow
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy

from fastmlp._engine.native cimport load
from network cimport FM_ROWS_CAPSULE, fm_row_source

import datetime

import numpy as np

from fastmlp._engine.cpu_levels import level

cnp.import_array()

DERIVED = ("wave", "difference", "rank")  # kinds of numbers that are computed from others of their row
cdef object SINE = np.sin
cdef object DATE = datetime.date, DATETIME = datetime.datetime, UTC = datetime.UTC
cdef object DATETIME64 = np.datetime64, MICROSECONDS = np.dtype("M8[us]"), INTEGER = np.dtype(np.int64)


cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object, Py_ssize_t*) except NULL


cdef enum:
    DAY = 86_400  # seconds
    SECOND = 1_000_000  # microseconds
    FIRST_DAY = -719_162  # 0001-01-01 and 9999-12-31, in days since 1970-01-01
    LAST_DAY = 2_932_896


cdef extern from "encoding.h" nogil:
    ctypedef struct fm_encoding:
        int64_t numbers, missing, categories, width, bins_at, n_dense
        const double* centre
        const double* factor
        const double* middle
        const double* half
        const int64_t* bins
        const int64_t* with_missing
        const int64_t* values
        const int64_t* widths
        const int64_t* places
        const uint8_t* known
        const int32_t* first
        const int32_t* starts
        const float* inputs
        const double* clip
        const double* far
    ctypedef struct fm_encoded_rows:
        fm_encoding encoding
        const double* numbers
        const int32_t* codes
        const int64_t* chosen
    void fm_fetch_row(const void*, int64_t)


cdef inline cnp.ndarray vector(array, int kind):
    """Return a C-contiguous array with one axis and this NumPy type; copied only if needed."""
    return cnp.PyArray_FROMANY(array, kind, 1, 1, cnp.NPY_ARRAY_CARRAY_RO)


cdef inline void* start(cnp.ndarray array) noexcept:
    return cnp.PyArray_DATA(array)


def read_row(row, tuple numbers, tuple categories, Py_ssize_t n_numbers):
    """Return the numbers, float64 (n_numbers,), and the codes, int32, of a row.

    Each column of numbers is its place, the types of plain numbers, a function that reads other cells, and
    for dates whether they are instants, with the texts that count as missing; else None. Each column of
    categories has a dictionary of codes besides. Numbers after those of columns are not set.
    """
    cdef cnp.npy_intp n = n_numbers, n_categories = len(categories), k
    cdef cnp.ndarray values = cnp.PyArray_SimpleNew(1, &n, cnp.NPY_DOUBLE)
    cdef cnp.ndarray codes = cnp.PyArray_SimpleNew(1, &n_categories, cnp.NPY_INT32)
    cdef double number
    cdef PyObject* code
    if n < len(numbers):
        raise ValueError(f"there are {len(numbers)} columns of numbers but at most {n} are expected")
    for k, (place, types, read, dates) in enumerate(numbers):
        cell = PySequence_GetItem(row, place)
        number = INFINITY
        if dates is not None:
            is_instant, missing = dates
            number = seconds_of_date(cell, is_instant, missing)
        elif type(cell) in <frozenset?>types:
            try:
                number = NAN if cell is None else PyFloat_AsDouble(cell)
            except OverflowError:  # integers of Python
                pass
        (<double*>start(values))[k] = read(cell) if isinf(number) else number
    for k, (place, types, read, of_value) in enumerate(categories):
        cell = PySequence_GetItem(row, place)
        code = NULL
        if type(cell) in <frozenset?>types:
            code = PyDict_GetItemWithError(<dict?>of_value, cell)
        (<int32_t*>start(codes))[k] = read(cell) if code == NULL else <object>code
    return values, codes


# Dates of cells as seconds since 1970-01-01 00:00: what fastmlp/tabular/table/forms.py computes of columns,
# here of one object and without any array. What is not plain is left to that module.

cdef inline double seconds_of_date(cell, bint is_instant, frozenset missing) except? -1:
    """Return the seconds of a date without a time zone, or of an instant with one.

    They are NaN where it is missing, and infinite if the cell is not plain, or one of the texts of
    ``missing``: others have to read it, or to refuse it.
    """
    cdef int64_t clock
    kind = type(cell)
    if cell is None:
        return NAN
    if kind is str:
        return INFINITY if cell in missing else seconds_of_text(cell, is_instant)
    if isinstance(cell, DATETIME):
        year, zone = cell.year, cell.tzinfo
        if year != year:  # NaT
            return NAN
        if (zone is not None) != is_instant or not 1 <= year <= 9999:  # pandas has other years
            return INFINITY
        clock = days_of(year, cell.month, cell.day) * DAY + clock_of(cell.hour, cell.minute, cell.second)
        clock = clock * SECOND + <int64_t>cell.microsecond
        if is_instant and zone is not UTC:
            offset = cell.utcoffset()
            if offset is None:
                return INFINITY
            clock -= (<int64_t>offset.days * DAY + <int64_t>offset.seconds) * SECOND
            clock -= <int64_t>offset.microseconds
        return seconds_of(clock)
    if kind is float:
        return INFINITY if cell == cell else NAN
    if kind is DATE and not is_instant:
        return <double>(days_of(cell.year, cell.month, cell.day) * DAY)
    if kind is DATETIME64 and not is_instant:
        return seconds_of(cell.astype(MICROSECONDS).astype(INTEGER))
    return INFINITY


cdef inline double seconds_of(int64_t clock) noexcept:
    """Return the seconds of microseconds; infinity if the year is not from 1 to 9999."""
    cdef int64_t day = DAY * <int64_t>SECOND
    return <double>clock / 1e6 if FIRST_DAY * day <= clock < (LAST_DAY + 1) * day else INFINITY


cdef inline int64_t clock_of(int64_t hour, int64_t minute, int64_t second) noexcept:
    return (hour * 60 + minute) * 60 + second


cdef inline int64_t days_of(int64_t year, int64_t month, int64_t day) noexcept:
    """Return the days from 1970-01-01 to a date: years begin in March, so that leap days are at their end."""
    cdef int64_t years = year - (month <= 2), months = (month + 9) % 12
    return years * 365 + years // 4 - years // 100 + years // 400 + (153 * months + 2) // 5 + day - 719_469


cdef inline int days_in(int year, int month) noexcept:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


cdef inline int digits(const char* text, int n) noexcept:
    """Return the number that n digits make, -1 if they are none."""
    cdef int number = 0, k
    for k in range(n):
        if not c'0' <= text[k] <= c'9':
            return -1
        number = 10 * number + text[k] - c'0'
    return number


cdef inline bint is_time(int hour, int minute, int second) noexcept:
    return 0 <= hour <= 23 and 0 <= minute <= 59 and 0 <= second <= 59


cdef inline double seconds_of_text(cell, bint is_instant) except? -1:
    """Return the seconds of a text such as 2026-12-31, 2026-12-31 18:30, or 2026-12-31T18:30:05+01:00."""
    cdef Py_ssize_t n
    cdef const char* text
    cdef int year, month, day, hour = 0, minute = 0, second = 0
    cdef int64_t clock, ahead = 0
    try:
        text = PyUnicode_AsUTF8AndSize(cell, &n)
    except UnicodeEncodeError:  # half a character
        return INFINITY
    if n < 10 or text[4] != c'-' or text[7] != c'-':
        return INFINITY
    year, month, day = digits(text, 4), digits(text + 5, 2), digits(text + 8, 2)
    if year < 1 or not 1 <= month <= 12 or not 1 <= day <= days_in(year, month):
        return INFINITY
    text, n = text + 10, n - 10
    if n >= 6 and text[0] in (c'T', c' ') and text[3] == c':':
        hour, minute = digits(text + 1, 2), digits(text + 4, 2)
        text, n = text + 6, n - 6
        if n >= 3 and text[0] == c':':
            second = digits(text + 1, 2)
            text, n = text + 3, n - 3
        if not is_time(hour, minute, second):
            return INFINITY
        clock = clock_of(hour, minute, second)
        if is_instant and n == 6 and text[0] in (c'+', c'-') and text[3] == c':':
            hour, minute = digits(text + 1, 2), digits(text + 4, 2)
            if not is_time(hour, minute, 0):
                return INFINITY
            ahead = clock_of(hour, minute, 0) * (1 if text[0] == c'+' else -1)
            text, n, is_instant = text + 6, 0, False
        elif is_instant and n == 1 and text[0] == c'Z':
            n, is_instant = 0, False
    else:
        clock = 0
    if n != 0 or is_instant:
        return INFINITY
    return seconds_of((days_of(year, month, day) * DAY + clock - ahead) * SECOND)


cdef class Derivation:
    """The numbers of rows that are computed from others of their row, or from codes, behind ``n`` others.

    ``derived`` are the kind, places, periods and phases of waves, which come first; of differences, the
    places of two dates; of ranks, the place of the codes and how many there are. See
    fastmlp.tabular.table.columns.
    """
    cdef tuple arrays  # keeps the memory alive to which the pointers point
    cdef Py_ssize_t n, n_waves, n_derived, n_codes
    cdef const int32_t* kinds
    cdef const int64_t* of
    cdef const double* by
    cdef const double* units
    cdef const double* phases

    def __init__(self, Py_ssize_t n, Py_ssize_t n_codes, derived):
        kinds = np.concatenate([np.full(len(at.of), DERIVED.index(at.kind), np.int32) for at in derived])
        of = np.concatenate([at.of for at in derived]).astype(np.int64)
        by = np.concatenate([at.by for at in derived]).astype(float)
        phases = np.concatenate([at.phase for at in derived]).astype(float)
        is_wave, is_rank = kinds == 0, kinds == 2
        self.n, self.n_codes, self.n_derived, self.n_waves = n, n_codes, len(kinds), np.count_nonzero(is_wave)
        most = np.where(is_rank, n_codes, n)
        if not len(of) == len(by) == len(phases):
            raise ValueError(f"there are {len(of)} places but {len(by)} periods and {len(phases)} phases")
        dates = by[kinds == 1]
        are_right = np.all((of >= 0) & (of < most)) and np.all((dates >= 0) & (dates < n))
        if not are_right or np.any(is_wave[self.n_waves:]):
            raise ValueError("derived numbers are not of the numbers and codes of a row, waves before others")
        units = 2 * np.pi / np.where(is_wave, by, 1)
        self.arrays = kinds, of, by, units, phases
        self.kinds, self.of = <const int32_t*>start(kinds), <const int64_t*>start(of)
        self.by, self.units = <const double*>start(by), <const double*>start(units)
        self.phases = <const double*>start(phases)

    def __call__(self, cnp.ndarray numbers not None, cnp.ndarray codes not None):
        """Write the derived numbers of rows, (n, all) or (all,), NaN where one of theirs is missing."""
        cdef cnp.npy_intp shape[2]
        cdef Py_ssize_t axes = cnp.PyArray_NDIM(numbers), i, k, _i
        cdef cnp.npy_intp total = self.n + self.n_derived
        cdef bint are_right = (
            cnp.PyArray_ISCARRAY(numbers) and cnp.PyArray_TYPE(numbers) == cnp.NPY_DOUBLE and 1 <= axes <= 2
            and cnp.PyArray_DIM(numbers, <int>axes - 1) == total
            and cnp.PyArray_ISCARRAY_RO(codes) and cnp.PyArray_TYPE(codes) == cnp.NPY_INT32)
        shape[0], shape[1] = cnp.PyArray_SIZE(numbers) // total, self.n_waves
        if not are_right or cnp.PyArray_SIZE(codes) != shape[0] * self.n_codes:
            raise ValueError(f"numbers of {total} columns and codes of {self.n_codes} are expected")
        cdef cnp.ndarray angles = cnp.PyArray_SimpleNew(2, shape, cnp.NPY_DOUBLE)
        cdef double* angle = <double*>start(angles)
        cdef double* row = <double*>start(numbers)
        cdef const int32_t* code = <const int32_t*>start(codes)
        for _i in range(shape[0]):
            for k in range(self.n_waves):
                angle[k] = fmod(row[self.of[k]], self.by[k]) * self.units[k] + self.phases[k]
            for k in range(self.n_waves, self.n_derived):
                row[self.n + k] = self.other(row, code, k)
            angle += self.n_waves
            row += total
            code += self.n_codes
        if self.n_waves:
            SINE(angles, angles)  # NumPy's vectors have other bits than the C library
            angle, row = <double*>start(angles), <double*>start(numbers) + self.n
            for i in range(shape[0]):
                memcpy(row + i * total, angle + i * self.n_waves, self.n_waves * sizeof(double))

    cdef inline double other(self, const double* row, const int32_t* codes, Py_ssize_t k) noexcept:
        """Return the k-th derived number, a difference or a rank."""
        cdef int32_t code
        if self.kinds[k] == 1:
            return row[self.of[k]] - row[<Py_ssize_t>self.by[k]]
        code = codes[self.of[k]]
        return code if 0 <= code < self.by[k] else NAN


def types_of(cnp.ndarray items not None):
    """Return the types of the items of an array of objects, (n,)."""
    cdef cnp.npy_intp k
    cdef set types = set()
    last = None
    for k in range(check_objects(items)):
        kind = type(item_at(items, k))
        if kind is not last:
            types.add(kind)
            last = kind
    return types


def numbered(cnp.ndarray items not None, dict codes not None, dict others not None):
    """Return the number of each item of an array of objects, (n,): its code, or its number in ``others``.

    ``others`` receives the items without a code, numbered in their order from ``len(codes)`` on.
    """
    cdef cnp.npy_intp n = check_objects(items), k
    cdef cnp.ndarray numbers = cnp.PyArray_SimpleNew(1, &n, cnp.NPY_INT32)
    cdef int32_t* number = <int32_t*>start(numbers)
    cdef PyObject* code
    for k in range(n):
        item = item_at(items, k)
        code = PyDict_GetItemWithError(codes, item)
        number[k] = <object>code if code != NULL else others.setdefault(item, len(codes) + len(others))
    return numbers


cdef cnp.npy_intp check_objects(cnp.ndarray items) except -1:
    """Return the length of an array of objects with one axis."""
    if cnp.PyArray_TYPE(items) != cnp.NPY_OBJECT or cnp.PyArray_NDIM(items) != 1:
        raise ValueError(f"an array of objects with one axis is expected but its dtype is {items.dtype}")
    return cnp.PyArray_DIM(items, 0)


cdef inline object item_at(cnp.ndarray items, cnp.npy_intp k):
    return cnp.PyArray_GETITEM(items, <char*>cnp.PyArray_GETPTR1(items, k))


cdef class Joint:
    """The mean predictions of members, from their outputs.

    ``scale`` is None, or has centre, factor, low and high of the first columns, which are means, each of
    shape (members, means). Columns after them are variances, to which the variance of the members' means is
    added. Rows are divided by their sums before if they are probabilities, which ``sums_to_one`` tells.
    """
    cdef tuple arrays, given  # the arrays keep the memory alive to which the pointers point
    cdef const double* scales[4]
    cdef Py_ssize_t means
    cdef bint sums_to_one

    def __init__(self, scale, Py_ssize_t means, bint sums_to_one):
        cdef Py_ssize_t k
        self.given, self.means, self.sums_to_one = (scale, means, sums_to_one), means, sums_to_one
        self.arrays = tuple([np.array(array, float, order="C", ndmin=2) for array in scale or ()])
        if len(self.arrays) not in (0, 4):
            raise ValueError(
                f"a scale has {len(self.arrays)} arrays but centre, factor, low and high are expected")
        for k in range(len(self.arrays)):
            if self.arrays[k].shape != (len(self.arrays[0]), means):
                expected = len(self.arrays[0]), means
                raise ValueError(f"a scale has the shape {self.arrays[k].shape} but {expected} is expected")
            self.scales[k] = <const double*>start(self.arrays[k])

    def __reduce__(self):
        return Joint, self.given

    def __call__(self, z):
        """The mean predictions, float64 (n, columns) of outputs, (members, n, columns); n may be left out."""
        cdef cnp.ndarray given = cnp.PyArray_FROMANY(z, cnp.NPY_NOTYPE, 2, 3, 0)
        cdef int last = cnp.PyArray_NDIM(given) - 1
        cdef cnp.ndarray outputs = cnp.PyArray_SimpleNew(last + 1, cnp.PyArray_DIMS(given), cnp.NPY_DOUBLE)
        cdef cnp.npy_intp members, columns, n, means = self.means, m, k, _i
        cdef cnp.npy_intp[2] shape
        if cnp.PyArray_TYPE(given) == cnp.NPY_FLOAT and cnp.PyArray_ISCARRAY_RO(given):
            for k in range(cnp.PyArray_SIZE(given)):  # a call of NumPy takes longer than a row's few numbers
                (<double*>start(outputs))[k] = (<const float*>start(given))[k]
        else:
            cnp.PyArray_CopyInto(outputs, given)
        members, columns = cnp.PyArray_DIM(outputs, 0), cnp.PyArray_DIM(outputs, last)
        n = 1 if last == 1 else cnp.PyArray_DIM(outputs, 1)
        shape[0], shape[1] = n, columns
        cdef cnp.ndarray result = cnp.PyArray_SimpleNew(2, shape, cnp.NPY_DOUBLE)
        cdef bint is_scaled = len(self.arrays) > 0
        cdef double* row = <double*>start(outputs)
        cdef double* first = row
        cdef double* mean = <double*>start(result)
        cdef double total, away
        if members < 1 or not means <= columns <= 2 * means:
            raise ValueError(
                f"the outputs have the shape {np.shape(z)} but {means} to {2 * means} columns are expected")
        if is_scaled and len(self.arrays[0]) != members:
            raise ValueError(f"there are outputs of {members} members but {len(self.arrays[0])} are expected")
        for m in range(members):
            for _i in range(n):
                if is_scaled:
                    decode(row, means, columns, self.scales, m * means)
                if self.sums_to_one:
                    divide_by_sum(row, columns)
                row += columns
        for _i in range(n):
            for k in range(columns):
                total = first[k]
                for m in range(1, members):
                    total += first[m * n * columns + k]
                mean[k] = total / members
            for k in range(means, columns):
                total = 0
                for m in range(members):
                    away = first[m * n * columns + k - means] - mean[k - means]
                    total += away * away
                mean[k] += total / members
            first += columns
            mean += columns
        return result


def tempered(probabilities, double power, double smallest):
    """Return powers of probabilities, at least ``smallest``, float64 (n, classes), divided by their sums."""
    cdef cnp.ndarray result = cnp.PyArray_FROMANY(
        probabilities, cnp.NPY_DOUBLE, 2, 2, cnp.NPY_ARRAY_CARRAY | cnp.NPY_ARRAY_ENSURECOPY)
    cdef cnp.npy_intp columns = cnp.PyArray_DIM(result, 1), k, _i
    cdef double* row = <double*>start(result)
    for _i in range(cnp.PyArray_DIM(result, 0)):
        for k in range(columns):
            row[k] = pow(smallest if row[k] < smallest else row[k], power)
        divide_by_sum(row, columns)
        row += columns
    return result


cdef inline void divide_by_sum(double* row, Py_ssize_t columns) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t k
    for k in range(columns):
        total += row[k]
    for k in range(columns):
        row[k] /= total


cdef inline void decode(double* row, Py_ssize_t means, Py_ssize_t columns, const double** scale,
                        Py_ssize_t member) noexcept nogil:
    """Convert outputs to the user's units: means within their limits, then variances."""
    cdef const double* factor = scale[1] + member
    cdef double low, high, value
    cdef Py_ssize_t k
    for k in range(means):
        low, high = scale[2][member + k], scale[3][member + k]
        value = row[k] * factor[k] + scale[0][member + k]
        value = low if value < low else value
        row[k] = high if value > high else value
    for k in range(means, columns):
        row[k] *= factor[k - means] * factor[k - means]


cdef void fetch_row(const void* rows, int64_t row) noexcept nogil:
    fm_fetch_row(rows, row)


cdef class Encoder


cdef class EncodedRows:
    """The inputs of a member for rows of a table, made by ``Encoder.rows`` and computed on access.

    Engines accept it in place of an array, see fastmlp._network.data.RowSource.
    """
    cdef fm_encoded_rows c
    cdef fm_row_source source
    cdef Encoder encoder
    cdef tuple arrays  # numbers, codes, and the indices of the rows (None: all)
    cdef readonly object row_source
    cdef readonly tuple shape

    dtype = np.dtype(np.float32)
    ndim = 2

    @staticmethod
    cdef EncodedRows make(Encoder encoder, const fm_encoding* encoding, tuple arrays):
        cdef EncodedRows self = EncodedRows.__new__(EncodedRows)
        cdef cnp.ndarray numbers, codes, chosen
        self.encoder, self.arrays = encoder, arrays
        numbers, codes, chosen = arrays
        self.c.encoding = encoding[0]
        self.c.numbers = <const double*>cnp.PyArray_DATA(numbers)
        self.c.codes = <const int32_t*>cnp.PyArray_DATA(codes)
        self.c.chosen = <const int64_t*>cnp.PyArray_DATA(chosen) if chosen is not None else NULL
        self.shape = len(numbers) if chosen is None else len(chosen), encoding.width
        self.source.fill, self.source.fetch, self.source.context = encoder.encode_row, fetch_row, &self.c
        self.source.n_dense, self.source.entries = self.shape[1], encoder.entries
        if encoder.entries > 0:
            self.source.n_dense, self.source.fill_sparse = encoding.n_dense, encoder.encode_sparse
        self.row_source = PyCapsule_New(&self.source, FM_ROWS_CAPSULE, NULL)
        return self

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        """Return some rows, by a slice, a mask or indices; nothing is computed."""
        numbers, codes, chosen = self.arrays
        chosen = np.arange(len(self)) if chosen is None else chosen
        chosen = np.ascontiguousarray(chosen[rows], np.int64)
        return EncodedRows.make(self.encoder, &self.c.encoding, (numbers, codes, chosen))

    def __array__(self, dtype=None, copy=None):
        """Return all rows as a new array."""
        cdef Py_ssize_t n = self.shape[0], k
        cdef cnp.ndarray found = np.empty(self.shape, self.dtype)
        cdef float* out = <float*>cnp.PyArray_DATA(found)
        cdef Py_ssize_t width = self.shape[1]
        with nogil:
            for k in range(n):
                self.source.fill(&self.c, k, out + k * width)
        return found if dtype is None else found.astype(dtype, copy=False)


cdef class Encoder:
    """The encodings of several members.

    ``numbers`` are centre and factor, (members, numbers), then middles and half widths of the bins, number by
    number, (members, all bins). ``bins`` counts those of each number. ``known`` tells which values of all
    category columns each member has seen, (members, values). ``categories`` are the `CategoryInputs` of each
    column. ``with_missing`` are the indices of numbers with a flag for missing ones; ``limits`` are those of
    the scaled numbers, of the smooth clip and of the hard one before it, (2, numbers). ``layout`` has the
    places of the inputs.
    """
    cdef object given
    cdef tuple arrays  # keeps the memory alive to which the structs point
    cdef fm_encoding first  # the first member's
    cdef void (*encode_row)(const void*, int64_t, void*) noexcept nogil
    cdef int64_t (*encode_sparse)(const void*, int64_t, void*, int32_t*, void*) noexcept nogil
    cdef int64_t entries  # most inputs of a row that are entries of sparse rows
    cdef Py_ssize_t members, n_bins, n_values  # bins of all numbers, values of all categories

    def __init__(self, numbers, bins, known, categories, with_missing, limits, layout):
        cdef fm_encoding* c = &self.first
        self.given = numbers, bins, known, categories, with_missing, limits, layout
        self.encode_row = load(level(), "float32").encode_row
        self.encode_sparse = load(level(), "float32").encode_sparse
        centre, factor, middle, half = (np.ascontiguousarray(each, float) for each in numbers)
        of_numbers = np.array(bins, np.int64)  # a copy, since native code trusts it once it is checked
        seen = np.ascontiguousarray(known).view(np.uint8)
        missing = np.array(with_missing, np.int64)
        values = np.array([column.values for column in categories], np.int64)
        widths = np.array([column.width for column in categories], np.int64)
        places = np.array(layout.categories, np.int64)
        none = np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32)
        stored = [none, *(column.stored for column in categories)]
        first, counts, inputs = map(np.concatenate, zip(*stored, strict=True))
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        counts = [count for _, count, _ in stored[1:]]
        self.entries = sum(max(count) for count, place in zip(counts, layout.categories, strict=True)
                           if place >= layout.n_dense)
        self.members, self.n_bins, self.n_values = len(centre), middle.shape[1], np.sum(values, dtype=int)
        c.numbers, c.missing, c.categories = centre.shape[1], len(missing), len(categories)
        c.width, c.bins_at, c.n_dense = layout.width, layout.bins, layout.n_dense
        if c.missing and not 0 <= np.min(missing) <= np.max(missing) < c.numbers:
            raise ValueError(f"with_missing is {with_missing} but places below {c.numbers} are expected")
        if (not factor.shape == centre.shape == (self.members, len(of_numbers)) or np.any(of_numbers < 0)
                or not middle.shape == half.shape == (self.members, np.sum(of_numbers, dtype=int))):
            raise ValueError("centre, factor and bins are expected of the same members and numbers")
        if np.shape(limits) != (2, c.numbers):
            raise ValueError(f"limits has shape {np.shape(limits)} but {(2, c.numbers)} is expected")
        clip, far = np.ascontiguousarray(limits, float)
        if seen.shape != (self.members, self.n_values):
            wanted = self.members, self.n_values
            raise ValueError(f"known has shape {known.shape} but {wanted} is expected")
        self.arrays = (centre, factor, middle, half, of_numbers, seen, missing, values, widths, places, first,
                       starts, inputs, clip, far)
        c.centre, c.factor = <const double*>start(centre), <const double*>start(factor)
        c.middle, c.half = <const double*>start(middle), <const double*>start(half)
        c.clip, c.far = <const double*>start(clip), <const double*>start(far)
        c.bins = <const int64_t*>start(of_numbers)
        c.known, c.with_missing = <const uint8_t*>start(seen), <const int64_t*>start(missing)
        c.values, c.widths = <const int64_t*>start(values), <const int64_t*>start(widths)
        c.places, c.first = <const int64_t*>start(places), <const int32_t*>start(first)
        c.starts, c.inputs = <const int32_t*>start(starts), <const float*>start(inputs)

    def __reduce__(self):
        return Encoder, self.given

    def __call__(self, numbers, codes):
        """The inputs of each member for one row, float32, shape (members, inputs or 1).

        Missing numbers are NaN; codes of missing and unknown categories are negative.
        """
        cdef Py_ssize_t m
        cdef cnp.npy_intp shape[2]
        cdef fm_encoded_rows row
        cdef cnp.ndarray number = vector(numbers, cnp.NPY_DOUBLE), code = vector(codes, cnp.NPY_INT32)
        self.check(cnp.PyArray_SIZE(number), cnp.PyArray_SIZE(code))
        row.numbers, row.codes = <const double*>start(number), <const int32_t*>start(code)
        row.chosen = NULL
        self.check_codes(row.codes, 1)
        shape[0], shape[1] = self.members, self.first.width
        cdef cnp.ndarray found = cnp.PyArray_SimpleNew(2, shape, cnp.NPY_FLOAT)
        for m in range(self.members):
            row.encoding = self.member(m)
            self.encode_row(&row, 0, <float*>cnp.PyArray_DATA(found) + m * shape[1])
        return found

    def rows(self, numbers, codes, Py_ssize_t m=0):
        """Return the inputs of member m for all rows of a table as EncodedRows, (n, inputs or 1).

        C-contiguous arrays are not copied, so they must not change.
        """
        numbers = np.ascontiguousarray(numbers, np.float64)
        codes = np.ascontiguousarray(codes, np.int32)
        self.check(numbers.shape[1], codes.shape[1])
        if len(codes) != len(numbers):
            raise ValueError(f"there are {len(codes)} rows of codes but {len(numbers)} are expected")
        if not 0 <= m < self.members:
            raise ValueError(f"member {m} is expected below {self.members}")
        self.check_codes(<const int32_t*>start(codes), len(codes))
        cdef fm_encoding encoding = self.member(m)
        return EncodedRows.make(self, &encoding, (numbers, codes, None))

    cdef fm_encoding member(self, Py_ssize_t m) noexcept:
        cdef fm_encoding c = self.first
        c.centre += m * c.numbers
        c.factor += m * c.numbers
        c.middle += m * self.n_bins
        c.half += m * self.n_bins
        c.known += m * self.n_values
        return c

    cdef int check(self, Py_ssize_t numbers, Py_ssize_t categories) except -1:
        if numbers != self.first.numbers or categories != self.first.categories:
            raise ValueError(f"there are {numbers} numbers and {categories} codes but "
                             f"{self.first.numbers} and {self.first.categories} are expected")

    cdef int check_codes(self, const int32_t* codes, Py_ssize_t n) except -1:
        cdef Py_ssize_t k, j, code
        for k in range(n):
            for j in range(self.first.categories):
                code = codes[k * self.first.categories + j]
                if code >= self.first.values[j]:
                    raise ValueError(f"code {code} of category {j} is expected below {self.first.values[j]}")
