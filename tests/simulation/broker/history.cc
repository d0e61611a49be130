#include "tests/simulation/broker/history.h"

#include <charconv>
#include <utility>

#include "tests/checker/checker.h"

namespace millrace::sim {
namespace {

constexpr size_t kAnomaliesMax = 20;
// Readers are processes of their own, beside the producers; so is what expires.
constexpr uint64_t kReaders = uint64_t{1} << 63;
constexpr uint64_t kRetention = kReaders - 1;

checker::Value ValueOf(ValueId id) {
  constexpr unsigned kNumberBits = 40;
  return (uint64_t{id.producer} << kNumberBits) | id.number;
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

// Everything happens on one thread: the order of the calls is the time.
void History::Add(checker::Op op) {
  op.time_ns = static_cast<int64_t>(ops_.size());
  ops_.push_back(std::move(op));
}

void History::Report(const std::string& anomaly) {
  if (anomalies_.size() < kAnomaliesMax) anomalies_.push_back(anomaly);
}

void History::Sent(uint32_t partition, ValueId value) {
  Add({.process = value.producer,
       .sends = {{.key = checker::Key(partition), .value = ValueOf(value), .offset = {}}}});
}

void History::Acknowledged(uint32_t partition, ValueId value, Offset offset) {
  ++acknowledged_;
  checker::Send send{.key = checker::Key(partition), .value = ValueOf(value), .offset = {}};
  if (offset >= Offset(0)) send.offset = offset;
  Add({.type = checker::OpType::kOk, .process = value.producer, .sends = {send}});
}

void History::Failed(uint32_t partition, ValueId value) {
  Add({.type = checker::OpType::kFail,
       .process = value.producer,
       .sends = {{.key = checker::Key(partition), .value = ValueOf(value), .offset = {}}}});
}

void History::Assigned(uint32_t partition, uint64_t reader) {
  Add({.type = checker::OpType::kOk,
       .kind = checker::OpKind::kAssign,
       .process = reader | kReaders,
       .keys = {checker::Key(partition)}});
}

void History::Read(uint32_t partition, uint64_t reader, Offset offset, std::string_view value) {
  ++reads_;
  checker::Read read{.key = checker::Key(partition), .offset = offset, .value = {}};
  if (const std::optional<ValueId> id = ValueId::Parse(value)) read.value = ValueOf(*id);
  Add({.type = checker::OpType::kOk,
       .kind = checker::OpKind::kPoll,
       .process = reader | kReaders,
       .reads = {read}});
}

void History::SawHighWatermark(uint32_t partition, uint64_t reader, Offset high_watermark) {
  Add({.type = checker::OpType::kOk,
       .kind = checker::OpKind::kPoll,
       .process = reader | kReaders,
       .high_watermarks = {{.key = checker::Key(partition), .offset = high_watermark}}});
}

void History::ToldLogStart(uint32_t partition, uint64_t reader, Offset start) {
  Add({.type = checker::OpType::kOk,
       .kind = checker::OpKind::kPoll,
       .process = reader | kReaders,
       .log_starts = {{.key = checker::Key(partition), .offset = start}}});
}

void History::OffsetsAsked(uint64_t client) {
  Add({.kind = checker::OpKind::kOffsets, .process = client | kReaders});
}

void History::OffsetsTold(uint64_t client, const std::map<uint32_t, Offset>& starts) {
  checker::Op op{.type = checker::OpType::kOk,
                 .kind = checker::OpKind::kOffsets,
                 .process = client | kReaders};
  for (const auto& [partition, start] : starts) {
    op.log_starts.push_back({.key = checker::Key(partition), .offset = start});
  }
  Add(std::move(op));
}

void History::DeletionAsked(uint32_t partition, uint64_t client, Offset before) {
  Add({.kind = checker::OpKind::kDelete,
       .process = client | kReaders,
       .deletes = {{.key = checker::Key(partition), .before = before}}});
}

void History::Deleted(uint32_t partition, uint64_t client, Offset before, Offset start) {
  ++deletions_;
  Add({.type = checker::OpType::kOk,
       .kind = checker::OpKind::kDelete,
       .process = client | kReaders,
       .deletes = {{.key = checker::Key(partition), .before = before}},
       .log_starts = {{.key = checker::Key(partition), .offset = start}}});
}

void History::DeletionFailed(uint32_t partition, uint64_t client, Offset before, bool may_be_done) {
  Add({.type = may_be_done ? checker::OpType::kInfo : checker::OpType::kFail,
       .kind = checker::OpKind::kDelete,
       .process = client | kReaders,
       .deletes = {{.key = checker::Key(partition), .before = before}}});
}

// As a deletion of which nobody knows whether it happened.
void History::Expired(uint32_t partition, Offset before) {
  checker::Op op{.kind = checker::OpKind::kDelete,
                 .process = kRetention,
                 .deletes = {{.key = checker::Key(partition), .before = before}}};
  Add(op);
  op.type = checker::OpType::kInfo;
  Add(std::move(op));
}

void History::SawLogStart(const std::string& what) { Report("log start: " + what); }

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

void History::SawDamage(const std::string& what) { Report("damage that nobody did: " + what); }

void History::SawKeyed(const std::string& what) { Report("compacted topic: " + what); }

void History::SawContest(const std::string& what) { Report("contest: " + what); }

void History::SawTransaction(const std::string& what) { Report("transactions: " + what); }

void History::SawOffset(const std::string& what) { Report("committed offset: " + what); }

void History::SawMember(const std::string& what) { Report("member of a group: " + what); }

void History::SawStuck(const std::string& what) { Report("no progress: " + what); }

void History::CheckComplete() {
  const auto is_deleted = [this](const auto& item) { return deleted_.contains(item.key); };
  for (checker::Op& op : ops_) {
    std::erase_if(op.sends, is_deleted);
    std::erase_if(op.reads, is_deleted);
    std::erase_if(op.high_watermarks, is_deleted);
    std::erase_if(op.log_starts, is_deleted);
  }
  const Result<checker::Verdict> verdict = checker::Check(ops_);
  if (!verdict.ok()) return Report("no history: " + verdict.status().ToString());
  for (const auto& [anomaly, finding] : verdict->findings) {
    for (const std::string& example : finding.examples) {
      Report(std::string(checker::AnomalyName(anomaly)) + ": " + example);
    }
  }
}

}  // namespace millrace::sim
