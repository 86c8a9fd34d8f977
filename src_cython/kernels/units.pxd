# What happens to the parameters in a step: gradient, optimizer, transposed copy and norms, of one unit (some
# rows of one panel of a tensor) at a time, so that threads can share them out.
from libc.stdint cimport int32_t, int64_t

from ctables cimport *
from layers cimport inputs_of, unit_gradient
from network cimport *
from rounding cimport round_up


cdef enum:
    CHAIN_ROWS = 256


cdef inline int64_t scalars_size(const fm_network* net) noexcept nogil:
    """Room for the scalars of every group, at most one a tensor, in elements."""
    return round_up(FM_TENSORS * net.n_layers * <int64_t>sizeof(fm_scalars) // <int64_t>sizeof(real), 64)


cdef inline fm_scalars* scalars_of(const fm_epoch* e, int32_t thread) noexcept nogil:
    """A thread's copy of the scalars of the groups."""
    return <fm_scalars*>(<real*>e.space.scratch + (thread + 1) * e.space.scratch_size - scalars_size(e.net))


cdef inline const fm_tensor* tensor_of(const fm_epoch* e, const fm_unit* unit) noexcept nogil:
    return &e.net.layers[unit.layer].tensors[unit.tensor]


cdef inline const fm_group* group_of(const fm_epoch* e, const fm_tensor* tensor) noexcept nogil:
    return &e.groups[e.group_of[tensor.index]]


cdef inline bint moves(const fm_epoch* e, const fm_unit* unit) noexcept nogil:
    """Whether the tensor of a unit is trained."""
    return group_of(e, tensor_of(e, unit)).rate != 0


cdef inline int64_t share_end(const fm_epoch* e, int32_t thread, int32_t active) noexcept nogil:
    """The unit after the last of a thread's share; alone it has all."""
    return e.unit_first[thread + 1 if active > 1 else e.n_threads]


cdef inline double unit_work(const fm_unit* unit, int64_t rows) noexcept nogil:
    """Floating-point operations of the gradient of a unit."""
    return 2.0 * rows * NR * (unit.k_to - unit.k_from)


cdef inline const fm_unit* next_unit(const fm_epoch* e, int32_t* done, int32_t thread, int32_t active,
                                     int64_t rows, fm_watch* watch) noexcept nogil:
    """A unit that nobody has taken: of the thread's own share, or else of another's. NULL: there is none, or
    the work is to be left.

    `done` counts the shares that are used up, 0 at first. Own units are the same in every step: their
    weights and slots are in this core's cache.
    """
    cdef int32_t owner
    cdef int64_t i
    while done[0] < active:
        owner = thread + done[0]
        if owner >= active:  # a division for each unit would be a percent of a small step
            owner -= active
        i = e.unit_first[owner] + fm_counter_take(&e.counters[owner], active > 1)
        if i < share_end(e, owner, active):
            if fm_watch_stop(watch, unit_work(&e.units[i], rows)):
                return NULL
            return &e.units[i]
        done[0] += 1
    return NULL


cdef inline int64_t unit_offset(const fm_tensor* tensor, const fm_unit* unit) noexcept nogil:
    """Where the parameters of a unit start in the arena."""
    return (tensor.offset + unit.panel * tensor.rows * NR
            + unit.k_from * panel_stride(tensor, unit.panel * NR))


cdef inline int64_t unit_size(const fm_tensor* tensor, const fm_unit* unit) noexcept nogil:
    return (unit.k_to - unit.k_from) * panel_stride(tensor, unit.panel * NR)


cdef inline void transpose_unit(const fm_network* net, const fm_tensor* tensor,
                                const fm_unit* unit) noexcept nogil:
    """Renew the transposed copy of a unit, if one is kept."""
    if tensor.transposed >= 0:
        transpose_rows(tensor, <real*>net.parameters, <real*>net.transposed, unit.panel, unit.k_from,
                       unit.k_to)


cdef inline void update_unit(fm_epoch* e, const fm_unit* unit, const real* g,
                             const fm_scalars* scalars) noexcept nogil:
    """Step the parameters of a unit and renew their transposed copy."""
    cdef const fm_tensor* tensor = tensor_of(e, unit)
    cdef int64_t at = unit_offset(tensor, unit)
    OPTIMIZERS[e.optimizer].step(<real*>e.net.parameters + at, g, <real*>e.slots[0] + at,
                                 <real*>e.slots[1] + at, unit_size(tensor, unit),
                                 &scalars[e.group_of[tensor.index]])
    transpose_unit(e.net, tensor, unit)


cdef inline void train_unit(fm_epoch* e, const fm_unit* unit, int64_t rows, real* scratch,
                            const fm_scalars* scalars, fm_ahead* ahead) noexcept nogil:
    """Gradient and step of a unit, at once where the level has registers for both."""
    cdef const fm_tensor* tensor = tensor_of(e, unit)
    cdef int64_t at = unit_offset(tensor, unit)
    if OPTIMIZERS[e.optimizer].block == NULL or tensor.gradient != FM_TILES:
        unit_gradient(e.net, e.space, unit, 0, rows, scratch, ahead)
        update_unit(e, unit, scratch, scalars)
        return
    OPTIMIZERS[e.optimizer].block(
        inputs_of(e.space, unit.layer), e.space.panel, unit.k_from, unit.k_to,
        <real*>e.space.dz[unit.layer] + unit.panel * e.space.panel, rows,
        vectors(tensor.n_columns, unit.panel * NR), <real*>e.net.parameters + at, scratch,
        <real*>e.slots[0] + at, <real*>e.slots[1] + at, &scalars[e.group_of[tensor.index]], ahead)
    transpose_unit(e.net, tensor, unit)


cdef inline void add_to_sums(double* sums, const real* g, int64_t n, bint is_first) noexcept nogil:
    cdef int64_t i
    if is_first:
        for i in range(n):
            sums[i] = g[i]
    else:
        for i in range(n):
            sums[i] += g[i]


cdef inline void add_unit(const fm_epoch* e, const fm_unit* unit, int64_t rows, bint is_first, real* scratch,
                          fm_ahead* ahead) noexcept nogil:
    """Add a block's gradient of a unit to the sums of its batch: in the dtype over CHAIN_ROWS rows, so that
    rounding stays small, in double from there on."""
    cdef const fm_tensor* tensor = tensor_of(e, unit)
    cdef double* sums = e.sums + unit_offset(tensor, unit)
    cdef int64_t first = 0
    cdef int64_t size
    while first < rows:
        size = min(rows - first, <int64_t>CHAIN_ROWS)
        unit_gradient(e.net, e.space, unit, first, size, scratch, ahead)
        add_to_sums(sums, scratch, unit_size(tensor, unit), is_first and first == 0)
        first += size


cdef inline void finish_gradient(const fm_epoch* e, int64_t at, int64_t n, bint is_whole, double rest,
                                 double l2) noexcept nogil:
    """Make a gradient of sums, if it is one, with what is left of their scale, and add the penalty's."""
    cdef const double* sums = e.sums + at
    cdef real* gradients = <real*>e.gradients + at
    cdef int64_t i
    if not is_whole:
        for i in range(n):
            gradients[i] = <real>(rest * sums[i])
    if l2 > 0:
        add_penalty(<real*>e.net.parameters + at, gradients, n, <real>l2)


cdef inline void square_all(const fm_epoch* e, const real* arena, int32_t thread,
                            int32_t active) noexcept nogil:
    """Sums of squares of the columns of all tensors in an arena, panels dealt to the threads in turn."""
    cdef int64_t p, turn = 0
    cdef int64_t column = 0
    cdef int32_t l, t
    cdef const fm_tensor* tensor
    for l in range(e.net.n_layers):
        for t in range(FM_TENSORS):
            tensor = &e.net.layers[l].tensors[t]
            for p in range(tensor.panels):
                if turn % active == thread:
                    square_columns(arena + tensor.offset + p * tensor.rows * NR, tensor.rows,
                                   min(NR, tensor.n_columns - p * NR), panel_stride(tensor, p * NR),
                                   e.column_squares + column + p * NR)
                turn += 1
            column += tensor.n_columns


cdef inline double penalty_share(const fm_group* group) noexcept nogil:
    return group.decay


cdef inline double norm_share(const fm_group* group) noexcept nogil:
    return group.rate != 0


cdef inline double sum_squares(const fm_epoch* e,
                               double (*share)(const fm_group*) noexcept nogil) noexcept nogil:
    """Total of column_squares, of each group its share; layer by layer, in the order of columns."""
    cdef double total = 0
    cdef double weights, biases
    cdef const double* squares = e.column_squares
    cdef int64_t j, n
    cdef int32_t l
    cdef const fm_layer* layer
    for l in range(e.net.n_layers):
        layer = &e.net.layers[l]
        n = layer.n_out
        weights = share(group_of(e, &layer.tensors[FM_WEIGHTS]))
        biases = share(group_of(e, &layer.tensors[FM_BIASES]))
        for j in range(n):
            if weights > 0:
                total += weights * squares[j]
            if biases > 0:
                total += biases * squares[n + j]
        squares += FM_TENSORS * n
    return total
