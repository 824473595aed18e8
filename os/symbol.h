// Addresses in the program, for people.

#ifndef OS_SYMBOL_H
#define OS_SYMBOL_H

#include <stddef.h>

// Writes "name+0x1c (/path/to/file+0x11d4)": the nearest exported name, if there is one, and what
// addr2line -e wants. A bare address if no file holds it. Takes the dynamic linker's lock: not
// async-signal-safe.
void os_symbol(const void *address, char *buf, size_t n);

// The same for the call before a return address.
void os_symbol_call(const void *return_address, char *buf, size_t n);

#endif
