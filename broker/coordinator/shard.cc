#include "broker/coordinator/shard.h"

#include <algorithm>
#include <memory>

#include <glog/logging.h>

#include "broker/coordinator/sweep.h"
#include "broker/coordinator/transaction_requests.h"
#include "broker/coordinator/transaction_sweep.h"
#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "proto/frame/frame.h"
#include "raft/ports/propose_control.h"

namespace millrace::broker {

using internal::v1::CoordinatorState;

namespace {

// Of one entry, but for a single request that asks for more.
constexpr uint64_t kEntryBytesMax = uint64_t{512} << 10;
// Of what waits for the decision before it of one key.
constexpr size_t kWaitingMax = 1'000;
constexpr uint64_t kWaitingBytesMax = uint64_t{1} << 20;
constexpr int64_t kThrottledRetryMs = 50;
constexpr uint64_t kSegmentBytesMin = uint64_t{8} << 20;

Status TooManyWait(CoordinatorShard::KeyKind kind, const std::string& name) {
  const std::string what =
      kind == CoordinatorShard::KeyKind::kGroup ? "group \"" : "transactional id \"";
  return ResourceExhausted(
             "too many requests wait for " + what + name + "\", whose last change is on its way",
             Reason::kThrottled)
      .RetryAfterMs(kThrottledRetryMs);
}

}  // namespace

CoordinatorShard::CoordinatorShard(RaftGroupId group, const Environment& environment)
    : group_(group),
      environment_(environment),
      answers_([this](auto done) { Confirm(std::move(done)); }) {}

CoordinatorShard::~CoordinatorShard() { environment_.memory.Changed(state_.bytes(), 0); }

void CoordinatorShard::Execute(Request request) {
  std::deque<Request> requests;
  requests.push_back(std::move(request));
  Execute(std::move(requests));
}

void CoordinatorShard::Execute(std::deque<Request> requests) {
  if (requests.empty()) return;
  if (!is_ready()) {
    for (Request& request : requests) request.done(raft_->NotLeader());
    return;
  }
  const auto found = keys_.find({requests.front().kind, requests.front().key});
  if (found == keys_.end() || !found->second.is_deciding) {
    return DecideTogether(std::move(requests));
  }
  for (Request& request : requests) Wait(&found->second, std::move(request));
}

void CoordinatorShard::Wait(Key* key, Request request) {
  const bool is_full = key->waiting.size() >= kWaitingMax ||
                       (key->bytes + request.bytes > kWaitingBytesMax && !key->waiting.empty());
  if (is_full) return request.done(TooManyWait(request.kind, request.key));
  key->bytes += request.bytes;
  key->waiting.push_back(std::move(request));
}

void CoordinatorShard::DecideTogether(std::deque<Request> requests) {
  const KeyName key{requests.front().kind, requests.front().key};
  const ShardState::Place next{.index = applied_ + 1, .time_ms = last_append_time_ms_};
  ShardState ahead;  // what those behind the first are decided on
  Records records;
  std::vector<Answer> answers;
  bool is_alone = false;
  while (!requests.empty()) {
    Request request = std::move(requests.front());
    requests.pop_front();
    const bool is_first = records.records().empty();
    Result<Records> decided = request.decide(is_first ? state_ : ahead);
    const bool is_change = decided.ok() && !decided->records().empty();
    Answer answer{.status = decided.status(), .done = std::move(request.done)};
    if (!is_change && is_first) {
      answers_.WithoutEntry(std::move(answer.status), std::move(answer.done));
      continue;
    }
    answers.push_back(std::move(answer));
    if (!is_change) continue;
    is_alone = is_alone || request.is_alone;
    if (is_first && !requests.empty()) ahead = state_;
    for (auto& record : *decided->mutable_records()) {
      if (!requests.empty()) {
        const Status applied = ahead.Apply(record, next);
        CHECK(applied.ok()) << applied;  // it was decided on this very state
      }
      *records.add_records() = std::move(record);
    }
  }
  if (records.records().empty()) return;
  if (is_alone) {
    keys_[key].is_deciding = true;
    answers.push_back({.status = {}, .done = [this, key](const Status&) { Release(key); }});
  }
  Propose(std::move(records), std::move(answers));
}

void CoordinatorShard::Release(const KeyName& key) {
  auto released = keys_.extract(key);
  CHECK(!released.empty()) << key.second;
  std::deque<Request>& waiting = released.mapped().waiting;
  if (waiting.empty()) return;
  if (is_ready()) return DecideTogether(std::move(waiting));
  for (Request& request : waiting) request.done(raft_->NotLeader());
}

void CoordinatorShard::Propose(Records records, std::vector<Answer> answers) {
  batch_.bytes += records.ByteSizeLong();
  for (auto& record : *records.mutable_records()) {
    batch_.level = std::max(batch_.level, LevelOf(record));
    *batch_.records.add_records() = std::move(record);
  }
  std::move(answers.begin(), answers.end(), std::back_inserter(batch_.answers));
  if (batch_.bytes >= kEntryBytesMax) return Flush();
  if (std::exchange(is_flush_posted_, true)) return;
  environment_.executor.Post(lifetime_.Guard([this] {
    is_flush_posted_ = false;
    Flush();
  }));
}

void CoordinatorShard::Flush() {
  if (batch_.records.records().empty()) return;
  if (!is_ready() || !raft_->tail().has_value()) return FailBatch(raft_->NotLeader());
  const Result<LogIndex> index = raft::ProposeControl(
      *raft_, {.type = FrameType::kCoordinatorCommand, .feature_level = batch_.level},
      batch_.records.SerializeAsString(), environment_.clock.WallMs());
  if (!index.ok()) return FailBatch(index.status());
  Batch proposed = std::exchange(batch_, {});
  for (Answer& answer : proposed.answers) {
    if (MILLRACE_MUTANT(kCommitAnsweredTooSoon)) {
      answer.done(std::move(answer.status));
      continue;
    }
    answers_.OnceApplied(*index, std::move(answer.status), std::move(answer.done));
  }
}

void CoordinatorShard::FailBatch(const Status& why) {
  Batch failed = std::exchange(batch_, {});
  for (Answer& answer : failed.answers) answer.done(why);
}

void CoordinatorShard::Confirm(Done done) {
  if (!is_ready()) return done(raft_->NotLeader());
  if (MILLRACE_MUTANT(kOffsetsFromMemory)) return done(Status::Ok());
  unconfirmed_.push_back(std::move(done));
  if (unconfirmed_.size() > 1) return;
  environment_.executor.Post(lifetime_.Guard([this] {
    auto asked = std::make_shared<std::vector<Done>>(std::exchange(unconfirmed_, {}));
    raft_->ReadBarrier([asked](const Status& confirmed) {
      for (Done& one : *asked) one(confirmed);
    });
  }));
}

void CoordinatorShard::Tend(std::optional<int64_t> wall_ms) {
  if (!is_ready()) return;
  TendTransactions(wall_ms);
  if (is_sweeping_) return;
  Records records =
      Sweep(state_, applied_, environment_.image,
            {.wall_ms = wall_ms, .retention_ms = environment_.memory.limits().offsets_retention_ms},
            &swept_);
  if (records.records().empty()) return;
  MILLRACE_SOMETIMES("a coordinator forgot what nobody needs");
  is_sweeping_ = true;
  std::vector<Answer> answers;
  answers.push_back({.status = {}, .done = [this](const Status&) { is_sweeping_ = false; }});
  Propose(std::move(records), std::move(answers));
}

void CoordinatorShard::TendTransactions(std::optional<int64_t> wall_ms) {
  const TransactionTable& table = state_.transactions();
  for (const OverdueTransaction& one : times_.Look(table, environment_.clock.Now())) {
    Look(one.id,
         [one](const ShardState& state) { return DecideTimeLimit(state, one.id, one.name); });
  }
  if (!wall_ms.has_value()) return;
  const int64_t unused_since_ms = *wall_ms - kTransactionalIdKeptMs;
  for (const std::string& id : Unused(table, *wall_ms, &looked_at_unused_)) {
    Look(id, [id, unused_since_ms](const ShardState& state) {
      return DecideForget(state, id, unused_since_ms);
    });
  }
}

void CoordinatorShard::Look(const std::string& id, Decide decide) {
  Execute({.kind = KeyKind::kTransactionalId,
           .key = id,
           .is_alone = true,
           .bytes = id.size(),
           .decide = std::move(decide),
           .done = [](const Status&) {}});
}

uint64_t CoordinatorShard::segment_bytes() const {
  return std::max(kSegmentBytesMin, state_.bytes());
}

Status CoordinatorShard::Restore(Bytes state) {
  CoordinatorState saved;
  if (!saved.ParseFromArray(state.data(), static_cast<int>(state.size()))) {
    return DataLoss("a coordinator's state in its segment cannot be read");
  }
  ASSIGN_OR_RETURN(ShardState loaded, ShardState::LoadFrom(saved));
  environment_.memory.Changed(state_.bytes(), loaded.bytes());
  state_ = std::move(loaded);
  last_append_time_ms_ = saved.last_append_time_ms();
  applied_ = LogIndex(saved.applied_index());
  MILLRACE_SOMETIMES("a coordinator's shard was restored from a snapshot");
  return {};
}

raft::StateEncoder CoordinatorShard::TakeSnapshot() const {
  return [state = state_, last_append_time_ms = last_append_time_ms_, applied = applied_] {
    CoordinatorState saved;
    state.SaveTo(&saved);
    if (MILLRACE_MUTANT(kSnapshotDropsAGroup) && !saved.groups().empty()) {
      saved.mutable_groups()->RemoveLast();
    }
    saved.set_last_append_time_ms(last_append_time_ms);
    saved.set_applied_index(applied.value());
    return Bytes::Own(saved.SerializeAsString());
  };
}

Status CoordinatorShard::Apply(const raft::core::Entry& entry) {
  const FrameHeader header = entry.frame.header();
  Changes changes;
  if (entry.type == raft::core::EntryType::kCommand) {
    if (header.type != FrameType::kCoordinatorCommand) {
      return DataLoss("it is no command of a coordinator");
    }
    RETURN_IF_ERROR(ApplyRecords(
        entry.frame.payload(), {.index = entry.index, .time_ms = header.append_time_ms}, &changes));
  }
  applied_ = entry.index;
  last_append_time_ms_ = std::max(last_append_time_ms_, header.append_time_ms);
  answers_.OnApplied(entry.index, entry.term);
  if (!changes.empty() && change_listener_) change_listener_(changes);
  return {};
}

Status CoordinatorShard::ApplyRecords(const Bytes& payload, const ShardState::Place& place,
                                      Changes* changes) {
  Records records;
  if (!records.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) {
    return DataLoss("its records cannot be read");
  }
  const uint64_t before = state_.bytes();
  Status applied;
  for (const auto& record : records.records()) {
    applied = ApplyRecord(record, place, changes);
    if (!applied.ok()) break;
  }
  environment_.memory.Changed(before, state_.bytes());
  return applied;
}

Status CoordinatorShard::ApplyRecord(const internal::v1::CoordinatorRecord& record,
                                     const ShardState::Place& place, Changes* changes) {
  if (record.has_staged_offsets_ended()) {
    for (std::string& group :
         state_.GroupsStagedBy(NameFrom(record.staged_offsets_ended().transaction()))) {
      changes->released.insert(std::move(group));
    }
  }
  RETURN_IF_ERROR(state_.Apply(record, place));
  if (const std::string* id = TransactionalIdIn(record)) changes->transactional_ids.insert(*id);
  if (const std::string* group = MemberOutOf(record)) {
    if (state_.fencing().Find(*group) != nullptr) changes->fencing.insert(*group);
  }
  return {};
}

void CoordinatorShard::OnLeadership(const raft::Leadership& leadership) {
  leadership_ = leadership;
  if (!leadership.is_ready) times_.Clear();
  if (!answers_.OnLeadership(leadership)) FailBatch(raft_->NotLeader());
  if (listener_) listener_(leadership);
}

}  // namespace millrace::broker
