// Graphs: what a stream is asked for while it is captured, kept instead of done, to be asked of a stream as a whole later.
//
// Refused is what a GPU's driver refuses: waiting for a captured stream or event, copies that would wait for the host,
// waiting in a capture for what is not part of it, ending a capture whose other streams were not joined, and, by the thread
// that captures (in global mode, by any), allocating and freeing. Each of these spoils the capture.
#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

namespace emulator {

struct Capture;

// What an event stands for that was recorded on a captured stream.
struct CapturedMark {
    std::shared_ptr<Capture> of;
    std::vector<size_t> after;
};

bool is_captured(void* stream);

// Keeps `work` that a captured stream was asked for.
int capture_work(void* stream, std::function<int()> work);

// What an event recorded there now stands for; nothing, if the stream is not captured.
CapturedMark capture_mark(void* stream);

// A stream waits for such an event: it becomes part of its capture.
int capture_wait(void* stream, const CapturedMark& event);

// Spoils the capture of a stream, and returns `code`; the reason is printed.
int spoil(void* stream, int code, const char* why);
int spoil(const CapturedMark& event, int code, const char* why);

// SUCCESS, unless there is a capture that forbids this thread what may have to wait for the device: it is then spoiled.
int forbidden_in_captures(const char* what);

}  // namespace emulator

// At the start of a call that a capture forbids.
#define NEED_NO_CAPTURE(what) \
    if (int code = emulator::forbidden_in_captures(what)) return code
