// The record of launches. Processes share the file: each line is appended by one write.

#include "record.h"

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>
#include <string>

namespace emulator {

void record_launch(const char* kernel) {
    static const char* path = getenv("FOVEATE_EMULATOR_RECORD");
    static std::mutex lock;
    static std::set<std::string> known;
    if (!path) return;
    std::lock_guard<std::mutex> guard(lock);
    if (!known.insert(kernel).second) return;
    FILE* file = fopen(path, "a");
    if (!file) return perror(path);
    fprintf(file, "%s\n", kernel);
    fclose(file);
}

void record_asked(const char* what, const void* stream, const char* name) {
    static const char* path = getenv("FOVEATE_EMULATOR_TIMELINE");
    static FILE* file = path ? fopen(path, "a") : nullptr;
    if (!file) return;
    fprintf(file, "%s %zx %s\n", what, reinterpret_cast<size_t>(stream), name);
    fflush(file);
}

void record_asked(const char* what, const void* stream, const void* event) {
    char name[32];
    snprintf(name, sizeof(name), "%zx", reinterpret_cast<size_t>(event));
    record_asked(what, stream, name);
}

}  // namespace emulator
