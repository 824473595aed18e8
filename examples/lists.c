/* A virtual machine: tagged values, a trace callback, safepoints by polling alone, and a heap for
 * each of two machines in one process. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <tricolor/tricolor.h>

typedef uintptr_t value; /* odd: a number, shifted left by one; even: a pair, or 0 for nil */

static void trace_value(tri_tracer *tracer, void *object, size_t size)
{
    (void)size;
    value v = tri_load((value *)object);
    if (!(v & 1))
        tri_trace(tracer, (void *)v);
}
TRI_TYPE_TRACE(value_type, value, trace_value);

struct pair {
    value head, tail;
};

static void trace_pair(tri_tracer *tracer, void *object, size_t size)
{
    struct pair *p = object;
    trace_value(tracer, &p->head, size);
    trace_value(tracer, &p->tail, size);
}
TRI_TYPE_TRACE(pair_type, struct pair, trace_pair);

enum { NIL, NUMBER, LOAD, STORE, CONS, SUM, LOOP, HALT };

/* clang-format off */
static const int code[] = {
    /*  0 */ NUMBER, 20000, STORE, 2,                              /* 20000 times */
    /*  4 */ NIL, STORE, 1, NUMBER, 1000, STORE, 0,
    /* 11 */ LOAD, 0, LOAD, 1, CONS, STORE, 1, LOOP, 0, 11,        /* a list of 1 to 1000 */
    /* 21 */ LOOP, 2, 4,
    /* 24 */ LOAD, 1, SUM, HALT,
};
/* clang-format on */

struct machine {
    tri_heap *heap;
    value *variables; /* a root */
    long result;
};

static value sum(value list)
{
    long n = 0;
    for (; list; list = ((struct pair *)list)->tail)
        n += (long)(((struct pair *)list)->head >> 1);
    return (value)n << 1 | 1;
}

/* The stack of values is a local: it is scanned with the thread's own stack and needs no barrier. */
static value run(struct machine *m)
{
    value stack[16], *top = stack;
    for (const int *pc = code;;) {
        switch (*pc++) {
        case NIL: *top++ = 0; break;
        case NUMBER: *top++ = (value)*pc++ << 1 | 1; break;
        case LOAD: *top++ = m->variables[*pc++]; break;
        case STORE: tri_set(&m->variables[*pc++], *--top); break;
        case CONS:
            top--;
            top[-1] = (value)tri_make(pair_type, .head = top[-1], .tail = top[0]);
            break;
        case SUM: top[-1] = sum(top[-1]); break;
        case LOOP:
            tri_poll();
            tri_set(&m->variables[pc[0]], m->variables[pc[0]] - 2);
            pc = m->variables[pc[0]] > 1 ? code + pc[1] : pc + 2;
            break;
        case HALT: return top[-1];
        }
    }
}

static void *machine_thread(void *arg)
{
    struct machine *m = arg;
    tri_options options;
    if (tri_options_init(&options))
        abort();
    options.poll_only = true;
    if (tri_heap_create(&options, &m->heap) || tri_attach(m->heap) ||
        tri_root_add(m->heap, &m->variables, 1))
        abort();
    tri_set(&m->variables, tri_new_array(&value_type, 3));
    m->result = (long)(run(m) >> 1);
    if (tri_detach(m->heap) || tri_heap_destroy(m->heap))
        abort();
    return NULL;
}

int main(void)
{
    static struct machine machines[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, machine_thread, &machines[i]))
            return EXIT_FAILURE;
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        printf("machine %d: %ld\n", i, machines[i].result);
    }
    return EXIT_SUCCESS;
}
