// Which kernels ran: FOVEATE_EMULATOR_RECORD names a file that gets a line with the name of every kernel that a process
// launches.
#pragma once

namespace emulator {

void record_launch(const char* kernel);

}  // namespace emulator
