// The memory's memory: cells by byte, time, and which two accesses race.

#include "shadow.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

namespace emulator {

namespace {

constexpr unsigned LANES = 32;

uint32_t epoch = 0, launch_epoch = 0, block_epoch = 0;
std::vector<uint32_t> block_epochs;  // the first of each block of the launch
// By thread, then by lane of its warp: how much of that lane's past the thread has seen. Its own entry is its clock.
std::vector<uint32_t> clocks;

uint32_t* clocks_of(unsigned thread) { return clocks.data() + (size_t)thread * LANES; }

void* map(size_t bytes) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        perror("foveate emulator: no memory to remember accesses in");
        abort();
    }
    return at;
}

// Whether nothing orders `then` before `now`.
bool concurrent(const Access& then, const Access& now, uint32_t since) {
    if (then.epoch < since) return false;
    if (then.epoch < block_epoch) return true;  // in another block
    if (then.epoch < epoch || then.thread == now.thread) return false;
    if (then.thread / LANES != now.thread / LANES) return true;
    return clocks_of(now.thread)[then.thread % LANES] < then.clock;
}

bool of_one_warp(const Access& a, const Access& b) {
    return a.thread / LANES == b.thread / LANES && (a.epoch < block_epoch) == (b.epoch < block_epoch);
}

}  // namespace

Shadow::Shadow(size_t bytes) : bytes(bytes) {
    cells = static_cast<Cell*>(map(bytes * sizeof(Cell)));
    writes = static_cast<uint8_t*>(map(bytes));
}

Shadow::~Shadow() {
    if (!cells) return;
    munmap(cells, bytes * sizeof(Cell));
    munmap(writes, bytes);
}

Shadow::Shadow(Shadow&& other) noexcept { *this = std::move(other); }

Shadow& Shadow::operator=(Shadow&& other) noexcept {
    std::swap(bytes, other.bytes);
    std::swap(cells, other.cells);
    std::swap(writes, other.writes);
    return *this;
}

namespace time {

void start_launch(unsigned threads) {
    clocks.assign((size_t)threads * LANES, 0);
    for (unsigned thread = 0; thread < threads; thread++) clocks_of(thread)[thread % LANES] = 1;
    block_epochs.clear();
    launch_epoch = epoch + 1;
}

void start_block() {
    block_epoch = ++epoch;
    block_epochs.push_back(epoch);
}

void barrier() { epoch++; }

void warp_barrier(unsigned warp, unsigned mask) {
    uint32_t seen[LANES] = {};
    auto each = [&](auto f) {
        for (unsigned lane = 0; lane < LANES; lane++)
            if (mask >> lane & 1) f(lane, clocks_of(warp * LANES + lane));
    };
    each([&](unsigned, const uint32_t* of) {
        for (unsigned lane = 0; lane < LANES; lane++) seen[lane] = std::max(seen[lane], of[lane]);
    });
    each([&](unsigned lane, uint32_t* of) {
        memcpy(of, seen, sizeof seen);
        of[lane]++;
    });
}

Access now(unsigned thread, Kind kind, uint32_t place) {
    return {epoch, clocks_of(thread)[thread % LANES], place, (uint16_t)thread, kind};
}

uint32_t start_of_launch() { return launch_epoch; }
uint32_t start_of_block() { return block_epoch; }

size_t block_of(uint32_t epoch) {
    return (size_t)(std::upper_bound(block_epochs.begin(), block_epochs.end(), epoch) - block_epochs.begin()) - 1;
}

}  // namespace time

// Two reads do not race, nor do two atomic operations. Of those that may stand side by side the first is replaced by what
// comes after it, and the second is of another thread, of another warp if there was one: a write is of another thread or
// warp than at least one of them.
const Access* remember(Cell& cell, const Access& now, uint32_t since) {
    if (concurrent(cell.write, now, since)) return &cell.write;
    for (const Access& other : cell.others) {
        bool apart = now.kind == Kind::write || now.kind != other.kind;
        if (apart && concurrent(other, now, since)) return &other;
    }
    auto& [first, second] = cell.others;
    if (now.kind == Kind::write) {
        cell = {now, {}};
    } else if (!concurrent(first, now, since)) {
        // An atomic operation says more than a read by the same thread at the same time.
        bool again = first.epoch == now.epoch && first.thread == now.thread && first.clock == now.clock;
        if (!again || first.kind != Kind::atomic) first = now;
    } else if (!concurrent(second, now, since) || (of_one_warp(first, second) && !of_one_warp(first, now))) {
        second = now;
    }
    return nullptr;
}

}  // namespace emulator
