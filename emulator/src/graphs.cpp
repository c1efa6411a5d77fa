// Captures and graphs; see graphs.h. A node is done after those that its stream was asked for before, and after those that
// events stand for which the stream waited for. Where streams are not eager, a graph's nodes are done in another order that
// their edges allow, so that a result which differs is due to an edge that the program lacks.

#include "graphs.h"

#include "driver.h"
#include "streams.h"

#include <map>
#include <set>
#include <string>
#include <thread>

namespace emulator {

struct Node {
    std::function<int()> work;
    std::vector<size_t> after;
};
using Nodes = std::vector<Node>;

enum Mode { GLOBAL = 0, THREAD_LOCAL = 1, RELAXED = 2 };

struct Capture {
    void* origin;
    int mode;
    std::thread::id thread;
    bool spoiled = false, ended = false;
    Nodes nodes;

    bool forbids_this_thread() const {
        return mode == GLOBAL || (mode == THREAD_LOCAL && thread == std::this_thread::get_id());
    }
};

namespace {

// A stream that is captured: what its next node comes after.
struct Tail {
    std::shared_ptr<Capture> of;
    std::vector<size_t> after;
};

std::map<void*, Tail> captured;
std::set<std::shared_ptr<const Nodes>*> graphs, executables;

int spoil(Capture& capture, int code, const std::string& why) {
    capture.spoiled = true;
    return fail(code, "a capture is spoiled: " + why);
}

// The place, among the nodes that may be done next, of the one to do.
size_t choose(size_t ready) {
    if (streams_are_eager()) return 0;
    return streams_are_late() ? ready - 1 : (size_t)next_random(ready);
}

// Does all nodes, each after those that it comes after.
int run(const Nodes& nodes) {
    std::vector<size_t> missing(nodes.size());
    std::vector<std::vector<size_t>> then(nodes.size());
    std::vector<size_t> ready;
    for (size_t at = 0; at < nodes.size(); at++) {
        std::set<size_t> after(nodes[at].after.begin(), nodes[at].after.end());
        missing[at] = after.size();
        for (size_t before : after) then[before].push_back(at);
        if (after.empty()) ready.push_back(at);
    }
    while (!ready.empty()) {
        size_t place = choose(ready.size()), at = ready[place];
        ready.erase(ready.begin() + (long)place);
        if (int code = nodes[at].work()) return code;
        for (size_t next : then[at])
            if (--missing[next] == 0) ready.push_back(next);
    }
    return SUCCESS;
}

// Whether every node is before one that the origin comes after.
bool is_joined(const Capture& capture, std::vector<size_t> reached) {
    std::set<size_t> seen;
    while (!reached.empty()) {
        size_t at = reached.back();
        reached.pop_back();
        if (!seen.insert(at).second) continue;
        reached.insert(reached.end(), capture.nodes[at].after.begin(), capture.nodes[at].after.end());
    }
    return seen.size() == capture.nodes.size();
}

// Ends a capture: none of its streams is captured any more.
void end(const std::shared_ptr<Capture>& capture) {
    capture->ended = true;
    for (auto at = captured.begin(); at != captured.end();) at = at->second.of == capture ? captured.erase(at) : std::next(at);
}

}  // namespace

bool is_captured(void* stream) { return captured.count(stream); }

int capture_work(void* stream, std::function<int()> work) {
    Tail& tail = captured.at(stream);
    if (tail.of->spoiled) return CAPTURE_INVALIDATED;
    tail.of->nodes.push_back({std::move(work), tail.after});
    tail.after = {tail.of->nodes.size() - 1};
    return SUCCESS;
}

CapturedMark capture_mark(void* stream) {
    auto found = captured.find(stream);
    return found == captured.end() ? CapturedMark{} : CapturedMark{found->second.of, found->second.after};
}

int capture_wait(void* stream, const CapturedMark& event) {
    if (event.of->ended) return fail(CAPTURED_EVENT, "a wait for an event of a capture that has ended");
    auto [at, is_new] = captured.insert({stream, {event.of, {}}});
    if (!is_new && at->second.of != event.of) return spoil(*event.of, CAPTURE_MERGE, "a stream of another capture waits for it");
    at->second.after.insert(at->second.after.end(), event.after.begin(), event.after.end());
    return SUCCESS;
}

int spoil(void* stream, int code, const char* why) { return spoil(*captured.at(stream).of, code, why); }
int spoil(const CapturedMark& event, int code, const char* why) { return spoil(*event.of, code, why); }

int forbidden_in_captures(const char* what) {
    int code = SUCCESS;
    for (auto& [stream, tail] : captured)
        if (tail.of->forbids_this_thread()) code = spoil(*tail.of, CAPTURE_UNSUPPORTED, what);
    return code;
}

}  // namespace emulator

