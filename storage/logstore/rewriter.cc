#include "storage/logstore/rewriter.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "raft/runtime/run_on.h"

namespace millrace::storage {
namespace {

constexpr Duration kPauseMin = std::chrono::milliseconds(500);
constexpr Duration kPauseMax = std::chrono::seconds(8);
// After so many tries, some forty seconds, an error of the disk that a start met counts as damage.
constexpr uint32_t kFailuresMax = 8;
// Bytes of entries in memory at a time.
constexpr uint64_t kPieceBytes = 1 << 20;

}  // namespace

void JournalLogStore::Rewriter::Add(RaftGroupId group) {
  const bool is_new = waits_.emplace(group, Pause{.length = kPauseMin, .timer = {}}).second;
  if (!is_new) return Hurry(group);
  Wait(group);
}

bool JournalLogStore::Rewriter::IsTrying(RaftGroupId group) const {
  return try_ != nullptr && try_->group == group;
}

std::shared_ptr<GroupSegments> JournalLogStore::Rewriter::Forget(RaftGroupId group) {
  if (const auto found = waits_.find(group); found != waits_.end()) {
    store_.environment_.shard.Cancel(found->second.timer);
    waits_.erase(found);
  }
  if (!IsTrying(group)) return nullptr;
  std::shared_ptr<GroupSegments> segments = try_->segments;
  try_.reset();
  BeginNext();
  return segments;
}

// What it asked for must end before another try touches the same files.
void JournalLogStore::Rewriter::OnCut(RaftGroupId group) {
  if (IsTrying(group)) try_->is_cut = true;
}

void JournalLogStore::Rewriter::Wait(RaftGroupId group) {
  Pause& pause = waits_.at(group);
  store_.environment_.shard.Cancel(pause.timer);
  pause.timer =
      store_.environment_.shard.RunAfter(pause.length, store_.lifetime_.Guard([this, group] {
        due_.push_back(group);
        BeginNext();
      }));
}

// The shortest pause, not none: reasons that come again and again must not keep the disk busy, nor
// put the try off.
void JournalLogStore::Rewriter::Hurry(RaftGroupId group) {
  const auto found = waits_.find(group);
  if (found == waits_.end()) return;
  found->second.is_hurried = true;
  const bool is_due = std::ranges::find(due_, group) != due_.end();
  if (IsTrying(group) || is_due || found->second.length == kPauseMin) return;
  found->second.length = kPauseMin;
  Wait(group);
}

void JournalLogStore::Rewriter::HurryAll() {
  for (const auto& [group, pause] : waits_) Hurry(group);
}

void JournalLogStore::Rewriter::BeginNext() {
  while (try_ == nullptr && !due_.empty()) {
    const RaftGroupId group = due_.front();
    due_.pop_front();
    const auto wait = waits_.find(group);
    if (wait == waits_.end()) continue;
    wait->second.is_hurried = false;
    const Group& stalled = store_.groups_.at(group);
    // Until a truncation is durable recovery looks for what it cuts. And a repair, or compaction,
    // would put another file where the try has opened one.
    const bool is_replaced =
        (stalled.restore != nullptr && stalled.restore->is_repair) || stalled.rewrite != nullptr;
    if (stalled.cuts > 0 || is_replaced) {
      Wait(group);
      continue;
    }
    try_ = std::make_shared<Try>();
    try_->group = group;
    try_->segments = store_.MakeSegments(FolderOf(group, stalled));
    // Nothing was written in this life to files that could not even be read.
    const bool is_unopened = stalled.unopened != nullptr;
    const bool is_given_up = wait->second.failures >= kFailuresMax && HasOthers(stalled);
    if (is_unopened && is_given_up) try_->segments->TakeErrorsForDamage();
    const LastFile last_file = is_unopened ? LastFile::kKept : LastFile::kMadeAnew;
    journal::LogRecord log = stalled.log;
    // What lies before a begin that is not durable yet may still be needed.
    log.begin = stalled.durable_begin;
    const LogAbove above = is_unopened ? AboveOf(log, stalled.unopened->epoch) : LogAbove::kNothing;
    // Of large writes that the journal was not told of yet, too.
    if (!is_unopened) log.SetWritten(stalled.progress.synced());
    try_->appended = log.segments_end();
    store_.OnSegments([segments = try_->segments, log = std::move(log), above, last_file,
                       then = Then(&Rewriter::OnRecovered)]() mutable {
      segments->Recover(log, above, last_file, std::move(then));
    });
  }
}

template <typename Outcome>
MoveFunction<void(Outcome)> JournalLogStore::Rewriter::Then(void (Rewriter::*then)(Outcome)) {
  return RunOn(store_.environment_.shard,
               store_.lifetime_.Guard([this, then, current = try_](Outcome outcome) {
                 if (try_ != current) return;
                 if (try_->is_cut) return BeginAgain();
                 (this->*then)(std::move(outcome));
               }));
}

void JournalLogStore::Rewriter::BeginAgain() {
  const RaftGroupId group = std::exchange(try_, nullptr)->group;
  Wait(group);
  BeginNext();
}

void JournalLogStore::Rewriter::OnRecovered(Result<RecoveredSegments> recovered) {
  if (!recovered.ok()) return Fail(recovered.status());
  if (!recovered->damaged.empty()) return OnDamaged(std::move(*recovered));
  if (store_.groups_.at(try_->group).unopened != nullptr) {
    const std::shared_ptr<Try> done = std::exchange(try_, nullptr);
    waits_.erase(done->group);
    store_.Adopt(done->group, std::move(done->segments), std::move(*recovered));
    return BeginNext();
  }
  try_->recovered = std::move(*recovered);
  ReadOn();
}

// Nobody writes before it is repaired. Where some was written in this life and is not synced, which
// the next start has from the journal, that begins with it.
void JournalLogStore::Rewriter::OnDamaged(RecoveredSegments recovered) {
  Group& group = store_.groups_.at(try_->group);
  const bool is_ended = recovered.damaged.back().first <= ActiveBegin(group);
  if (!HasOthers(group) || (group.unopened == nullptr && !is_ended)) {
    return Fail(recovered.damaged.front().why);
  }
  const std::shared_ptr<Try> done = std::exchange(try_, nullptr);
  if (group.unopened == nullptr) {
    MILLRACE_SOMETIMES("a stalled group's segments wait for a repair");
    for (const DamagedSegment& damaged : recovered.damaged) {
      store_.OnDamage(FolderOf(done->group, group), damaged.first, damaged.why);
    }
    Wait(done->group);
    return BeginNext();
  }
  waits_.erase(done->group);
  group.segments = std::move(done->segments);
  TakeDamaged(done->group, std::move(recovered), &group);
  store_.TellDamage(done->group, group);
  BeginNext();
}

void JournalLogStore::Rewriter::OnFaulty(RaftGroupId id, const Status& why) {
  const Group& group = store_.groups_.at(id);
  if (group.unopened == nullptr && HasOthers(group)) return store_.SilenceUntilStart(id, why);
  store_.SegmentFault(id, why);
}

void JournalLogStore::Rewriter::ReadOn() {
  const Group& group = store_.groups_.at(try_->group);
  const LogIndex committed = group.progress.committed();
  if (try_->appended < committed) {
    try_->reading_to = committed;
    store_.client_.ReadBack({.replica = {try_->group, group.number},
                             .first = try_->appended + 1,
                             .bytes_max = kPieceBytes},
                            store_.environment_.shard, Then(&Rewriter::OnRead));
    return;
  }
  store_.OnSegments(
      [segments = try_->segments, committed, then = Then(&Rewriter::OnSynced)]() mutable {
        // Its error is the next one's too.
        segments->Commit(committed, [](const Result<SegmentsEnd>&) {});
        segments->Sync(std::move(then));
      });
}

void JournalLogStore::Rewriter::OnRead(Result<std::vector<raft::core::Entry>> entries) {
  if (!entries.ok()) return Fail(entries.status());
  // What was not committed when the read began comes when it is: it may have been cut since, and
  // another entry committed in its place.
  std::erase_if(*entries, [end = try_->reading_to](const raft::core::Entry& entry) {
    return entry.index > end;
  });
  CHECK(!entries->empty()) << "group=" << try_->group;
  CHECK_EQ(entries->front().index, try_->appended + 1) << "group=" << try_->group;
  try_->appended = entries->back().index;
  try_->recovered.active.Add(*entries);
  store_.OnSegments([segments = try_->segments, entries = std::move(*entries),
                     then = Then(&Rewriter::OnAppended)]() mutable {
    segments->Append(std::move(entries), std::move(then));
  });
}

void JournalLogStore::Rewriter::OnAppended(Status status) {
  if (!status.ok()) return Fail(status);
  ReadOn();
}

void JournalLogStore::Rewriter::OnSynced(Result<SegmentsEnd> synced) {
  if (!synced.ok()) return Fail(synced.status());
  CHECK_EQ(synced->written.index, try_->appended) << "group=" << try_->group;
  // More was committed meanwhile.
  if (synced->end.index < store_.groups_.at(try_->group).progress.committed()) return ReadOn();
  const std::shared_ptr<Try> done = std::exchange(try_, nullptr);
  waits_.erase(done->group);
  store_.Resume(done->group, std::move(done->segments), *synced, std::move(done->recovered));
  BeginNext();
}

void JournalLogStore::Rewriter::Fail(const Status& why) {
  const RaftGroupId group = std::exchange(try_, nullptr)->group;
  if (why.code() == Code::kDataLoss) {
    waits_.erase(group);
    OnFaulty(group, why);
  } else if (why.code() == Code::kUnimplemented) {
    waits_.erase(group);
    store_.groups_.at(group).stall = why;
    LOG(ERROR) << "segments are of another build and stay as they are group=" << group
               << " why=" << why;
  } else {
    Pause& wait = waits_.at(group);
    const Duration pause = wait.is_hurried ? kPauseMin : std::min(wait.length * 2, kPauseMax);
    wait.length = pause;
    ++wait.failures;
    LOG(WARNING) << "segments still fail group=" << group
                 << " next_try_ms=" << pause / std::chrono::milliseconds(1) << " why=" << why;
    Wait(group);
  }
  BeginNext();
}

}  // namespace millrace::storage
