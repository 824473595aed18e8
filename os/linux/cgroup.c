// Control groups, version 2: the limits that a container sets.
//
// The problem: a process that sizes itself by the machine in a container that allows it a tenth of that is
// throttled or killed. A limit can be set at any level of the hierarchy and the smallest counts, so all
// ancestors that are visible are asked. Rejected: version 1 (its controllers have a hierarchy each; it is
// on its way out), and searching the mount table (the mount point is fixed in practice; hybrid systems
// use /sys/fs/cgroup/unified, which is tried second).
//
// The invariant: every failure means "no limit".

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "os/linux/cgroup.h"

#include "os/fault.h"
#include "os/report.h"

#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static bool read_file(const char *path, char *buf, size_t size)
{
    int fd = os_fault_here("cgroup.open") ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t used = 0;
    ssize_t n;
    while (used < size - 1 && !os_fault_here("cgroup.read") &&
           (n = read(fd, buf + used, size - 1 - used)) > 0)
        used += (size_t)n;
    close(fd);
    buf[used] = 0;
    return used > 0;
}

// The line of /proc/self/cgroup for version 2 is "0::" and the path, which starts with a slash.
static bool own_group(char *group, size_t size)
{
    char text[4096];
    if (!read_file("/proc/self/cgroup", text, sizeof text))
        return false;
    for (char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        if (strncmp(line, "0::/", 4) != 0)
            continue;
        size_t len = strcspn(line + 3, "\n");
        if (len >= size)
            return false;
        memcpy(group, line + 3, len);
        group[len] = 0;
        return true;
    }
    return false;
}

void os_cgroup_each(const char *file, bool (*fn)(const char *text, void *arg), void *arg)
{
    char group[1024], path[1280], text[256];
    if (!own_group(group, sizeof group))
        return;
    bool only =
        !os_fault_here("cgroup.access") && access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
    const char *mount = only ? "/sys/fs/cgroup" : "/sys/fs/cgroup/unified";
    for (;;) {
        os_format(path, sizeof path, "%s%s/%s", mount, group, file);
        if (read_file(path, text, sizeof text) && !fn(text, arg))
            return;
        char *slash = strrchr(group, '/');
        if (!slash || group[1] == 0)
            return;
        slash[slash == group] = 0;
    }
}

bool os_cgroup_number(const char **text, uint64_t *out)
{
    const char *s = *text;
    uint64_t v = 0;
    if (*s < '0' || *s > '9')
        return false;
    for (; *s >= '0' && *s <= '9'; s++)
        v = v * 10 + (uint64_t)(*s - '0');
    while (*s == ' ')
        s++;
    *text = s;
    *out = v;
    return true;
}
