// Streams and events. In `eager` order every call has done its work when it returns, so there is never anything to wait
// for. In the other orders a stream keeps what it was asked for: `late` does it when something waits for it and no
// sooner, `shuffled` does some of it, of any stream, after every call. Both honour events, so that a result which differs
// from the eager one is due to a wait that the program lacks: `late` finds a reader that did not wait for its writer,
// `shuffled` also a writer that did not wait for the last reader.
//
// The default streams do their work at once, after that of the streams made without CU_STREAM_NON_BLOCKING.

#include "streams.h"

#include "driver.h"
#include "graphs.h"
#include "record.h"

#include <chrono>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace emulator {
namespace {

using Clock = std::chrono::steady_clock;

struct Stream {
    // One thing to do. `after` of another stream must be done before.
    struct Task {
        std::shared_ptr<Stream> of;
        uint64_t after = 0;
        std::function<int()> work;
    };

    bool waits_for_default = false;
    std::deque<Task> tasks;
    uint64_t asked = 0, done = 0;

    bool is_ready() const { return !tasks.empty() && (!tasks.front().of || tasks.front().of->done >= tasks.front().after); }
};

// What an event's last record stands for.
struct Mark {
    Clock::time_point at;
    bool passed = false;
};

struct Event {
    std::shared_ptr<Stream> stream;
    uint64_t after = 0;
    std::shared_ptr<Mark> mark;
    CapturedMark captured;  // if it was recorded on a captured stream
};

std::map<void*, std::shared_ptr<Stream>> streams;
std::set<Event*> events;
int failure;  // of work done after its call returned, until a wait reports it
uint64_t random_state;

enum class Order { eager, late, shuffled, unknown };

// Read anew by every call, as tests change it.
Order order() {
    const char* text = getenv("FOVEATE_EMULATOR_STREAMS");
    std::string name = text ? text : "eager";
    if (name == "eager") return Order::eager;
    if (name == "late") return Order::late;
    if (name.rfind("shuffled", 0) != 0) return Order::unknown;
    if (random_state == 0) random_state = 2 * strtoull(name.c_str() + std::min<size_t>(name.size(), 9), nullptr, 10) + 1;
    return Order::shuffled;
}

// Does the first task of a stream; another stream may have to go first.
void step(Stream& stream) {
    Stream::Task task = std::move(stream.tasks.front());
    stream.tasks.pop_front();
    while (task.of && task.of->done < task.after) step(*task.of);
    int code = task.work ? task.work() : (int)SUCCESS;
    if (code && !failure) failure = code;
    stream.done++;
}

void advance(Stream& stream, uint64_t until) {
    while (stream.done < until && !stream.tasks.empty()) step(stream);
}

// A few tasks of any streams.
void stir() {
    if (order() != Order::shuffled) return;
    for (uint64_t steps = next_random(4); steps > 0; steps--) {
        std::vector<Stream*> ready;
        for (auto& [handle, stream] : streams)
            if (stream->is_ready()) ready.push_back(stream.get());
        if (ready.empty()) return;
        step(*ready[next_random(ready.size())]);
    }
}

std::shared_ptr<Stream> stream_of(void* handle) {
    auto found = streams.find(handle);
    return found == streams.end() ? nullptr : found->second;
}

void finish_blocking() {
    for (auto& [handle, stream] : streams)
        if (stream->waits_for_default) advance(*stream, stream->asked);
}

int reported() {
    int code = failure;
    failure = SUCCESS;
    return code;
}

void ask(Stream& stream, Stream::Task task) {
    stream.tasks.push_back(std::move(task));
    stream.asked++;
}

}  // namespace

uint64_t next_random(uint64_t below) {
    random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
    return random_state % below;
}

bool streams_are_late() { return order() == Order::late; }

bool streams_are_known() { return order() != Order::unknown; }

bool streams_are_eager() { return order() == Order::eager; }

bool is_default_stream(void* stream) { return reinterpret_cast<uintptr_t>(stream) <= 2; }
bool known_stream(void* stream) { return is_default_stream(stream) || streams.count(stream); }

int submit(void* handle, const char* name, std::function<int()> work) {
    std::unique_lock<std::recursive_mutex> lock(lock_of_all);
    if (is_captured(handle)) return capture_work(handle, std::move(work));
    record_asked("work", handle, name);
    std::shared_ptr<Stream> stream = stream_of(handle);
    if (streams_are_eager() && (!stream || stream->tasks.empty())) {
        lock.unlock();  // launches have a lock of their own
        return work();
    }
    if (!stream) {
        finish_blocking();
        return work();
    }
    ask(*stream, {nullptr, 0, std::move(work)});
    if (streams_are_eager()) return finish(handle);
    stir();
    return SUCCESS;
}

