/* Types: how the collector learns where the pointers of an object are.
 *
 * A type is described once, beside its struct, and costs no header in the object: objects of one
 * type share spans, and the span knows the type.
 *
 *     struct node { struct node *left, *right; long key; };
 *     TRI_TYPE(node, struct node, left, right);
 *
 *     struct node *n = tri_make(node, .key = 7);
 *
 * A field that the struct does not have, that is no whole number of words, or that is not aligned
 * to a word is a compile error. So is a struct that wants more than 16 bytes of alignment: objects
 * are aligned as malloc() aligns. Types built at run time (by a language virtual machine) use
 * tri_type_init() and get an error code instead.
 *
 * The description is the user's storage and must outlive every heap that it was used in. Besides
 * the shape it holds two numbers, assigned at first use and the same in all heaps.
 */
#ifndef TRICOLOR_TYPE_H
#define TRICOLOR_TYPE_H

#include <tricolor/base.h>

TRI_BEGIN_DECLS

typedef enum tri_kind {
    TRI_KIND_STRUCT,   /* pointers exactly at the named fields */
    TRI_KIND_BYTES,    /* no pointers, never scanned */
    TRI_KIND_WORDS,    /* any word may be a pointer: scanned conservatively */
    TRI_KIND_POINTERS, /* every word is a pointer or NULL */
    TRI_KIND_TRACE     /* a callback reports the pointers */
} tri_kind;

/* `count` adjacent pointer words, `offset` bytes into the object. */
typedef struct tri_field {
    uint32_t offset;
    uint32_t count;
} tri_field;

/* Given to a trace callback; report each pointer with tri_trace(). */
typedef struct tri_tracer tri_tracer;

/* Called by collector threads while mutators run. Each word it reads is whole, but two words may be
 * of different moments: it must not rely on one field describing another unless the discriminant
 * never changes after the object is published. It must read slots with tri_load(), call only
 * tri_trace() and pure functions, and not block, allocate, or store into the heap. */
typedef void (*tri_trace_fn)(tri_tracer *tracer, void *object, size_t size);

struct tri_type {
    const char *name;
    size_t size; /* bytes of one object, or of one element of an array */
    const tri_field *fields;
    uint32_t field_count;
    uint32_t kind; /* tri_kind */
    tri_trace_fn trace;
    /* Numbers of the run-table cells: of single objects, and the first of a block of cells for
     * arrays, one per size class. 0: not used yet. Owned by the library. */
    uint32_t cell;
    uint32_t array_cells;
    const char *field_names; /* as written in TRI_TYPE: "left, right"; NULL: not known */
};

/* Reports one reference found by a trace callback. Words that are not pointers into the heap are
 * ignored, so a tagged value may be reported with its tag removed, or as it is where the tag leaves
 * it inside the object. */
TRI_API void tri_trace(tri_tracer *tracer, const void *pointer);

/* Fills `type`, for types made at run time. `name` and `fields` are kept by reference.
 * -EINVAL: size 0 or above 1 GiB, a field outside the object or not aligned to a word, fields with
 *  TRI_KIND_BYTES, WORDS or POINTERS, or a missing trace callback. */
TRI_API int tri_type_init(tri_type *type, const char *name, size_t size, tri_kind kind,
                          const tri_field *fields, size_t field_count, tri_trace_fn trace);

/* Makes the type known to `heap` before its first allocation (which otherwise does it).
 * -EINVAL as tri_type_init(). -EEXIST: another type of that name and a different shape is known to
 * the heap. -ENOMEM. -ENOSPC: more than 65,535 cells. Any thread. */
TRI_API int tri_type_register(tri_heap *heap, tri_type *type);

/* The built-in kinds, to be used with tri_new_array(): one element is one byte, or one word. */
extern TRI_API tri_type tri_bytes;
extern TRI_API tri_type tri_words;
extern TRI_API tri_type tri_pointers;

TRI_END_DECLS

/* ---- TRI_TYPE ---------------------------------------------------------------------------- */

#define TRI_FIELD_(ctype, f) \
    {(uint32_t)offsetof(ctype, f), (uint32_t)(sizeof(((ctype *)0)->f) / sizeof(void *))},
