/* barriercheck=1: comparing the log with the heap, and saying what is wrong.
 *
 * What is compared: the fields that a type declares with TRI_TYPE, in single objects and in arrays; every word of
 * arrays of tri_pointers; registered roots. Of objects, also those that are garbage but not swept yet: a
 * store into an object that died young was wrong, too.
 *
 * What is not: tri_words and types with a trace callback. Any of their words may be a number that the program
 * may store as it likes; that it looks like a pointer proves nothing. The callback tells which values it
 * found, not where, nor which words it decided by.
 *
 * A difference matters only if one of the two values points into the heap: a field may hold pointers to
 * elsewhere, and replacing one of those by another shades nothing. The store behind a difference is gone by
 * the time it is noticed, so the report says what is left of it: the field, what it holds, what it should hold,
 * and where the objects come from.
 */
#include "barrier/record.h"

#if TRI_DEBUG >= 1

#include <stdlib.h>
#include <string.h>

#include "heap/span.h"
#include "os/report.h"
#include "os/symbol.h"

/* ---- the report ------------------------------------------------------------------------------- */

#define MOST_REPORTS 100 /* of a program that goes on; the rest are only counted */

typedef struct text {
    char buf[1900]; /* what one os_print() takes */
    size_t len;
} text;

static void say(text *t, const char *fmt, ...) OS_PRINTF(2, 3);
static void say(text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    t->len += (size_t)os_format_v(t->buf + t->len, sizeof t->buf - t->len, fmt, ap);
    if (t->len >= sizeof t->buf)
        t->len = sizeof t->buf - 1;
    va_end(ap);
}

static const heap_layout *layout_at(struct barrier_log *log, uintptr_t word, uintptr_t *object)
{
    heap_ref ref;
    if (!heap_find(log->heap, word, &ref))
        return NULL;
    *object = heap_slot(ref.span, ref.index);
    return heap_layout_of(log->heap, ref.span, ref.index);
}

static void say_site(text *t, struct barrier_log *log, uintptr_t object)
{
    uint64_t site = atomic_load_explicit(barrier_site(log, object), memory_order_acquire);
    uintptr_t where = site & RECORD_ADDRESS;
    char name[512];
    if (!where) {
        say(t, ", not handed out yet");
    } else if (site & RECORD_TEXT) {
        say(t, ", made at %s", (const char *)where);
    } else {
        os_symbol_call((const void *)where, name, sizeof name);
        say(t, ", made at %s", name);
    }
}

static void say_value(text *t, struct barrier_log *log, uintptr_t value)
{
    uintptr_t object;
    if (!value) {
        say(t, "NULL");
        return;
    }
    say(t, "%p", (void *)value);
    const heap_layout *l = layout_at(log, value, &object);
    if (l) {
        say(t, ", %s%s%s", value == object ? "" : "inside of a ", l->name, l->array ? "[]" : "");
        say_site(t, log, object);
    } else {
        say(t, heap_contains(log->heap, value) ? ", no object any more" : ", outside of the heap");
    }
}

/* The i-th name of a list as it was written in TRI_TYPE; its length, 0 if there is none. */
static int name_at(const char *names, uint32_t i, const char **out)
{
    int depth = 0;
    const char *start = names;
    for (const char *p = names;; p++) {
        depth += (*p == '(' || *p == '[') - (*p == ')' || *p == ']');
        if (*p && !(*p == ',' && depth == 0))
            continue;
        if (i-- == 0) {
            start += strspn(start, " ");
            *out = start;
            return (int)(p - start);
        }
        if (!*p)
            return 0;
        start = p + 1;
    }
}

/* The field of a struct that holds the word `offset` bytes into it. */
static void say_member(text *t, const tri_type *type, size_t offset)
{
    for (uint32_t i = 0; i < type->field_count; i++) {
        const tri_field *f = &type->fields[i];
        if (offset < f->offset || offset >= f->offset + 8 * (size_t)f->count)
            continue;
        const char *name;
        int n = type->field_names ? name_at(type->field_names, i, &name) : 0;
        if (n)
            say(t, "%.*s", n, name);
        else
            say(t, "pointer field %u", i);
        if (f->count > 1)
            say(t, "[%zu]", (offset - f->offset) / 8);
        return;
    }
}

