// Reads a few records here and a few there, of partitions whose oldest records go: what it asks for
// is there, beginning with the very record, or it is told that it is gone.
//
// Owned by a run; a process of its own, one thread.
//
//   Walker walker(world, edge, addresses, 3, history, random);
//   walker.Start();
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/core/client.h"
#include "client/core/consumer_driver.h"
#include "tests/simulation/broker/history.h"
#include "tests/simulation/broker/sim_connector.h"

namespace millrace::sim {

class Walker {
 public:
  Walker(SimWorld& world, SimEdge& edge, std::vector<std::string> addresses, uint32_t partitions,
         History& history, Random random);

  void Start() { Open(); }
  // Reads what is about to go, or has just gone.
  void JumpBelow(uint32_t partition, Offset before);
  // Begins no more reads.
  void Stop() { is_stopped_ = true; }
  const Status& error() const { return error_; }

 private:
  struct Place {
    std::optional<Offset> asked;  // what is read first; none: from the start, or it was read
    uint64_t left = 0;            // to be read
    Offset end;                   // the largest high watermark that was seen
  };

  void Open();
  void Next();
  void Jump(uint32_t partition, std::optional<Offset> to);
  void TakeAll();
  void Take(const client::FetchedChunk& chunk);
  void TakeRecord(uint32_t partition, Offset offset, std::string_view value);
  void OnGone(uint32_t partition, const Status& error);

  SimClient own_;
  History& history_;
  Random random_;
  const uint64_t reader_;
  client::ConsumerDriver consumer_;
  std::vector<Place> places_;
  Status error_;
  bool is_open_ = false;
  bool is_stopped_ = false;
};

}  // namespace millrace::sim
