// Runs one launch of a kernel: blocks in turn, a fiber per thread.
#pragma once
#include "cuda_emulator.h"

#include <string>

namespace emulator {

// Thread order between meeting points, from FOVEATE_EMULATOR_ORDER: `forward`, `reversed` or `shuffled[:seed]`.
bool order_is_known();

// The thread that runs, counted within its block.
unsigned thread_number();
// "(1, 0, 0)".
std::string text(Index index);
// Ends the launch with this report. Called by a thread of the kernel.
[[noreturn]] void give_up(const std::string& what);

// Runs the kernel over the grid. Empty on success, else what went wrong: kernel, block, threads and source lines.
std::string launch(const Kernel& kernel, void** parameters, Index grid, Index block, size_t dynamic_bytes);

}  // namespace emulator
