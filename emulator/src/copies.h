// Copies to shared memory that a thread has begun and not waited for (cp.async), by thread of the block.
#pragma once

namespace emulator::copies {

// Forgets those of a launch that was given up.
void start_block(unsigned threads);
// Whether a thread has copies that it has not waited for.
bool left(unsigned thread);

}  // namespace emulator::copies
