// Streams: what is asked of one is done in order, at once or as late as the program allows.
#pragma once
#include <functional>

namespace emulator {

// FOVEATE_EMULATOR_STREAMS: `eager`, `late` or `shuffled[:seed]`.
bool streams_are_known();

// Whether each call's work is done when it returns.
bool streams_are_eager();

bool known_stream(void* stream);

// Asks `stream` for `work`, which returns a code of the driver. Where streams are eager, or it is a default stream, it is done
// on return and the code is its own; otherwise a failure is that of a later wait.
int submit(void* stream, std::function<int()> work);

// Does all that the stream was asked for, and what that waits for.
int finish(void* stream);

// Does all that any stream was asked for.
int finish_all();

}  // namespace emulator
