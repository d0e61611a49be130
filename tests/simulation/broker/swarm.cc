#include "tests/simulation/broker/swarm.h"

#include <algorithm>

namespace millrace::sim {
namespace {

// Three most often: it is the smallest cluster in which everything can go wrong.
size_t DrawBrokers(Random& random) {
  constexpr size_t kSizes[] = {1, 2, 3, 3, 3, 3, 3, 4, 5, 5};
  return kSizes[random.Below(std::size(kSizes))];
}

bool NeedsOthers(FaultClass fault) {
  return fault == FaultClass::kPartitions || fault == FaultClass::kBridges ||
         fault == FaultClass::kResets || fault == FaultClass::kSlowLinks;
}

}  // namespace

std::string_view NameOf(FaultClass fault) {
  for (const auto& [known, name] : kFaultClasses) {
    if (known == fault) return name;
  }
  return "";
}

std::optional<FaultClass> FaultClassNamed(std::string_view name) {
  for (const auto& [fault, known] : kFaultClasses) {
    if (known == name) return fault;
  }
  return std::nullopt;
}

Random StreamOf(uint64_t seed, std::string_view concern) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const char c : concern) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return Random(seed * 0x9E3779B97F4A7C15 ^ hash);
}

Swarm Swarm::Draw(uint64_t seed, size_t brokers, const std::set<FaultClass>& without) {
  Swarm swarm;
  Random shape = StreamOf(seed, "shape");
  const size_t drawn = DrawBrokers(shape);
  swarm.brokers = brokers == 0 ? drawn : brokers;
  const uint32_t factor_max = swarm.brokers >= 5 ? 5 : swarm.brokers >= 3 ? 3 : 1;
  const bool is_smaller = shape.OneIn(4);
  swarm.replication_factor = is_smaller && factor_max > 1 ? factor_max - 2 : factor_max;
  swarm.bad_disk = shape.Below(swarm.brokers);
  swarm.controller_segment_bytes = uint64_t{8192} << StreamOf(seed, "controller segment").Below(6);
  swarm.coordinator_shards = static_cast<uint32_t>(StreamOf(seed, "coordinator").Below(4));
  constexpr uint64_t kLargeWrites[] = {512, 4 << 10, 64 << 10, 1 << 30};
  swarm.large_write_bytes = kLargeWrites[StreamOf(seed, "large writes").Below(4)];
  for (const auto& [fault, name] : kFaultClasses) {
    const bool is_on = StreamOf(seed, name).OneIn(3);
    if (!is_on || without.contains(fault)) continue;
    if (NeedsOthers(fault) && swarm.brokers == 1) continue;
    if (fault == FaultClass::kBridges && swarm.brokers < 3) continue;
    // Where a group has one replica, one full disk is the same; and that would end the other fault.
    const bool is_one_full = swarm.replication_factor == 1 || swarm.Has(FaultClass::kFullDisks);
    if (fault == FaultClass::kAllDisksFull && is_one_full) continue;
    // Where a group has one replica, damage to it is loss.
    if (fault == FaultClass::kBadDisk && swarm.replication_factor < 3) continue;
    if (fault == FaultClass::kSegmentRot && !swarm.MayRot()) continue;
    if (fault == FaultClass::kCopiers && !swarm.Has(FaultClass::kTransactions)) continue;
    swarm.on.insert(fault);
  }
  if (swarm.on.empty() && !without.contains(FaultClass::kKills)) {
    swarm.on.insert(FaultClass::kKills);
  }
  swarm.DrawRetention(seed);
  return swarm;
}

// Not where segments are made anew because they could not be written: of a last one that is damaged
// as well nothing tells what it had above the committed end.
bool Swarm::MayRot() const {
  return replication_factor >= 3 && !Has(FaultClass::kBadDisk) && !Has(FaultClass::kFullDisks) &&
         !Has(FaultClass::kAllDisksFull) && !Has(FaultClass::kPassingErrors);
}

void Swarm::DrawRetention(uint64_t seed) {
  Random random = StreamOf(seed, "log start");
  const uint64_t kind = random.Below(4);
  const std::chrono::seconds seconds(random.Between(10, 14));
  const std::chrono::hours hours(random.Between(6, 48));
  const uint64_t small_segment = uint64_t{16 << 10} << random.Below(5);
  wrong_clock = random.Below(brokers);
  if (Has(FaultClass::kRetention)) {
    if (kind <= 1) retention_bytes = 256 << 10;
    if (kind >= 1) retention_time = seconds;
  }
  if (Has(FaultClass::kWrongClock)) retention_time = hours;
  if (MayLoseRecords() || Has(FaultClass::kCompaction)) {
    segment_bytes = small_segment;
    // Else what is left is read from memory, mostly. But where that has all that was appended,
    // beside files from which compaction took some, the two must not be taken for one another.
    const bool is_in_memory = Has(FaultClass::kCompaction) && StreamOf(seed, "tail").OneIn(2);
    tail_bytes_max = is_in_memory ? 16 << 20 : 16 << 10;
  }
  if (Has(FaultClass::kRetention)) value_bytes_max = 1200;
}

std::vector<std::pair<std::string, std::string>> Swarm::TopicSettings() const {
  std::vector<std::pair<std::string, std::string>> settings;
  if (retention_bytes > 0) {
    settings.emplace_back("retention_bytes", std::to_string(retention_bytes >> 10) + "KiB");
  }
  if (retention_time.count() > 0) {
    settings.emplace_back("retention_time", std::to_string(retention_time.count()) + "s");
  }
  return settings;
}

std::string Swarm::ToString() const {
  std::string text = "brokers=" + std::to_string(brokers) +
                     " replication_factor=" + std::to_string(replication_factor) +
                     " coordinator_shards=" + std::to_string(coordinator_shards) +
                     " controller_segment_bytes=" + std::to_string(controller_segment_bytes) +
                     " large_write_bytes=" + std::to_string(large_write_bytes);
  if (MayLoseRecords()) text += " segment_bytes=" + std::to_string(segment_bytes);
  for (const auto& [key, value] : TopicSettings()) text += " " + key + "=" + value;
  for (const FaultClass fault : on) text += " " + std::string(NameOf(fault));
  return text;
}

}  // namespace millrace::sim
