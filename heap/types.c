/* The registry of types.
 *
 * A description (tri_type) is the user's own storage; it is checked and copied into layouts at first
 * use in each heap. It carries the numbers of its cells, which index run tables. The numbers are
 * handed out for the whole process, so that the inline allocation finds its run by one load, in
 * whichever heap; what a number means in a heap lies in that heap's own table of cells.
 *
 * A type gets one cell for single objects when it is registered, also if they are large (then
 * its run stays empty for ever, and the slow path finds the type by it), and a block of cells, one per
 * size class from that of one element, when the first array of it is made. Cell 0 is nobody's: a type
 * that was never used has it, and its run is always empty.
 *
 * Two descriptions of the same name and shape (a header included twice) are one type with two sets of
 * numbers, or, if the second has none yet, with the same ones. Same name and other shape is an
 * error: dumps and profiles go by name.
 *
 * Rejected: numbering per heap, with a lookup at each allocation; a word in the object.
 *
 * Reading needs no lock: a cell's class is set last, with release, and entries are never removed.
 * Registering takes the registry's lock, and inside it the process-wide one over numbers.
 */
#include "heap/types.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "heap/layout.h"
#include "heap/mcentral.h"
#include "os/memory.h"
#include "os/vm.h"

tri_type tri_bytes = {"bytes", 1, NULL, 0, TRI_KIND_BYTES, NULL, 0, 0, NULL};
tri_type tri_words = {"words", 8, NULL, 0, TRI_KIND_WORDS, NULL, 0, 0, NULL};
tri_type tri_pointers = {"pointers", 8, NULL, 0, TRI_KIND_POINTERS, NULL, 0, 0, NULL};

/* ---- numbers, for the whole process -------------------------------------------------------- */

static os_mutex numbers_lock = OS_MUTEX_INIT;
static _Atomic uint32_t next_number = 1;

uint32_t heap_cell_limit(void)
{
    return atomic_load_explicit(&next_number, memory_order_acquire); /* take_numbers() */
}

/* Gives *at, which is 0, `n` adjacent numbers, unless another thread was first. -ENOSPC. */
// NOLINTNEXTLINE(readability-non-const-parameter): written by an atomic built-in
static int take_numbers(uint32_t *at, uint32_t n)
{
    int err = 0;
    os_mutex_lock(&numbers_lock);
    uint32_t first = atomic_load_explicit(&next_number, memory_order_relaxed);
    if (__atomic_load_n(at, __ATOMIC_RELAXED) == 0) {
        if (n > HEAP_MAX_CELLS - first) {
            err = -ENOSPC;
        } else {
            atomic_store_explicit(&next_number, first + n, memory_order_release);
            /* Release: pairs with whoever finds the number and then asks the heap about it. */
            __atomic_store_n(at, first, __ATOMIC_RELEASE);
        }
    }
    os_mutex_unlock(&numbers_lock);
    return err;
}

static uint32_t number_of(const uint32_t *at)
{
    return __atomic_load_n(at, __ATOMIC_ACQUIRE); /* take_numbers() */
}

/* Shares the numbers of a type's other description, unless it has its own. */
// NOLINTNEXTLINE(readability-non-const-parameter): written by an atomic built-in
static void share_numbers(uint32_t *at, uint32_t number)
{
    os_mutex_lock(&numbers_lock);
    if (__atomic_load_n(at, __ATOMIC_RELAXED) == 0)
        __atomic_store_n(at, number, __ATOMIC_RELEASE); /* as take_numbers() */
    os_mutex_unlock(&numbers_lock);
}

/* ---- entries ------------------------------------------------------------------------------- */

static uint32_t hash_name(const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return hash;
}

/* The cells of this heap, once their entry knows them. 0 or -ENOMEM. */
static int add_block(heap_type_entry *e, uint32_t first, uint32_t count, bool array)
{
    heap_cell_block *b = os_alloc(sizeof *b);
    if (!b)
        return -ENOMEM;
    b->first = first;
    b->count = count;
    b->array = array;
    b->next = atomic_load_explicit(&e->blocks, memory_order_relaxed);
    atomic_store_explicit(&e->blocks, b, memory_order_release); /* heap_each_type() */
    if (!e->home[array])
        e->home[array] = first;
    return 0;
}

