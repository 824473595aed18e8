/* Parcels that travel from P to P through channels, and gain an item at every station.
 *
 * A line is a producer, a few stations and a consumer, joined by channels of different capacities:
 * with none, a parcel goes from stack to stack; with some, through the channel's buffer. While it
 * travels nothing else holds it, so a transfer that the collector does not see loses it.
 *
 * Ownership goes with the parcel: each station verifies all items, changes the list, and never
 * touches it again. The ledger outside the heap holds the number of parcels and the sum of their
 * magics, on both ends: they must be the same when the line has drained.
 */
#include "demo.h"

#include <stdio.h>
#include <stdlib.h>

#define STATIONS 3
#define CHANNELS (STATIONS + 1)

typedef struct item {
    struct item *next;
    uint64_t magic;
} item;
TRI_TYPE(item_type, item, next);

typedef struct parcel {
    item *items;
    uint64_t number, count;
} parcel;
TRI_TYPE(parcel_type, parcel, items);

typedef struct line {
    demo *d;
    tri_chan *channels[CHANNELS]; /* a root */
    uint64_t salt;
    demo_count sent, sent_sum, received, received_sum;
} line;

typedef struct station {
    line *line;
    unsigned number;
} station;

static const size_t capacities[CHANNELS] = {0, 16, 1, 64};

static line *lines;
static station (*stations)[STATIONS];
static unsigned line_count;

static void verify(line *l, const parcel *p, uint64_t count)
{
    uint64_t left = p->count;
    bool good = p->count == count;
    for (const item *i = p->items; good && i; i = i->next)
        good = left > 0 && i->magic == demo_mix(l->salt + p->number * 64 + --left);
    if (!good || left)
        demo_fault(l->d, "passing: parcel %llu is damaged", (unsigned long long)p->number);
}

static void add_item(line *l, parcel *p)
{
    uint64_t magic = demo_mix(l->salt + p->number * 64 + p->count++);
    item *i = tri_make(item_type, .next = p->items, .magic = magic);
    tri_set(&p->items, i);
}

static void pass_on(line *l, unsigned channel, parcel *p)
{
    if (tri_chan_send(l->channels[channel], &p))
        demo_fault(l->d, "passing: a channel is closed before its time");
}

static void produce(void *arg)
{
    line *l = arg;
    for (uint64_t number = 0; !demo_stopped(l->d); number++) {
        parcel *p = tri_new(&parcel_type);
        p->number = number;
        add_item(l, p);
        demo_add(&l->sent, 1);
        demo_add(&l->sent_sum, demo_mix(number));
        pass_on(l, 0, p);
    }
    tri_chan_close(l->channels[0]);
}

static void relay(void *arg)
{
    station *s = arg;
    line *l = s->line;
    parcel *p;
    while (tri_chan_recv(l->channels[s->number], &p)) {
        verify(l, p, s->number + 1);
        add_item(l, p);
        pass_on(l, s->number + 1, p);
    }
    tri_chan_close(l->channels[s->number + 1]);
}

static void consume(void *arg)
{
    line *l = arg;
    parcel *p;
    while (tri_chan_recv(l->channels[CHANNELS - 1], &p)) {
        verify(l, p, CHANNELS);
        demo_add(&l->received, 1);
        demo_add(&l->received_sum, demo_mix(p->number));
    }
}

static void start_line(demo *d, unsigned number)
{
    line *l = &lines[number];
    l->d = d;
    l->salt = demo_mix(number + 2000);
    if (tri_root_add(d->heap, l->channels, CHANNELS)) {
        fprintf(stderr, "tricolor-demo: cannot register a root\n");
        exit(1);
    }
    for (unsigned i = 0; i < CHANNELS; i++)
        tri_set(&l->channels[i], tri_chan_new(&tri_pointers, capacities[i]));
    demo_start(d, "producer", produce, l);
    for (unsigned i = 0; i < STATIONS; i++) {
        stations[number][i] = (station){l, i};
        demo_start(d, "station", relay, &stations[number][i]);
    }
    demo_start(d, "consumer", consume, l);
}

void passing_start(demo *d)
{
    line_count = d->options.procs;
    lines = demo_calloc(line_count, sizeof *lines);
    stations = demo_calloc(line_count, sizeof *stations);
    for (unsigned i = 0; i < line_count; i++)
        start_line(d, i);
}

void passing_finish(demo *d)
{
    uint64_t received = 0, sum = 0;
    for (unsigned i = 0; i < line_count; i++) {
        line *l = &lines[i];
        if (l->sent != l->received || l->sent_sum != l->received_sum)
            demo_fault(d, "passing: %llu parcels were sent and %llu came",
                       (unsigned long long)l->sent, (unsigned long long)l->received);
        received += l->received;
        sum += l->received_sum;
        tri_clear(l->channels, CHANNELS);
        tri_root_remove(d->heap, l->channels);
    }
    printf("passing  %s parcels through %d channels each; checksum %016llx\n",
           report_number(received), CHANNELS, (unsigned long long)sum);
    free(stations);
    free(lines);
}
