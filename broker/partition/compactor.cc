#include "broker/partition/compactor.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "broker/partition/compaction/batch_compaction.h"
#include "proto/base/coverage.h"
#include "proto/frame/frame.h"
#include "raft/runtime/pace.h"

namespace millrace::broker {
namespace {

using raft::core::Entry;
using raft::core::EntryType;

// One turn of the shard and of the worker, between which live records have theirs.
constexpr uint64_t kPieceBytes = 1 << 20;
// After an error, which an attempt at once would meet again.
constexpr Duration kErrorPause = std::chrono::seconds(10);

bool HasKeys(const Entry& entry) {
  return entry.type == EntryType::kCommand && entry.frame.header().type == FrameType::kRecordBatch;
}

}  // namespace

bool Compactor::IsSealed(const Job& job) const {
  const RaftGroupId group = job.replica.group;
  for (const raft::SealedSegment& segment : environment_.store.sealed_segments(group)) {
    if (segment.end.next_offset < job.state.clean_to) continue;
    return segment.end.index <= environment_.store.rewritable_end(group) &&
           job.decided_by <= environment_.store.readable_end(group);
  }
  return false;
}

void Compactor::Offer(const Job& job) {
  const RaftGroupId group = job.replica.group;
  raft::LogStore& store = environment_.store;
  if (is_busy() || options_.bytes_per_second == 0) return;
  if (job.state.pass <= store.compacted(group).pass) return;
  const auto failed = failures_.find(group);
  const bool waits =
      failed != failures_.end() && environment_.clock.Now() < failed->second.not_before;
  if (waits) return;
  if (!IsSealed(job)) return store.WantSealed(group, job.state.clean_to);
  pass_ = std::make_shared<Pass>(environment_.executor, lifetime_);
  pass_->job = job;
  pass_->began = environment_.clock.Now();
  pass_->repairs = store.repairs_begun(group);
  // What the pass before left needs to be read again only if this replica did not do that.
  const bool follows = store.compacted(group).pass + 1 == job.state.pass;
  MILLRACE_SOMETIMES_IF("a replica had missed a pass of compaction", !follows);
  pass_->known_to = follows ? job.state.clean_from : Offset();
  BeginMap(pass_);
}

// On the worker: so much memory takes long to get, and to give back, which comes first.
void Compactor::BeginMap(const PassPtr& pass) {
  const Offset clean_to = pass->job.state.clean_to;
  pass->known_from = pass->known_to;
  const auto records = static_cast<uint64_t>(std::max<int64_t>(clean_to - pass->known_to, 1));
  pass->left.reset();
  environment_.batches.Run<KeyMapPtr>(
      {.kind = BatchWorker::Kind::kFetched},
      [full = std::exchange(pass->keys, nullptr), bytes_max = options_.memory_bytes, records,
       random = random_.Fork()]() mutable -> KeyMapPtr {
        full.reset();
        return std::make_shared<KeyMap>(
            KeyMap::Options{.bytes_max = bytes_max, .keys_max = records}, random);
      },
      pass->errand.While([this, pass](KeyMapPtr keys) {
        pass->keys = std::move(keys);
        ReadKeys(pass);
      }));
}

void Compactor::ReadKeys(const PassPtr& pass) {
  if (pass->known_to >= pass->job.state.clean_to) {
    pass->end = LogIndex();
    return NextSegment(pass);
  }
  const RaftGroupId group = pass->job.replica.group;
  // What lies before may be dropped at any time.
  const auto& sealed = environment_.store.sealed_segments(group);
  if (!sealed.empty()) pass->known_to = std::max(pass->known_to, sealed.front().base_offset);
  pass->piece_began = environment_.clock.Now();
  environment_.store.ReadFromOffset(
      group, pass->known_to, kPieceBytes,
      pass->errand.While([this, pass](Result<std::vector<Entry>> entries) {
        OnRead(pass, std::move(entries), &Compactor::TakeKeys);
      }));
}

// What transactions left void is found, where there are any.
void Compactor::OnRead(const PassPtr& pass, Result<std::vector<Entry>> entries, PieceStep step) {
  if (!entries.ok()) return Fail(pass, entries.status());
  const auto is_transactional = [](const Entry& entry) {
    return entry.frame.header().transaction_number != 0;
  };
  if (std::none_of(entries->begin(), entries->end(), is_transactional)) {
    return (this->*step)(pass, {.entries = *std::move(entries), .filter = VoidFilter({})});
  }
  const Offset first = entries->front().frame.header().base_offset;
  const FrameHeader last = entries->back().frame.header();
  environment_.store.FindVoidRanges(
      pass->job.replica.group, first, last.base_offset + last.offset_span,
      pass->errand.While([this, pass, step, entries = *std::move(entries)](
                             Result<std::vector<VoidRange>> ranges) mutable {
        if (!ranges.ok()) return Fail(pass, ranges.status());
        (this->*step)(pass,
                      {.entries = std::move(entries), .filter = VoidFilter(*std::move(ranges))});
      }));
}

void Compactor::TakeKeys(const PassPtr& pass, Piece piece) {
  pass->piece_bytes = raft::core::TotalBytes(piece.entries);
  pass->bytes_read += pass->piece_bytes;
  environment_.batches.Run<KeysRead>(
      {.kind = BatchWorker::Kind::kFetched},
      [piece = std::move(piece), keys = pass->keys, from = pass->known_to,
       clean_to = pass->job.state.clean_to]() -> KeysRead {
        KeysRead read{.status = {}, .known_to = from};
        for (const Entry& entry : piece.entries) {
          const FrameHeader header = entry.frame.header();
          const auto note = [&](const KeyedRecord& record) {
            if (record.offset < from) return true;
            if (record.offset >= clean_to) return false;
            read.is_full = !keys->Add(record.key, record.offset);
            if (read.is_full) read.known_to = record.offset;
            return !read.is_full;
          };
          const bool counts = HasKeys(entry) && !piece.filter.IsVoid(header);
          if (counts) read.status = VisitKeys(entry.frame, note).status();
          if (read.is_full || !read.status.ok()) break;
          read.known_to = std::min(clean_to, header.base_offset + header.offset_span);
        }
        return read;
      },
      pass->errand.While([this, pass](KeysRead read) {
        if (!read.status.ok()) return Fail(pass, read.status);
        pass->known_to = std::max(pass->known_to, read.known_to);
        if (!read.is_full) return Paced(pass, &Compactor::ReadKeys);
        MILLRACE_SOMETIMES("a pass had more keys than memory");
        pass->end = LogIndex();
        NextSegment(pass);
      }));
}

// Oldest first: a tombstone stays until what it covers is gone.
void Compactor::NextSegment(const PassPtr& pass) {
  const RaftGroupId group = pass->job.replica.group;
  LogIndex begin = environment_.store.readable_begin(group).value_or(raft::core::LogPoint()).index;
  for (const raft::SealedSegment& segment : environment_.store.sealed_segments(group)) {
    if (segment.end.index <= pass->end) {
      begin = segment.end.index;
      continue;
    }
    if (segment.base_offset >= pass->known_to) break;
    pass->begin = pass->reached = begin;
    pass->end = segment.end.index;
    pass->is_rewriting = false;
    pass->left.reset();
    return ReadSegment(pass);
  }
  if (pass->known_to < pass->job.state.clean_to) return BeginMap(pass);
  Finish(pass);
}

void Compactor::BeginRewrite(const PassPtr& pass) {
  pass->is_rewriting = true;
  pass->left.reset();
  pass->reached = pass->begin;
  environment_.store.BeginRewrite(pass->job.replica, pass->begin,
                                  pass->errand.While([this, pass](const Status& begun) {
                                    if (!begun.ok()) return Fail(pass, begun);
                                    ReadSegment(pass);
                                  }));
}

void Compactor::ReadSegment(const PassPtr& pass) {
  if (pass->reached >= pass->end) return EndSegment(pass);
  if (pass->left == nullptr) {
    const CompactionState& state = pass->job.state;
    pass->left = std::make_shared<SegmentCompaction>(
        pass->keys, SegmentCompaction::Bounds{
                        .home = pass->job.name,
                        .tombstones_below = std::min(state.tombstones_below, pass->known_to),
                        .older_than_ms = state.older_than_ms});
  }
  pass->piece_began = environment_.clock.Now();
  environment_.store.Read(pass->job.replica.group, pass->reached + 1, kPieceBytes,
                          pass->errand.While([this, pass](Result<std::vector<Entry>> entries) {
                            OnRead(pass, std::move(entries), &Compactor::TakePiece);
                          }));
}

void Compactor::TakePiece(const PassPtr& pass, Piece piece) {
  const std::vector<Entry>& entries = piece.entries;
  // Gaps that a repair put there begin elsewhere.
  if (entries.front().index != pass->reached + 1) {
    return Fail(pass, Aborted("the segment was repaired meanwhile"));
  }
  pass->piece_bytes = raft::core::TotalBytes(entries);
  pass->bytes_read += pass->piece_bytes;
  pass->reached = LastIndexOf(entries.back().frame.header());
  environment_.batches.Run<Compacted>(
      {.kind = BatchWorker::Kind::kFetched},
      [piece = std::move(piece), left = pass->left]() mutable -> Compacted {
        Result<std::vector<Entry>> taken = left->Take(std::move(piece.entries), piece.filter);
        if (!taken.ok()) return {.status = taken.status(), .entries = {}};
        return {.status = {}, .entries = *std::move(taken)};
      },
      pass->errand.While([this, pass](Compacted compacted) {
        if (!compacted.status.ok()) return Fail(pass, compacted.status);
        if (pass->is_rewriting) return OnPiece(pass, std::move(compacted));
        Paced(pass, pass->left->has_changed() ? &Compactor::BeginRewrite : &Compactor::ReadSegment);
      }));
}

void Compactor::OnPiece(const PassPtr& pass, Compacted compacted) {
  if (compacted.entries.empty()) return Paced(pass, &Compactor::ReadSegment);
  environment_.store.AppendRewritten(pass->job.replica, std::move(compacted.entries),
                                     pass->errand.While([this, pass](const Status& appended) {
                                       if (!appended.ok()) return Fail(pass, appended);
                                       Paced(pass, &Compactor::ReadSegment);
                                     }));
}

void Compactor::EndSegment(const PassPtr& pass) {
  if (!pass->is_rewriting) return NextSegment(pass);
  std::optional<Entry> gap = pass->left->TakeGap();
  if (!gap.has_value()) return FinishSegment(pass);
  environment_.store.AppendRewritten(pass->job.replica, {std::move(*gap)},
                                     pass->errand.While([this, pass](const Status& appended) {
                                       if (!appended.ok()) return Fail(pass, appended);
                                       FinishSegment(pass);
                                     }));
}

void Compactor::FinishSegment(const PassPtr& pass) {
  environment_.store.FinishRewrite(pass->job.replica, pass->job.state.settled,
                                   pass->errand.While([this, pass](const Status& finished) {
                                     if (!finished.ok()) return Fail(pass, finished);
                                     ++pass->rewritten;
                                     NextSegment(pass);
                                   }));
}

// Not if a repair put something else where this had been: it may not have had the pass.
void Compactor::Finish(const PassPtr& pass) {
  const raft::ReplicaId replica = pass->job.replica;
  raft::LogStore& store = environment_.store;
  const bool is_same = store.repairs_begun(replica.group) == pass->repairs &&
                       store.rewritable_end(replica.group) > LogIndex();
  if (!is_same) return Fail(pass, Aborted("a segment was repaired meanwhile"));
  store.FinishPass(replica, pass->job.state.pass,
                   pass->errand.While([this, pass, replica](const Status& finished) {
                     if (!finished.ok()) return Fail(pass, finished);
                     const Duration took = environment_.clock.Now() - pass->began;
                     LOG(INFO) << "compacted " << environment_.name_of(replica.group)
                               << " pass=" << pass->job.state.pass
                               << " clean_to=" << pass->job.state.clean_to
                               << " segments=" << pass->rewritten
                               << " bytes_read=" << pass->bytes_read
                               << " ms=" << took / std::chrono::milliseconds(1);
                     MILLRACE_SOMETIMES("a pass of compaction was done");
                     failures_.erase(replica.group);
                     End(pass);
                     done_(replica);
                   }));
}

void Compactor::Paced(const PassPtr& pass, Step step) {
  const MonotonicTime due =
      pass->piece_began + TimeOf(pass->piece_bytes, options_.bytes_per_second);
  pass->errand.After(TimeLeft(environment_.clock, due),
                     [this, pass, step] { (this->*step)(pass); });
}

void Compactor::Fail(const PassPtr& pass, const Status& why) {
  const RaftGroupId group = pass->job.replica.group;
  MILLRACE_SOMETIMES("a pass of compaction ended early");
  const bool is_passing = why.code() == Code::kAborted || why.code() == Code::kUnavailable ||
                          why.code() == Code::kOutOfRange;
  LOG_IF(WARNING, !is_passing) << "a pass of compaction ended early, and begins again "
                               << environment_.name_of(group) << " why=" << why;
  failures_[group] = {
      .why = why,
      .not_before = environment_.clock.Now() + (is_passing ? Duration(0) : kErrorPause)};
  environment_.store.EndRewrite(pass->job.replica);
  End(pass);
}

void Compactor::End(const PassPtr& pass) {
  pass->errand.End();
  pass->left.reset();
  environment_.batches.Run<bool>(
      {.kind = BatchWorker::Kind::kFetched},
      [keys = std::exchange(pass->keys, nullptr)]() mutable {
        keys.reset();
        return true;
      },
      [](bool) {});
  pass_.reset();
}

Status Compactor::FailureOf(RaftGroupId group) const {
  const auto found = failures_.find(group);
  return found == failures_.end() ? Status::Ok() : found->second.why;
}

void Compactor::Forget(RaftGroupId group) {
  failures_.erase(group);
  if (pass_ != nullptr && pass_->job.replica.group == group) End(PassPtr(pass_));
}

void Compactor::Stop() {
  lifetime_.End();
  if (pass_ != nullptr) pass_->errand.End();
  pass_.reset();
}

}  // namespace millrace::broker
