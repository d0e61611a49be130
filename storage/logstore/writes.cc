// A write's way: into the journal, or straight into the segment where it is large enough to be
// worth a sync of its own (docs/adr/0010-write-once.md).
//
// One way at a time: a large write begins when the journal's ones are durable, and what comes while
// it is under way waits, so that writes become durable in their order. What waits goes together.
#include <algorithm>
#include <iterator>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "raft/runtime/run_on.h"
#include "storage/logstore/log_store.h"
#include "storage/logstore/rewriter.h"

namespace millrace::storage {

using raft::core::Entry;

namespace {

raft::DurableWrite Durable(const raft::ReplicaWrite& write) {
  return {write.replica, write.write.durable_point, write.submitted_at};
}

// A promise goes to the journal, and so does what replaces entries: the truncation and the first
// entry behind it must be there before the segment is written over.
bool IsPlain(const raft::ReplicaWrite& write) {
  return !write.write.hard_state.has_value() && !write.write.truncate_from.has_value();
}

}  // namespace

JournalLogStore::Group* JournalLogStore::FindReplica(const raft::ReplicaId& replica) {
  Group* group = Find(replica.group);
  return group != nullptr && group->number == replica.number ? group : nullptr;
}

void JournalLogStore::Write(std::vector<raft::ReplicaWrite> writes) {
  JournalBatch batch;
  std::vector<raft::DurableWrite> dropped;
  for (raft::ReplicaWrite& write : writes) {
    const RaftGroupId id = write.replica.group;
    // Removed in the turn that asked for the write: the controller's log, applied in it, said so.
    Group* group = FindReplica(write.replica);
    if (group == nullptr) {
      dropped.push_back(Durable(write));
      continue;
    }
    if (write.write.truncate_from.has_value() && !group->is_faulty) {
      group->expected_epoch = write.write.epoch;
      group->progress.ExpectTruncation(*write.write.truncate_from);
    }
    group->waiting.push_back(std::move(write));
    BeginWaiting(id, *group, &batch);
  }
  SubmitBatch(std::move(batch));
  if (dropped.empty()) return;
  environment_.shard.Post(
      lifetime_.Guard([this, dropped = std::move(dropped)] { TellDurable(dropped); }));
}

void JournalLogStore::BeginWaiting(RaftGroupId id, Group& group, JournalBatch* batch) {
  while (!group.waiting.empty() && group.large == nullptr) {
    const auto plain_end = std::ranges::find_if_not(group.waiting, IsPlain);
    const auto plain = static_cast<size_t>(plain_end - group.waiting.begin());
    if (IsLarge(id, group, plain)) {
      // In their order.
      if (group.journalling == 0) BeginLarge(id, group, plain);
      return;
    }
    for (size_t left = std::max<size_t>(plain, 1); left > 0; --left) {
      TakeIntoJournal(group, std::move(group.waiting.front()), batch);
      group.waiting.pop_front();
    }
  }
}

bool JournalLogStore::MayWriteLarge(const Group& group) const {
  if (is_stopped_ || group.is_faulty || !group.stall.ok()) return false;
  return large_writes_ < options_.large_writes_max && group.is_cut_told && !group.is_rolling;
}

// The first `writes` of those that wait.
bool JournalLogStore::IsLarge(RaftGroupId id, const Group& group, size_t writes) const {
  if (!MayWriteLarge(group) || IsRollDue(id, group)) return false;
  uint64_t bytes = 0;
  for (size_t i = 0; i < writes; ++i)
    bytes += raft::core::TotalBytes(group.waiting[i].write.entries);
  return bytes >= options_.large_write_bytes;
}

// Entries that nobody can commit just now, as their followers have no room for more, would hold the
// journal for ever.
void JournalLogStore::Relieve(RaftGroupId id, Group& group) {
  if (group.large != nullptr || group.journalling > 0 || !group.waiting.empty()) return;
  if (!MayWriteLarge(group) || group.progress.last() == group.progress.given()) return;
  MILLRACE_SOMETIMES("uncommitted entries went into a segment, so that the journal has room");
  BeginLarge(id, group, 0);
}

void JournalLogStore::BeginLarge(RaftGroupId id, Group& group, size_t writes) {
  MILLRACE_SOMETIMES("a large write went straight into its segment");
  const auto large = std::make_shared<LargeWrite>();
  group.large = large;
  ++large_writes_;
  const uint64_t kept = group.progress.last() - group.progress.given();
  for (; writes > 0; --writes) {
    group.progress.Append(group.waiting.front().write.entries);
    large->writes.push_back(std::move(group.waiting.front()));
    group.waiting.pop_front();
  }
  std::vector<Entry> entries = group.progress.GiveAll();
  large->taken_along.assign(entries.begin(), entries.begin() + static_cast<ptrdiff_t>(kept));
  group.active.Add(entries);
  group.is_recent = true;
  auto written = RunOn(environment_.shard, lifetime_.Guard([this, id, large](const Status& status) {
    OnLargeWritten(id, large, status);
  }));
  OnSegments([segments = group.segments, entries = std::move(entries),
              written = std::move(written)]() mutable {
    if (MILLRACE_MUTANT(kExtentNamedBeforeSynced)) {
      return segments->Append(std::move(entries), std::move(written));
    }
    // Its error is the next one's too.
    segments->Append(std::move(entries), [](const Status&) {});
    segments->Sync([written = std::move(written)](const Result<SegmentsEnd>& synced) mutable {
      written(synced.status());
    });
  });
}

void JournalLogStore::OnLargeWritten(RaftGroupId id, const std::shared_ptr<LargeWrite>& large,
                                     const Status& status) {
  Group* group = Find(id);
  if (group == nullptr || group->large != large) return;
  if (status.ok()) {
    CHECK(group->stall.ok()) << id << " " << group->stall;
    EndLarge(*group);
    group->progress.OnSynced(group->progress.given());
    // Else a truncation is to come.
    if (!large->writes.empty() && large->writes.back().write.epoch == group->expected_epoch) {
      group->progress.OnDurable(group->progress.given());
    }
    std::vector<raft::DurableWrite> durable;
    std::ranges::transform(large->writes, std::back_inserter(durable), Durable);
    TellDurable(durable);
    OnCommitGrew(id, *group);
    ScheduleWrites();
  } else {
    MILLRACE_SOMETIMES("a large write that failed went into the journal");
    GiveUpLarge(*group);
    if (group->stall.ok() && !group->is_faulty) OnSegmentError(id, status);
    group->progress.GiveCommitted();
  }
  JournalBatch batch;
  BeginWaiting(id, *group, &batch);
  SubmitBatch(std::move(batch));
  TryAdopt(id, *group);
}

std::shared_ptr<JournalLogStore::LargeWrite> JournalLogStore::EndLarge(Group& group) {
  if (group.large != nullptr) --large_writes_;
  return std::exchange(group.large, nullptr);
}

// As if it had not begun.
void JournalLogStore::GiveUpLarge(Group& group) {
  const std::shared_ptr<LargeWrite> large = EndLarge(group);
  if (large == nullptr) return;
  uint64_t dropped = 0;
  for (const raft::ReplicaWrite& write : large->writes) dropped += write.write.entries.size();
  group.progress.TakeBack(std::move(large->taken_along), dropped);
  group.waiting.insert(group.waiting.begin(), std::make_move_iterator(large->writes.begin()),
                       std::make_move_iterator(large->writes.end()));
}

std::vector<raft::DurableWrite> JournalLogStore::DropWrites(Group& group) {
  GiveUpLarge(group);
  std::vector<raft::DurableWrite> dropped;
  std::ranges::transform(std::exchange(group.waiting, {}), std::back_inserter(dropped), Durable);
  return dropped;
}

void JournalLogStore::TakeIntoJournal(Group& group, raft::ReplicaWrite write, JournalBatch* batch) {
  const RaftGroupId id = write.replica.group;
  raft::core::StorageWrite& body = write.write;
  JournalBatch::Part part{.write = Durable(write),
                          .epoch = body.epoch,
                          .last = body.entries.empty() ? LogIndex() : body.entries.back().index,
                          .cut_from = std::nullopt,
                          .segments = {}};
  CHECK(!body.truncate_from.has_value() || !body.entries.empty()) << id;
  if (!group.is_faulty && !body.entries.empty()) {
    const LogIndex before = body.entries.front().index - 1;
    if (group.progress.journalled() < before) NameWritten(id, group, before, &batch->records);
    if (body.truncate_from.has_value()) {
      part.has_cut = true;
      group.epoch = body.epoch;
      group.is_cut_told = false;
      if (group.progress.Truncate(*body.truncate_from)) {
        MILLRACE_SOMETIMES("entries of a segment were truncated");
        group.log.SetWritten(std::min(group.log.written, before));
        part.cut_from = body.truncate_from;
        part.segments = group.segments;
        ++group.cuts;
        rewriter_->OnCut(id);
      }
    }
    group.progress.Append(body.entries);
    group.progress.SetJournalled(body.entries.back().index);
  }
  ++group.journalling;
  batch->parts.push_back(std::move(part));
  batch->records.push_back({.replica = write.replica,
                            .body = journal::LogWrite{.hard_state = body.hard_state,
                                                      .truncate_from = body.truncate_from,
                                                      .epoch = body.epoch,
                                                      .entries = std::move(body.entries)}});
}

void JournalLogStore::NameWritten(RaftGroupId id, Group& group, LogIndex index,
                                  std::vector<journal::GroupRecord>* records) {
  CHECK_LE(index, group.progress.synced()) << id;
  group.log.SetWritten(index);
  group.progress.SetJournalled(std::max(group.progress.journalled(), index));
  records->push_back({.replica = {id, group.number}, .body = journal::LogMoved{.log = group.log}});
}

void JournalLogStore::SubmitBatch(JournalBatch batch) {
  if (batch.records.empty()) return;
  Submit(std::move(batch.records),
         lifetime_.Guard([this, parts = std::move(batch.parts)] { OnJournalled(parts); }));
}

void JournalLogStore::OnJournalled(const std::vector<JournalBatch::Part>& parts) {
  std::vector<raft::DurableWrite> durable;
  JournalBatch batch;
  for (const JournalBatch::Part& part : parts) {
    durable.push_back(part.write);
    const RaftGroupId id = part.write.replica.group;
    Group* group = FindReplica(part.write.replica);
    if (group == nullptr) continue;
    --group->journalling;
    // Else a truncation is to come, or to be durable, that may cut it.
    if (!group->is_faulty && part.epoch == group->expected_epoch && part.last != LogIndex()) {
      group->progress.OnDurable(part.last);
      OnCommitGrew(id, *group);
    }
    if (part.cut_from.has_value()) CutSegments(id, *group, part);
    if (part.has_cut && group->cuts == 0) SyncCut(id, *group);
    if (group->journalling == 0) BeginWaiting(id, *group, &batch);
    TryAdopt(id, *group);
  }
  TellDurable(durable);
  SubmitBatch(std::move(batch));
  if (IsJournalFilling()) ScheduleIdleSync();
}

// Not before the truncation is durable: until then recovery looks for what it cuts.
void JournalLogStore::CutSegments(RaftGroupId id, Group& group, const JournalBatch::Part& part) {
  CHECK_GT(group.cuts, 0U) << id;
  --group.cuts;
  if (FindWriting(id, part.segments.lock()) == nullptr) return;
  auto cut = RunOn(environment_.shard,
                   lifetime_.Guard([this, id, from = part.segments](const Status& status) {
                     if (!status.ok() && FindWriting(id, from.lock()) != nullptr) {
                       OnSegmentError(id, status);
                     }
                   }));
  OnSegments([segments = group.segments, from = *part.cut_from, cut = std::move(cut)]() mutable {
    segments->Truncate(from, std::move(cut));
  });
  if (group.roll.has_value()) BeginRoll(id, group);
  ScheduleWrites();
}

void JournalLogStore::SyncCut(RaftGroupId id, Group& group) {
  if (group.is_cut_told || group.is_faulty || !group.stall.ok()) return;
  const std::weak_ptr<GroupSegments> from = group.segments;
  auto synced =
      RunOn(environment_.shard,
            lifetime_.Guard([this, id, from, epoch = group.epoch](const Result<SegmentsEnd>& end) {
              Group* cut = FindWriting(id, from.lock());
              if (cut == nullptr) return;
              if (!end.ok()) return OnSegmentError(id, end.status());
              // Another truncation may have come since.
              if (cut->epoch == epoch) TellCut(id, *cut);
            }));
  OnSegments([segments = group.segments, synced = std::move(synced)]() mutable {
    segments->Sync(std::move(synced));
  });
}

void JournalLogStore::TellCut(RaftGroupId id, Group& group) {
  group.log.cut_epoch = group.epoch;
  Submit({{.replica = {id, group.number}, .body = journal::LogMoved{.log = group.log}}},
         lifetime_.Guard([this, replica = raft::ReplicaId{id, group.number}, epoch = group.epoch] {
           Group* told = FindReplica(replica);
           if (told != nullptr && told->epoch == epoch) told->is_cut_told = true;
         }));
}

void JournalLogStore::TellDurable(const std::vector<raft::DurableWrite>& writes) {
  if (durable_listener_ && !writes.empty()) durable_listener_(writes);
}

}  // namespace millrace::storage