int finish(void* handle) {
    std::shared_ptr<Stream> stream = stream_of(handle);
    if (stream) {
        advance(*stream, stream->asked);
    } else {
        finish_blocking();
    }
    return reported();
}

int finish_all() {
    for (auto& [handle, stream] : streams) advance(*stream, stream->asked);
    return reported();
}

}  // namespace emulator

using namespace emulator;

API cuStreamCreate(void** stream, unsigned flags) {
    NEED_CONTEXT();
    auto made = std::make_shared<Stream>();
    made->waits_for_default = !(flags & 1);
    *stream = made.get();
    return streams[*stream] = made, SUCCESS;
}
API cuStreamCreateWithPriority(void** stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
API cuStreamDestroy_v2(void* stream) {
    NEED_CONTEXT();
    NEED(streams.count(stream), INVALID_HANDLE);
    if (is_captured(stream)) return spoil(stream, CAPTURE_UNSUPPORTED, "its stream is destroyed");
    advance(*streams[stream], streams[stream]->asked);
    return streams.erase(stream), SUCCESS;
}
API cuStreamSynchronize(void* stream) {
    NEED_CONTEXT();
    NEED(known_stream(stream), INVALID_HANDLE);
    if (is_captured(stream)) return spoil(stream, CAPTURE_UNSUPPORTED, "a wait for its stream");
    record_asked("host", stream, "stream");
    return finish(stream);
}
API cuStreamQuery(void* stream) { return cuStreamSynchronize(stream); }
API cuCtxSynchronize() {
    NEED_CONTEXT();
    NEED_NO_CAPTURE("a wait for the context");
    return finish_all();
}
API cuStreamWaitEvent(void* handle, void* event, unsigned) {
    NEED_CONTEXT();
    Event* waited = static_cast<Event*>(event);
    NEED(known_stream(handle) && events.count(waited), INVALID_HANDLE);
    if (waited->captured.of) return capture_wait(handle, waited->captured);
    if (!waited->stream) return SUCCESS;
    if (is_captured(handle)) return spoil(handle, CAPTURE_ISOLATION, "a wait for an event that is no part of it");
    record_asked("wait", handle, event);
    if (std::shared_ptr<Stream> stream = stream_of(handle)) {
        ask(*stream, {waited->stream, waited->after, nullptr});
        if (streams_are_eager()) advance(*stream, stream->asked);
    } else {
        advance(*waited->stream, waited->after);
    }
    stir();
    return SUCCESS;
}
API cuLaunchHostFunc(void* stream, void (*function)(void*), void* argument) {
    {
        NEED_CONTEXT();
        NEED(known_stream(stream), INVALID_HANDLE);
    }
    return submit(stream, "a function", [=] { return function(argument), SUCCESS; });
}

API cuEventCreate(void** event, unsigned) {
    NEED_CONTEXT();
    Event* made = new Event;
    events.insert(made);
    return *event = made, SUCCESS;
}
API cuEventDestroy_v2(void* event) {
    NEED_CONTEXT();
    NEED(events.erase(static_cast<Event*>(event)) == 1, INVALID_HANDLE);
    return delete static_cast<Event*>(event), SUCCESS;
}
API cuEventRecord(void* handle, void* stream) {
    NEED_CONTEXT();
    Event* event = static_cast<Event*>(handle);
    NEED(events.count(event) && known_stream(stream), INVALID_HANDLE);
    if (is_captured(stream)) return *event = {nullptr, 0, nullptr, capture_mark(stream)}, SUCCESS;
    auto mark = std::make_shared<Mark>();
    int code = submit(stream, "an event", [mark] { return *mark = {Clock::now(), true}, SUCCESS; });
    std::shared_ptr<Stream> of = stream_of(stream);
    *event = {of, of ? of->asked : 0, mark, {}};
    record_asked("record", stream, handle);
    return code;
}
API cuEventQuery(void* event) {
    NEED_CONTEXT();
    Event* of = static_cast<Event*>(event);
    NEED(events.count(of), INVALID_HANDLE);
    if (of->captured.of) return spoil(of->captured, CAPTURED_EVENT, "the host asks for an event that is part of it");
    record_asked("host", nullptr, event);
    if (of->stream) advance(*of->stream, of->after);
    return reported();
}
API cuEventSynchronize(void* event) { return cuEventQuery(event); }
API cuEventElapsedTime(float* milliseconds, void* start, void* end) {
    NEED_CONTEXT();
    Event *a = static_cast<Event*>(start), *b = static_cast<Event*>(end);
    NEED(events.count(a) && events.count(b) && a->mark && b->mark && a->mark->passed && b->mark->passed, INVALID_HANDLE);
    *milliseconds = std::chrono::duration<float, std::milli>(b->mark->at - a->mark->at).count();
    return SUCCESS;
}
