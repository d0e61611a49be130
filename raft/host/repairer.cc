#include "raft/host/repairer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/frame/frame.h"
#include "raft/codec/entry_codec.h"
#include "raft/core/gap_entry.h"

namespace millrace::raft {
namespace {

// So many go on at a time: each holds a range in memory.
constexpr size_t kRepairsMax = 2;
// Of what is here, and of what is pulled: of a damaged stretch little more than is lacking.
constexpr uint64_t kReadBytes = 1 << 20;
constexpr uint64_t kPullBytes = 256 << 10;
// After an error of this broker's disk, which an attempt at once would meet again.
constexpr Duration kErrorPause = std::chrono::seconds(2);
// Between two looks at what has to come by itself.
constexpr Duration kPause = std::chrono::milliseconds(50);
// After all members said that they do not have it.
constexpr Duration kLostPause = std::chrono::seconds(30);
// A log that waits for what is lost keeps journal files, which the other groups need past this.
constexpr double kGiveUpPressure = 0.5;

}  // namespace

void Repairer::Again(const RepairPtr& repair, void (Repairer::*then)(const RepairPtr&)) {
  repair->errand.After(kPause, [this, repair, then] {
    const bool can_go_on = repair->in_vain < repair->members.size();
    if (can_go_on || due_.empty()) return (this->*then)(repair);
    MILLRACE_SOMETIMES("a repair that waited let another one have its turn");
    repair->is_waiting = true;
    due_.push_back(repair->replica.group);
    BeginNext();
  });
}

void Repairer::Later(RaftGroupId group, Duration wait) {
  environment_.executor.Cancel(later_[group]);
  later_[group] = environment_.executor.RunAfter(wait, lifetime_.Guard([this, group] {
    later_.erase(group);
    OnDamage(group);
  }));
}

void Repairer::OnDamage(RaftGroupId group) {
  const bool is_due = std::ranges::find(due_, group) != due_.end();
  if (is_due || repairs_.contains(group) || later_.contains(group)) return;
  due_.push_back(group);
  BeginNext();
}

bool Repairer::IsTurnFree() const {
  const auto active = std::ranges::count_if(
      repairs_, [](const auto& repair) { return !repair.second->is_waiting; });
  return static_cast<size_t>(active) < kRepairsMax;
}

void Repairer::BeginNext() {
  while (IsTurnFree() && !due_.empty()) {
    const RaftGroupId group = due_.front();
    due_.pop_front();
    Begin(group);
  }
}

// What is lost must not keep what is behind it from being repaired, of which the copy that is
// damaged next may be the last one.
std::optional<DamagedRange> Repairer::NextRange(RaftGroupId group) {
  const auto passed = passed_.find(group);
  const LogIndex from = passed == passed_.end() ? LogIndex() : passed->second;
  auto range = environment_.log_store.damaged_range_from(group, from);
  if (range.has_value()) return range;
  if (passed == passed_.end()) {
    lost_.erase(group);
  } else {
    passed_.erase(passed);
    Later(group, kLostPause);
  }
  return std::nullopt;
}

void Repairer::Begin(RaftGroupId group) {
  if (const auto found = repairs_.find(group); found != repairs_.end()) {
    const RepairPtr waiting = found->second;
    waiting->is_waiting = false;
    waiting->in_vain = 0;
    return Read(waiting);
  }
  const Replica* replica = replicas_->Find(group);
  const auto range = NextRange(group);
  if (replica == nullptr || !range.has_value() || is_taken_(group)) return;
  const auto repair = std::make_shared<Repair>(environment_.executor, lifetime_);
  repair->replica = replica->id();
  repair->range = *range;
  repair->end = range->begin;
  repair->began = environment_.clock.Now();
  for (const Voter& member : range->configuration.Members()) {
    if (member != replica->self()) repair->members.push_back(member);
  }
  // There is nobody to ask.
  if (repair->members.empty()) {
    lost_.insert(group);
    return;
  }
  repairs_.emplace(group, repair);
  environment_.log_store.BeginRepair(
      repair->replica, *range,
      repair->errand.While([this, repair, name = replica->Name()](const Status& begun) {
        if (!begun.ok()) return OnError(repair, begun);
        LOG(INFO) << "repairing entries " << repair->range.begin.index + 1 << " to "
                  << repair->range.end.index << " " << name << " why=" << repair->range.why;
        Read(repair);
      }));
}

void Repairer::Read(const RepairPtr& repair) {
  if (repair->end.index == repair->range.end.index) return Finish(repair);
  environment_.log_store.Salvage(
      repair->replica.group, repair->end.index + 1, kReadBytes,
      repair->errand.While([this, repair](Result<std::vector<core::Entry>> entries) {
        if (entries.status().code() == Code::kUnavailable) {
          ++repair->in_vain;
          return Again(repair, &Repairer::Read);
        }
        if (!entries.ok() || !Append(repair, *std::move(entries))) Pull(repair);
      }));
}

void Repairer::Pull(const RepairPtr& repair) {
  const Voter& source = repair->members[repair->asking];
  puller_->AskRange(repair->replica, source, repair->end.index + 1, kPullBytes,
                    repair->errand.While([this, repair](Result<RangeReply> reply) {
                      OnPulled(repair, std::move(reply));
                    }));
}

void Repairer::OnPulled(const RepairPtr& repair, Result<RangeReply> reply) {
  const LogIndex wanted = repair->end.index + 1;
  const bool is_fit = reply.ok() && FitsCompaction(repair, reply->compacted);
  if (is_fit && !reply->entries.empty()) {
    repair->pulled_bytes += core::TotalBytes(reply->entries);
    const auto before = std::exchange(repair->given, repair->given.With(reply->compacted));
    if (Append(repair, std::move(reply->entries))) return;
    repair->given = before;
    LOG(ERROR) << "what was pulled does not follow on what is intact "
               << replicas_->NameOf(repair->replica.group)
               << " from=" << repair->members[repair->asking].broker << " index=" << wanted;
  }
  CountAnswer(repair, reply);
  const size_t members = repair->members.size();
  // A member may be behind, and need from here what others dropped.
  if (repair->empty_answers >= members && AppendGap(repair)) return;
  if (repair->unable < members) return AskNext(repair);
  OnLost(repair);
}

void Repairer::CountAnswer(const RepairPtr& repair, const Result<RangeReply>& reply) {
  const LogIndex wanted = repair->end.index + 1;
  const bool is_dropped = reply.ok() && reply->begin.index >= wanted;
  const bool has_not = is_dropped || (reply.ok() && reply->is_damaged);
  MILLRACE_SOMETIMES_IF("a member had damage where another one had", has_not);
  repair->unable = has_not ? repair->unable + 1 : 0;
  ++repair->in_vain;
  if (reply.ok()) ++repair->empty_answers;
  core::LogPoint& dropped = repair->dropped;
  if (is_dropped && (dropped.index < wanted || reply->begin.index < dropped.index)) {
    dropped = reply->begin;
  }
}

// Who dropped them knew that they lie before the log start, which is committed. Where they were of
// several terms, the last one stands for all: nobody's log ends there, who would be asked about it.
bool Repairer::AppendGap(const RepairPtr& repair) {
  const core::LogPoint& begin = repair->end;
  const core::LogPoint& limit = repair->range.end;
  const core::LogPoint end = repair->dropped.index < limit.index ? repair->dropped : limit;
  const int64_t span = end.next_offset - begin.next_offset;
  const bool is_gap = repair->dropped.index > begin.index && end.term >= begin.term && span >= 0 &&
                      span <= std::numeric_limits<uint32_t>::max();
  if (!is_gap) return false;
  core::Entry gap = core::GapEntry({.group = repair->replica.group,
                                    .term = end.term,
                                    .first = begin.index + 1,
                                    .last = end.index,
                                    .base_offset = begin.next_offset,
                                    .offset_span = static_cast<uint32_t>(span),
                                    .append_time_ms = repair->append_time_ms,
                                    .chain = end.chain});
  MILLRACE_SOMETIMES("a repaired segment begins in what others dropped");
  LOG(INFO) << "left out what others dropped first=" << begin.index + 1 << " last=" << end.index
            << " " << replicas_->NameOf(repair->replica.group);
  return Append(repair, {std::move(gap)});
}

// What is here stands beside it: neither may lack a tombstone that the other has an older value
// for. Who has what a pass took out here comes last, as that pass is to be done anew then.
bool Repairer::FitsCompaction(const RepairPtr& repair, const core::CompactionPoint& theirs) {
  const core::CompactionPoint ours = environment_.log_store.compacted(repair->replica.group);
  const bool is_enough = theirs.pass >= ours.pass || repair->in_vain >= repair->members.size();
  const bool fits = is_enough && ours.With(repair->given).With(theirs).IsWhole();
  MILLRACE_SOMETIMES_IF("a repair waited for a member to be compacted", !fits);
  return fits;
}

void Repairer::AskNext(const RepairPtr& repair) {
  repair->asking = (repair->asking + 1) % repair->members.size();
  if (repair->unable > 0) return Pull(repair);
  Again(repair, &Repairer::Pull);
}

bool Repairer::Append(const RepairPtr& repair, std::vector<core::Entry> entries) {
  entries = FitBetween(repair->end, repair->range.end, std::move(entries));
  core::LogPoint end = repair->end;
  for (const core::Entry& entry : entries) {
    const FrameHeader header = entry.frame.header();
    if (!CheckFollows(end, repair->replica.group, header).ok()) return false;
    end = EndAfter(header);
  }
  const bool is_all = end.index == repair->range.end.index;
  if (entries.empty() || (is_all && end != repair->range.end)) return false;
  repair->append_time_ms = entries.back().frame.header().append_time_ms;
  environment_.log_store.AppendRestored(
      repair->replica, std::move(entries),
      repair->errand.While([this, repair, end](const Status& appended) {
        if (!appended.ok()) return OnError(repair, appended);
        repair->end = end;
        repair->unable = 0;
        repair->empty_answers = 0;
        repair->in_vain = 0;
        Read(repair);
      }));
  return true;
}

void Repairer::Finish(const RepairPtr& repair) {
  environment_.log_store.FinishRepair(
      repair->replica, repair->given, repair->errand.While([this, repair](const Status& finished) {
        if (!finished.ok()) return OnError(repair, finished);
        const Duration took = environment_.clock.Now() - repair->began;
        LOG(INFO) << "repaired entries " << repair->range.begin.index + 1 << " to "
                  << repair->range.end.index << " " << replicas_->NameOf(repair->replica.group)
                  << " pulled_bytes=" << repair->pulled_bytes
                  << " ms=" << took / std::chrono::milliseconds(1);
        MILLRACE_SOMETIMES("a damaged segment was repaired from another replica");
        if (!passed_.contains(repair->replica.group)) lost_.erase(repair->replica.group);
        due_.push_back(repair->replica.group);
        End(repair);
      }));
}

void Repairer::OnLost(const RepairPtr& repair) {
  MILLRACE_SOMETIMES("no member had what is damaged");
  LOG(ERROR) << "no replica has entry " << repair->end.index + 1
             << ", reads of what is damaged say DATA_LOSS "
             << replicas_->NameOf(repair->replica.group)
             << " first_offset=" << repair->range.begin.next_offset
             << " end_offset=" << repair->range.end.next_offset << " why=" << repair->range.why;
  LogStore& store = environment_.log_store;
  if (store.journal_pressure() > kGiveUpPressure) {
    store.GiveUpRepair(repair->replica);
  } else {
    store.EndRestore(repair->replica);
  }
  lost_.insert(repair->replica.group);
  passed_[repair->replica.group] = repair->range.end.index;
  due_.push_back(repair->replica.group);
  End(repair);
}

// Of this broker's disk.
void Repairer::OnError(const RepairPtr& repair, const Status& why) {
  const bool is_not_yet = why.code() == Code::kUnavailable;
  LOG_IF(WARNING, !is_not_yet) << "a repair ended early, and begins again "
                               << replicas_->NameOf(repair->replica.group) << " why=" << why;
  environment_.log_store.EndRestore(repair->replica);
  Later(repair->replica.group, is_not_yet ? kPause : kErrorPause);
  End(repair);
}

void Repairer::End(const RepairPtr& repair) {
  repair->errand.End();
  puller_->Forget(repair->replica.group);
  repairs_.erase(repair->replica.group);
  BeginNext();
}

void Repairer::Forget(RaftGroupId group) {
  lost_.erase(group);
  passed_.erase(group);
  std::erase(due_, group);
  if (const auto waiting = later_.extract(group)) environment_.executor.Cancel(waiting.mapped());
  const auto found = repairs_.find(group);
  if (found == repairs_.end()) return;
  environment_.log_store.EndRestore(found->second->replica);
  End(RepairPtr(found->second));
}

void Repairer::Stop() {
  lifetime_.End();
  for (const auto& [group, repair] : repairs_) repair->errand.End();
  for (const auto& [group, timer] : later_) environment_.executor.Cancel(timer);
  repairs_.clear();
}

}  // namespace millrace::raft
