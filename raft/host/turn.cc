#include "raft/host/turn.h"

#include <utility>

#include "raft/host/replicas.h"

namespace millrace::raft {

Turn::Turn(const HostEnvironment& environment, const Replicas& replicas)
    : environment_(environment), replicas_(&replicas) {
  environment_.log_store.SetDurableListener(
      lifetime_.Guard([this](const std::vector<DurableWrite>& writes) { OnDurable(writes); }));
}

void Turn::Add(Replica& replica) {
  if (std::exchange(replica.is_in_turn, true)) return;
  waiting_.push_back(replica.id());
  if (std::exchange(is_posted_, true)) return;
  environment_.executor.Post(lifetime_.Guard([this] { Run(); }));
}

void Turn::Stop() {
  lifetime_.End();
  waiting_.clear();
}

void Turn::Run() {
  is_posted_ = false;
  std::vector<ReplicaWrite> writes;
  const std::vector<ReplicaId> turn = std::exchange(waiting_, {});
  for (const ReplicaId& id : turn) {
    Replica* replica = replicas_->Find(id);
    if (replica == nullptr) continue;
    replica->is_in_turn = false;
    replica->Drain(&writes);
  }
  if (!writes.empty()) Write(std::move(writes));
  for (const ReplicaId& id : turn) {
    if (Replica* replica = replicas_->Find(id)) replica->TellCommitted();
  }
}

void Turn::Write(std::vector<ReplicaWrite> writes) {
  writes_ += writes.size();
  const MonotonicTime now = environment_.clock.Now();
  for (ReplicaWrite& write : writes) {
    write.submitted_at = now;
    disk_.OnSubmitted(now);
  }
  environment_.log_store.Write(std::move(writes));
}

void Turn::OnDurable(const std::vector<DurableWrite>& writes) {
  for (const DurableWrite& write : writes) {
    disk_.OnDurable(write.submitted_at);
    Replica* replica = replicas_->Find(write.replica);
    if (replica != nullptr) replica->OnDurable(write.point);
  }
}

Duration Turn::oldest_write_age() const { return disk_.OldestAge(environment_.clock.Now()); }

}  // namespace millrace::raft
