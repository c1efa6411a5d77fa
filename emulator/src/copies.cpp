// Copies to shared memory that a thread has begun and not waited for (cp.async), by thread of the block. They are made when they
// are waited for, by code that is compiled with the kernel: so the checks see them as accesses of the waiting thread.
#include "copies.h"
#include "scheduler.h"

#include <deque>
#include <vector>

namespace emulator {

namespace {

struct Queue {
    std::deque<Copy> copies;       // in the order in which they were begun
    std::deque<unsigned> groups;   // how many of them each committed group still has
    unsigned open = 0;             // and how many are in no group yet
};

std::vector<Queue> queues;

Queue& own() { return queues[thread_number()]; }

}  // namespace

void begin_copy(void* to, const void* from) {
    own().copies.push_back({to, from});
    own().open++;
}

void commit_copies() {
    own().groups.push_back(own().open);
    own().open = 0;
}

bool next_copy(unsigned left, Copy* copy) {
    Queue& queue = own();
    while (queue.groups.size() > left && queue.groups.front() == 0) queue.groups.pop_front();
    if (queue.groups.size() <= left) return false;
    queue.groups.front()--;
    *copy = queue.copies.front();
    queue.copies.pop_front();
    return true;
}

namespace copies {

void start_block(unsigned threads) {
    if (queues.size() < threads) queues.resize(threads);
    for (Queue& queue : queues) {
        queue.copies.clear();
        queue.groups.clear();
        queue.open = 0;
    }
}

bool left(unsigned thread) { return !queues[thread].copies.empty(); }

}  // namespace copies
}  // namespace emulator