static void say_field(text *t, const heap_layout *l, size_t offset)
{
    size_t inside = offset;
    if (l->kind == TRI_KIND_POINTERS) {
        say(t, "[%zu]", offset / 8);
    } else {
        if (l->array) {
            say(t, "[%zu].", offset / l->size);
            inside = offset % l->size;
        }
        say_member(t, l->type, inside);
    }
    say(t, ", at offset %zu\n", offset);
}

static void say_object(text *t, struct barrier_log *log, uintptr_t slot)
{
    uintptr_t object;
    const heap_layout *l = layout_at(log, slot, &object);
    if (!l)
        return;
    say(t, "  object    %s%s at %p", l->name, l->array ? "[]" : "", (void *)object);
    say_site(t, log, object);
    say(t, "\n  field     ");
    say_field(t, l, slot - object);
}

static void say_root(text *t, const record_root *r)
{
    char name[512];
    say(t, "  root      word %zu of %zu registered at %p", (r->address - r->start) / 8, r->count,
        (void *)r->start);
    os_symbol_call(r->site, name, sizeof name);
    say(t, ", by tri_root_add() at %s\n", name);
}

void barrier_report(struct barrier_log *log, const record_fault *f, const char *when)
{
    uint64_t n = atomic_fetch_add_explicit(&log->faults, 1, memory_order_relaxed) + 1;
    if (n > MOST_REPORTS)
        return;
    text t = {.len = 0};
    say(&t, "tricolor: barriercheck: a pointer was stored without the write barrier\n");
    if (f->root.address)
        say_root(&t, &f->root);
    else
        say_object(&t, log, f->slot);
    say(&t, "  holds     ");
    say_value(&t, log, f->held);
    say(&t, "\n  recorded  ");
    say_value(&t, log, f->recorded);
    say(&t, "\n  noticed   %s\n", when);
    os_print("%s", t.buf);
    if (!log->warn)
        os_fatal("barriercheck: a pointer was stored without the write barrier");
    if (n == MOST_REPORTS)
        os_print("tricolor: barriercheck: %u reports; the rest are only counted\n", MOST_REPORTS);
}

/* ---- one word --------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Whether the word `offset` bytes into an object of this layout is declared as a pointer. */
static bool is_exact(const heap_layout *l, size_t offset)
{
    if (l->kind == TRI_KIND_POINTERS)
        return true;
    if (l->kind != TRI_KIND_STRUCT || (!l->array && offset >= l->size))
        return false;
    uint32_t word = (uint32_t)(offset % l->size / 8);
    return bsearch(&word, l->offsets, l->nptrs, sizeof *l->offsets, by_value);
}

static bool matters(const struct barrier_log *log, uintptr_t held, uintptr_t recorded)
{
    return held != recorded &&
           (heap_contains(log->heap, held) || heap_contains(log->heap, recorded));
}

static bool slot_differs(struct barrier_log *log, uintptr_t slot, record_fault *out)
{
    uint64_t *shadow = barrier_shadow(log, slot);
    out->slot = slot;
    out->held = __atomic_load_n((uintptr_t *)slot, __ATOMIC_RELAXED);
    out->recorded = __atomic_load_n(shadow, __ATOMIC_RELAXED);
    out->root.address = 0;
    return matters(log, out->held, out->recorded);
}

static bool is_settled(const struct barrier_log *log, uintptr_t object)
{
    /* Acquire: pairs with barrier_log_born() and barrier_log_settle_slow(). */
    return atomic_load_explicit(barrier_site(log, object), memory_order_acquire) & RECORD_SETTLED;
}

static bool take_fault(struct barrier_log *log, uintptr_t slot, record_fault *out)
{
    if (!slot_differs(log, slot, out))
        return false;
    __atomic_store_n(barrier_shadow(log, slot), out->held, __ATOMIC_RELAXED);
    return true;
}

