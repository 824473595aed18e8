// Fork handlers. pthread_atfork itself: it is the only hook that also sees forks made by code that we
// do not control. The invariant: handlers are never removed, so the object that registers one must not be
// unloaded.

#include "os/fork.h"

#include "os/fault.h"

#include <pthread.h>

int os_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    int e = os_fault_error("fork.register");
    if (e)
        return e;
    return -pthread_atfork(prepare, parent, child);
}
