// What the files with entry points of the driver share: the lock, the context, and the checks at the start of a call.
#pragma once
#include "ptx.h"

#include <mutex>

#define API extern "C" __attribute__((visibility("default"))) int

namespace emulator {

// One call at a time.
extern std::recursive_mutex lock_of_all;
using Lock = std::lock_guard<std::recursive_mutex>;

// An error unless the driver is initialised and the calling thread has a context.
int need_context();

}  // namespace emulator

#define NEED(condition, code) \
    do {                      \
        if (!(condition)) return code; \
    } while (0)
#define NEED_CONTEXT()                                \
    emulator::Lock lock(emulator::lock_of_all);       \
    if (int code = emulator::need_context()) return code
