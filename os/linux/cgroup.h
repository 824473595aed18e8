// The limits of the control group (version 2) that the process is in.

#ifndef OS_LINUX_CGROUP_H
#define OS_LINUX_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

// Calls fn with the contents of `file` (such as "cpu.max") of the process's group and of each of its
// ancestors, until fn returns false. Groups without the file are left out.
void os_cgroup_each(const char *file, bool (*fn)(const char *text, void *arg), void *arg);

// Reads one number at *text and steps past it and a following space. False for "max" or no number.
bool os_cgroup_number(const char **text, uint64_t *out);

#endif
