// How many producers this broker's partitions remember, beside those with an open transaction: each
// at most so many, and all together at most so many. A table that is full forgets its own oldest; a
// broker that is full forgets the oldest of all its partitions, by last append, an eighth at a
// time, so that the search is rare.
//
// What a table forgets for its own sake follows from the log alone and is the same on every
// replica; what is forgotten for the broker's sake is not, and need not be: what a replica
// remembers beyond what it must is its own affair (ProducerTable::Apply).
//
// Owned by the Node, on the shard's thread; outlives the tables, which tell it of themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

namespace millrace::broker {

class ProducerTable;

struct ProducerLimits {
  size_t per_partition = 10'000;
  size_t per_broker = 200'000;
};

class ProducerMemory {
 public:
  explicit ProducerMemory(const ProducerLimits& limits) : limits_(limits) {}
  ProducerMemory(const ProducerMemory&) = delete;
  ProducerMemory& operator=(const ProducerMemory&) = delete;

  // The key that the table gives to Remove.
  uint64_t Add(ProducerTable* table);
  void Remove(uint64_t key) { tables_.erase(key); }

  // The tables together remember so many more. It may make any of them forget.
  void Grew(size_t count);
  void Shrank(size_t count) { count_ -= count; }

  const ProducerLimits& limits() const { return limits_; }
  size_t count() const { return count_; }

 private:
  void Forget(size_t excess);

  const ProducerLimits limits_;
  size_t count_ = 0;
  std::map<uint64_t, ProducerTable*> tables_;
  uint64_t next_key_ = 1;
};

}  // namespace millrace::broker
