// The CUDA driver's entry points, as far as cudarc, cust and this crate's device layer call them, but for streams and
// events (streams.cpp). What is not here is refused by a stub (unsupported.cpp) with CUDA_ERROR_NOT_SUPPORTED.

#include "checks.h"
#include "driver.h"
#include "graphs.h"
#include "memory.h"
#include "record.h"
#include "scheduler.h"
#include "streams.h"

#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <vector>

using namespace emulator;

std::recursive_mutex emulator::lock_of_all;

namespace {

struct Context {
    int retained = 0;
};

bool initialized;
Context primary;
thread_local Context* current_context;
std::map<uintptr_t, size_t> pinned;  // host memory: start -> bytes
std::set<Module*> modules;

bool is_pinned(const void* at, size_t bytes) {
    auto after = pinned.upper_bound(reinterpret_cast<uintptr_t>(at));
    if (after == pinned.begin()) return false;
    auto of = std::prev(after);
    size_t before = reinterpret_cast<uintptr_t>(at) - of->first;
    return before <= of->second && bytes <= of->second - before;
}

// A number that an environment variable gives in place of the device's own, for tests of what is refused.
int set_by(const char* variable, int otherwise) {
    const char* text = getenv(variable);
    return text ? atoi(text) : otherwise;
}

struct Named {
    int code;
    const char* name;
    const char* text;
};
const Named CODES[] = {
    {SUCCESS, "CUDA_SUCCESS", "no error"},
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {UNSUPPORTED_PTX_VERSION, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain"},
    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {ILLEGAL_STATE, "CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed in the present state"},
    {CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {CAPTURE_MERGE, "CUDA_ERROR_STREAM_CAPTURE_MERGE", "operation would result in a merge of separate capture sequences"},
    {CAPTURE_UNMATCHED, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not ended in the same stream as it began"},
    {CAPTURE_UNJOINED, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
    {CAPTURE_ISOLATION, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION", "dependency created on uncaptured work in another stream"},
    {CAPTURED_EVENT, "CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"},
    {CAPTURE_WRONG_THREAD, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", "attempt to terminate a thread-local capture sequence from another thread"},
};

std::string last_failure;

}  // namespace

int emulator::need_context() {
    if (!initialized) return NOT_INITIALIZED;
    return current_context && current_context->retained > 0 ? SUCCESS : INVALID_CONTEXT;
}

int emulator::fail(int code, const std::string& what) {
    Lock lock(lock_of_all);
    last_failure = what;
    fprintf(stderr, "foveate emulator: %s\n", what.c_str());
    return code;
}

// Errors

API cuGetErrorName(int code, const char** name) {
    for (const Named& known : CODES)
        if (known.code == code) return *name = known.name, SUCCESS;
    return *name = nullptr, INVALID_VALUE;
}

// For a failed launch or module: the emulator's own report.
API cuGetErrorString(int code, const char** text) {
    Lock lock(lock_of_all);
    static thread_local std::string kept;
    for (const Named& known : CODES) {
        if (known.code != code) continue;
        bool reported = code == LAUNCH_FAILED || code == INVALID_IMAGE || code == LAUNCH_OUT_OF_RESOURCES || code == INVALID_PTX;
        kept = reported && !last_failure.empty() ? std::string(known.text) + ": " + last_failure : known.text;
        return *text = kept.c_str(), SUCCESS;
    }
    return *text = nullptr, INVALID_VALUE;
}

// Device

API cuInit(unsigned flags) {
    Lock lock(lock_of_all);
    NEED(flags == 0, INVALID_VALUE);
    if (!emulator::order_is_known()) return fail(INVALID_VALUE, "FOVEATE_EMULATOR_ORDER must be forward, reversed or shuffled[:seed]");
    if (!streams_are_known()) return fail(INVALID_VALUE, "FOVEATE_EMULATOR_STREAMS must be eager, late or shuffled[:seed]");
    initialized = true;
    return SUCCESS;
}

API cuDriverGetVersion(int* version) { return *version = set_by("FOVEATE_EMULATOR_DRIVER", DRIVER_VERSION), SUCCESS; }

API cuDeviceGetCount(int* count) { return *count = 1, initialized ? SUCCESS : NOT_INITIALIZED; }

API cuDeviceGet(int* device, int ordinal) {
    NEED(initialized, NOT_INITIALIZED);
    NEED(ordinal == 0, INVALID_DEVICE);
    return *device = 0, SUCCESS;
}

API cuDeviceGetName(char* name, int length, int device) {
    NEED(device == 0, INVALID_DEVICE);
    return snprintf(name, (size_t)length, "emulator"), SUCCESS;
}

API cuDeviceGetUuid(unsigned char* uuid, int device) {
    NEED(device == 0, INVALID_DEVICE);
    return memcpy(uuid, "foveate emulator", 16), SUCCESS;
}
API cuDeviceGetUuid_v2(unsigned char* uuid, int device) { return cuDeviceGetUuid(uuid, device); }

API cuDeviceTotalMem_v2(size_t* bytes, int device) {
    NEED(device == 0, INVALID_DEVICE);
    return *bytes = memory::total(), SUCCESS;
}

API cuDeviceGetAttribute(int* value, int attribute, int device) {
    NEED(device == 0, INVALID_DEVICE);
    static const std::map<int, int> values = {
        {1, (int)MAX_THREADS}, {2, 1024}, {3, 1024}, {4, 64},                      // threads per block; block x, y, z
        {5, (int)MAX_GRID_X}, {6, (int)MAX_GRID_YZ}, {7, (int)MAX_GRID_YZ},        // grid x, y, z
        {8, (int)SHARED_DEFAULT}, {9, 65536}, {10, 32}, {12, 65536},               // shared, constant, warp, registers per block
        {13, 1000000}, {16, 1}, {31, 0}, {36, 1000000}, {37, 64}, {38, 1 << 20},   // clock, multiprocessors, concurrency, bus, L2
        {39, 2048}, {40, 1}, {41, 1}, {81, 164 * 1024},  // per multiprocessor; capability; shared
        {82, 65536}, {83, 0}, {95, 0}, {97, (int)SHARED_OPT_IN}, {106, 32}, {111, 1024}, {115, 0},
    };
    if (attribute == 75 || attribute == 76) {
        return *value = attribute == 75 ? capability() / 10 : capability() % 10, SUCCESS;
    }
    auto found = values.find(attribute);
    return *value = found == values.end() ? 0 : found->second, SUCCESS;
}

// Context

API cuDevicePrimaryCtxRetain(void** context, int device) {
    Lock lock(lock_of_all);
    NEED(initialized, NOT_INITIALIZED);
    NEED(device == 0, INVALID_DEVICE);
    primary.retained++;
    return *context = &primary, SUCCESS;
}
API cuDevicePrimaryCtxRelease_v2(int device) {
    Lock lock(lock_of_all);
    NEED(device == 0, INVALID_DEVICE);
    NEED(primary.retained > 0, INVALID_CONTEXT);
    primary.retained--;
    return SUCCESS;
}
API cuDevicePrimaryCtxGetState(int device, unsigned* flags, int* active) {
    NEED(device == 0, INVALID_DEVICE);
    return *flags = 0, *active = primary.retained > 0, SUCCESS;
}
API cuDevicePrimaryCtxSetFlags_v2(int device, unsigned) { return device == 0 ? SUCCESS : INVALID_DEVICE; }
API cuCtxGetCurrent(void** context) {
    NEED(initialized, NOT_INITIALIZED);
    return *context = current_context, SUCCESS;
}
API cuCtxSetCurrent(void* context) {
    NEED(initialized, NOT_INITIALIZED);
    NEED(context == nullptr || context == &primary, INVALID_CONTEXT);
    current_context = static_cast<Context*>(context);
    return SUCCESS;
}
API cuCtxGetDevice(int* device) {
    NEED_CONTEXT();
    return *device = 0, SUCCESS;
}
API cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    NEED_CONTEXT();
    return *least = 0, *greatest = 0, SUCCESS;
}
API cuCtxSetFlags(unsigned) { NEED_CONTEXT(); return SUCCESS; }

// Memory

API cuMemAlloc_v2(uintptr_t* at, size_t bytes) {
    NEED_CONTEXT();
    NEED_NO_CAPTURE("an allocation");
    NEED(bytes > 0, INVALID_VALUE);
    NEED(bytes <= memory::available(), OUT_OF_MEMORY);
    return (*at = memory::allocate(bytes)) ? SUCCESS : OUT_OF_MEMORY;
}
API cuMemAllocAsync(uintptr_t* at, size_t bytes, void* stream) {
    NEED(known_stream(stream), INVALID_HANDLE);
    return cuMemAlloc_v2(at, bytes);
}
API cuMemFree_v2(uintptr_t at) {
    NEED_CONTEXT();
    NEED_NO_CAPTURE("memory is freed");
    int code = finish_all();
    return at == 0 || memory::release(at) ? code : INVALID_VALUE;
}
API cuMemFreeAsync(uintptr_t at, void* stream) {
    NEED(known_stream(stream), INVALID_HANDLE);
    return cuMemFree_v2(at);
}
API cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
    NEED_CONTEXT();
    return *total = memory::total(), *free_bytes = memory::available(), SUCCESS;
}
API cuMemGetAddressRange_v2(uintptr_t* start, size_t* bytes, uintptr_t at) {
    NEED_CONTEXT();
    const memory::Allocation* of = memory::find(at);
    NEED(of, NOT_FOUND);
    if (start) *start = of->begin;
    if (bytes) *bytes = of->bytes;
    return SUCCESS;
}
API cuMemHostAlloc(void** at, size_t bytes, unsigned) {
    NEED_CONTEXT();
    NEED_NO_CAPTURE("an allocation");
    if (posix_memalign(at, 4096, bytes ? bytes : 1)) return OUT_OF_MEMORY;
    return pinned[reinterpret_cast<uintptr_t>(*at)] = bytes, SUCCESS;
}
API cuMemAllocHost_v2(void** at, size_t bytes) { return cuMemHostAlloc(at, bytes, 0); }
API cuMemFreeHost(void* at) {
    NEED_CONTEXT();
    NEED_NO_CAPTURE("memory is freed");
    NEED(pinned.erase(reinterpret_cast<uintptr_t>(at)) == 1, INVALID_VALUE);
    int code = finish_all();
    return free(at), code;
}

// What a stream is asked for, once the addresses are known to be good.
int copy_in(void* stream, uintptr_t to, const void* from, size_t bytes) {
    return submit(stream, "a copy in", [=] {
        memory::wrote(to, bytes);
        return memcpy(reinterpret_cast<void*>(to), from, bytes), SUCCESS;
    });
}
int copy_out(void* stream, void* to, uintptr_t from, size_t bytes) {
    return submit(stream, "a copy out", [=] {
        std::string fault = memory::fault_of_reading(from, bytes);
        if (!fault.empty()) return fail(LAUNCH_FAILED, fault);
        return memcpy(to, reinterpret_cast<void*>(from), bytes), (int)SUCCESS;
    });
}
int fill_words(void* stream, uintptr_t at, unsigned value, size_t count) {
    return submit(stream, "a fill", [=] {
        memory::wrote(at, 4 * count);
        for (size_t i = 0; i < count; i++) reinterpret_cast<unsigned*>(at)[i] = value;
        return SUCCESS;
    });
}
int fill_bytes(void* stream, uintptr_t at, unsigned char value, size_t bytes) {
    return submit(stream, "a fill", [=] {
        memory::wrote(at, bytes);
        return memset(reinterpret_cast<void*>(at), value, bytes), SUCCESS;
    });
}

// Pinned memory is read when the copy is done; other memory before the call returns.
API cuMemcpyHtoDAsync_v2(uintptr_t to, const void* from, size_t bytes, void* stream) {
    NEED_CONTEXT();
    NEED(known_stream(stream), INVALID_HANDLE);
    NEED(memory::owned(to, bytes), INVALID_VALUE);
    if (is_captured(stream) && !is_pinned(from, bytes)) return spoil(stream, CAPTURE_UNSUPPORTED, "a copy from pageable memory");
    if (streams_are_eager() || is_pinned(from, bytes)) return copy_in(stream, to, from, bytes);
    const char* first = static_cast<const char*>(from);
    return submit(stream, "a copy in", [to, staged = std::vector<char>(first, first + bytes)] {
        memory::wrote(to, staged.size());
        return memcpy(reinterpret_cast<void*>(to), staged.data(), staged.size()), SUCCESS;
    });
}
// Pinned memory is written when the copy is done; for other memory the call waits until then.
API cuMemcpyDtoHAsync_v2(void* to, uintptr_t from, size_t bytes, void* stream) {
    NEED_CONTEXT();
    NEED(known_stream(stream), INVALID_HANDLE);
    NEED(memory::owned(from, bytes), INVALID_VALUE);
    if (is_captured(stream) && !is_pinned(to, bytes)) return spoil(stream, CAPTURE_UNSUPPORTED, "a copy to pageable memory");
    int code = copy_out(stream, to, from, bytes);
    return code || is_pinned(to, bytes) ? code : finish(stream);
}
API cuMemcpyDtoDAsync_v2(uintptr_t to, uintptr_t from, size_t bytes, void* stream) {
    NEED_CONTEXT();
    NEED(known_stream(stream), INVALID_HANDLE);
    NEED(memory::owned(to, bytes) && memory::owned(from, bytes), INVALID_VALUE);
    return submit(stream, "a copy", [=] {
        memory::copied(to, from, bytes);
        return memmove(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes), SUCCESS;
    });
}
API cuMemcpyHtoD_v2(uintptr_t to, const void* from, size_t bytes) { return cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr); }
API cuMemcpyDtoH_v2(void* to, uintptr_t from, size_t bytes) { return cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr); }
API cuMemcpyDtoD_v2(uintptr_t to, uintptr_t from, size_t bytes) { return cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr); }
API cuMemsetD8Async(uintptr_t at, unsigned char value, size_t bytes, void* stream) {
    NEED_CONTEXT();
    NEED(known_stream(stream), INVALID_HANDLE);
    NEED(memory::owned(at, bytes), INVALID_VALUE);
    return fill_bytes(stream, at, value, bytes);
}
API cuMemsetD8_v2(uintptr_t at, unsigned char value, size_t bytes) { return cuMemsetD8Async(at, value, bytes, nullptr); }
API cuMemsetD32Async(uintptr_t at, unsigned value, size_t count, void* stream) {
    NEED_CONTEXT();
    NEED(known_stream(stream), INVALID_HANDLE);
    NEED(memory::owned(at, 4 * count), INVALID_VALUE);
    return fill_words(stream, at, value, count);
}
API cuMemsetD32_v2(uintptr_t at, unsigned value, size_t count) { return cuMemsetD32Async(at, value, count, nullptr); }

// The context of an allocation: there is one.
API cuPointerGetAttribute(void* data, int attribute, uintptr_t at) {
    NEED_CONTEXT();
    NEED(memory::owned(at, 1), INVALID_VALUE);
    NEED(attribute == 1, NOT_SUPPORTED);
    return *static_cast<void**>(data) = &primary, SUCCESS;
}
API cuStreamGetCtx(void* stream, void** context) {
    NEED_CONTEXT();
    NEED(known_stream(stream), INVALID_HANDLE);
    return *context = &primary, SUCCESS;
}

// Modules and launches

API cuModuleLoadData(void** module, const void* image) {
    NEED_CONTEXT();
    NEED_NO_CAPTURE("a module is loaded");
    Module* made = new Module;
    if (int code = read_ptx(static_cast<const char*>(image), *made)) return delete made, code;
    modules.insert(made);
    return *module = made, SUCCESS;
}
API cuModuleLoadDataEx(void** module, const void* image, unsigned, void*, void*) { return cuModuleLoadData(module, image); }
API cuModuleUnload(void* module) {
    NEED_CONTEXT();
    NEED(modules.erase(static_cast<Module*>(module)) == 1, INVALID_HANDLE);
    return delete static_cast<Module*>(module), SUCCESS;
}
API cuModuleGetFunction(void** function, void* module, const char* name) {
    NEED_CONTEXT();
    NEED(modules.count(static_cast<Module*>(module)), INVALID_HANDLE);
    auto& functions = static_cast<Module*>(module)->functions;
    auto found = functions.find(name);
    NEED(found != functions.end(), NOT_FOUND);
    return *function = &found->second, SUCCESS;
}
API cuFuncGetAttribute(int* value, int attribute, void* function) {
    NEED_CONTEXT();
    const Function& of = *static_cast<Function*>(function);
    switch (attribute) {
        case 0: return *value = (int)of.max_threads, SUCCESS;
        case 1: return *value = (int)of.static_shared, SUCCESS;
        case 5: return *value = 80, SUCCESS;  // PTX version of the code
        case 8: return *value = (int)of.dynamic_limit, SUCCESS;
        default: return *value = 0, SUCCESS;
    }
}
API cuFuncSetAttribute(void* function, int attribute, int value) {
    NEED_CONTEXT();
    Function& of = *static_cast<Function*>(function);
    if (attribute != 8) return SUCCESS;
    NEED(value >= 0 && (size_t)value + of.static_shared <= SHARED_OPT_IN, INVALID_VALUE);
    return of.dynamic_limit = (size_t)value, SUCCESS;
}
API cuFuncSetCacheConfig(void*, int) { NEED_CONTEXT(); return SUCCESS; }

// A copy of a launch's parameters: the program's may be gone when the stream comes to it.
struct Parameters {
    std::vector<std::vector<char>> values;
    std::vector<void*> pointers;

