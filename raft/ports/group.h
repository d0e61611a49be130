// What a state machine may do with the group that it is a replica of: propose, read, and say that
// something here cannot be read. raft/host's replica implements it, and gives itself to its machine
// by StateMachine::Attach; tests may give a machine another.
//
// On the group's shard thread.
//
//   group.Propose(ProposalClass::kBulk, {.type = FrameType::kRecordBatch, ...}, std::move(frame));
//   if (const auto tail = group.tail()) entry = tail->At(tail->applied());
#pragma once

#include <cstdint>
#include <optional>

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "proto/frame/frame.h"
#include "raft/core/log.h"
#include "raft/runtime/task.h"

namespace millrace::raft {

// How a proposal stands to a broker that can hardly store more.
enum class ProposalClass : uint8_t {
  kControl,  // taken as long as anything is: a new leader's no-op, without which nobody leads
  kBulk,     // refused while the journal is full or the group's segments cannot be written
};

// The newest entries of a replica's log, which are in memory; older ones are in segments. A view:
// valid until the shard's thread does something else with the group.
class TailView {
 public:
  TailView(const core::Log& log, LogIndex applied) : log_(&log), applied_(applied) {}

  // The oldest entry that is in memory, or the next one to come.
  LogIndex first() const { return log_->prefix().index + 1; }
  // Entries up to here are applied; those after it may never be. It is below first() where nothing
  // of the tail is applied.
  LogIndex applied() const { return applied_; }
  // Whether no entry of the log lies below first().
  bool is_whole_log() const { return first() == log_->first_index(); }
  bool Holds(LogIndex index) const { return log_->InTail(index); }
  // Pre: Holds(index).
  const core::Entry& At(LogIndex index) const { return log_->At(index); }

 private:
  const core::Log* log_;
  LogIndex applied_;
};

class Group {
 public:
  virtual ~Group() = default;

  // Seals `draft` (group, term, index and chain are filled in here; base_offset, offset_span,
  // checksums and producer fields are the caller's) with `frame`, made by AllocateFrame, and
  // appends it. The index on success. UNAVAILABLE (NOT_LEADER) with the leader, or
  // RESOURCE_EXHAUSTED.
  virtual Result<LogIndex> Propose(ProposalClass proposal_class, FrameHeader draft,
                                   Buffer frame) = 0;
  // Calls `done` with ok once a majority confirmed that this broker leads the group and everything
  // committed before the call is applied; UNAVAILABLE if that can't be had.
  virtual void ReadBarrier(MoveFunction<void(Status)> done) = 0;
  // What the log holds here cannot be read back, and why; what readers are to be told. What is
  // damaged (DATA_LOSS) is repaired from others, if one of them has it; else, where others could
  // read it, one of them is to lead.
  virtual Status ReportUnreadable(const Status& why) = 0;

  // What log lines call this broker's replica of it: "group=17 topic=flights partition=3".
  virtual std::string Name() const = 0;
  // Not ok: the replica is silent, and why.
  virtual const Status& health() const = 0;
  // The error to give to whoever needs the group's leader.
  virtual Status NotLeader() const = 0;
  // Where the next record goes, and the least append time that it may have, after everything in the
  // log. Pre: tail().
  virtual Offset next_offset() const = 0;
  virtual int64_t last_append_time_ms() const = 0;
  // The newest pass of compaction that all members of the group have done, as far as they told
  // since this replica was made (docs/adr/0016-compaction.md); 0 if one of them told none.
  virtual uint32_t settled_pass() const = 0;
  // This replica has done one: the leader is to hear of it.
  virtual void TellPass() = 0;
  // None while the replica does not take part: it has not joined yet, or is silent.
  virtual std::optional<TailView> tail() const = 0;
};

}  // namespace millrace::raft
