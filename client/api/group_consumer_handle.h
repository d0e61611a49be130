// What is behind the public GroupConsumer: client/core's on the client's thread, and a queue
// between the two. What happens to the member's partitions comes out of it as notices, on the
// program's thread and before any record that came later: so the program's view, parts_, is always
// that of the records it has.
//
// Owned by GroupConsumer; one thread at a time, beside the client's own. Made and destroyed outside
// of the client's thread.
//
//   auto handle = GroupConsumerHandle::Open(runtime, "billing", options);  // a Result
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "client/api/chunk_queue.h"
#include "client/api/chunk_records.h"
#include "client/api/runtime.h"
#include "client/core/group_consumer.h"
#include "millrace/group_consumer.h"
#include "raft/runtime/lifetime.h"

namespace millrace::internal {

class GroupConsumerHandle {
 public:
  static Result<std::unique_ptr<GroupConsumerHandle>> Open(std::shared_ptr<Runtime> runtime,
                                                           const std::string& group,
                                                           const GroupConsumerOptions& options);
  ~GroupConsumerHandle();
  GroupConsumerHandle(const GroupConsumerHandle&) = delete;
  GroupConsumerHandle& operator=(const GroupConsumerHandle&) = delete;

  // As the GroupConsumer's.
  Result<Records> Poll(std::chrono::milliseconds timeout);
  Status Commit(std::chrono::milliseconds timeout);
  Status Commit(const std::vector<PartitionOffset>& offsets, std::chrono::milliseconds timeout);
  Status Rewind(std::chrono::milliseconds timeout);
  // Whether a transaction that had offsets of this was not committed: set by its producer, on any
  // thread. Shared with that.
  using ReadAgain = std::atomic<bool>;
  struct Given {
    v1::CommitOffsetsRequest offsets;
    std::shared_ptr<ReadAgain> read_again;
  };
  // What Poll has given since the last call, to be committed in a transaction of `producer`, which
  // is called on the client's thread. `runtime`: the producer's.
  Result<Given> TakeGiven(const Runtime& runtime,
                          const std::function<v1::MemberProducer()>& producer);
  std::vector<AssignedPartition> assignment() const;
  std::optional<int64_t> position(const std::string& topic, uint32_t partition) const;
  Status Seek(const std::string& topic, uint32_t partition, const Position& position);
  Status Pause(const std::string& topic, uint32_t partition);
  Status Resume(const std::string& topic, uint32_t partition);
  Status Close(std::chrono::milliseconds timeout);

 private:
  struct Part {
    TopicName topic;
    uint32_t fencing_token = 0;
    std::optional<int64_t> assigned_at;  // AssignedPartition.committed
    // Of the next record to give out, and of the leader of the one before it.
    std::optional<Offset> position;
    Term leader_epoch;
    std::optional<Offset> committed;
  };
  using Parts = std::map<TopicPartition, Part>;

  GroupConsumerHandle(std::shared_ptr<Runtime> runtime, const std::string& group,
                      const GroupConsumerOptions& options);

  // FAILED_PRECONDITION where a Poll or a Close may not be.
  Status CheckMayCallBack() const;
  ChunkQueue::Taken Take(Duration timeout, bool may_be_any);
  // Adds the chunk's records, or is its error.
  Status Read(const client::FetchedChunk& chunk, Records* records, size_t* opened_bytes);
  // What Poll had given before is done.
  void MarkGiven();
  Status CommitAll(const std::vector<client::ReadUpTo>& read, std::chrono::milliseconds timeout);
  Parts::const_iterator Look(const std::string& topic, uint32_t partition) const;
  // NOT_FOUND.
  Result<Parts::iterator> Find(const std::string& topic, uint32_t partition);
  static client::OwnedPartition Owned(const Parts::value_type& part);
  // How far Poll has given it; nothing while that is not known.
  static std::optional<client::ReadUpTo> GivenOf(const Parts::value_type& part);
  // Makes a change on the client's thread that may drop what is queued, and waits for it. Nothing
  // if the partition was lost since the program was told last: what is queued may be of another
  // assignment of it, which is read from elsewhere.
  void ChangeReading(const Parts::value_type& part, Task change);
  // Reads the partition from what is committed.
  void GoBack(Parts::value_type& part, const v1::GroupOffset& committed);
  static AssignedPartition RowOf(const Parts::value_type& part);
  template <typename Callback, typename... Args>
  void CallBack(const Callback& callback, const Args&... args);

  // Notices.
  void OnAssigned(const std::vector<client::GroupPartition>& partitions);
  void OnRevoked(const std::vector<TopicPartition>& partitions);
  void OnLost(const std::vector<TopicPartition>& partitions, const Status& why);
  // Takes these out of parts_; their rows.
  std::vector<AssignedPartition> TakeOut(const std::vector<TopicPartition>& partitions);

  // On the client's thread.
  client::GroupConsumer::Listener MakeListener();
  void Refill();
  void Drop(const std::vector<TopicPartition>& partitions);

  const std::shared_ptr<Runtime> runtime_;  // shared with the client and all that was made from it
  const std::string group_;
  const GroupConsumerOptions options_;
  // The program's thread's.
  Parts parts_;
  std::set<TopicPartition> given_;  // of which something was given and not marked as done
  // ... and is not part of a transaction, nor committed.
  std::set<TopicPartition> untaken_;
  // One of these is its own no more: what was done for it must not be committed.
  bool has_lost_untaken_ = false;
  const std::shared_ptr<ReadAgain> read_again_ = std::make_shared<ReadAgain>(false);
  Status ended_;  // why it cannot be a member
  bool is_calling_back_ = false;
  bool is_closed_ = false;

  ChunkQueue queue_;

  // The client's thread's.
  std::unique_ptr<client::GroupConsumer> reader_;
  Lifetime lifetime_;  // ends there; any thread posts what it guards
};

}  // namespace millrace::internal