bool barrier_compare_slot(struct barrier_log *log, uintptr_t slot, record_fault *out)
{
    uintptr_t object;
    const heap_layout *l = layout_at(log, slot, &object);
    return l && is_settled(log, object) && is_exact(l, slot - object) && take_fault(log, slot, out);
}

bool barrier_compare_root(record_root *root, const struct barrier_log *log, record_fault *out)
{
    *out = (record_fault){.slot = root->address,
                          .held = __atomic_load_n((uintptr_t *)root->address, __ATOMIC_RELAXED),
                          .recorded = root->value,
                          .root = *root};
    if (!matters(log, out->held, out->recorded))
        return false;
    root->value = out->held;
    return true;
}

/* ---- everything ------------------------------------------------------------------------------- */

/* Equal at a glance is equal; only what differs is worth the lock. */
static void check_word(struct barrier_log *log, uintptr_t slot, const char *when)
{
    record_fault fault;
    if (!slot_differs(log, slot, &fault))
        return;
    barrier_stripe_lock(log, slot);
    bool bad = take_fault(log, slot, &fault);
    barrier_stripe_unlock(log, slot);
    if (bad)
        barrier_report(log, &fault, when);
}

static void check_object(struct barrier_log *log, uintptr_t object, size_t bytes,
                         const heap_layout *l, const char *when)
{
    if (l->kind == TRI_KIND_POINTERS) {
        for (uintptr_t at = object; at + 8 <= object + bytes; at += 8)
            check_word(log, at, when);
        return;
    }
    if (l->kind != TRI_KIND_STRUCT)
        return;
    size_t end = l->array ? bytes : l->size;
    for (size_t at = 0; at + l->size <= end; at += l->size)
        for (uint32_t i = 0; i < l->nptrs; i++)
            check_word(log, object + at + 8 * (uintptr_t)l->offsets[i], when);
}

static void check_span(struct barrier_log *log, heap_span *s, const char *when)
{
    if (s->layout && s->layout->noscan)
        return;
    for (uint32_t w = 0; w < s->nwords; w++) {
        uint64_t alloc = __atomic_load_n(heap_alloc_at(s, w), __ATOMIC_RELAXED);
        for (; alloc; alloc &= alloc - 1) {
            uint32_t i = w * 64 + (uint32_t)__builtin_ctzll(alloc);
            if (is_settled(log, heap_slot(s, i)))
                check_object(log, heap_slot(s, i), s->size, heap_layout_of(log->heap, s, i), when);
        }
    }
}

static void check_objects(tri_heap *h, const char *when)
{
    /* Acquire: pairs with those who make spans; their number first, then their state. */
    uint32_t limit = atomic_load_explicit(&h->span_limit, memory_order_acquire);
    for (uint32_t id = 1; id < limit; id++) {
        heap_span *s = &h->spans[id];
        if (atomic_load_explicit(&s->state, memory_order_acquire) != SPAN_NONE)
            check_span(h->log, s, when);
    }
}

/* The place in the table may be another's after the report. */
static bool next_root_fault(struct barrier_log *log, size_t *at, record_fault *out)
{
    bool bad = false;
    os_mutex_lock(&log->roots_lock);
    for (; !bad && *at < log->roots_room; ++*at)
        bad = log->roots[*at].address && barrier_compare_root(&log->roots[*at], log, out);
    os_mutex_unlock(&log->roots_lock);
    return bad;
}

void barrier_log_check(tri_heap *h)
{
    char when[64];
    record_fault fault;
    os_format(when, sizeof when, "at the end of collection %u", ++h->log->cycle);
    check_objects(h, when);
    for (size_t at = 0; next_root_fault(h->log, &at, &fault);)
        barrier_report(h->log, &fault, when);
}

void barrier_log_end_of_heap(tri_heap *h)
{
    if (!h->log)
        return;
    check_objects(h, "when the heap was destroyed");
    uint64_t n = barrier_log_faults(h);
    if (n)
        os_print("tricolor: barriercheck: %llu faults in this heap\n", (unsigned long long)n);
}

uint64_t barrier_log_faults(const tri_heap *h)
{
    return h->log ? atomic_load_explicit(&h->log->faults, memory_order_relaxed) : 0;
}

#endif
