// What may be set per topic: one table of keys with their defaults and ranges. The controller
// validates against it, partitions read their values from it, and docs/settings.md and what brokers
// tell of settings are written from it.
//
// Pure; any thread.
//
//   ASSIGN_OR_RETURN(const TopicTexts settings, CanonicalTopicSettings(given));
//   partition.set_batch_bytes_max(TopicSettings(topic.settings).batch_bytes_max);
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "broker/config/value.h"
#include "proto/base/status.h"

namespace millrace::broker::config {

// What goes of a topic's records in time: the choices of `cleanup`, in the order of the table's.
enum class Cleanup : uint64_t {
  kDelete,            // what retention does not keep
  kCompact,           // of two records of a key the older one
  kCompactAndDelete,  // both
};

struct TopicSettings {
  TopicSettings() = default;
  // From settings that were validated when they were set. What this version cannot read, since
  // another version wrote it, keeps its default.
  explicit TopicSettings(const std::map<std::string, std::string>& settings);

  uint64_t batch_bytes_max = 1'048'588;  // Kafka's, so that what fits there fits here
  uint64_t cleanup = 0;                  // a Cleanup
  uint64_t compaction_lag_min = 0;       // milliseconds
  uint64_t dirty_ratio_min = 500'000;    // millionths
  uint64_t is_protected = 0;             // 1: it is
  uint64_t retention_bytes = UINT64_MAX;
  uint64_t retention_time = UINT64_MAX;  // milliseconds
  uint64_t segment_bytes = 64 << 20;
  uint64_t segment_time = 86'400'000;         // milliseconds
  uint64_t tombstone_retention = 86'400'000;  // milliseconds

  bool is_compacted() const { return static_cast<Cleanup>(cleanup) != Cleanup::kDelete; }
  // Whether retention_bytes and retention_time have effect.
  bool expires() const { return static_cast<Cleanup>(cleanup) != Cleanup::kCompact; }
};

// One row of the table.
struct TopicSetting {
  std::string_view key;
  Kind kind;
  Range range;  // of a switch 0 to 1, of a choice its place among the choices
  uint64_t TopicSettings::* field;
  std::string_view kafka_name;  // empty: there is nothing like it
  std::string_view doc;
  bool may_be_unlimited = false;  // UINT64_MAX, beside what is in range
  std::vector<std::string_view> choices = {};
};

// Sorted by key.
const std::vector<TopicSetting>& TopicSettingTable();

// The default as it would be given; a server may have others.
std::string DefaultOf(const TopicSetting& setting, const TopicSettings& defaults = {});

// INVALID_ARGUMENT naming it and all that there are.
Status CheckIsTopicSetting(std::string_view key);

using TopicTexts = std::map<std::string, std::string>;

// As they are kept: each value in the form in which it would be told (64KiB for 0065536), whose
// length has a bound. INVALID_ARGUMENT naming the first key that is unknown or whose value does not
// fit.
Result<TopicTexts> CanonicalTopicSettings(const TopicTexts& settings);

// Whether they go together; INVALID_ARGUMENT naming those that do not. Pre: canonical.
Status CheckTopicSettings(const TopicTexts& settings);

}  // namespace millrace::broker::config
