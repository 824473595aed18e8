/* All of the public interface. */
#ifndef TRICOLOR_TRICOLOR_H
#define TRICOLOR_TRICOLOR_H

#include <tricolor/barrier.h>
#include <tricolor/base.h>
#include <tricolor/channel.h>
#include <tricolor/coro.h>
#include <tricolor/heap.h>
#include <tricolor/mutator.h>
#include <tricolor/stats.h>
#include <tricolor/sync.h>
#include <tricolor/thread.h>
#include <tricolor/type.h>

#endif