static void open_cell(tri_heap *h, heap_type_entry *e, uint32_t cell, bool array, size_t size)
{
    heap_cell *c = &h->types->cells[cell];
    c->entry = e;
    c->layout = &e->layouts[array];
    bool small = size <= HEAP_SMALL_MAX;
    if (small) {
        c->size = (uint32_t)((size + 7) & ~(size_t)7);
        c->size_class = (uint8_t)heap_size_class(size);
        c->pages = (uint8_t)heap_span_pages(c->size);
    }
    heap_class *class = small ? heap_mixed_class(h, c->size_class) : heap_large_class(h);
    /* Release: pairs with heap_alloc_slow() and known_cell(). */
    atomic_store_explicit(&c->class, class, memory_order_release);
}

static heap_class *known_cell(const tri_heap *h, uint32_t cell)
{
    return atomic_load_explicit(&h->types->cells[cell].class, memory_order_acquire);
}

static heap_type_entry *find_entry(tri_heap *h, const tri_type *type, uint32_t hash)
{
    heap_type_entry *e = h->types->buckets[hash % HEAP_TYPE_BUCKETS];
    while (e && (e->hash != hash || strcmp(e->layouts[0].name, type->name) != 0))
        e = e->chain;
    return e;
}

static int new_entry(tri_heap *h, tri_type *type, uint32_t hash, heap_type_entry **out)
{
    struct heap_types *t = h->types;
    if (t->nlayouts + 2 > HEAP_MAX_LAYOUTS)
        return -ENOSPC;
    heap_type_entry *e = os_alloc(sizeof *e);
    if (!e)
        return -ENOMEM;
    int err = heap_layout_make(type, &e->layouts[0]);
    if (err) {
        os_free(e, sizeof *e);
        return err;
    }
    e->hash = hash;
    e->layouts[1] = e->layouts[0];
    e->layouts[1].array = true;
    for (int i = 0; i < 2; i++) {
        e->layouts[i].id = ++t->nlayouts;
        t->layouts[e->layouts[i].id] = &e->layouts[i];
    }
    e->chain = t->buckets[hash % HEAP_TYPE_BUCKETS];
    t->buckets[hash % HEAP_TYPE_BUCKETS] = e;
    e->next = atomic_load_explicit(&t->first, memory_order_relaxed);
    atomic_store_explicit(&t->first, e, memory_order_release); /* heap_each_type() */
    *out = e;
    return 0;
}

/* Under the lock: the type's entry, with a cell for single objects. */
static int register_locked(tri_heap *h, tri_type *type, heap_type_entry **out)
{
    uint32_t hash = hash_name(type->name);
    heap_type_entry *e = find_entry(h, type, hash);
    int err = 0;
    if (!e)
        err = new_entry(h, type, hash, &e);
    else if (!heap_layout_same(&e->layouts[0], type))
        err = -EEXIST;
    if (err)
        return err;
    if (e->home[0])
        share_numbers(&type->cell, e->home[0]);
    err = take_numbers(&type->cell, 1);
    if (err)
        return err;
    uint32_t cell = number_of(&type->cell);
    if (!known_cell(h, cell)) {
        err = add_block(e, cell, 1, false);
        if (err)
            return err;
        open_cell(h, e, cell, false, type->size);
    }
    *out = e;
    return 0;
}

static int register_arrays_locked(tri_heap *h, tri_type *type)
{
    heap_type_entry *e;
    int err = register_locked(h, type, &e);
    if (err)
        return err;
    uint32_t first = heap_size_class(type->size), count = HEAP_SIZE_CLASSES - first;
    if (e->home[1])
        share_numbers(&type->array_cells, e->home[1]);
    err = take_numbers(&type->array_cells, count);
    if (err)
        return err;
    uint32_t cell = number_of(&type->array_cells);
    if (known_cell(h, cell))
        return 0;
    err = add_block(e, cell, count, true);
    /* From the last to the first: who finds the first finds all. */
    for (uint32_t i = count; !err && i-- > 0;)
        open_cell(h, e, cell + i, true, heap_class_sizes[first + i]);
    return err;
}

/* ---- what others call ------------------------------------------------------------------------ */

int tri_type_register(tri_heap *h, tri_type *type)
{
    int err = heap_layout_check(type);
    if (err)
        return err;
    heap_type_entry *e;
    os_mutex_lock(&h->types->lock);
    err = register_locked(h, type, &e);
    os_mutex_unlock(&h->types->lock);
    return err;
}

static int register_arrays(tri_heap *h, tri_type *type)
{
    int err = heap_layout_check(type);
    if (err)
        return err;
    os_mutex_lock(&h->types->lock);
    err = register_arrays_locked(h, type);
    os_mutex_unlock(&h->types->lock);
    return err;
}

