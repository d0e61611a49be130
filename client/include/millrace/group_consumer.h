// Reads as a member of a group: the partitions of some topics are shared out among the group's
// members, each to one of them, and go to others when members come, leave, or are not heard of any
// more. A partition is read from where the group committed it. Whoever keeps a partition notices
// nothing of all this.
//
// Made by Client::OpenGroupConsumer. One thread at a time; callbacks are called in Poll and Close,
// by the thread that called those. The client's own thread keeps the membership alive, however long
// what was polled is worked on.
//
// A partition that is to be given up is read no more, on_revoked is called in the next Poll, and
// only then somebody else gets it: what is committed until the callback ends counts. A Poll that
// comes after revoke_timeout is too late: then the partition is lost.
//
// A partition is lost when this member could not be heard of for session_timeout. Others have it by
// then, or may; what is committed for it is refused. What is written elsewhere can carry
// fencing_token, which grows with every change of owner.
//
//   auto reader = (*client)->OpenGroupConsumer("billing", {.topics = {"orders"}});
//   while (true) {
//     auto records = (*reader)->Poll(std::chrono::seconds(1));
//     if (!records.ok()) return Complain(records.status());
//     for (const millrace::ConsumedRecord& record : *records) Use(*record.value);
//     millrace::Status committed = (*reader)->Commit();  // at least once: behind the work
//     if (!committed.ok()) std::cerr << committed << "\n";  // others may do some of it again
//   }
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "millrace/consumer.h"
#include "millrace/record.h"
#include "millrace/status.h"

namespace millrace {

namespace internal {
class GroupConsumerHandle;
}  // namespace internal

struct AssignedPartition {
  std::string topic = {};
  uint32_t partition = 0;
  // Grows with every change of owner.
  uint32_t fencing_token = 0;
  // That the group had committed when it was assigned; nothing: none.
  std::optional<int64_t> committed = {};
};

// What a program commits by itself.
struct PartitionOffset {
  std::string topic = {};
  uint32_t partition = 0;
  int64_t offset = 0;         // of the record to be read next; 0 and up
  std::string metadata = {};  // the program's own, UTF-8, at most 4 KiB
};

struct GroupConsumerOptions {
  // At most 1,000. One that is not there is read from when it is made.
  std::vector<std::string> topics = {};
  // And those whose whole names match this RE2 expression, at most 1,000 bytes; empty: none.
  std::string pattern = {};
  // Where a partition begins for which the group has committed nothing. Partitions that a topic got
  // later begin with their first record. Latest and a time are committed as the offset that they
  // mean as soon as that is known, so that nothing is passed over if the partition goes on to
  // somebody else.
  Position start = Position::Earliest();
  // Of a position below the partition's first record: kFail is OUT_OF_RANGE, in Poll.
  OffsetReset auto_offset_reset = OffsetReset::kFail;
  // Also where latest is. What it commits is an offset either way.
  Isolation isolation = Isolation::kCommitted;
  // Commits so often what Poll had given before it was called last, and before a partition is given
  // up. Nothing: only Commit does. 1 ms and up.
  std::optional<std::chrono::milliseconds> auto_commit_interval = {};
  // A static member, 1 to 249 bytes: closed or ended, its partitions wait for whoever comes with
  // the same one, for session_timeout. Empty: it is none.
  std::string instance_id = {};
  // Where it is, at most 249 bytes: partitions with a replica there are its own sooner.
  std::string rack = {};
  // "uniform" or "range"; empty: any.
  std::string assignor = {};
  // Not heard of for so long, it is taken out of the group; 1 s to 30 min.
  std::chrono::milliseconds session_timeout{30'000};
  // What it is to give up, it must within this; 1 s to 30 min.
  std::chrono::milliseconds revoke_timeout{60'000};
  // What may be fetched ahead of Poll, per broker; 64 KiB and up.
  size_t prefetch_bytes = size_t{8} << 20;

  // Any may be empty. They may Commit, Seek, Pause and Resume, but neither Poll nor Close.
  std::function<void(std::span<const AssignedPartition>)> on_assigned = {};
  std::function<void(std::span<const AssignedPartition>)> on_revoked = {};
  std::function<void(std::span<const AssignedPartition>, const Status& why)> on_lost = {};
};

class GroupConsumer {
 public:
  static constexpr std::chrono::milliseconds kTimeout{30'000};

  // Closes it if that was not done, and waits for that for at most a second.
  ~GroupConsumer();
  GroupConsumer(const GroupConsumer&) = delete;
  GroupConsumer& operator=(const GroupConsumer&) = delete;

  // As Consumer::Poll, of all partitions that it has. An error of a partition ends the reading of
  // that one, until a Seek or somebody else has it; its metadata `topic` and `partition` name it.
  // An error without them is the member's: INVALID_ARGUMENT, UNIMPLEMENTED, PERMISSION_DENIED or
  // FAILED_PRECONDITION (the members of the group differ in what they must not), as the group
  // refused it. It is told by every Poll from then on. What may heal is tried again inside.
  Result<Records> Poll(std::chrono::milliseconds timeout);

  // Commits that all is done that Poll has given. Ok if all of it was taken; else the first error:
  // ABORTED (MEMBER_FENCED) if a partition is not its own any more. DEADLINE_EXCEEDED: it may or
  // may not have been taken.
  Status Commit(std::chrono::milliseconds timeout = kTimeout);
  // Commits these. NOT_FOUND for one that it has not; OUT_OF_RANGE past the partition's end.
  Status Commit(const std::vector<PartitionOffset>& offsets,
                std::chrono::milliseconds timeout = kTimeout);

  // Goes back to what the group has committed, in all partitions that it has: after a transaction
  // that was to commit what it read (Producer::SendOffsets), and was aborted, or whose end is not
  // known; it is known then. What Poll gave since comes again. DEADLINE_EXCEEDED while a
  // transaction is open that has offsets of the group.
  Status Rewind(std::chrono::milliseconds timeout = kTimeout);

  // Sorted by topic and partition; as the callbacks have told.
  std::vector<AssignedPartition> assignment() const;
  // The offset of the record that Poll will give next; absent while that is not known. What follows
  // is NOT_FOUND for a partition that it has not.
  std::optional<int64_t> position(const std::string& topic, uint32_t partition) const;
  // As Consumer's. A new owner of the partition knows nothing of it.
  Status Seek(const std::string& topic, uint32_t partition, const Position& position);
  Status Pause(const std::string& topic, uint32_t partition);
  Status Resume(const std::string& topic, uint32_t partition);

  // Leaves the group, so that others get its partitions at once; those of a static member wait for
  // it. on_revoked is called before. With auto_commit_interval what Poll had given before it was
  // called last is committed; Commit before, if the rest is done, too. UNAVAILABLE if the group
  // could not be told in time: then its session has to end by itself. Once; nothing else after it.
  Status Close(std::chrono::milliseconds timeout = kTimeout);

 private:
  friend class Client;
  friend class Producer;
  explicit GroupConsumer(std::unique_ptr<internal::GroupConsumerHandle> handle);

  std::unique_ptr<internal::GroupConsumerHandle> handle_;
};

}  // namespace millrace