using namespace emulator;

API cuStreamBeginCapture_v2(void* stream, int mode) {
    NEED_CONTEXT();
    NEED(known_stream(stream), INVALID_HANDLE);
    NEED(mode >= GLOBAL && mode <= RELAXED, INVALID_VALUE);
    if (is_default_stream(stream)) return fail(CAPTURE_UNSUPPORTED, "a default stream cannot be captured");
    if (is_captured(stream)) return fail(ILLEGAL_STATE, "the stream is captured already");
    auto made = std::make_shared<Capture>();
    made->origin = stream, made->mode = mode, made->thread = std::this_thread::get_id();
    return captured[stream] = {made, {}}, SUCCESS;
}
API cuStreamEndCapture(void* stream, void** graph) {
    NEED_CONTEXT();
    NEED(known_stream(stream), INVALID_HANDLE);
    if (!is_captured(stream)) return fail(ILLEGAL_STATE, "the stream is not captured");
    Tail tail = captured.at(stream);
    if (tail.of->origin != stream) return spoil(*tail.of, CAPTURE_UNMATCHED, "it is ended on another stream than it began on");
    if (tail.of->mode != RELAXED && tail.of->thread != std::this_thread::get_id())
        return spoil(*tail.of, CAPTURE_WRONG_THREAD, "another thread ends it");
    end(tail.of);
    *graph = nullptr;
    if (tail.of->spoiled) return fail(CAPTURE_INVALIDATED, "the capture that ends was spoiled");
    if (!is_joined(*tail.of, tail.after)) return fail(CAPTURE_UNJOINED, "the capture ends before all its streams have joined");
    auto* made = new std::shared_ptr<const Nodes>(std::make_shared<Nodes>(std::move(tail.of->nodes)));
    graphs.insert(made);
    return *graph = made, SUCCESS;
}
API cuStreamIsCapturing(void* stream, int* status) {
    NEED_CONTEXT();
    NEED(known_stream(stream), INVALID_HANDLE);
    return *status = !is_captured(stream) ? 0 : captured.at(stream).of->spoiled ? 2 : 1, SUCCESS;
}

API cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long) {
    NEED_CONTEXT();
    auto* of = static_cast<std::shared_ptr<const Nodes>*>(graph);
    NEED(graphs.count(of), INVALID_HANDLE);
    auto* made = new std::shared_ptr<const Nodes>(*of);
    executables.insert(made);
    return *executable = made, SUCCESS;
}
API cuGraphLaunch(void* executable, void* stream) {
    std::shared_ptr<const Nodes> nodes;
    {
        NEED_CONTEXT();
        auto* of = static_cast<std::shared_ptr<const Nodes>*>(executable);
        NEED(executables.count(of) && known_stream(stream), INVALID_HANDLE);
        nodes = *of;
    }
    return submit(stream, "a graph", [nodes] { return run(*nodes); });
}
API cuGraphExecDestroy(void* executable) {
    NEED_CONTEXT();
    auto* of = static_cast<std::shared_ptr<const Nodes>*>(executable);
    NEED(executables.erase(of) == 1, INVALID_HANDLE);
    return delete of, SUCCESS;
}
API cuGraphDestroy(void* graph) {
    NEED_CONTEXT();
    auto* of = static_cast<std::shared_ptr<const Nodes>*>(graph);
    NEED(graphs.erase(of) == 1, INVALID_HANDLE);
    return delete of, SUCCESS;
}
