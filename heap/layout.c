/* From a type's description to what the collector scans by.
 *
 * A description lists fields as a person wrote them: in any order, as ranges, perhaps one inside
 * another (a union's). A layout has the pointer words of an object sorted and each once, as a mask for
 * the first 64 words, which covers nearly all types, and as a list. The layout is derived once per
 * heap and never changes, so markers read it without any order.
 *
 * The shape is compared by derived layouts, not by descriptions: two ways to say the same are the
 * same.
 */
#include "heap/layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "os/memory.h"

#define TYPE_SIZE_MAX ((size_t)1 << 30)

static bool good_field(const tri_type *type, const tri_field *f)
{
    return f->offset % 8 == 0 && f->offset <= type->size &&
           f->count <= (type->size - f->offset) / 8;
}

int heap_layout_check(const tri_type *type)
{
    if (!type || !type->name || type->size == 0 || type->size > TYPE_SIZE_MAX)
        return -EINVAL;
    if (type->kind > TRI_KIND_TRACE || (type->kind == TRI_KIND_TRACE) != (type->trace != NULL))
        return -EINVAL;
    if (type->field_count && (!type->fields || type->kind == TRI_KIND_WORDS ||
                              type->kind == TRI_KIND_POINTERS || type->kind == TRI_KIND_BYTES))
        return -EINVAL;
    for (uint32_t i = 0; i < type->field_count; i++)
        if (!good_field(type, &type->fields[i]))
            return -EINVAL;
    return 0;
}

int tri_type_init(tri_type *type, const char *name, size_t size, tri_kind kind,
                  const tri_field *fields, size_t field_count, tri_trace_fn trace)
{
    if (!type || field_count > UINT32_MAX)
        return -EINVAL;
    tri_type t = {name, size, fields, (uint32_t)field_count, kind, trace, 0, 0, NULL};
    int err = heap_layout_check(&t);
    if (!err)
        *type = t;
    return err;
}

bool heap_layout_has_pointers(const tri_type *type)
{
    return type->kind != TRI_KIND_BYTES && !(type->kind == TRI_KIND_STRUCT && !type->field_count);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The pointer words of one object as the description lists them. */
static size_t list_words(const tri_type *type, uint32_t *out)
{
    size_t n = 0;
    if (type->kind == TRI_KIND_WORDS || type->kind == TRI_KIND_POINTERS)
        for (; n < type->size / 8; n++)
            out[n] = (uint32_t)n;
    for (uint32_t i = 0; type->kind == TRI_KIND_STRUCT && i < type->field_count; i++)
        for (uint32_t k = 0; k < type->fields[i].count; k++)
            out[n++] = type->fields[i].offset / 8 + k;
    return n;
}

static size_t count_words(const tri_type *type)
{
    if (type->kind == TRI_KIND_WORDS || type->kind == TRI_KIND_POINTERS)
        return type->size / 8;
    size_t n = 0;
    for (uint32_t i = 0; type->kind == TRI_KIND_STRUCT && i < type->field_count; i++)
        n += type->fields[i].count;
    return n;
}

static uint32_t sort_unique(uint32_t *words, size_t n)
{
    qsort(words, n, sizeof *words, by_value);
    uint32_t out = 0;
    for (size_t i = 0; i < n; i++)
        if (out == 0 || words[out - 1] != words[i])
            words[out++] = words[i];
    return out;
}

static int make_offsets(const tri_type *type, heap_layout *l)
{
    size_t n = count_words(type);
    if (n == 0)
        return 0;
    uint32_t *words = os_alloc(n * sizeof *words);
    if (!words)
        return -ENOMEM;
    list_words(type, words);
    l->nptrs = sort_unique(words, n);
    l->offsets = os_alloc(l->nptrs * sizeof *words);
    if (l->offsets)
        memcpy(l->offsets, words, l->nptrs * sizeof *words);
    os_free(words, n * sizeof *words);
    return l->offsets ? 0 : -ENOMEM;
}

int heap_layout_make(tri_type *type, heap_layout *l)
{
    l->name = type->name;
    l->type = type;
    l->size = type->size;
    l->words = (uint32_t)(type->size / 8);
    l->trace = type->trace;
    int err = make_offsets(type, l);
    if (err)
        return err;
    for (uint32_t i = 0; i < l->nptrs && l->offsets[i] < 64; i++)
        l->mask |= (uint64_t)1 << l->offsets[i];
    l->kind = type->kind == TRI_KIND_STRUCT && !l->nptrs ? TRI_KIND_BYTES : (tri_kind)type->kind;
    l->noscan = l->kind == TRI_KIND_BYTES;
    return 0;
}

void heap_layout_free(heap_layout *l)
{
    os_free(l->offsets, l->nptrs * sizeof *l->offsets);
}

bool heap_layout_same(const heap_layout *l, const tri_type *type)
{
    if (l->type == type)
        return true;
    heap_layout other = {0};
    if (l->size != type->size || l->trace != type->trace ||
        heap_layout_make((tri_type *)type, &other))
        return false;
    bool same =
        other.kind == l->kind && other.nptrs == l->nptrs &&
        (other.nptrs == 0 || memcmp(other.offsets, l->offsets, l->nptrs * sizeof *l->offsets) == 0);
    heap_layout_free(&other);
    return same;
}
