/* `window`: a ring of messages, each push of which replaces the oldest; the latency of every push. */
#include <string.h>

#include "measure.h"
#include "memory.h"
#include "random.h"
#include "workload.h"

enum { MESSAGE = 1024 };

static struct histogram latency;

void run_window(const struct options *o)
{
    uint64_t slots = scaled(o, 200000, 16), pushes = scaled(o, 5000000, 1), checksum = 0;
    unsigned char **ring = memory_new_array(slots);
    uint64_t cpu = cpu_now(), start = now(), last = start;
    for (uint64_t i = 0, slot = 0; i < pushes; i++) {
        unsigned char *message = memory_new_flat(MESSAGE);
        memset(message, (int)(i & 255), MESSAGE);
        memory_free(ring[slot]);
        ring[slot] = message;
        if (++slot == slots)
            slot = 0;
        uint64_t t = now();
        histogram_record(&latency, t - last);
        last = t;
    }
    cpu = cpu_now() - cpu;
    for (uint64_t slot = 0; slot < slots; slot++)
        checksum = fold(checksum, ring[slot] ? ring[slot][0] * 256u + ring[slot][MESSAGE - 1] : 0);
    print("wall", (double)(last - start) / 1e9, "s");
    print("cpu", (double)cpu / 1e9, "s");
    print_latency("push", &latency);
    print_checksum(checksum);
}
