#include "raft/host/turn.h"

#include "raft/host/replicas.h"

namespace millrace::raft {

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
  for (const ReplicaId& id : std::exchange(waiting_, {})) {
    Replica* replica = replicas_->Find(id);
    if (replica == nullptr) continue;
    replica->is_in_turn = false;
    replica->Drain(&writes);
  }
  if (!writes.empty()) Submit(std::move(writes));
}

void Turn::Submit(std::vector<ReplicaWrite> writes) {
  std::vector<std::pair<ReplicaId, core::DurablePoint>> points;
  points.reserve(writes.size());
  for (const ReplicaWrite& write : writes) {
    points.emplace_back(write.replica, write.write.durable_point);
  }
  disk_.OnSubmitted(environment_.clock.Now());
  environment_.log_store.Write(
      std::move(writes),
      lifetime_.Guard([this, points = std::move(points)] { OnDurable(points); }));
}

void Turn::OnDurable(const std::vector<std::pair<ReplicaId, core::DurablePoint>>& points) {
  disk_.OnDurable();
  for (const auto& [id, point] : points) {
    Replica* replica = replicas_->Find(id);
    if (replica != nullptr) replica->OnDurable(point);
  }
}

Duration Turn::oldest_write_age() const { return disk_.OldestAge(environment_.clock.Now()); }

}  // namespace millrace::raft