    Parameters(const Kernel& kernel, void** given) {
        for (unsigned i = 0; i < kernel.parameters; i++) {
            const char* first = static_cast<const char*>(given[i]);
            values.emplace_back(first, first + kernel.parameter_bytes[i]);
        }
    }
    // A node of a graph is launched more than once.
    void** list() {
        pointers.clear();
        for (std::vector<char>& value : values) pointers.push_back(value.data());
        return pointers.data();
    }
};

API cuLaunchKernel(void* handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned dynamic_bytes,
                   void* stream, void** parameters, void** extra) {
    Function of;
    {
        NEED_CONTEXT();
        NEED(handle && known_stream(stream), INVALID_HANDLE);
        of = *static_cast<Function*>(handle);
    }
    std::string name = of.kernel->name;
    if (extra) return fail(NOT_SUPPORTED, name + ": parameters must be given as an array");
    NEED(gx && gy && gz && bx && by && bz, INVALID_VALUE);
    if (gx > MAX_GRID_X || gy > MAX_GRID_YZ || gz > MAX_GRID_YZ) return fail(INVALID_VALUE, name + ": the grid is too large");
    if (bx > 1024 || by > 1024 || bz > 64 || (uint64_t)bx * by * bz > MAX_THREADS) return fail(INVALID_VALUE, name + ": the block is too large");
    if (bx * by * bz > of.max_threads) {
        return fail(LAUNCH_OUT_OF_RESOURCES, name + ": the block is larger than its __launch_bounds__");
    }
    size_t limit = of.dynamic_limit > SHARED_DEFAULT ? of.dynamic_limit : SHARED_DEFAULT - of.static_shared;
    if (dynamic_bytes > limit || of.static_shared > SHARED_DEFAULT) return fail(INVALID_VALUE, name + ": too much shared memory");
    record_launch(of.kernel->name);
    return submit(stream, of.kernel->name, [=, kept = Parameters(*of.kernel, parameters)]() mutable {
        // The hooks look allocations up: meanwhile nobody may make or free one.
        std::unique_lock<std::recursive_mutex> alone(lock_of_all, std::defer_lock);
        if (checks::ON) alone.lock();
        std::string wrong = emulator::launch(*of.kernel, kept.list(), {gx, gy, gz}, {bx, by, bz}, dynamic_bytes);
        return wrong.empty() ? (int)SUCCESS : fail(LAUNCH_FAILED, wrong);
    });
}
