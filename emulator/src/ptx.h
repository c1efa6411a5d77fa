// Modules: what a launch needs to know of a PTX file, read from its text.
#pragma once
#include "cuda_emulator.h"

#include <map>
#include <string>

namespace emulator {

enum Code : int {
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201, INVALID_PTX = 218, UNSUPPORTED_PTX_VERSION = 222, INVALID_HANDLE = 400, ILLEGAL_STATE = 401,
    NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, LAUNCH_OUT_OF_RESOURCES = 701, LAUNCH_FAILED = 719, NOT_SUPPORTED = 801,
    CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901, CAPTURE_MERGE = 902, CAPTURE_UNMATCHED = 903, CAPTURE_UNJOINED = 904,
    CAPTURE_ISOLATION = 905, CAPTURED_EVENT = 907, CAPTURE_WRONG_THREAD = 908,
};

// The emulated device: an sm_80 in what a launch may ask for.
constexpr int DRIVER_VERSION = 12000, MAJOR = 8, MINOR = 0;
constexpr unsigned MAX_THREADS = 1024, MAX_GRID_X = 2147483647, MAX_GRID_YZ = 65535;
constexpr size_t SHARED_DEFAULT = 48 * 1024, SHARED_OPT_IN = 163 * 1024;

struct Function {
    const emulator::Kernel* kernel;
    unsigned max_threads = MAX_THREADS;  // from .maxntid
    size_t static_shared = 0;            // from .shared declarations
    size_t dynamic_limit = SHARED_DEFAULT;
};

struct Module {
    std::map<std::string, Function> functions;
};

// The compute capability, times ten: FOVEATE_EMULATOR_CAPABILITY, or 80.
int capability();

// Reads PTX text, and holds each entry point against the kernel of that name which was compiled for the host: it must
// exist, with parameters of the same sizes. Returns a code of the driver.
int read_ptx(const char* ptx, Module& module);

// Keeps and prints the reason of a failure, and returns `code`.
int fail(int code, const std::string& what);

}  // namespace emulator
