// A broker in the test's own process, for the public library's cores: one topic "t" whose batches
// the test makes, good and bad ones, and whose answers it gives when it likes.
//
// Made by the Runtime under test, which owns it and calls it on its thread; what a test calls, any
// thread.
//
//   ScriptedCluster cluster(1);
//   cluster.Store(0, BatchOf({"a", "b"}), 2);
//   auto consumer = ConsumerHandle::Open(cluster.runtime(), "t", {});
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "client/api/runtime.h"
#include "client/core/connector.h"
#include "millrace/v1/consumer_service.pb.h"
#include "millrace/v1/transaction_service.pb.h"
#include "proto/base/bytes.h"
#include "proto/record/compression.h"

namespace millrace::internal {

// What a producer would have sent for partition 0.
Bytes BatchOf(const std::vector<std::string>& values,
              BatchCompression compression = BatchCompression::kNone);

class ScriptedCluster {
 public:
  explicit ScriptedCluster(uint32_t partition_count);
  ~ScriptedCluster();

  const std::shared_ptr<Runtime>& runtime() const { return runtime_; }

  // Runs `task` on the client's thread after that time.
  void Later(Duration delay, Task task);

  // The partition's next batch.
  void Store(uint32_t partition, const Bytes& batch, uint32_t record_count);
  // Waits until so many bytes of batches were sent in all; false if that takes too long.
  bool WaitUntilSent(uint64_t bytes);
  // Waits until so many batches were produced in all; false if that takes too long.
  bool WaitUntilProduced(uint64_t batches);
  // Answers what was produced: with `error`, or as stored at offset 0. On the client's thread.
  void AnswerProduced(const Status& error);
  // From now on all is stored and answered as it comes.
  void AnswerAllFromNowOn();
  // How the topic says that keys choose partitions.
  void SetPartitioning(int value);
  // The topic has so many partitions from now on, and the client was told.
  void Grow(uint32_t partition_count);
  // From now on calls are answered so late.
  void DelayAnswers(Duration delay);
  // Waits until what was under way has happened.
  void Settle();
  // The member of a group that is there has these of the topic's partitions from now on, and
  // gives those up. Each with the offset 0 committed, and with this token.
  void Assign(const std::vector<uint32_t>& partitions, const std::vector<uint32_t>& revoked = {},
              uint32_t fencing_token = 1);
  // Waits until so many of its streams have begun; false if that takes too long.
  bool WaitUntilJoined(uint64_t streams);
  // Its stream ends so.
  void EndMembership(const Status& why);
  // From now on commits are refused for partition 0.
  void RefuseCommits(const Status& why);
  // What members have said: "commit 0@7", "owns 0 1", "leaves", "leaves for a while".
  std::vector<std::string> Heard() const;
  // Waits until the last that was said is this; false if that takes too long.
  bool WaitUntilHeard(const std::string& text);

  // From now on transactions end with this; the ends that were asked: "commit 1", "abort 2", and
  // offsets that were staged: "stage 0@7 in 3".
  void AnswerEnds(const Status& error);
  std::vector<std::string> Ends() const;
  // Records that were produced, by the number of their transaction.
  std::map<uint64_t, uint32_t> RecordsOfTransactions() const;

  // The timeout that the last call of a method whose name ends so was made with.
  Duration TimeoutOf(const std::string& method) const;

 private:
  class Broker;
  class FetchStream;
  class JoinStream;
  class ProduceStream;
  struct State;

  void Append(uint32_t partition, const Bytes& batch, uint32_t record_count);

  const std::shared_ptr<State> state_;  // shared with the broker and its streams
  std::shared_ptr<Runtime> runtime_;    // shared with the cores
};

}  // namespace millrace::internal
