#include "tests/storage/logstore/log_store_rig.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <glog/logging.h>

#include "proto/frame/frame.h"

namespace millrace::storage {
namespace {

using raft::core::Entry;

// By the entry that makes it; 0 for the first one.
raft::core::Configuration ConfigurationOf(uint64_t index) {
  return {.voters = {{BrokerId(1), Incarnation(11), ReplicaNumber(1)},
                     {BrokerId(2), Incarnation(22), ReplicaNumber(static_cast<uint32_t>(index))}},
          .outgoing = {},
          .learners = {}};
}

constexpr Duration kLong = std::chrono::seconds(60);

std::string StateAt(uint64_t group, uint64_t index) {
  return "state of " + std::to_string(group) + " at " + std::to_string(index);
}

}  // namespace

LogStoreRig::LogStoreRig(uint64_t seed)
    : world_(seed),
      random_(world_.Fork()),
      process_(&world_.AddProcess("broker")),
      journal_process_(&world_.AddProcess("journal")) {
  options.journal.key = 0xC0FFEE;
  options.journal.file_bytes = 64 << 10;
  options.journal.live_files_max = 8;
  options.journal.block_bytes = 16 << 10;
  options.large_write_bytes = 1 << 30;
  options.segment_size_bytes = 16 << 10;
  options.controller_segment_size_bytes = 16 << 10;
  options.write_bytes = 4 << 10;
  options.write_delay = std::chrono::milliseconds(2);
  options.idle_sync_delay = std::chrono::milliseconds(20);
  options.drop_bytes_min = 1 << 10;
  options.start_bytes = 16 << 10;
  options.checkpoint_bytes_min = 2 << 10;
  options.checkpoint_bytes_max = 4 << 10;
  options.quiet_checkpoint_bytes = 1 << 10;
  options.scrub_interval = std::chrono::seconds(10);
}

LogStoreRig::~LogStoreRig() {
  Kill();
  store_.reset();
}

void LogStoreRig::Kill() {
  for (sim::SimProcess* process : {process_, journal_process_}) {
    if (process->is_alive()) process->Kill();
  }
}

Status LogStoreRig::Start() {
  CHECK(store_ == nullptr);
  for (sim::SimProcess* process : {process_, journal_process_}) {
    if (!process->is_alive()) process->Restart();
  }
  failure_.clear();
  outstanding_ = 0;
  submitted_.clear();
  readable_.clear();
  Executor& executor = process_->executor();
  Executor& journal = journal_process_->executor();
  journal_files_ = std::make_unique<sim::SimFileSystem>(disk_, journal, process_->Fork());
  segment_files_ = std::make_unique<sim::SimFileSystem>(disk_, executor, process_->Fork());
  const auto outcome = std::make_shared<std::optional<Status>>();
  JournalLogStore::Open(options,
                        {.shard = executor,
                         .journal_executor = journal,
                         .journal_files = *journal_files_,
                         .segment_executor = executor,
                         .segment_files = *segment_files_,
                         .fail_stop = [this](const Status& why) { failure_ = why.ToString(); }},
                        [this, outcome](Result<JournalLogStore::Opened> opened) {
                          *outcome = opened.ok() ? Status::Ok() : opened.status();
                          if (!opened.ok()) return;
                          store_ = std::move(opened->store);
                          recovered_ = std::move(opened->replicas);
                        });
  world_.RunUntil([&] { return outcome->has_value() || !process_->is_alive(); }, kLong);
  if (!outcome->has_value()) return Aborted("the machine died while the store was opened");
  if (!(*outcome)->ok()) return **outcome;
  store_->SetDurableListener([this](const std::vector<raft::DurableWrite>& writes) {
    for (const raft::DurableWrite& write : writes) {
      std::deque<Task>& submitted = submitted_[write.replica];
      CHECK(!submitted.empty()) << "told twice";
      std::exchange(submitted.front(), {})();
      submitted.pop_front();
    }
  });
  store_->SetSegmentListener([this](RaftGroupId group, LogIndex end) {
    CHECK_LT(readable_[group.value()], end.value());
    readable_[group.value()] = end.value();
  });
  store_->SetBeginListener([this](RaftGroupId group, const raft::core::LogPoint& begin) {
    Model& model = models_.at(group.value());
    CHECK_GT(begin.index, model.begin);
    CHECK(begin == model.ends.at(begin.index.value()));
    model.begin = begin.index;
  });
  store_->SetDamageListener([this](RaftGroupId group) { ++damage_told_[group.value()]; });
  stalled_.clear();
  store_->SetRecoveredListener([this](raft::RecoveredReplica replica) {
    const auto silent =
        std::ranges::find(recovered_, replica.record, &raft::RecoveredReplica::record);
    CHECK(silent != recovered_.end() && !silent->health.ok());
    *silent = std::move(replica);
  });
  store_->SetSegmentsStateListener([this](RaftGroupId group, Status state) {
    if (state.code() == Code::kDataLoss) {
      faults_[group.value()] = std::move(state);
    } else if (state.ok()) {
      CHECK_EQ(stalled_.erase(group.value()), 1U);
    } else {
      CHECK(stalled_.insert(group.value()).second);
    }
  });
  return {};
}

void LogStoreRig::Crash(bool power) {
  disk_.ForgetCrash();
  Kill();
  store_.reset();
  journal_files_.reset();
  segment_files_.reset();
  if (power) disk_.PowerLoss(random_);
}

void LogStoreRig::Stop() {
  const Status stopped = Await([this](StatusDone done) {
    store_->Stop([done = std::move(done)]() mutable { done(Status::Ok()); });
  });
  CHECK(stopped.ok()) << stopped;
  Crash(false);
}

void LogStoreRig::Settle() {
  world_.RunUntil(
      [this] { return outstanding_ == 0 || !process_->is_alive() || !failure_.empty(); }, kLong);
}

MoveFunction<void()> LogStoreRig::Acknowledge(uint64_t group) {
  ++outstanding_;
  return [this, group, reached = models_.at(group).history.size() - 1] {
    Model& model = models_.at(group);
    CHECK_GE(reached, model.acked) << "acknowledged out of order";
    model.acked = reached;
    --outstanding_;
  };
}

void LogStoreRig::CreateGroup(uint64_t group) {
  Model& model = models_[group];
  CHECK(!model.history.back().exists);
  const uint32_t number = model.history.back().number + 1;
  model.history.push_back({.exists = true, .number = number});
  model.entries.clear();
  model.ends = {LogPoint{}};
  model.committed = 0;
  model.handed = 0;
  model.start = Offset();
  model.begin = LogIndex();
  readable_.erase(group);
  next_group_ = std::max(next_group_, group + 1);
  store_->CreateReplica({.group = RaftGroupId(group),
                         .number = ReplicaNumber(number),
                         .partition = {TopicId(group), PartitionId(7)},
                         .configuration = ConfigurationOf(0)},
                        Acknowledge(group));
}

void LogStoreRig::RemoveGroup(uint64_t group) {
  Model& model = models_.at(group);
  model.history.push_back({.number = model.history.back().number, .is_removed = true});
  store_->RemoveReplica(RaftGroupId(group), LogIndex(), Acknowledge(group));
}

void LogStoreRig::Submit(uint64_t group, raft::core::StorageWrite write) {
  std::vector<raft::ReplicaWrite> writes;
  const ReplicaNumber number(models_.at(group).history.back().number);
  const raft::ReplicaId replica{RaftGroupId(group), number};
  writes.push_back({.replica = replica, .write = std::move(write)});
  submitted_[replica].push_back(Acknowledge(group));
  store_->Write(std::move(writes));
}

uint64_t LogStoreRig::CountTold(std::vector<raft::ReplicaWrite> writes) {
  const auto told = std::make_shared<uint64_t>(0);
  for (const raft::ReplicaWrite& write : writes) {
    submitted_[write.replica].push_back([told] { ++*told; });
  }
  store_->Write(std::move(writes));
  world_.RunFor(std::chrono::milliseconds(100));
  return *told;
}

void LogStoreRig::AddEntries(uint64_t group, uint64_t count, uint32_t payload_bytes,
                             raft::core::StorageWrite* write) {
  Model& model = models_.at(group);
  EntryMaker maker{RaftGroupId(group)};
  maker.ResetTo(model.ends.back());
  // As a leader stamps it: never less than before.
  append_time_ms_ = std::max(append_time_ms_, process_->clock().WallMs());
  maker.set_append_time_ms(append_time_ms_);
  maker.set_term(Term(std::max<uint64_t>(1, model.history.back().term)));
  write->epoch = TruncationEpoch(static_cast<uint32_t>(model.history.back().epoch));
  for (uint64_t i = 0; i < count; ++i) {
    const auto records = static_cast<uint32_t>(random_.Between(1, 4));
    const auto bytes = static_cast<uint32_t>(random_.Between(1, payload_bytes));
    Entry entry = random_.OneIn(6) ? maker.NoOp()
                  : random_.OneIn(10)
                      ? maker.Configure(ConfigurationOf(maker.end().index.value() + 1))
                      : maker.Batch(records, bytes, static_cast<char>(random_.Between('a', 'z')));
    model.entries.push_back(entry);
    model.ends.push_back(maker.end());
    Snapshot next = model.history.back();
    next.last_index = entry.index.value();
    next.last_chain = entry.chain;
    model.history.push_back(next);
    write->entries.push_back(std::move(entry));
  }
}

void LogStoreRig::Append(uint64_t group, uint64_t count, uint32_t payload_bytes) {
  raft::core::StorageWrite write;
  AddEntries(group, count, payload_bytes, &write);
  Submit(group, std::move(write));
}

void LogStoreRig::SetTerm(uint64_t group, uint64_t term) {
  Model& model = models_.at(group);
  Snapshot next = model.history.back();
  CHECK_GE(term, next.term);
  next.term = term;
  model.history.push_back(next);
  raft::core::StorageWrite write;
  write.hard_state = raft::core::HardState{.term = Term(term)};
  write.epoch = TruncationEpoch(static_cast<uint32_t>(next.epoch));
  Submit(group, std::move(write));
}

void LogStoreRig::Rewrite(uint64_t group, uint64_t count) {
  Model& model = models_.at(group);
  if (model.entries.size() == model.committed) return;
  const uint64_t keep = random_.Between(model.committed, model.entries.size() - 1);
  Snapshot next = model.history.back();
  next.term += 1;
  model.history.push_back(next);
  model.entries.resize(keep);
  model.ends.resize(keep + 1);
  next.epoch += 1;
  next.last_index = keep;
  next.last_chain = model.ends.back().chain;
  model.history.push_back(next);
  raft::core::StorageWrite write;
  write.hard_state = raft::core::HardState{.term = Term(next.term)};
  write.truncate_from = LogIndex(keep + 1);
  AddEntries(group, count, 600, &write);
  Submit(group, std::move(write));
}

void LogStoreRig::Commit(uint64_t group) {
  Model& model = models_.at(group);
  // What is acknowledged and was not cut since: the entries below any snapshot that is not yet
  // durable.
  uint64_t durable = model.history[model.acked].last_index;
  for (size_t at = model.acked; at < model.history.size(); ++at) {
    durable = std::min(durable, model.history[at].last_index);
  }
  // Others may have what this one has not.
  if (random_.OneIn(3)) durable = model.entries.size();
  durable = std::max(durable, model.committed);
  if (durable <= model.handed) return;
  const uint64_t upto = random_.Between(model.handed + 1, durable);
  model.committed = std::max(model.committed, upto);
  store_->Commit(RaftGroupId(group), LogIndex(upto));
  model.handed = upto;
  const auto encode = [state = StateAt(group, upto) + state_padding] {
    return Bytes::CopyOf(state);
  };
  if (rolls && store_->WantsRoll(RaftGroupId(group), Now())) {
    store_->Roll(RaftGroupId(group), LogIndex(upto), encode);
  } else if (makes_checkpoints && store_->WantsCheckpoint(RaftGroupId(group))) {
    store_->Checkpoint(RaftGroupId(group), LogIndex(upto), encode);
  }
}

Offset LogStoreRig::end_offset(uint64_t group) const {
  const Model& model = models_.at(group);
  return model.ends.at(model.handed).next_offset;
}

void LogStoreRig::SetLogStart(uint64_t group, Offset start) {
  Model& model = models_.at(group);
  CHECK_LE(start, end_offset(group));
  model.start = std::max(model.start, start);
  store_->SetLogStart(RaftGroupId(group), start);
}

void LogStoreRig::RandomStep() {
  std::vector<uint64_t> groups;
  for (const auto& [id, model] : models_) {
    if (model.history.back().exists) groups.push_back(id);
  }
  for (const auto& [id, model] : models_) {
    const bool is_gone = model.history.back().is_removed && model.acked + 1 == model.history.size();
    if (is_gone && random_.OneIn(20)) return CreateGroup(id);
  }
  if (groups.empty() || (groups.size() < 4 && random_.OneIn(10))) return CreateGroup(next_group_);
  const uint64_t group = groups[random_.Below(groups.size())];
  if (store_->journal_pressure() > 1) return Commit(group);
  const uint64_t dice = random_.Below(100);
  if (dice < 45) return Append(group, random_.Between(1, 5), 1500);
  if (dice < 80) return Commit(group);
  if (dice < 84) {
    const auto end = static_cast<uint64_t>(end_offset(group).value());
    return SetLogStart(group, Offset(static_cast<int64_t>(random_.Between(0, end))));
  }
  if (dice < 90) return Rewrite(group, random_.Between(1, 3));
  if (dice < 97) return SetTerm(group, models_.at(group).history.back().term + 1);
  if (groups.size() > 2 && random_.OneIn(2)) RemoveGroup(group);
}

const raft::RecoveredReplica* LogStoreRig::Recovered(uint64_t group) const {
  for (const raft::RecoveredReplica& replica : recovered_) {
    if (replica.record.group == RaftGroupId(group)) return &replica;
  }
  return nullptr;
}

std::string LogStoreRig::CompareWithModel() {
  for (auto& [id, model] : models_) {
    if (!is_alive()) return "";  // died while it was compared
    std::string wrong = Compare(id, model);
    if (wrong.empty() && model.history.back().exists) wrong = CompareSegments(id);
    if (!wrong.empty()) return "group=" + std::to_string(id) + ": " + wrong;
  }
  return "";
}

std::string LogStoreRig::Compare(uint64_t group, Model& model) {
  const raft::RecoveredReplica* replica = Recovered(group);
  Snapshot found;
  const uint32_t last_number = model.history.back().number;
  while (replica == nullptr && found.number < last_number &&
         !store_->MayCreate({RaftGroupId(group), ReplicaNumber(found.number + 1)})) {
    found.is_removed = true;
    ++found.number;
  }
  if (replica != nullptr) {
    if (!replica->health.ok()) return "in doubt: " + replica->health.ToString();
    const raft::core::Log& log = replica->initial.log;
    found.exists = true;
    found.number = replica->record.number.value();
    found.term = replica->initial.hard_state.term.value();
    found.epoch = replica->initial.epoch.value();
    found.last_index = log.last_index().value();
    found.last_chain = log.last_chain();
  }
  const auto first = model.history.begin() + static_cast<ptrdiff_t>(model.acked);
  const auto at = std::find(first, model.history.end(), found);
  if (at == model.history.end()) {
    return "recovered a state that it never had or that was acknowledged away: last=" +
           std::to_string(found.last_index) + " number=" + std::to_string(found.number) +
           " term=" + std::to_string(found.term) + " epoch=" + std::to_string(found.epoch) +
           " acknowledged last=" + std::to_string(first->last_index) +
           " term=" + std::to_string(first->term);
  }
  // What the others committed may be lost here, as long as it was not acknowledged.
  uint64_t acknowledged = first->last_index;
  for (auto later = first; later != model.history.end(); ++later) {
    acknowledged = std::min(acknowledged, later->last_index);
  }
  if (model.committed > acknowledged) {
    model.committed = std::max(acknowledged, std::min(model.committed, found.last_index));
  }
  // Entries of a write that a later truncation voided are gone from the model; take them from the
  // log.
  if (replica != nullptr) {
    const raft::core::Log& log = replica->initial.log;
    model.entries.resize(std::min<size_t>(model.entries.size(), log.prefix().index.value()));
    model.ends.resize(model.entries.size() + 1);
    if (model.entries.size() < log.prefix().index.value())
      return "segments hold what is not in the model";
    for (LogIndex index = log.prefix().index + 1; index <= log.last_index(); ++index) {
      const Entry& entry = log.At(index);
      const FrameHeader header = ParseFrameHeader(entry.frame.view()).value();
      if (!CheckFollows(model.ends.back(), RaftGroupId(group), header).ok())
        return "the tail does not follow";
      model.entries.push_back(entry);
      model.ends.push_back(EndAfter(header));
    }
    const std::string wrong = CompareReplica(*replica, model);
    if (!wrong.empty()) return wrong;
    model.handed = log.prefix().index.value();
    model.begin = log.begin().index;
  }
  model.history = {found};
  model.acked = 0;
  return "";
}

std::string LogStoreRig::CompareReplica(const raft::RecoveredReplica& replica, const Model& model) {
  const raft::core::Log& log = replica.initial.log;
  if (log.last_index().value() < model.committed) return "a committed entry is lost";
  if (replica.initial.commit_index < log.prefix().index) return "commit is below the segments' end";
  if (replica.initial.commit_index.value() > model.committed) return "commit is made up";
  const raft::core::LogPoint& begin = log.begin();
  if (begin.index < model.begin) return "the log's begin went back";
  if (begin != model.ends.at(begin.index.value())) return "the log begins where it never was";
  if (begin.next_offset > model.start) return "records were dropped that may be asked for";
  const LogIndex covered = replica.snapshot.has_value() ? replica.snapshot->index : LogIndex();
  if (covered < begin.index) return "the state does not reach the log's begin";
  for (uint64_t index = begin.index.value() + 1; index <= log.last_index().value(); ++index) {
    if (log.TermAt(LogIndex(index)) != model.entries[index - 1].term) {
      return "wrong term at " + std::to_string(index);
    }
  }
  uint64_t changed_at = 0;
  for (uint64_t index = 1; index <= log.prefix().index.value(); ++index) {
    if (model.entries[index - 1].configuration != nullptr) changed_at = index;
  }
  if (replica.initial.configuration != ConfigurationOf(changed_at)) {
    return "the configuration is not that of entry " + std::to_string(changed_at);
  }
  if (!replica.snapshot.has_value()) return "";
  const uint64_t index = replica.snapshot->index.value();
  if (index > model.committed) return "the state is ahead of the log";
  if (replica.snapshot->state.view() !=
      StateAt(replica.record.group.value(), index) + state_padding) {
    return "the state is another index's";
  }
  return "";
}

std::string LogStoreRig::CompareSegments(uint64_t group) {
  const Model& model = models_.at(group);
  const uint64_t end = store_->readable_end(RaftGroupId(group)).value();
  for (uint64_t index = model.begin.value() + 1; index <= end;) {
    const auto read = Read(group, index, random_.Below(4000));
    if (!process_->is_alive()) return "";
    if (!read.ok()) return "cannot read " + std::to_string(index) + ": " + read.status().ToString();
    for (const Entry& entry : *read) {
      if (entry.frame.view() != model.entries[index - 1].frame.view()) {
        return "entry " + std::to_string(index) + " was read back as another";
      }
      ++index;
    }
  }
  const int64_t first = model.ends.at(model.begin.value()).next_offset.value();
  const auto offsets = static_cast<uint64_t>(model.ends.at(end).next_offset.value() - first);
  if (first > 0) {
    const auto dropped = ReadFromOffset(group, first - 1, 1);
    if (!process_->is_alive()) return "";
    const bool is_another =
        dropped.ok() && dropped->front().frame.header().base_offset >= Offset(first);
    if (is_another) return "what was dropped was answered with what follows";
    if (!dropped.ok() && dropped.status().code() != Code::kOutOfRange) {
      return "what was dropped was answered with " + dropped.status().ToString();
    }
  }
  if (offsets == 0) return "";
  const Offset offset(first + static_cast<int64_t>(random_.Below(offsets)));
  const auto read = ReadFromOffset(group, offset.value(), 1);
  if (!process_->is_alive()) return "";
  if (!read.ok()) return "cannot read an offset: " + read.status().ToString();
  const FrameHeader header = ParseFrameHeader(read->front().frame.view()).value();
  const bool holds =
      header.base_offset <= offset && offset < header.base_offset + header.offset_span;
  return holds ? "" : "read the wrong entry for an offset";
}

Result<std::vector<Entry>> LogStoreRig::AwaitEntries(
    const std::function<void(raft::EntriesDone)>& begin) {
  const auto outcome = std::make_shared<std::optional<Result<std::vector<Entry>>>>();
  begin([outcome](Result<std::vector<Entry>> entries) { *outcome = std::move(entries); });
  world_.RunUntil([&] { return outcome->has_value() || !process_->is_alive(); }, kLong);
  if (!outcome->has_value()) return Aborted("the machine died");
  return std::move(**outcome);
}

Result<std::vector<Entry>> LogStoreRig::Read(uint64_t group, uint64_t first, uint64_t bytes_max) {
  return AwaitEntries([&](auto done) {
    store_->Read(RaftGroupId(group), LogIndex(first), bytes_max, std::move(done));
  });
}

Result<std::vector<Entry>> LogStoreRig::Salvage(uint64_t group, uint64_t first,
                                                uint64_t bytes_max) {
  return AwaitEntries([&](auto done) {
    store_->Salvage(RaftGroupId(group), LogIndex(first), bytes_max, std::move(done));
  });
}

Result<std::vector<Entry>> LogStoreRig::ReadFromOffset(uint64_t group, int64_t offset,
                                                       uint64_t bytes_max) {
  return AwaitEntries([&](auto done) {
    store_->ReadFromOffset(RaftGroupId(group), Offset(offset), bytes_max, std::move(done));
  });
}

}  // namespace millrace::storage
