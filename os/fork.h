// Handlers around fork(): prepare runs before it (last registered first), parent and child after it
// (first registered first). Any may be NULL. They stay for the life of the process.

#ifndef OS_FORK_H
#define OS_FORK_H

int os_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

#endif
