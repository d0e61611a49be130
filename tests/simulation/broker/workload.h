// Producers and consumers of a simulated run: the client library that the CLI ships, retrying, over
// simulated brokers, telling a History what they were told.
//
// Each has a process of its own; one thread.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
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
};

struct SimProducerOptions {
  std::string topic = "t";
  uint32_t number = 0;
  // What partition 0 is called in the history; the others follow.
  uint32_t history_base = 0;
  Duration delivery_timeout = std::chrono::seconds(600);
  // The topic may go: records may be refused for good.
  bool may_fail = false;
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

  SimProcess& process_;
  Random random_;
  SimConnector connector_;
  client::Client client_;
  const SimProducerOptions options_;
  History& history_;
  std::function<void(const Acknowledgement&)> on_acknowledged_;
  client::ProducerDriver producer_;
  std::map<uint32_t, std::deque<ValueId>> unanswered_;
  uint64_t next_value_ = 1;
  bool is_open_ = false;
  bool is_stopped_ = false;
  MoveFunction<void()> done_;
};

struct SimConsumerOptions {
  std::string topic = "t";
  std::string name;  // of its process
  uint32_t history_base = 0;
};

// Reads all partitions from the first record on, those too that come while it reads.
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
