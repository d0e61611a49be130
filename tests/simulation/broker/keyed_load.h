// A topic that is compacted while it is written: few keys, many values, tombstones among them. In
// the end, once every replica has done the newest pass, what is read is what the log would give to
// whoever keeps the newest record of each key; and all the time each record that is read is the one
// that was stored at that offset.
//
// Owned by a run; one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "client/core/client.h"
#include "client/core/consumer_driver.h"
#include "client/core/producer_driver.h"
#include "tests/simulation/broker/cluster.h"
#include "tests/simulation/broker/history.h"
#include "tests/simulation/broker/sim_connector.h"

namespace millrace::sim {

class KeyedLoad {
 public:
  static constexpr uint32_t kPartitions = 2;

  KeyedLoad(SimWorld& world, SimCluster& cluster, History& history, Random random);
  ~KeyedLoad();

  void Start() { Create(); }
  // Writes no more; `done` once all is answered.
  void Stop(MoveFunction<void()> done);
  // Whether each replica that can be asked, of those that are not `excused`, has done the newest
  // pass, and no other one came for some seconds. Pre: it stopped, and `done` was called.
  bool IsCompacted(const std::set<size_t>& excused);
  // Begins to read all of it. Pre: it is compacted.
  void ReadBack();
  bool HasReadBack() const;
  // What was read back is what should be left. Pre: HasReadBack.
  void Check();
  // Begins to compare what the replicas hold, as `partition verify` does.
  void Verify() { VerifyFrom(0); }
  bool HasVerified() const { return verified_ == kPartitions; }
  static const char* topic() { return "keyed"; }

 private:
  struct Stored {
    std::string key;
    uint64_t number = 0;  // of the value
    bool is_tombstone = false;
    bool operator==(const Stored&) const = default;
  };
  using Records = std::map<Offset, Stored>;
  class Reader;

  void Create();
  void Alter(size_t setting);
  void Open();
  void SendSome();
  void OnReport(const client::DeliveryReport& report);
  // What somebody was told is stored there.
  void Note(uint32_t partition, Offset offset, const Stored& stored, const char* by);
  void VerifyFrom(uint32_t partition);
  void CheckPartition(uint32_t partition, const Records& left) const;

  SimWorld& world_;
  SimCluster& cluster_;
  History& history_;
  Random random_;
  SimClient own_;
  std::unique_ptr<client::ProducerDriver> producer_;
  std::map<uint32_t, std::deque<Stored>> unanswered_;
  std::vector<Records> records_;  // by partition: all that was ever there, as far as it is known
  std::vector<Offset> ends_;      // after the last that was acknowledged
  std::unique_ptr<Reader> follower_;
  std::unique_ptr<Reader> last_;
  uint32_t verified_ = 0;  // partitions
  std::map<RaftGroupId, uint32_t> seen_passes_;
  Duration passes_seen_at_{};
  uint64_t next_number_ = 1;
  bool is_stopped_ = false;
  MoveFunction<void()> done_;
};

}  // namespace millrace::sim
