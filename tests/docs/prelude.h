// What the examples of the public headers and of docs/client.md take as given: names that a reader
// fills in. Declared, never defined: compile_examples.py looks at what compiles, it links nothing.
//
// Read by tests/docs/compile_examples.py alone.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <millrace/client.h>

// Headers: an example is the end of a function that returns an int, and has these.
namespace in_a_header {
extern millrace::Result<std::unique_ptr<millrace::Client>> client;
extern millrace::Result<std::unique_ptr<millrace::Producer>> producer;
extern std::string_view row;
int Complain(const millrace::Status& status);
void Use(std::string_view value);
}  // namespace in_a_header

// The page: an example is a function, whose parameters are what it needs; these are the program's
// own.
namespace on_a_page {
using namespace std::chrono_literals;
// What is to be done with a record, and where the program keeps its positions: beside what it did.
void Process(const millrace::ConsumedRecord& record);
using Positions = std::map<uint32_t, int64_t>;
Positions LoadPositions();
void StorePositions(const Positions& positions);
// True until SIGTERM has come.
bool KeepRunning();
}  // namespace on_a_page
