// Which kernels ran: FOVEATE_EMULATOR_RECORD names a file that gets a line with the name of every kernel that a process
// launches.
//
// FOVEATE_EMULATOR_TIMELINE names a file that gets a line for all that is asked of streams, in the order in which it is asked,
// whenever it is done: `work STREAM NAME`, `record STREAM EVENT`, `wait STREAM EVENT`, and `host STREAM EVENT` where the host
// waits. Streams and events are hexadecimal. Work of a stream is done after what it was asked for and what it waited for
// before: from that it can be told which work may be done at the same time.
#pragma once

namespace emulator {

void record_launch(const char* kernel);

void record_asked(const char* what, const void* stream, const char* name);
void record_asked(const char* what, const void* stream, const void* event);

}  // namespace emulator
