// Source lines of places in the library's code.
#pragma once
#include <cstdint>
#include <string>

namespace emulator {

// A return address as a place: bytes from the library's beginning.
uint32_t place_of(const void* return_address);
// File and line of the call that returns there, as far as the debug information says.
std::string line_of(uint32_t place);

}  // namespace emulator
