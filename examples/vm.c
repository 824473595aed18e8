/* A language virtual machine that embeds the collector: tagged values, roots of its own, types with
 * a trace callback, no signals, and two isolated machines in one process.
 *
 * The language is a Lisp of a few words. A value is one machine word: an odd one is a small integer,
 * an even one points to a managed object, 0 is nil. The collector knows nothing of tags; the trace
 * callback of pairs reports the words that are pointers, and leaves out the others.
 *
 * What to notice: the machine polls at every step of its interpreter (poll_only: no signal ever
 * interrupts it); global variables are registered roots; values on the C stack need nothing, since
 * stacks are scanned conservatively; each machine is a heap, and what one makes, the other neither
 * sees nor collects.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tricolor/tricolor.h>

typedef uintptr_t value;

#define NIL       ((value)0)
#define IS_INT(v) ((v)&1)
#define INT(n)    (((value)(intptr_t)(n) << 1) | 1)
#define TO_INT(v) ((intptr_t)(v) >> 1)

/* ---- objects ----------------------------------------------------------------------------------- */

typedef struct pair {
    value head, tail;
} pair;

static void trace_value(tri_tracer *tracer, const value *slot)
{
    value v = (value)tri_load((void *const *)slot);
    if (!IS_INT(v))
        tri_trace(tracer, (void *)v);
}

static void trace_pair(tri_tracer *tracer, void *object, size_t size)
{
    (void)size;
    const pair *p = object;
    trace_value(tracer, &p->head);
    trace_value(tracer, &p->tail);
}
TRI_TYPE_TRACE(pair_type, pair, trace_pair);

static value cons(value head, value tail)
{
    return (value)tri_make(pair_type, .head = head, .tail = tail);
}

static value head(value v)
{
    return v && !IS_INT(v) ? ((pair *)v)->head : NIL;
}

static value tail(value v)
{
    return v && !IS_INT(v) ? ((pair *)v)->tail : NIL;
}

/* ---- a machine --------------------------------------------------------------------------------- */

#define GLOBALS 26 /* variables are called a to z */

typedef struct machine {
    tri_heap *heap;
    void *globals[GLOBALS]; /* roots: managed pointers; integers live in boxes */
    unsigned long steps;
} machine;

static void machine_open(machine *m)
{
    tri_options options;
    memset(m, 0, sizeof *m);
    if (tri_options_init(&options))
        exit(2);
    options.poll_only = true;
    if (tri_heap_create(&options, &m->heap) || tri_attach(m->heap) ||
        tri_root_add(m->heap, m->globals, GLOBALS))
        exit(1);
}

static void machine_close(machine *m)
{
    tri_enter(m->heap);
    tri_clear(m->globals, GLOBALS);
    tri_root_remove(m->heap, m->globals);
    tri_detach(m->heap);
    tri_heap_destroy(m->heap);
}

static void set_global(machine *m, char name, value v)
{
    tri_set(&m->globals[name - 'a'], (void *)cons(v, NIL));
}

static value global(machine *m, char name)
{
    return head((value)m->globals[name - 'a']);
}

/* ---- reading ----------------------------------------------------------------------------------- */

/* (op a b): a pair whose head is the operator's letter as an integer; a variable is (' letter). */
static value read_value(const char **text);

static value read_list(const char **text)
{
    while (isspace((unsigned char)**text))
        ++*text;
    if (**text == ')') {
        ++*text;
        return NIL;
    }
    value first = read_value(text);
    return cons(first, read_list(text));
}

static value read_value(const char **text)
{
    while (isspace((unsigned char)**text))
        ++*text;
    char c = **text;
    if (isdigit((unsigned char)c))
        return INT(strtol(*text, (char **)text, 10));
    ++*text;
    if (c == '(') {
        value op = INT(*(*text)++);
        return cons(op, read_list(text));
    }
    return cons(INT('\''), cons(INT(c), NIL));
}

/* ---- evaluating -------------------------------------------------------------------------------- */

static value eval(machine *m, value v);

static value eval_all(machine *m, value list)
{
    value last = NIL;
    for (; list; list = tail(list))
        last = eval(m, head(list));
    return last;
}

/* ! a v: assign; ? a b c: if; @ a b...: while a do b; . a b: pair; < > head and tail; + - */
static value apply(machine *m, char op, value arguments)
{
    value first = head(arguments), rest = tail(arguments);
    switch (op) {
    case '\'': return global(m, (char)TO_INT(first));
    case '!': set_global(m, (char)TO_INT(head(tail(first))), eval(m, head(rest))); return NIL;
    case '?': return eval(m, head(eval(m, first) != NIL ? rest : tail(rest)));
    case '@':
        while (eval(m, first) != NIL)
            eval_all(m, rest);
        return NIL;
    default: break;
    }
    value a = eval(m, first), b = eval(m, head(rest));
    switch (op) {
    case '.': return cons(a, b);
    case '<': return head(a);
    case '>': return tail(a);
    case '+': return INT(TO_INT(a) + TO_INT(b));
    case '-': return TO_INT(a) == TO_INT(b) ? NIL : INT(TO_INT(a) - TO_INT(b));
    default: return NIL;
    }
}

static value eval(machine *m, value v)
{
    m->steps++;
    tri_poll();
    if (!v || IS_INT(v))
        return v;
    return apply(m, (char)TO_INT(head(v)), tail(v));
}

static value run(machine *m, const char *program)
{
    tri_enter(m->heap);
    value v = read_value(&program);
    return eval(m, v);
}

/* ---- two machines ------------------------------------------------------------------------------ */

int main(void)
{
    /* Makes a list of n numbers, then adds them up; a thousand times over. */
    static const char fill[] = "(@ (- n 0) (! l (. n l)) (! n (- (+ n 0) 1)))";
    static const char sum[] = "(@ l (! s (+ s (< l))) (! l (> l)))";
    static machine machines[2];
    for (int i = 0; i < 2; i++)
        machine_open(&machines[i]);
    intptr_t sums[2] = {0, 0};
    for (int round = 0; round < 400; round++) {
        machine *m = &machines[round % 2];
        tri_enter(m->heap);
        set_global(m, 's', INT(0));
        set_global(m, 'n', INT(100 + round % 2 * 100));
        run(m, fill);
        run(m, sum);
        sums[round % 2] += TO_INT(global(m, 's'));
    }
    for (int i = 0; i < 2; i++) {
        printf("machine %d: %" PRIdPTR " after %lu steps\n", i, sums[i], machines[i].steps);
        machine_close(&machines[i]);
    }
    return 0;
}
