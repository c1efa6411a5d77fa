// PTX, as far as a launch depends on it: version, target, entry points, parameter sizes, static shared memory and the
// launch bounds. The instructions are not looked at; the kernels that run are those compiled from the same sources.

#include "ptx.h"

#include <cctype>
#include <cstdlib>
#include <vector>

namespace emulator {
namespace {

std::map<std::string, emulator::Kernel>& kernels() {
    static std::map<std::string, emulator::Kernel> all;
    return all;
}

struct Scan {
    const char* at;
    bool skip_to(const char* what) {
        const char* found = strstr(at, what);
        if (found) at = found + strlen(what);
        return found != nullptr;
    }
    std::string until(const char* stops) {
        size_t length = strcspn(at, stops);
        std::string text(at, length);
        at += length;
        while (!text.empty() && isspace((unsigned char)text.back())) text.pop_back();
        while (!text.empty() && isspace((unsigned char)text.front())) text.erase(0, 1);
        return text;
    }
};

// Bytes of `.u64 name` or `.align 4 .b8 name[56]`.
size_t declared_bytes(const std::string& declaration) {
    size_t dot = declaration.find(".align") == std::string::npos ? 0 : declaration.find('.', declaration.find(".align") + 1);
    dot = declaration.find('.', dot);
    size_t digit = declaration.find_first_of("0123456789", dot), open = declaration.find('[');
    size_t element = strtoul(declaration.c_str() + digit, nullptr, 10) / 8;
    return element * (open == std::string::npos ? 1 : strtoul(declaration.c_str() + open + 1, nullptr, 10));
}

// Reads one `.entry`, from its name to the end of its body, and holds it against the kernel compiled for the host.
int read_entry(Scan scan, Module& module) {
    std::string name = scan.until(" (\n");
    auto found = kernels().find(name);
    if (found == kernels().end()) return fail(INVALID_IMAGE, "the PTX has " + name + ", the emulator was built without it: build it again");
    Function function{&found->second};
    scan.skip_to("(");
    std::string list = scan.until(")");
    std::vector<size_t> bytes;
    for (size_t at = list.find(".param"); at != std::string::npos; at = list.find(".param", at + 1)) {
        size_t end = list.find(',', at);
        bytes.push_back(declared_bytes(list.substr(at + 6, end == std::string::npos ? end : end - at - 6)));
    }
    bool same = bytes.size() == function.kernel->parameters;
    for (size_t i = 0; same && i < bytes.size(); i++) same = bytes[i] == function.kernel->parameter_bytes[i];
    if (!same) return fail(INVALID_IMAGE, "the parameters of " + name + " in the PTX are not those of its source: compile the kernels again");
    const char* body = strchr(scan.at, '{');
    const char* limit = strstr(scan.at, ".maxntid");
    if (limit && body && limit < body) {
        unsigned x = 1, y = 1, z = 1;
        if (sscanf(limit, ".maxntid %u, %u, %u", &x, &y, &z) >= 1) function.max_threads = x * y * z;
    }
    // The body ends where its braces close.
    int depth = 0;
    const char* end = body;
    for (; end && *end; end++) {
        depth += *end == '{' ? 1 : *end == '}' ? -1 : 0;
        if (depth == 0) break;
    }
    Scan inside{body ? body : scan.at};
    while (inside.skip_to(".shared ") && inside.at < end) {
        std::string declaration = inside.until(";");
        if (declaration.find('[') != std::string::npos && declaration.find('%') == std::string::npos) {
            function.static_shared += declared_bytes(declaration);
        }
    }
    module.functions.emplace(name, function);
    return SUCCESS;
}

}  // namespace

void add_kernel(const Kernel& kernel) { kernels()[kernel.name] = kernel; }

int capability() {
    const char* text = getenv("FOVEATE_EMULATOR_CAPABILITY");
    return text ? atoi(text) : 10 * MAJOR + MINOR;
}

int read_ptx(const char* ptx, Module& module) {
    Scan scan{ptx};
    if (!scan.skip_to(".version")) return fail(INVALID_IMAGE, "the image is not PTX text");
    int major = 0, minor = 0;
    sscanf(scan.at, "%d.%d", &major, &minor);
    // FOVEATE_EMULATOR_PTX: the newest version to take, for tests of what is refused.
    const char* text = getenv("FOVEATE_EMULATOR_PTX");
    int newest_major = 8, newest_minor = 0;
    if (text) sscanf(text, "%d.%d", &newest_major, &newest_minor);
    if (std::make_pair(major, minor) > std::make_pair(newest_major, newest_minor)) {
        return fail(UNSUPPORTED_PTX_VERSION, "PTX newer than " + std::to_string(newest_major) + "." + std::to_string(newest_minor));
    }
    int sm = 0;
    if (!scan.skip_to(".target") || sscanf(scan.at, " sm_%d", &sm) != 1) return fail(INVALID_PTX, "PTX without a target");
    bool only = false;
    for (const char* at = scan.at; *at && *at != '\n' && *at != ','; at++) only = only || *at == 'a';
    int own = capability();
    if (only ? sm != own : sm > own) return fail(INVALID_PTX, "PTX for sm_" + std::to_string(sm) + ", the device is sm_" + std::to_string(own));
    while (scan.skip_to(".entry ")) {
        if (int code = read_entry(scan, module)) return code;
    }
    return SUCCESS;
}

}  // namespace emulator
