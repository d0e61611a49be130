#include "broker/config/topic_settings.h"

#include <algorithm>

namespace millrace::broker::config {
namespace {

// A batch, with what a message adds to it, fits the 4 MiB that gRPC clients receive by default.
constexpr Range kBatchBytes{.min = 1 << 10, .max = (4 << 20) - (64 << 10)};

const TopicSetting* FindRow(std::string_view key) {
  const std::vector<TopicSetting>& table = TopicSettingTable();
  auto row = std::find_if(table.begin(), table.end(),
                          [key](const TopicSetting& setting) { return setting.key == key; });
  return row == table.end() ? nullptr : &*row;
}

std::string KnownKeys() {
  std::string keys;
  for (const TopicSetting& setting : TopicSettingTable()) {
    keys += (keys.empty() ? "" : ", ") + std::string(setting.key);
  }
  return keys;
}

}  // namespace

const std::vector<TopicSetting>& TopicSettingTable() {
  static const std::vector<TopicSetting> kTable{
      {"batch_bytes_max", Kind::kBytes, kBatchBytes, &TopicSettings::batch_bytes_max,
       "Largest RecordBatch that the topic takes, serialized, as it is sent: if it is compressed, "
       "after that; before, it may have 4032KiB. A larger one is refused with BATCH_TOO_LARGE."},
  };
  return kTable;
}

TopicSettings::TopicSettings(const std::map<std::string, std::string>& settings) {
  for (const auto& [key, text] : settings) {
    const TopicSetting* row = FindRow(key);
    if (row == nullptr) continue;
    const Result<uint64_t> value = ParseNumber(row->kind, text, row->range);
    if (value.ok()) this->*row->field = static_cast<uint32_t>(*value);
  }
}

Status ValidateTopicSettings(const std::map<std::string, std::string>& settings) {
  for (const auto& [key, text] : settings) {
    const TopicSetting* row = FindRow(key);
    if (row == nullptr) {
      return InvalidArgument("there is no topic setting \"" + key + "\"; known: " + KnownKeys());
    }
    const Result<uint64_t> value = ParseNumber(row->kind, text, row->range);
    if (!value.ok()) return value.status().With("topic setting " + key);
  }
  return Status::Ok();
}

}  // namespace millrace::broker::config
