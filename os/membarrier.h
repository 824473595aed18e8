#ifndef OS_MEMBARRIER_H
#define OS_MEMBARRIER_H

// A full memory barrier on all threads of the process, paid for by the caller alone.
//
// For pairs of "write one, read the other" of which one side is hot and the other rare: the hot side then
// needs only a compiler barrier between its store and its load.

// 0, or -ENOSYS: the system has none. Any thread, idempotent.
int os_membarrier_init(void);

// After a successful os_membarrier_init(). Half a microsecond where few threads run, and an interruption
// of each processor that runs one. -ENOMEM: the kernel was short of memory, there was no barrier.
int os_membarrier(void);

#endif
