// How a replica comes to take part: found on disk, or read later than at the start, or made; its
// state restored and what that lacks applied from segments; then its core begins.
#include <string>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "raft/host/host.h"

namespace millrace::raft {
namespace {

// Entries read back from segments in one go.
constexpr uint64_t kReplayBytes = 1 << 20;
// Between two tries to read what has to be applied before a replica joins.
constexpr Duration kReplayPause = std::chrono::milliseconds(500);

LogIndex CoveredBy(const std::optional<Snapshot>& snapshot) {
  return snapshot.has_value() ? snapshot->index : LogIndex();
}

// Brings `machine` to where the log's entries take it on.
Status RestoreState(const RecoveredReplica& recovered, StateMachine& machine) {
  const LogIndex first = recovered.initial.log.first_index();
  const LogIndex covered = CoveredBy(recovered.snapshot);
  if (first > covered + 1) {
    return DataLoss("the log begins at entry " + std::to_string(first.value()) +
                    ", but the state that was saved covers only entries up to " +
                    std::to_string(covered.value()));
  }
  return recovered.snapshot.has_value() ? machine.Restore(recovered.snapshot->state) : Status();
}

}  // namespace

void Host::AddReplica(RecoveredReplica recovered, StateMachine& machine) {
  const RaftGroupId group = recovered.record.group;
  CHECK(!replicas_.contains(group)) << "group=" << group;
  Status health = std::move(recovered.health);
  if (health.ok()) health = RestoreState(recovered, machine);
  auto replica =
      std::make_unique<Replica>(recovered.record, machine, CoveredBy(recovered.snapshot), health);
  replica->set_namer(&namer_);
  LOG_IF(ERROR, !health.ok()) << "replica is silent " << replica->Name() << " why=" << health;
  if (health.ok()) replica->joining = std::move(recovered.initial);
  replicas_.emplace(group, std::move(replica));
  if (health.ok()) Replay({group, recovered.record.number});
}

void Host::Replay(const ReplicaId& id) {
  Replica* replica = FindLife(id);
  if (replica == nullptr || !replica->joining.has_value()) return;
  const LogIndex end = replica->joining->log.prefix().index;
  if (replica->applied() < end && replica->apply_fault().ok()) {
    environment_.log_store.Read(
        id.group, replica->applied() + 1, kReplayBytes,
        [this, id, alive = is_alive_](Result<std::vector<core::Entry>> entries) {
          if (*alive) OnReplayRead(id, std::move(entries));
        });
    return;
  }
  core::InitialState initial = std::move(*replica->joining);
  replica->joining.reset();
  replica->Join(CoreOptions(*replica), std::move(initial));
  UpdateMayLead(*replica);
  const core::Configuration& configuration = replica->core().configuration();
  if (configuration.Members().size() == 1 && configuration.IsVoter(SelfOf(*replica))) {
    replica->core().Campaign();
  }
  MarkDirty(*replica);
}

void Host::OnReplayRead(const ReplicaId& id, Result<std::vector<core::Entry>> entries) {
  Replica* replica = FindLife(id);
  if (replica == nullptr || !replica->joining.has_value()) return;
  if (!entries.ok() && entries.status().code() == Code::kUnavailable) {
    MILLRACE_SOMETIMES("a replica could not read at once what it has to apply");
    LOG(WARNING) << "cannot read what has to be applied, trying again group=" << id.group
                 << " why=" << entries.status();
    environment_.executor.RunAfter(kReplayPause, [this, id, alive = is_alive_] {
      if (*alive) Replay(id);
    });
    return;
  }
  if (!entries.ok()) {
    replica->joining.reset();
    replica->Fail(entries.status().With("read back the partition's segments"));
    return;
  }
  CHECK(!entries->empty()) << "group=" << id.group << " applied=" << replica->applied();
  MILLRACE_SOMETIMES("a replica applied from its segments at start");
  for (const core::Entry& entry : *entries) {
    const bool is_joining = entry.index <= replica->joining->log.prefix().index;
    if (is_joining && replica->apply_fault().ok()) replica->Apply(entry);
  }
  Replay(id);
}

void Host::CreateReplica(const ReplicaRecord& record, bool campaign, StateMachine& machine) {
  CHECK(!replicas_.contains(record.group)) << "group=" << record.group;
  auto replica = std::make_unique<Replica>(record, machine, LogIndex(), Status::Ok());
  replica->set_namer(&namer_);
  CHECK(!record.is_added) << "group=" << record.group;
  CHECK(record.number != ReplicaNumber()) << "group=" << record.group;
  core::InitialState initial;
  initial.configuration = record.configuration;
  replica->joining = std::move(initial);
  replicas_.emplace(record.group, std::move(replica));
  environment_.log_store.CreateReplica(
      record, [this, id = ReplicaId{record.group, record.number}, campaign, alive = is_alive_] {
        if (!*alive) return;
        Replay(id);
        Replica* created = FindLife(id);
        if (created == nullptr || !created->has_joined() || !campaign) return;
        created->core().Campaign();
        MarkDirty(*created);
      });
}

void Host::OnRecovered(RecoveredReplica recovered) {
  const auto found = replicas_.find(recovered.record.group);
  if (found == replicas_.end()) return;
  CHECK(!found->second->health().ok()) << "group=" << recovered.record.group;
  MILLRACE_SOMETIMES("a replica that could not be read at start joined later");
  LOG(INFO) << "replica could be read group=" << recovered.record.group;
  StateMachine& machine = found->second->machine();
  replicas_.erase(found);
  AddReplica(std::move(recovered), machine);
}

}  // namespace millrace::raft
