# The permutation of numpy.random.RandomState.shuffle, bit for bit, at a third of its time. The words come
# from the generator in bulk; only what is done with them is here. For the scikit-learn estimators, whose
# batches are scikit-learn's: their epochs are short enough for the shuffle to be felt.
cimport numpy as cnp
from libc.stdint cimport int64_t, uint32_t, uint64_t

import numpy as np

cnp.import_array()

cdef enum:
    FEW = 400  # below this the generator's own loop is no slower than a call for words


cdef int64_t consume(int64_t* order, int64_t left, const uint32_t* words, int64_t n) noexcept nogil:
    """Fisher-Yates on the first left items with n words, rejecting those above the position.

    A word is cut to as many bits as the position has. Whether it is accepted is a coin toss, so it is
    arithmetic and not a branch: a rejected word swaps an item with itself and stays at the position.
    """
    cdef int64_t i = left - 1
    cdef int64_t at, j, kept, accepted
    cdef uint32_t mask = 1
    while mask < i:
        mask = mask * 2 + 1
    for at in range(n):
        if i <= mask >> 1:
            mask >>= 1
        j = words[at] & mask
        accepted = j <= i
        j = j if accepted else i
        kept = order[i]
        order[i] = order[j]
        order[j] = kept
        i -= accepted
    return i + 1


def shuffle(cnp.ndarray[int64_t, ndim=1, mode="c"] order, random_state):
    """Permute an index array in place as ``random_state.shuffle(order)`` does, and leave it as that does."""
    cdef int64_t left = order.shape[0]
    cdef int64_t* data = <int64_t*>cnp.PyArray_DATA(order)
    cdef cnp.ndarray words
    cdef int64_t n
    while FEW < left <= 0xffffffff:
        n = left - 1  # each item needs a word at least, so none is drawn in vain
        words = random_state.randint(0, 1 << 32, size=n, dtype=np.uint32)
        with nogil:
            left = consume(data, left, <const uint32_t*>cnp.PyArray_DATA(words), n)
    random_state.shuffle(order[:left])
