// Streams: what is asked of one is done in order, at once or as late as the program allows.
#pragma once
#include <cstdint>
#include <functional>

namespace emulator {

// FOVEATE_EMULATOR_STREAMS: `eager`, `late` or `shuffled[:seed]`.
bool streams_are_known();

// Whether each call's work is done when it returns.
bool streams_are_eager();

// Whether nothing is done before something waits for it.
bool streams_are_late();

// A number below `below`, of the order that is shuffled.
uint64_t next_random(uint64_t below);

bool known_stream(void* stream);

// Null, and the two handles that stand for the default streams.
bool is_default_stream(void* stream);

// Asks `stream` for `work`, which returns a code of the driver. Where streams are eager, or it is a default stream, it is done
// on return and the code is its own; otherwise a failure is that of a later wait. Of a captured stream it is kept instead.
// `name` is for the record.
int submit(void* stream, const char* name, std::function<int()> work);

// Does all that the stream was asked for, and what that waits for.
int finish(void* stream);

// Does all that any stream was asked for.
int finish_all();

}  // namespace emulator
