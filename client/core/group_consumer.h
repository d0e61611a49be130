// A member of a group that reads what it has: a GroupSession and a FetchDriver. Each partition is
// read from where the group committed it; where nothing is committed, from where the options say,
// and one that came later from its first record. A start that depends on when it is asked for is
// committed at once, so that whoever reads the partition next passes over nothing.
//
// What it is to give up is read no more from then on, and is its own until GaveUp says so. Offsets
// that are marked as done are committed from time to time, and before a partition is given up and
// before it leaves.
//
// Made from a Client, which outlives it; one owner; everything, the listener too, on the client's
// executor. May be destroyed in the listener.
//
//   GroupConsumer reader(client, {.session = {.group = "billing", .subscription = topics}}, listener);
//   reader.Start();
//   listener.ready   -> while (auto chunk = reader.Next()) { ... reader.MarkDone(...); }
//   listener.revoked -> reader.GaveUp(partitions);
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/core/client.h"
#include "client/core/fetch_driver.h"
#include "client/core/group_session.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/lifetime.h"

namespace millrace::client {

struct GroupConsumerOptions {
  GroupSessionOptions session;
  ConsumerTuning tuning = {};
  // Where nothing is committed.
  StartAt start = StartAt::Earliest();
  // How often what is marked as done is committed.
  Duration commit_interval = std::chrono::seconds(5);
};

// A partition as it was assigned. Once it is assigned anew, what is said of the time before says
// nothing any more.
struct OwnedPartition {
  TopicPartition partition;
  uint32_t fencing_token = 0;
};

// How far a partition is read.
struct ReadUpTo {
  OwnedPartition partition;
  Offset next;             // of the record to be read next
  Term leader_epoch = {};  // of the record before it; 0: not known
  std::string metadata = {};
};

// An offset that was not taken.
struct RefusedCommit {
  TopicPartition partition;
  Status why;
};

class GroupConsumer {
 public:
  struct Listener {
    // Next has something after it had nothing.
    std::function<void()> ready;
    // These are read from now on.
    std::function<void(const std::vector<GroupPartition>&)> assigned;
    // Nothing more of these comes out of Next. GaveUp is awaited.
    std::function<void(const std::vector<TopicPartition>&)> revoked;
    // The same, but they are others' by now, or may be.
    std::function<void(const std::vector<TopicPartition>&, const Status& why)> lost;
    // It cannot be a member. Nothing follows.
    std::function<void(const Status& why)> failed;
  };
  using CommitDone = MoveFunction<void(Result<std::vector<RefusedCommit>>)>;

  GroupConsumer(Client& client, GroupConsumerOptions options, Listener listener);
  GroupConsumer(const GroupConsumer&) = delete;
  GroupConsumer& operator=(const GroupConsumer&) = delete;

  void Start();
  // What came in, in order per partition. A topic that is gone is no error: the group takes its
  // partitions away.
  std::optional<FetchedChunk> Next();
  // Nothing is marked of what it has not, or has had before.
  void MarkDone(const ReadUpTo& read);
  // As GroupSession::Commit. Of what it has not, or has had before, nothing is taken: ABORTED
  // (MEMBER_FENCED).
  void Commit(const std::vector<ReadUpTo>& read, CommitDone done);
  // What these would be committed by, in a transaction of this producer, which brokers fence from
  // now on where the member is taken out. ABORTED (MEMBER_FENCED) if it has one of them no more.
  Result<v1::CommitOffsetsRequest> RequestOf(const std::vector<ReadUpTo>& read,
                                             const v1::MemberProducer& producer);
  // Commits what is marked of these, and lets go of those that it is to give up.
  void GaveUp(const std::vector<TopicPartition>& partitions);
  // Reads nothing more, commits what is marked, and goes; `done` as GroupSession::Leave.
  void Leave(bool will_be_back, Task done);

  // Whether it is its own, and was not assigned with another token since.
  bool Has(const OwnedPartition& partition) { return Find(partition) != nullptr; }
  // As the FetchDriver's; they do nothing to a partition that is not its own, is to be given up, or
  // was assigned with another token since.
  void Seek(const OwnedPartition& partition, const StartAt& start);
  void Pause(const OwnedPartition& partition);
  void Resume(const OwnedPartition& partition);
  void Fail(const OwnedPartition& partition, const Status& status);
  const std::string& member_id() const { return session_.member_id(); }

 private:
  struct Part {
    std::string topic;
    uint32_t fencing_token = 0;
    std::optional<Offset> committed = {};
    std::optional<ReadUpTo> done = {};
    bool is_paused = false;
    bool is_revoked = false;
  };

  void OnAssigned(const std::vector<GroupPartition>& partitions);
  void OnRevoked(const std::vector<TopicPartition>& partitions);
  void OnLost(const std::vector<TopicPartition>& partitions, const Status& why);
  // Null unless it is its own.
  Part* Find(const OwnedPartition& partition);
  // Null unless it is to be read, too.
  Part* FindRead(const OwnedPartition& partition);
  void Read(const TopicPartition& partition, const StartAt& start);
  void StopReading(const TopicPartition& partition);
  // Asks where these begin, of one topic, again and again until it is known.
  void FindStarts(TopicId topic, std::vector<PartitionId> partitions);
  void OnStarts(TopicId topic, const std::vector<PartitionId>& asked,
                const Result<v1::ListOffsetsResponse>& response);
  void LookAgain(const TopicPartition& partition);
  void PlanCommit();
  // What is marked and not committed; of these alone if some are given.
  void CommitMarked(const std::vector<TopicPartition>* of);
  void OnCommitted(const std::vector<ReadUpTo>& asked, const std::vector<RefusedCommit>& refused);

  Client& client_;
  const GroupConsumerOptions options_;
  const Listener listener_;
  std::map<TopicPartition, Part> parts_;  // that are its own
  bool is_committing_ = false;            // what was marked
  FetchDriver fetcher_;
  GroupSession session_;
  Lifetime lifetime_;
};

}  // namespace millrace::client
