/* Options: the defaults, and the environment variable TRICOLOR.
 *
 * One table names each option, how it is read and where it goes, so that the environment, the error
 * messages and the documentation cannot drift apart. Unknown names are errors: a misspelt limit that
 * is silently ignored would be found out in production.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "barrier/sabotage.h"
#include "gc/state.h"
#include "gc/torture.h"
#include "os/report.h"

typedef enum option_kind {
    OPTION_BOOL,
    OPTION_INT,
    OPTION_UNSIGNED,
    OPTION_BYTES,
    OPTION_CHECK
} option_kind;

typedef struct option {
    const char *name;
    option_kind kind;
    size_t offset;
} option;

static const option options[] = {
    {"reserve", OPTION_BYTES, offsetof(tri_options, reserve)},
    {"memlimit", OPTION_BYTES, offsetof(tri_options, memory_limit)},
    {"hardlimit", OPTION_BYTES, offsetof(tri_options, hard_limit)},
    {"gogc", OPTION_INT, offsetof(tri_options, gogc)},
    {"workers", OPTION_UNSIGNED, offsetof(tri_options, workers)},
    {"procs", OPTION_UNSIGNED, offsetof(tri_options, procs)},
    {"stack", OPTION_BYTES, offsetof(tri_options, stack_size)},
    {"sharers", OPTION_UNSIGNED, offsetof(tri_options, sharers)},
    {"stackcheck", OPTION_BOOL, offsetof(tri_options, stack_check)},
    {"poll", OPTION_BOOL, offsetof(tri_options, poll_only)},
    {"verify", OPTION_BOOL, offsetof(tri_options, verify)},
    {"gctrace", OPTION_BOOL, offsetof(tri_options, gctrace)},
    {"barriercheck", OPTION_CHECK, offsetof(tri_options, barrier_check)},
};

/* "64", "64KiB", "512MiB", "2GiB", "1TiB", "B" as in Go's GOMEMLIMIT. */
static int read_bytes(const char *text, size_t *out)
{
    static const struct {
        const char *suffix;
        unsigned shift;
    } units[] = {{"", 0}, {"B", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}};
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (end == text || errno || *text == '-')
        return -EINVAL;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].suffix) == 0) {
            if (n > SIZE_MAX >> units[i].shift)
                return -EINVAL;
            *out = (size_t)n << units[i].shift;
            return 0;
        }
    return -EINVAL;
}

static int read_number(const char *text, long least, long most, long *out)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (end == text || *end || errno || n < least || n > most)
        return -EINVAL;
    *out = n;
    return 0;
}

/* "0", "1" or "warn". */
static int read_check(const char *text, int *out)
{
    static const char *const words[] = {"0", "1", "warn"};
    for (int i = 0; i < 3; i++)
        if (strcmp(text, words[i]) == 0) {
            *out = i; /* TRI_BARRIER_CHECK_* */
            return 0;
        }
    return -EINVAL;
}

static int set_option(tri_options *o, const option *which, const char *value)
{
    void *field = (char *)o + which->offset;
    long n;
    int err;
    if (which->kind == OPTION_CHECK)
        return read_check(value, field);
    if (which->kind == OPTION_BYTES)
        return read_bytes(value, field);
    /* Go's GOGC=off */
    if (which->kind == OPTION_INT && strcmp(value, "off") == 0)
        value = "-1";
    err = which->kind == OPTION_BOOL  ? read_number(value, 0, 1, &n)
          : which->kind == OPTION_INT ? read_number(value, -1, 1000000, &n)
                                      : read_number(value, 0, 1024, &n);
    if (err)
        return err;
    if (which->kind == OPTION_BOOL)
        *(bool *)field = n;
    else if (which->kind == OPTION_INT)
        *(int *)field = (int)n;
    else
        *(unsigned *)field = (unsigned)n;
    return 0;
}

int gc_options_supported(const tri_options *o)
{
    if (!o->barrier_check || TRI_DEBUG >= 1)
        return 0;
    os_print(
        "tricolor: option barriercheck: the barrier checker is not in this build of the library; it "
        "is in those with TRI_DEBUG=1 or 2\n");
    return -ENOTSUP;
}

/* One "name=value". */
static int read_item(tri_options *o, char *item)
{
    char *value = strchr(item, '=');
    if (value)
        *value++ = '\0';
    int err = gc_torture_option(item, value);
    if (!err)
        return 0;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (strcmp(item, options[i].name) != 0)
            continue;
        if (value && set_option(o, &options[i], value) == 0)
            return gc_options_supported(o);
        os_print("tricolor: TRICOLOR: option %s has the bad value \"%s\"\n", item,
                 value ? value : "");
        return -EINVAL;
    }
    if (err == -EINVAL)
        os_print("tricolor: TRICOLOR: option %s has the bad value \"%s\"\n", item,
                 value ? value : "");
    else
        os_print("tricolor: TRICOLOR: unknown option \"%s\"\n", item);
    return -EINVAL;
}

int tri_options_init(tri_options *o)
{
    *o = (tri_options){.gogc = 100};
    const char *text = getenv("TRICOLOR");
    if (!text)
        return 0;
    char copy[1024];
    size_t n = strlen(text);
    if (n >= sizeof copy) {
        os_print("tricolor: TRICOLOR: longer than %zu bytes\n", sizeof copy - 1);
        return -EINVAL;
    }
    memcpy(copy, text, n + 1);
    char *save = NULL;
    for (char *item = strtok_r(copy, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
        int err = read_item(o, item);
        if (err)
            return err;
    }
    return 0;
}

const char *tri_version(void)
{
#ifdef TRI_SABOTAGE
    if (barrier_sabotage_name())
        return TRI_VERSION "+sabotaged";
#endif
    return TRI_VERSION;
}
