// The checking build (`cargo xtask emulator --checks`): the compiler calls a hook before every access to memory that a
// kernel makes, and the hook ends the launch with a report if the access is wrong. In other builds nothing here does
// anything.
#pragma once
#include "cuda_emulator.h"
#include "shadow.h"

namespace emulator::checks {

#ifdef FOVEATE_EMULATOR_CHECKS
constexpr bool ON = true;

// `own`: memory of the emulator that kernels read, as far as `own_bytes`.
void start_launch(Index grid, Index block, size_t dynamic_bytes, const void* own, size_t own_bytes);
void end_launch();
void start_block();
void misaligned(const char* file, unsigned line, const char* type, unsigned alignment, const void* at);
// From now on this thread of the block runs, with this stack.
void resume(unsigned thread, const void* stack, size_t stack_bytes);
inline void barrier() { time::barrier(); }
inline void warp_barrier(unsigned warp, unsigned mask) { time::warp_barrier(warp, mask); }
#else
constexpr bool ON = false;

inline void start_launch(Index, Index, size_t, const void*, size_t) {}
inline void end_launch() {}
inline void start_block() {}
inline void resume(unsigned, const void*, size_t) {}
inline void barrier() {}
inline void warp_barrier(unsigned, unsigned) {}
#endif

}  // namespace emulator::checks
