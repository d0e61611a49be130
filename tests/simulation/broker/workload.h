// Producers and consumers of a simulated run: the client library that the CLI ships, retrying, over
// simulated brokers, telling a History what they were told.
//
// Each has a process of its own; one thread.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/core/client.h"
#include "client/core/consumer_driver.h"
#include "client/core/producer_driver.h"
#include "tests/simulation/broker/history.h"
#include "tests/simulation/broker/sim_connector.h"

namespace millrace::sim {

struct Acknowledgement {
  uint32_t partition = 0;
  ValueId value;
  Offset offset;
  Duration sent_at{};  // since the world began
  uint64_t bytes = 0;  // of the record's value
};

struct SimProducerOptions {
  std::string topic = "t";
  uint32_t number = 0;
  // What partition 0 is called in the history; the others follow.
  uint32_t history_base = 0;
  Duration delivery_timeout = std::chrono::seconds(600);
  // The topic may go: records may be refused for good.
  bool may_fail = false;
  // Above the default, what fills a value hardly compresses.
  uint64_t value_bytes_max = 400;
};

// Sends numbered values to all partitions in turn, at a varying pace.
class SimProducer {
 public:
  SimProducer(SimWorld& world, SimEdge& edge, std::vector<std::string> addresses,
              const SimProducerOptions& options, History& history,
              std::function<void(const Acknowledgement&)> on_acknowledged);
  // What was sent from now on has at least this number.
  uint64_t next_value() const { return next_value_; }
  SimProcess& process() { return process_; }

  // Sends no more; `done` once everything is answered.
  void StopAndFlush(MoveFunction<void()> done);

 private:
  void Open();
  void SendSome();
  void OnReport(const client::DeliveryReport& report);
  struct Unanswered {
    ValueId value;
    Duration sent_at{};
    uint64_t bytes = 0;
  };
  std::string Filling(uint64_t bytes);

  SimWorld& world_;
  SimProcess& process_;
  Random random_;
  SimConnector connector_;
  client::Client client_;
  const SimProducerOptions options_;
  History& history_;
  std::function<void(const Acknowledgement&)> on_acknowledged_;
  client::ProducerDriver producer_;
  std::map<uint32_t, std::deque<Unanswered>> unanswered_;
  uint64_t next_value_ = 1;
  bool is_open_ = false;
  bool is_stopped_ = false;
  MoveFunction<void()> done_;
};

struct SimConsumerOptions {
  std::string topic = "t";
  std::string name;  // of its process
  uint32_t history_base = 0;
  // Else it asks for offset 0, and is told where the log starts.
  bool begins_at_earliest = true;
};

// Hands on the records of a chunk that were asked for.
Status ForEachRecord(const client::FetchedChunk& chunk,
                     const std::function<void(Offset, std::string_view)>& take);
// What an OUT_OF_RANGE says; nullopt if it is another error, or says nothing of the kind.
struct LogRange {
  Offset start;
  Offset end;
};
std::optional<LogRange> LogRangeIn(const Status& status);

// Reads all partitions from the first record on, those too that come while it reads. Where it is
// told that what comes next is gone it goes on where the log starts.
class SimConsumer {
 public:
  SimConsumer(SimWorld& world, SimEdge& edge, std::vector<std::string> addresses,
              const SimConsumerOptions& options, History& history);

  bool HasReached(const std::vector<Offset>& ends) const;
  const Status& error() const { return error_; }

 private:
  void Open();
  // Reads those that the topic has and this has not.
  void AssignPartitions();
  void TakeAll();
  void Take(const client::FetchedChunk& chunk);
  void GoOn(uint32_t partition, const Status& error);

  SimProcess& process_;
  SimConnector connector_;
  client::Client client_;
  const SimConsumerOptions options_;
  History& history_;
  const uint64_t reader_;
  client::ConsumerDriver consumer_;
  std::vector<Offset> next_;  // by partition that is read
  Status error_;
};

}  // namespace millrace::sim
