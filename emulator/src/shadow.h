// What the checking build remembers of every byte of shared and global memory: its last write, and the reads and atomic
// operations since, each with its thread, source line and time. From these follow races and reads of what nothing wrote.
//
// Time has two parts. The epoch counts the barriers of blocks: accesses of one block in different epochs are in order. The
// clocks order the lanes of a warp: __syncwarp brings each lane of its mask to the clocks of all of them.
#pragma once
#include <cstddef>
#include <cstdint>

namespace emulator {

enum class Kind : uint8_t { read, write, atomic };

struct Access {
    uint32_t epoch;  // 0: there was none
    uint32_t clock;  // of the thread's own lane
    uint32_t place;  // where in the code: bytes from the library's beginning
    uint16_t thread;
    Kind kind;
};

// Of one byte. Reads and atomic operations of several threads may stand side by side. Two of them are enough: if any of a
// write's predecessors races with it, one of these does (`remember` says why).
struct Cell {
    Access write;
    Access others[2];
};

// The bytes of one piece of memory.
class Shadow {
public:
    Shadow() = default;
    explicit Shadow(size_t bytes);
    ~Shadow();
    Shadow(Shadow&& other) noexcept;
    Shadow& operator=(Shadow&& other) noexcept;

    size_t size() const { return bytes; }
    Cell& cell(size_t at) const { return cells[at]; }
    // Whether anything wrote to a byte since the memory was allocated: a kernel, a copy or a fill.
    uint8_t* written() const { return writes; }

private:
    size_t bytes = 0;
    Cell* cells = nullptr;  // mapped on demand
    uint8_t* writes = nullptr;
};

namespace time {

void start_launch(unsigned threads);
void start_block();
void barrier();
void warp_barrier(unsigned warp, unsigned mask);

// An access of this thread, now.
Access now(unsigned thread, Kind kind, uint32_t place);
// First epoch of the launch that runs, and of the block.
uint32_t start_of_launch();
uint32_t start_of_block();
// Number of the block that an epoch of this launch belongs to.
size_t block_of(uint32_t epoch);

}  // namespace time

// Enters an access and returns the earlier one that it races with, if there is one. What happened before the epoch `since`
// is of no concern: the launch's for global memory, the block's for shared memory.
const Access* remember(Cell& cell, const Access& now, uint32_t since);

}  // namespace emulator
