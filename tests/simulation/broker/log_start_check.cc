#include "tests/simulation/broker/log_start_check.h"

#include <algorithm>
#include <string>

namespace millrace::sim {
namespace {

using std::chrono::seconds;

// What a record takes beside its value, at most, with its share of a batch and a frame.
constexpr uint64_t kOverheadBytes = 200;

std::string Name(uint32_t partition) { return "partition " + std::to_string(partition); }

}  // namespace

void LogStartCheck::Acknowledged(const Acknowledgement& acknowledgement) {
  auto& records = partitions_.at(acknowledgement.partition).records;
  const auto at = static_cast<size_t>(acknowledgement.offset.value());
  if (records.size() <= at) records.resize(at + 1);
  records[at] = {.sent_at = acknowledgement.sent_at, .bytes = acknowledgement.bytes};
}

void LogStartCheck::DeletionAsked(uint32_t partition, Offset before) {
  Offset& asked = partitions_[partition].asked;
  asked = std::max(asked, before);
}

// Null if it cannot be asked just now.
const broker::Partition* LogStartCheck::Find(const Log& log, size_t broker,
                                             LogIndex* applied) const {
  if (damaged_.contains(broker)) return nullptr;
  if (!cluster_.is_serving(broker) || !cluster_.process(broker).is_alive()) return nullptr;
  const raft::Replica* replica = cluster_.node(broker).host().Find(log.replicas.group);
  if (replica == nullptr || !replica->tail().has_value()) return nullptr;
  *applied = replica->tail()->applied();
  return cluster_.node(broker).replicas().Find(log.replicas.group);
}

void LogStartCheck::Observe() {
  for (auto& [number, log] : partitions_) {
    for (const size_t broker : log.replicas.brokers) {
      LogIndex applied;
      const broker::Partition* partition = Find(log, broker, &applied);
      if (partition == nullptr) continue;
      const std::pair state(partition->log_start(), partition->high_watermark());
      const auto [known, is_new] = log.states.emplace(applied, state);
      if (known->second != state) {
        history_.SawLogStart("replicas of " + Name(number) + " that applied entry " +
                             std::to_string(applied.value()) + " start at " +
                             std::to_string(state.first.value()) + " and at " +
                             std::to_string(known->second.first.value()));
      }
      Judge(number, log, state.first, state.second);
    }
    Offset last;
    for (const auto& [applied, state] : log.states) {
      if (state.first < last) {
        history_.SawLogStart(Name(number) + " went back to " + std::to_string(state.first.value()) +
                             " from " + std::to_string(last.value()));
      }
      last = std::max(last, state.first);
    }
    // The newest is enough to hold the next ones against.
    while (log.states.size() > 64) log.states.erase(log.states.begin());
  }
}

void LogStartCheck::Judge(uint32_t partition, Log& log, Offset start, Offset end) {
  if (start <= std::max(log.asked, log.gone)) return;
  const Offset from = std::max(log.asked, log.gone);
  log.gone = start;
  if (MayHaveExpired(log, from, start) || MayBeTooMany(log, start, end)) {
    return history_.Expired(partition, start);
  }
  history_.SawLogStart(Name(partition) + " starts at " + std::to_string(start.value()) + " of " +
                       std::to_string(end.value()) + ", and records from " +
                       std::to_string(from.value()) + " on went before their time");
}

// By time: nothing was appended before it was sent.
bool LogStartCheck::MayHaveExpired(const Log& log, Offset from, Offset to) const {
  if (swarm_.retention_time == seconds(0)) return false;
  // Nobody can tell that the only clock there is is wrong.
  if (swarm_.Has(FaultClass::kWrongClock) && swarm_.brokers == 1) return true;
  // How far a clock may be off that is believed; and records are stamped by others than those that
  // let them expire.
  Duration error = seconds(1);
  if (swarm_.Has(FaultClass::kWrongClock)) error = seconds(120);
  if (swarm_.Has(FaultClass::kClocks)) error = std::chrono::hours(3);
  const Duration now = world_.elapsed();
  for (int64_t at = from.value(); at < to.value(); ++at) {
    if (static_cast<size_t>(at) >= log.records.size()) break;
    const std::optional<Record>& record = log.records[static_cast<size_t>(at)];
    if (record.has_value() && record->sent_at + swarm_.retention_time > now + error) return false;
  }
  return true;
}

// By size: what is left is not much less than what is kept, for whole segments go, and none is
// larger than a quarter of that.
bool LogStartCheck::MayBeTooMany(const Log& log, Offset start, Offset end) const {
  return swarm_.retention_bytes > 0 && BytesKept(log, start, end) >= swarm_.retention_bytes / 2;
}

uint64_t LogStartCheck::BytesKept(const Log& log, Offset start, Offset end) const {
  uint64_t bytes = 0;
  for (int64_t at = start.value(); at < end.value(); ++at) {
    const auto place = static_cast<size_t>(at);
    const bool is_known = place < log.records.size() && log.records[place].has_value();
    bytes += kOverheadBytes + (is_known ? log.records[place]->bytes : swarm_.value_bytes_max);
  }
  return bytes;
}

bool LogStartCheck::IsRetained() const {
  const bool has_right_clocks =
      !swarm_.Has(FaultClass::kClocks) && !swarm_.Has(FaultClass::kWrongClock);
  // Where it leads nothing goes.
  if (!damaged_.empty()) return true;
  for (const auto& [number, log] : partitions_) {
    if (log.replicas.brokers.empty()) continue;  // it came, and no image told of it yet
    LogIndex applied;
    const broker::Partition* partition = Find(log, log.replicas.brokers.front(), &applied);
    if (partition == nullptr) return false;
    const Offset start = partition->log_start();
    const Offset end = partition->high_watermark();
    const bool expires = swarm_.retention_time > seconds(0) && has_right_clocks;
    if (expires && start != end) return false;
    const bool is_bound = swarm_.retention_bytes > 0;
    if (is_bound && BytesKept(log, start, end) > 3 * swarm_.retention_bytes) return false;
  }
  return true;
}

}  // namespace millrace::sim
