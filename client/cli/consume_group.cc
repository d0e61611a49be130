#include "client/cli/consume_group.h"

#include <algorithm>
#include <memory>
#include <set>
#include <span>
#include <utility>

#include "client/cli/connection.h"
#include "client/cli/output.h"
#include "raft/runtime/real_clock.h"

namespace millrace::client::cli {
namespace {

// How soon an interrupt is noticed.
constexpr std::chrono::milliseconds kPollTimeout{100};
constexpr std::chrono::milliseconds kCommitInterval{1'000};
// A coordinator that is away for longer holds nothing up: what is open is committed the next time.
constexpr std::chrono::milliseconds kCommitTimeout{1'000};

// Somebody waits in front of another terminal for the partitions of one that was ended.
constexpr std::chrono::milliseconds kSessionTimeout{6'000};

class GroupPrinter {
 public:
  GroupPrinter(const GroupConsumption& options, RecordLines* lines)
      : options_(options), lines_(lines) {}

  Status Open(millrace::Client& client) {
    GroupConsumerOptions reader;
    reader.topics = {options_.topic};
    reader.start = options_.from;
    reader.auto_offset_reset = options_.reset;
    reader.isolation = options_.isolation;
    reader.instance_id = options_.instance_id;
    reader.session_timeout = kSessionTimeout;
    reader.on_revoked = [this](std::span<const AssignedPartition>) { Commit(kCommitTimeout); };
    reader.on_lost = [](std::span<const AssignedPartition> lost, const Status& why) {
      PrintWarning(std::to_string(lost.size()) +
                   " partitions went to others; what was not committed is read again: " +
                   std::string(why.message()));
    };
    ASSIGN_OR_RETURN(reader_, client.OpenGroupConsumer(options_.group, reader));
    return {};
  }

  // Writes, and commits what is written, until the end.
  Status Print() {
    MonotonicTime committed_at = clock_.Now();
    while (!IsInterrupted()) {
      if (options_.count || options_.has_timeout) RETURN_IF_ERROR(OutageOverTimeout());
      ASSIGN_OR_RETURN(const Records records, reader_->Poll(kPollTimeout));
      const bool is_end = Write(records);
      lines_->Flush();
      RETURN_IF_ERROR(lines_->status());
      is_written_ = true;
      if (is_end) return {};
      if (clock_.Now() - committed_at < kCommitInterval) continue;
      Commit(kCommitTimeout);
      committed_at = clock_.Now();
    }
    if (!options_.count) return {};
    return Interrupted("only " + WithThousands(printed_) + " records were printed");
  }

  // Commits what is written, unless that has just failed, and leaves.
  Status Close() {
    if (is_written_) Commit(options_.timeout);
    is_written_ = false;  // on_revoked has nothing to add
    Status left = reader_->Close(options_.timeout);
    RETURN_IF_ERROR(commit_.With("what was printed last is read again: it was not committed"));
    return left;
  }

 private:
  // Whether there are as many as wanted. What is not printed of these is not done.
  bool Write(const Records& records) {
    is_written_ = false;
    std::set<uint32_t> left_over;
    for (const ConsumedRecord& record : records) {
      if (printed_ != options_.count) {
        lines_->Write(record);
        ++printed_;
      } else if (left_over.insert(record.partition).second) {
        const Status back =
            reader_->Seek(options_.topic, record.partition, Position::At(record.offset));
        if (!back.ok()) PrintNote(back.ToString());
      }
    }
    return printed_ == options_.count;
  }

  // Of what Poll gave, if all of it is written.
  void Commit(std::chrono::milliseconds timeout) {
    if (is_written_) commit_ = reader_->Commit(timeout);
  }

  const GroupConsumption& options_;
  RecordLines* const lines_;
  const RealClock clock_;
  std::unique_ptr<GroupConsumer> reader_;
  uint64_t printed_ = 0;
  bool is_written_ = true;  // all that Poll has given
  Status commit_;           // how the last one ended
};

}  // namespace

Status ConsumeInGroup(millrace::Client& client, const GroupConsumption& options,
                      RecordLines* lines) {
  // A group would wait for a topic that is not there yet.
  RETURN_IF_ERROR(client.admin().DescribeTopic(options.topic, options.timeout).status());
  GroupPrinter printer(options, lines);
  RETURN_IF_ERROR(printer.Open(client));
  CatchSignals();
  const Status printed = printer.Print();
  Status closed = printer.Close();
  RETURN_IF_ERROR(printed);
  return closed;
}

}  // namespace millrace::client::cli