/* The type's cell in this heap, registered if need be; or an error. */
static int single_cell(tri_heap *h, tri_type *type)
{
    uint32_t cell = number_of(&type->cell);
    if (__builtin_expect(!cell || !known_cell(h, cell), 0)) {
        int err = tri_type_register(h, type);
        if (err)
            return err;
        cell = number_of(&type->cell);
    }
    return (int)cell;
}

static int array_cell(tri_heap *h, tri_type *type, size_t count)
{
    size_t bytes;
    if (__builtin_mul_overflow(type->size, count, &bytes) || bytes > HEAP_SMALL_MAX ||
        type->size > HEAP_SMALL_MAX)
        return 0;
    uint32_t cell = number_of(&type->array_cells);
    if (__builtin_expect(!cell || !known_cell(h, cell), 0)) {
        int err = register_arrays(h, type);
        if (err)
            return err;
        cell = number_of(&type->array_cells);
    }
    uint32_t first = heap_size_class(type->size);
    uint32_t size_class = bytes ? heap_size_class(bytes) : first;
    return (int)(cell + size_class - first);
}

int heap_type_cell(tri_heap *h, tri_type *type, size_t count)
{
    int cell = single_cell(h, type);
    if (cell < 0)
        return cell;
    if (count == SIZE_MAX)
        return type->size <= HEAP_SMALL_MAX ? cell : 0;
    if (type->size % 8 && heap_layout_has_pointers(type))
        return -EINVAL;
    return array_cell(h, type, count);
}

heap_layout *heap_type_layout(tri_heap *h, tri_type *type, bool array)
{
    int cell = single_cell(h, type);
    return cell > 0 ? &h->types->cells[cell].entry->layouts[array] : NULL;
}

heap_layout *heap_layout_by_id(tri_heap *h, uint32_t id)
{
    return h->types->layouts[id];
}

void heap_cell_promote(tri_heap *h, uint32_t cell)
{
    heap_cell *c = &h->types->cells[cell];
    if (!os_mutex_trylock(&h->types->lock))
        return; /* at the next refill */
    heap_class *class = atomic_load_explicit(&c->class, memory_order_relaxed);
    if (class->mixed) {
        class = heap_class_new(h, cell, c->layout, c->size);
        if (class)
            atomic_store_explicit(&c->class, class, memory_order_release); /* heap_alloc_slow() */
    }
    os_mutex_unlock(&h->types->lock);
}

/* ---- life ------------------------------------------------------------------------------------ */

#define CELLS_BYTES   (HEAP_MAX_CELLS * sizeof(heap_cell))
#define LAYOUTS_BYTES ((HEAP_MAX_LAYOUTS + 1) * sizeof(heap_layout *))

static void free_entry(heap_type_entry *e)
{
    heap_cell_block *b = atomic_load_explicit(&e->blocks, memory_order_relaxed);
    while (b) {
        heap_cell_block *next = b->next;
        os_free(b, sizeof *b);
        b = next;
    }
    heap_layout_free(&e->layouts[0]);
    os_free(e, sizeof *e);
}

void heap_types_close(tri_heap *h)
{
    struct heap_types *t = h->types;
    heap_type_entry *e = atomic_load_explicit(&t->first, memory_order_relaxed);
    while (e) {
        heap_type_entry *next = e->next;
        free_entry(e);
        e = next;
    }
    if (t->layouts)
        os_unreserve((void *)t->layouts, LAYOUTS_BYTES);
    if (t->cells)
        os_unreserve(t->cells, CELLS_BYTES);
    os_free(t, sizeof *t);
    h->types = NULL;
}

static int register_builtins(tri_heap *h)
{
    tri_type *const types[] = {&tri_bytes, &tri_words, &tri_pointers};
    int err = 0;
    for (int i = 0; i < 3 && !err; i++) {
        err = tri_type_register(h, types[i]);
        if (!err)
            err = register_arrays(h, types[i]);
    }
    return err;
}

int heap_types_open(tri_heap *h)
{
    struct heap_types *t = os_alloc(sizeof *t);
    if (!t)
        return -ENOMEM;
    h->types = t;
    t->cells = os_reserve_rw(CELLS_BYTES, 0);
    t->layouts = os_reserve_rw(LAYOUTS_BYTES, 0);
    int err = t->cells && t->layouts ? register_builtins(h) : -ENOMEM;
    if (err)
        heap_types_close(h);
    return err;
}
