// Source lines by binutils' addr2line, which comes with the compiler. Asked for reports alone, where a process more costs
// nothing.

#include "lines.h"

#include <dlfcn.h>

#include <cstdio>
#include <vector>

namespace emulator {

namespace {

const Dl_info& library() {
    static const Dl_info info = [] {
        Dl_info found = {};
        dladdr(reinterpret_cast<const void*>(&line_of), &found);
        return found;
    }();
    return info;
}

bool ends_with(const std::string& text, const std::string& end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// a/b/../c as a/c.
std::string shortened(std::string path) {
    for (size_t up; (up = path.find("/../")) != std::string::npos && up > 0;) {
        size_t from = path.rfind('/', up - 1);
        from = from == std::string::npos ? 0 : from + 1;
        path.erase(from, up + 4 - from);
    }
    return path;
}

// The line itself first, then those that it was inlined into.
std::vector<std::string> frames(uint32_t place) {
    char command[4096];
    // The tool must not find the emulator, or a sanitizer, where this process does.
    snprintf(command, sizeof command, "env -u LD_PRELOAD -u LD_LIBRARY_PATH addr2line -i -e '%s' 0x%x 2>/dev/null",
             library().dli_fname, place - 1);  // within the call, not behind it
    std::vector<std::string> found;
    FILE* out = popen(command, "r");
    if (!out) return found;
    char text[4096];
    while (fgets(text, sizeof text, out)) {
        std::string line = text;
        line = line.substr(0, line.find_first_of(" \n"));
        if (!line.empty() && line[0] != '?') found.push_back(shortened(line));
    }
    pclose(out);
    return found;
}

}  // namespace

uint32_t place_of(const void* return_address) {
    return (uint32_t)(static_cast<const char*>(return_address) - static_cast<const char*>(library().dli_fbase));
}

std::string line_of(uint32_t place) {
    std::vector<std::string> all = frames(place);
    std::string line, caller;
    for (const std::string& frame : all) {
        std::string file = frame.substr(0, frame.rfind(':'));
        if (ends_with(file, "cuda_emulator.h")) continue;  // the body of a CUDA name; its user comes next
        if (line.empty()) line = frame;
        else if (ends_with(file, ".cu")) caller = frame;
    }
    if (line.empty() && !all.empty()) return all[0];
    if (line.empty()) {
        char text[32];
        snprintf(text, sizeof text, "+0x%x", place);
        return library().dli_fname + std::string(text);
    }
    return ends_with(line.substr(0, line.rfind(':')), ".cu") || caller.empty() ? line : line + " (for " + caller + ")";
}

}  // namespace emulator
