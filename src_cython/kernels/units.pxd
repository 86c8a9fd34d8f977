# What happens to the weights in a step: gradient, optimizer, transposed copy and norms, of one unit (some
# rows of one weight panel) at a time, so that threads can share them out.
from libc.stdint cimport int32_t, int64_t

from ctables cimport *
from layers cimport unit_gradient
from network cimport *
from rounding cimport round_up


cdef enum:
    CHAIN_ROWS = 256


cdef inline int64_t scalars_size(const fm_network* net) noexcept nogil:
    """Room for the scalars of every group, at most one a tensor, in elements."""
    return round_up(2 * net.n_layers * <int64_t>sizeof(fm_scalars) // <int64_t>sizeof(real), 64)


cdef inline fm_scalars* scalars_of(const fm_epoch* e, int32_t thread) noexcept nogil:
    """A thread's copy of the scalars of the groups."""
    return <fm_scalars*>(<real*>e.space.scratch + (thread + 1) * e.space.scratch_size - scalars_size(e.net))


cdef inline const fm_group* weight_group(const fm_epoch* e, int32_t layer) noexcept nogil:
    return &e.groups[e.group_of[2 * layer]]


cdef inline const fm_group* bias_group(const fm_epoch* e, int32_t layer) noexcept nogil:
    return &e.groups[e.group_of[2 * layer + 1]]


cdef inline bint moves_weights(const fm_epoch* e, const fm_unit* unit) noexcept nogil:
    return weight_group(e, unit.layer).rate != 0


cdef inline bint moves_biases(const fm_epoch* e, const fm_unit* unit) noexcept nogil:
    """The first unit of a panel does its biases too."""
    return unit.k_from == 0 and bias_group(e, unit.layer).rate != 0


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
        owner = (thread + done[0]) % active
        i = e.unit_first[owner] + fm_counter_take(&e.counters[owner], active > 1)
        if i < share_end(e, owner, active):
            if fm_watch_stop(watch, unit_work(&e.units[i], rows)):
                return NULL
            return &e.units[i]
        done[0] += 1
    return NULL


cdef inline int64_t unit_offset(const fm_layer* layer, const fm_unit* unit) noexcept nogil:
    """Where the weights of a unit start in the parameter arena."""
    return (layer.weight + unit.panel * layer.rows * NR
            + unit.k_from * panel_stride(layer, unit.panel * NR))


cdef inline int64_t unit_size(const fm_layer* layer, const fm_unit* unit) noexcept nogil:
    return (unit.k_to - unit.k_from) * panel_stride(layer, unit.panel * NR)


cdef inline const real* panel_dz(const fm_epoch* e, const fm_unit* unit) noexcept nogil:
    """The gradient of the panel of outputs that a unit belongs to."""
    return <real*>e.space.dz[unit.layer] + unit.panel * e.space.panel


cdef inline void transpose_unit(const fm_network* net, const fm_unit* unit) noexcept nogil:
    """Renew the transposed copy of a unit's weights, if one is kept."""
    cdef const fm_layer* layer = &net.layers[unit.layer]
    if layer.transposed >= 0:
        transpose_rows(layer, <real*>net.parameters, <real*>net.transposed, unit.panel, unit.k_from,
                       unit.k_to)


cdef inline void update_unit(fm_epoch* e, const fm_unit* unit, const real* g,
                             const fm_scalars* scalars) noexcept nogil:
    """Step the weights of a unit and renew their transposed copy."""
    cdef const fm_layer* layer = &e.net.layers[unit.layer]
    cdef int64_t at = unit_offset(layer, unit)
    OPTIMIZERS[e.optimizer].step(<real*>e.net.parameters + at, g, <real*>e.slots[0] + at,
                                 <real*>e.slots[1] + at, unit_size(layer, unit),
                                 &scalars[e.group_of[2 * unit.layer]])
    transpose_unit(e.net, unit)


cdef inline void train_unit(fm_epoch* e, const fm_unit* unit, int64_t rows, real* scratch,
                            const fm_scalars* scalars, fm_ahead* ahead) noexcept nogil:
    """Gradient and step of a unit, at once where the level has registers for both."""
    cdef const fm_layer* layer = &e.net.layers[unit.layer]
    cdef int64_t at = unit_offset(layer, unit)
    if OPTIMIZERS[e.optimizer].block == NULL or layer.n_out == 1:
        unit_gradient(e.net, e.space, unit, 0, rows, scratch, ahead)
        update_unit(e, unit, scratch, scalars)
        return
    OPTIMIZERS[e.optimizer].block(
        <real*>(e.space.x if unit.layer == 0 else e.space.y[unit.layer - 1]), e.space.panel, unit.k_from,
        unit.k_to, panel_dz(e, unit), rows,
        vectors(layer.n_out, unit.panel * NR), <real*>e.net.parameters + at, scratch,
        <real*>e.slots[0] + at, <real*>e.slots[1] + at, &scalars[e.group_of[2 * unit.layer]], ahead)
    transpose_unit(e.net, unit)


cdef inline void update_bias(fm_epoch* e, const fm_unit* unit, const real* g,
                             const fm_scalars* scalars) noexcept nogil:
    """Step the biases of a panel."""
    cdef int64_t at = e.net.layers[unit.layer].bias + unit.panel * NR
    OPTIMIZERS[e.optimizer].step(<real*>e.net.parameters + at, g, <real*>e.slots[0] + at,
                                 <real*>e.slots[1] + at, NR, &scalars[e.group_of[2 * unit.layer + 1]])


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
    cdef const fm_layer* layer = &e.net.layers[unit.layer]
    cdef double* sums = e.sums + unit_offset(layer, unit)
    cdef double* bias_sums = e.sums + layer.bias + unit.panel * NR
    cdef int64_t first = 0
    cdef int64_t size
    while first < rows:
        size = min(rows - first, <int64_t>CHAIN_ROWS)
        if moves_weights(e, unit):
            unit_gradient(e.net, e.space, unit, first, size, scratch, ahead)
            add_to_sums(sums, scratch, unit_size(layer, unit), is_first and first == 0)
        if moves_biases(e, unit):
            column_sums(panel_dz(e, unit) + first * NR, size, scratch)
            add_to_sums(bias_sums, scratch, NR, is_first and first == 0)
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
    """Sums of squares of the columns of all weights in an arena, panels dealt to the threads in turn."""
    cdef int64_t p, turn = 0
    cdef int64_t column = 0
    cdef int32_t l
    cdef const fm_layer* layer
    for l in range(e.net.n_layers):
        layer = &e.net.layers[l]
        for p in range(layer.panels):
            if turn % active == thread:
                square_columns(arena + layer.weight + p * layer.rows * NR, layer.rows,
                               min(NR, layer.n_out - p * NR), panel_stride(layer, p * NR),
                               e.column_squares + column + p * NR)
            turn += 1
        column += layer.n_out


cdef inline double penalty_share(const fm_group* group) noexcept nogil:
    return group.l2


cdef inline double norm_share(const fm_group* group) noexcept nogil:
    return group.norm


cdef inline double sum_squares(const fm_epoch* e, const real* arena,
                               double (*share)(const fm_group*) noexcept nogil) noexcept nogil:
    """Total of column_squares and of the squares of the biases in an arena, of each group its share."""
    cdef double total = 0
    cdef double weights, biases, b
    cdef int64_t j, column = 0
    cdef int32_t l
    for l in range(e.net.n_layers):
        weights, biases = share(weight_group(e, l)), share(bias_group(e, l))
        for j in range(e.net.layers[l].n_out):
            if weights > 0:
                total += weights * e.column_squares[column + j]
            if biases > 0:
                b = arena[e.net.layers[l].bias + j]
                total += biases * (b * b)
        column += e.net.layers[l].n_out
    return total
