#include "tests/simulation/broker/history.h"

#include <charconv>

namespace millrace::sim {
namespace {

constexpr size_t kAnomaliesMax = 20;

std::string At(uint32_t partition, Offset offset) {
  return "partition " + std::to_string(partition) + " offset " + std::to_string(offset.value());
}

}  // namespace

std::string ValueId::Text() const {
  return "p" + std::to_string(producer) + "-" + std::to_string(number);
}

std::optional<ValueId> ValueId::Parse(std::string_view text) {
  ValueId id;
  if (!text.starts_with('p')) return std::nullopt;
  const char* end = text.data() + text.size();
  const auto producer = std::from_chars(text.data() + 1, end, id.producer);
  if (producer.ec != std::errc() || producer.ptr == end || *producer.ptr != '-') {
    return std::nullopt;
  }
  const auto number = std::from_chars(producer.ptr + 1, end, id.number);
  // A value may be padded after a blank, to be larger.
  if (number.ec != std::errc() || (number.ptr != end && *number.ptr != ' ')) return std::nullopt;
  return id;
}

void History::Report(const std::string& anomaly) {
  if (anomalies_.size() < kAnomaliesMax) anomalies_.push_back(anomaly);
}

void History::Sent(uint32_t partition, ValueId value) {
  logs_[partition].sent.emplace(value, std::nullopt);
}

void History::Acknowledged(uint32_t partition, ValueId value, Offset offset) {
  ++acknowledged_;
  Log& log = logs_[partition];
  log.acknowledged.insert(value);
  if (offset < Offset(0)) return;
  log.sent[value] = offset;
  Place(partition, offset, value);
}

void History::Place(uint32_t partition, Offset offset, const ValueId& value) {
  Log& log = logs_[partition];
  const auto [at, is_new] = log.at.emplace(offset, value);
  if (!is_new && at->second != value) {
    Report("offset divergence: " + At(partition, offset) + " holds " + at->second.Text() + " and " +
           value.Text());
  }
  const auto [where, is_first] = log.where.emplace(value, offset);
  if (!is_first && where->second != offset) {
    Report("duplicate: " + value.Text() + " is at " + At(partition, where->second) + " and at " +
           At(partition, offset));
  }
}

void History::Read(uint32_t partition, Offset offset, const std::string& value) {
  ++reads_;
  const std::optional<ValueId> id = ValueId::Parse(value);
  if (!id.has_value() || !logs_[partition].sent.contains(*id)) {
    return Report("phantom: " + At(partition, offset) + " holds \"" + value.substr(0, 40) +
                  "\", which nobody sent there");
  }
  logs_[partition].read.insert(*id);
  Place(partition, offset, *id);
}

void History::SawHighWatermark(uint32_t partition, uint64_t reader, Offset high_watermark) {
  Offset& known = high_watermarks_[{partition, reader}];
  if (high_watermark < known) {
    Report("high watermark going back: partition " + std::to_string(partition) + " from " +
           std::to_string(known.value()) + " to " + std::to_string(high_watermark.value()));
  }
  known = std::max(known, high_watermark);
}

void History::SawLeader(RaftGroupId group, Term term, BrokerId leader) {
  const auto [at, is_new] = leaders_.emplace(std::pair(group, term), leader);
  if (!is_new && at->second != leader) {
    Report("two leaders in a term: group " + std::to_string(group.value()) + " term " +
           std::to_string(term.value()));
  }
}

void History::SawUndurable(const std::string& what) {
  Report("acknowledged, but not durable on a majority: " + what);
}

void History::SawStuck(const std::string& what) { Report("no progress: " + what); }

void History::CheckComplete() {
  for (const auto& [partition, log] : logs_) {
    Offset expected(0);
    for (const auto& [offset, value] : log.at) {
      if (offset != expected) {
        Report("lost write: " + At(partition, expected) + " was never read");
        break;
      }
      ++expected;
    }
    std::map<uint32_t, uint64_t> last;
    for (const auto& [offset, value] : log.at) {
      auto [before, is_first] = last.emplace(value.producer, value.number);
      if (!is_first && value.number <= before->second) {
        Report("reordering: " + value.Text() + " at " + At(partition, offset) + " follows p" +
               std::to_string(value.producer) + "-" + std::to_string(before->second));
      }
      before->second = value.number;
    }
    for (const ValueId& value : log.acknowledged) {
      if (!log.read.contains(value)) {
        Report("lost write: " + value.Text() + " of partition " + std::to_string(partition) +
               " was acknowledged");
      }
    }
  }
}

}  // namespace millrace::sim