#define TRI_FIELD_CHECK_(ctype, f)                                                           \
    _Static_assert(offsetof(ctype, f) % sizeof(void *) == 0,                                 \
                   "TRI_TYPE: pointer field " #f " of " #ctype " is not aligned to a word"); \
    _Static_assert(sizeof(((ctype *)0)->f) % sizeof(void *) == 0,                            \
                   "TRI_TYPE: pointer field " #f " of " #ctype " is no whole number of words");

#define TRI_EACH_0_(m, c)
#define TRI_EACH_1_(m, c, f)       m(c, f)
#define TRI_EACH_2_(m, c, f, ...)  m(c, f) TRI_EACH_1_(m, c, __VA_ARGS__)
#define TRI_EACH_3_(m, c, f, ...)  m(c, f) TRI_EACH_2_(m, c, __VA_ARGS__)
#define TRI_EACH_4_(m, c, f, ...)  m(c, f) TRI_EACH_3_(m, c, __VA_ARGS__)
#define TRI_EACH_5_(m, c, f, ...)  m(c, f) TRI_EACH_4_(m, c, __VA_ARGS__)
#define TRI_EACH_6_(m, c, f, ...)  m(c, f) TRI_EACH_5_(m, c, __VA_ARGS__)
#define TRI_EACH_7_(m, c, f, ...)  m(c, f) TRI_EACH_6_(m, c, __VA_ARGS__)
#define TRI_EACH_8_(m, c, f, ...)  m(c, f) TRI_EACH_7_(m, c, __VA_ARGS__)
#define TRI_EACH_9_(m, c, f, ...)  m(c, f) TRI_EACH_8_(m, c, __VA_ARGS__)
#define TRI_EACH_10_(m, c, f, ...) m(c, f) TRI_EACH_9_(m, c, __VA_ARGS__)
#define TRI_EACH_11_(m, c, f, ...) m(c, f) TRI_EACH_10_(m, c, __VA_ARGS__)
#define TRI_EACH_12_(m, c, f, ...) m(c, f) TRI_EACH_11_(m, c, __VA_ARGS__)
#define TRI_EACH_13_(m, c, f, ...) m(c, f) TRI_EACH_12_(m, c, __VA_ARGS__)
#define TRI_EACH_14_(m, c, f, ...) m(c, f) TRI_EACH_13_(m, c, __VA_ARGS__)
#define TRI_EACH_15_(m, c, f, ...) m(c, f) TRI_EACH_14_(m, c, __VA_ARGS__)
#define TRI_EACH_16_(m, c, f, ...) m(c, f) TRI_EACH_15_(m, c, __VA_ARGS__)
#define TRI_PICK_(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, n, \
                  ...)                                                                          \
    n
#define TRI_COUNT_(...) \
    TRI_PICK_(0, ##__VA_ARGS__, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define TRI_CAT_(a, b) a##b
#define TRI_CAT(a, b)  TRI_CAT_(a, b)
#define TRI_EACH_(m, c, ...) \
    TRI_CAT(TRI_CAT(TRI_EACH_, TRI_COUNT_(__VA_ARGS__)), _)(m, c, ##__VA_ARGS__)

/* Defines the type `type_name` of objects laid out as `ctype`, with the given pointer fields (up to
 * 16; a field may be an array of pointers). At file scope or in a block. */
#define TRI_TYPE(type_name, ctype, ...)                                                      \
    _Static_assert(_Alignof(ctype) <= 16,                                                    \
                   "TRI_TYPE: " #ctype " wants more than 16 bytes of alignment");            \
    TRI_EACH_(TRI_FIELD_CHECK_, ctype, ##__VA_ARGS__)                                        \
    typedef ctype type_name##_tri_object;                                                    \
    static const tri_field type_name##_tri_fields[] = {                                      \
        TRI_EACH_(TRI_FIELD_, ctype, ##__VA_ARGS__){0, 0}};                                  \
    static tri_type type_name = {#type_name,                                                 \
                                 sizeof(ctype),                                              \
                                 type_name##_tri_fields,                                     \
                                 TRI_COUNT_(__VA_ARGS__),                                    \
                                 TRI_COUNT_(__VA_ARGS__) ? TRI_KIND_STRUCT : TRI_KIND_BYTES, \
                                 NULL,                                                       \
                                 0,                                                          \
                                 0,                                                          \
                                 #__VA_ARGS__}

/* The same with a trace callback instead of a list of fields. */
#define TRI_TYPE_TRACE(type_name, ctype, trace_fn)                                                \
    _Static_assert(_Alignof(ctype) <= 16,                                                         \
                   "TRI_TYPE_TRACE: " #ctype " wants more than 16 bytes of alignment");           \
    typedef ctype type_name##_tri_object;                                                         \
    static tri_type type_name = {#type_name, sizeof(ctype), NULL, 0, TRI_KIND_TRACE, trace_fn, 0, \
                                 0,          NULL}

#endif
