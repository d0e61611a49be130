#include "broker/config/topic_settings.h"

#include <algorithm>

namespace millrace::broker::config {
namespace {

// A batch, with what a message adds to it, fits the 4 MiB that gRPC clients receive by default.
constexpr Range kBatchBytes{.min = 1 << 10, .max = (4 << 20) - (64 << 10)};

// The longest time that may be set.
constexpr uint64_t kYearMs = uint64_t{366} * 86'400'000;

constexpr std::string_view kUnlimited = "unlimited";

const TopicSetting* FindRow(std::string_view key) {
  const std::vector<TopicSetting>& table = TopicSettingTable();
  auto row = std::find_if(table.begin(), table.end(),
                          [key](const TopicSetting& setting) { return setting.key == key; });
  return row == table.end() ? nullptr : &*row;
}

// `text` without what stands behind its last comma, behind that: Kafka's tools write its lists in
// either order.
std::string TurnedRound(std::string_view text) {
  const size_t comma = text.rfind(',');
  if (comma == std::string_view::npos) return std::string(text);
  return std::string(text.substr(comma + 1)) + "," + std::string(text.substr(0, comma));
}

// The place of `text` among the choices.
Result<uint64_t> ParseChoice(const TopicSetting& setting, std::string_view text) {
  std::string known;
  for (uint64_t i = 0; i < setting.choices.size(); ++i) {
    if (setting.choices[i] == text || setting.choices[i] == TurnedRound(text)) return i;
    known += (known.empty() ? "" : ", ") + Quoted(setting.choices[i]);
  }
  return InvalidArgument(Quoted(text) + " is none of " + known);
}

Result<uint64_t> ParseValue(const TopicSetting& setting, std::string_view text) {
  if (setting.may_be_unlimited && text == kUnlimited) return UINT64_MAX;
  if (setting.kind == Kind::kChoice) return ParseChoice(setting, text);
  if (setting.kind != Kind::kSwitch) return ParseNumber(setting.kind, text, setting.range);
  ASSIGN_OR_RETURN(const bool is_on, ParseSwitch(text));
  return is_on ? 1 : 0;
}

std::string FormatValue(const TopicSetting& setting, uint64_t value) {
  if (setting.may_be_unlimited && value == UINT64_MAX) return std::string(kUnlimited);
  if (setting.kind == Kind::kSwitch) return value != 0 ? "true" : "false";
  if (setting.kind == Kind::kChoice) return std::string(setting.choices.at(value));
  return FormatNumber(setting.kind, value);
}

std::string KnownKeys() {
  std::string keys;
  for (const TopicSetting& setting : TopicSettingTable()) {
    keys += (keys.empty() ? "" : ", ") + std::string(setting.key);
  }
  return keys;
}

// INVALID_ARGUMENT if there is none.
Result<const TopicSetting*> RowOf(std::string_view key) {
  if (const TopicSetting* row = FindRow(key)) return row;
  return InvalidArgument("there is no topic setting " + Quoted(key) + "; known: " + KnownKeys());
}

}  // namespace

const std::vector<TopicSetting>& TopicSettingTable() {
  static const std::vector<TopicSetting> kTable{
      {"batch_bytes_max", Kind::kBytes, kBatchBytes, &TopicSettings::batch_bytes_max,
       "max.message.bytes",
       "Largest RecordBatch that the topic takes, serialized, as it is sent: if it is compressed, "
       "after that; before, it may have 4032KiB. A larger one is refused with BATCH_TOO_LARGE."},
      {"cleanup",
       Kind::kChoice,
       {.min = 0, .max = 2},
       &TopicSettings::cleanup,
       "cleanup.policy",
       "What goes of the records in time. delete: what retention_bytes and retention_time do not "
       "keep. compact: of two records of a key the older one, so that the newest of each key stays "
       "for ever, and retention has no effect; a record without a key is refused. "
       "compact,delete: both.",
       /*may_be_unlimited=*/false,
       {"delete", "compact", "compact,delete"}},
      {"compaction_lag_min",
       Kind::kMilliseconds,
       {.min = 0, .max = 100 * kYearMs},
       &TopicSettings::compaction_lag_min,
       "min.compaction.lag.ms",
       "How long a record stays at least in a topic that is compacted, newer ones of its key or "
       "not, after it was appended."},
      {"dirty_ratio_min",
       Kind::kShare,
       {.min = 0, .max = kWholeShare},
       &TopicSettings::dirty_ratio_min,
       "min.cleanable.dirty.ratio",
       "A partition of a topic that is compacted is gone through once what was appended since the "
       "last time is this share of it."},
      {"protected",
       Kind::kSwitch,
       {.min = 0, .max = 1},
       &TopicSettings::is_protected,
       "",
       "Whether the topic refuses to be deleted, and its records, until this is unset. They expire "
       "all the same."},
      {"retention_bytes",
       Kind::kBytes,
       {.min = 256 << 10, .max = uint64_t{1} << 50},
       &TopicSettings::retention_bytes,
       "retention.bytes",
       "Bytes of records, as stored, that a partition keeps, beside the file that is written on; "
       "what is older goes, a file at a time, unless cleanup is compact alone. No file of it gets "
       "larger than a quarter of this. Or unlimited.",
       /*may_be_unlimited=*/true},
      {"retention_time",
       Kind::kMilliseconds,
       {.min = 10'000, .max = 100 * kYearMs},
       &TopicSettings::retention_time,
       "retention.ms",
       "How long records are kept after they were appended, by the brokers' clocks: a file goes "
       "once its newest one is as old, unless cleanup is compact alone. No file of it is written "
       "on for longer than a quarter of this. Or unlimited.",
       /*may_be_unlimited=*/true},
      {"segment_bytes",
       Kind::kBytes,
       {.min = 64 << 10, .max = 1 << 30},
       &TopicSettings::segment_bytes,
       "segment.bytes",
       "Each partition is stored in files of about this size. Where it is not set, the server's "
       "--segment-bytes says it."},
      {"segment_time",
       Kind::kMilliseconds,
       {.min = 10'000, .max = kYearMs},
       &TopicSettings::segment_time,
       "segment.ms",
       "A file is ended this long after its first record was stored, however small it is."},
      {"tombstone_retention",
       Kind::kMilliseconds,
       {.min = 0, .max = 100 * kYearMs},
       &TopicSettings::tombstone_retention,
       "delete.retention.ms",
       "How long a tombstone, a record with a key and no value, stays at least in a topic that is "
       "compacted, so that who reads the topic from its start within that time learns of it."},
  };
  return kTable;
}

TopicSettings::TopicSettings(const std::map<std::string, std::string>& settings) {
  for (const auto& [key, text] : settings) {
    const TopicSetting* row = FindRow(key);
    if (row == nullptr) continue;
    const Result<uint64_t> value = ParseValue(*row, text);
    if (value.ok()) this->*row->field = *value;
  }
}

std::string DefaultOf(const TopicSetting& setting, const TopicSettings& defaults) {
  return FormatValue(setting, defaults.*setting.field);
}

Status CheckIsTopicSetting(std::string_view key) { return RowOf(key).status(); }

Result<TopicTexts> CanonicalTopicSettings(const TopicTexts& settings) {
  TopicTexts canonical;
  for (const auto& [key, text] : settings) {
    ASSIGN_OR_RETURN(const TopicSetting* row, RowOf(key));
    const Result<uint64_t> value = ParseValue(*row, text);
    if (!value.ok()) return value.status().With("topic setting " + key);
    canonical[key] = FormatValue(*row, *value);
  }
  return canonical;
}

Status CheckTopicSettings(const TopicTexts& settings) {
  const TopicSettings read(settings);
  if (!settings.contains("segment_bytes") || read.retention_bytes >= read.segment_bytes) return {};
  return InvalidArgument("topic setting retention_bytes is " + settings.at("retention_bytes") +
                         ", less than one file: segment_bytes is " + settings.at("segment_bytes"));
}

}  // namespace millrace::broker::config
