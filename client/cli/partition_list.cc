#include "client/cli/partition_list.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "client/cli/common_options.h"
#include "client/cli/number.h"

namespace millrace::client::cli {
namespace {

// "3" or "3-5".
Status AddRange(std::string_view text, std::set<uint32_t>* numbers) {
  const size_t dash = text.find('-');
  const NumberRange all{.min = 0, .max = kPartitionMax};
  ASSIGN_OR_RETURN(const uint64_t first, ParseNumber(text.substr(0, dash), all));
  uint64_t last = first;
  if (dash != std::string_view::npos) {
    ASSIGN_OR_RETURN(last, ParseNumber(text.substr(dash + 1), all));
  }
  if (last < first) {
    return InvalidArgument("partitions " + std::string(text) + ": the last is before the first");
  }
  for (uint64_t number = first; number <= last; ++number) {
    if (!numbers->insert(static_cast<uint32_t>(number)).second) {
      return InvalidArgument("partition " + std::to_string(number) + " is named twice");
    }
  }
  return {};
}

Result<std::vector<uint32_t>> ParseNumbers(std::string_view text) {
  std::set<uint32_t> numbers;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    RETURN_IF_ERROR(AddRange(text.substr(begin, end - begin), &numbers));
    begin = end + 1;
  }
  return std::vector<uint32_t>(numbers.begin(), numbers.end());
}

}  // namespace

Status AddTopicPartitions(std::string_view text, TopicPartitions* partitions) {
  RETURN_IF_ERROR(CheckUtf8("the topic's name", text));
  const size_t colon = text.find(':');
  const std::string topic(text.substr(0, colon));
  if (topic.empty()) return InvalidArgument("\"" + std::string(text) + "\" names no topic");
  std::vector<uint32_t> numbers;
  if (colon != std::string_view::npos) {
    Result<std::vector<uint32_t>> parsed = ParseNumbers(text.substr(colon + 1));
    if (!parsed.ok()) return parsed.status().With(topic);
    numbers = *std::move(parsed);
  }
  if (partitions->contains(topic)) {
    return InvalidArgument("topic " + topic + " is named twice");
  }
  (*partitions)[topic] = std::move(numbers);
  return {};
}

CLI::Option* AddTopicPartitionsOption(CLI::App* command, TopicPartitions* partitions) {
  return AddRepeated(
             command, "--topic",
             [partitions](const std::string& text) { return AddTopicPartitions(text, partitions); },
             "A topic, or some of its partitions (flights:0,3-5); may be given several times")
      ->type_name("TOPIC[:PARTITIONS]");
}

}  // namespace millrace::client::cli
