#include "tests/simulation/broker/keyed_load.h"

#include <charconv>
#include <utility>

#include <glog/logging.h>

#include "client/core/verification.h"
#include "proto/base/coverage.h"
#include "proto/record/record_batch.h"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kKeys = 24;
constexpr uint64_t kFillingMax = 300;
// Longer than from one look of a leader at its partitions to the next, and than tombstones stay.
constexpr Duration kQuiet = seconds(6);

std::string TextOf(uint64_t number, uint64_t filling) {
  return std::to_string(number) + " " + std::string(filling, 'x');
}

uint64_t NumberIn(std::string_view value) {
  uint64_t number = 0;
  std::from_chars(value.data(), value.data() + value.size(), number);
  return number;
}

std::string Difference(const client::Verification& verified) {
  std::string text = " at offset " + std::to_string(verified.first_difference->value());
  for (const client::VerifiedMember& member : verified.members) {
    text += ", broker " + std::to_string(member.broker.value()) + ": ";
    text += member.status.ok() ? (member.has_record ? std::to_string(member.digest_low) : "none")
                               : member.status.ToString();
  }
  return text;
}

}  // namespace

// Reads all partitions from the first offset on, to the end if there is one.
class KeyedLoad::Reader {
 public:
  Reader(KeyedLoad& load, const char* name, const std::optional<std::vector<Offset>>& ends)
      : load_(load),
        name_(name),
        own_(load.world_, load.cluster_.edge(), load.cluster_.addresses(), name),
        consumer_(own_.client, topic(), {}, [this] { TakeAll(); }),
        ends_(ends),
        read_(kPartitions),
        next_(kPartitions) {
    Open();
  }

  bool HasEnded() const { return ended_.size() == kPartitions; }
  const Records& read(uint32_t partition) const { return read_[partition]; }

 private:
  void Open() {
    consumer_.Open(seconds(60), [this](const Status& status) {
      if (!status.ok()) return Open();
      for (uint32_t i = 0; i < kPartitions; ++i) {
        const std::optional<Offset> end =
            ends_.has_value() ? std::optional((*ends_)[i]) : std::nullopt;
        const Status assigned =
            consumer_.Assign(PartitionId(i), client::StartAt::At(Offset(0)), end);
        CHECK(assigned.ok()) << assigned;
      }
    });
  }

  void TakeAll() {
    while (std::optional<client::FetchedChunk> chunk = consumer_.Next()) Take(*chunk);
  }

  void Take(const client::FetchedChunk& chunk) {
    const uint32_t partition = chunk.partition.partition.value();
    if (chunk.is_end) {
      ended_.insert(partition);
      return;
    }
    if (!chunk.status.ok()) {
      return load_.history_.SawKeyed(std::string(name_) + " failed: " + chunk.status.ToString());
    }
    const Result<OpenedBatch> opened = OpenRecordBatch(chunk.batch.view());
    CHECK(opened.ok()) << opened.status();
    RecordIterator records(opened->view);
    RecordView record;
    while (records.Next(&record)) {
      const Offset offset = chunk.base_offset + record.place;
      if (offset < chunk.first_wanted || offset >= chunk.end_wanted) continue;
      TakeRecord(partition, offset, record);
    }
  }

  void TakeRecord(uint32_t partition, Offset offset, const RecordView& record) {
    if (offset < next_[partition]) {
      load_.history_.SawKeyed(std::string(name_) + " read offset " +
                              std::to_string(offset.value()) + " again");
    }
    MILLRACE_SOMETIMES_IF("a reader passed over what was compacted", offset > next_[partition]);
    next_[partition] = offset + 1;
    const Stored stored{.key = std::string(record.key.value_or("")),
                        .number = NumberIn(record.value.value_or("")),
                        .is_tombstone = !record.value.has_value()};
    load_.Note(partition, offset, stored, name_);
    read_[partition].emplace(offset, stored);
  }

  KeyedLoad& load_;
  const char* name_;
  SimClient own_;
  client::ConsumerDriver consumer_;
  const std::optional<std::vector<Offset>> ends_;
  std::vector<Records> read_;  // by partition
  std::vector<Offset> next_;   // after the last that was read
  std::set<uint32_t> ended_;
};

KeyedLoad::KeyedLoad(SimWorld& world, SimCluster& cluster, History& history, Random random)
    : world_(world),
      cluster_(cluster),
      history_(history),
      random_(random),
      own_(world, cluster.edge(), cluster.addresses(), "keyed"),
      records_(kPartitions),
      ends_(kPartitions) {}

KeyedLoad::~KeyedLoad() = default;

void KeyedLoad::Create() {
  if (is_stopped_) return;
  v1::CreateTopicRequest request;
  request.set_name(topic());
  request.set_partition_count(kPartitions);
  request.set_replication_factor(0);
  // One setting a message: the order of a map is not the seed's to say.
  (*request.mutable_settings())["cleanup"] = "compact";
  own_.client.CreateTopic(
      request, seconds(10), [this](const Result<v1::CreateTopicResponse>& reply) {
        const bool is_there = reply.ok() || reply.status().code() == Code::kAlreadyExists;
        if (is_there) return Alter(0);
        own_.process.executor().RunAfter(milliseconds(100), [this] { Create(); });
      });
}

void KeyedLoad::Alter(size_t setting) {
  const std::pair<const char*, std::string> kSettings[] = {
      {"dirty_ratio_min", "0.2"},
      {"tombstone_retention", "2s"},
  };
  if (is_stopped_) return;
  if (setting == std::size(kSettings)) return Open();
  v1::AlterTopicRequest request;
  request.set_name(topic());
  (*request.mutable_set())[kSettings[setting].first] = kSettings[setting].second;
  own_.client.AlterTopic(
      request, seconds(2), [this, setting](const Result<v1::AlterTopicResponse>& reply) {
        if (reply.ok()) return Alter(setting + 1);
        own_.process.executor().RunAfter(milliseconds(100), [this, setting] { Alter(setting); });
      });
}

void KeyedLoad::Open() {
  if (producer_ == nullptr) {
    producer_ = std::make_unique<client::ProducerDriver>(
        own_.client, topic(),
        client::ProducerTuning{
            .batch_bytes = 2 << 10,
            .delivery_timeout = seconds(600),
            .compression = kBatchCompressions[random_.Below(std::size(kBatchCompressions))]},
        client::ProducerDriver::Callbacks{
            .on_report = [this](const client::DeliveryReport& report) { OnReport(report); },
            .on_room = [] {}});
  }
  producer_->Open(seconds(60), [this](const Status& status) {
    if (!status.ok()) return Open();
    follower_ = std::make_unique<Reader>(*this, "keyed reader", std::nullopt);
    SendSome();
  });
}

void KeyedLoad::SendSome() {
  if (is_stopped_) return producer_->Flush([this] { done_(); });
  const uint64_t count = random_.Between(1, 20);
  for (uint64_t i = 0; i < count && producer_->has_room(); ++i) {
    const uint64_t key = random_.Below(kKeys);
    const PartitionId partition(static_cast<uint32_t>(key % kPartitions));
    const Stored sent{.key = "k" + std::to_string(key),
                      .number = next_number_++,
                      .is_tombstone = random_.OneIn(6)};
    const std::string text = TextOf(sent.number, random_.Below(kFillingMax));
    NewRecord record{.key = sent.key};
    if (!sent.is_tombstone) record.value = text;
    const Result<PartitionId> taken =
        producer_->Send(record, own_.process.clock().Now(), partition);
    CHECK(taken.ok()) << taken.status();
    unanswered_[partition.value()].push_back(sent);
  }
  own_.process.executor().RunAfter(milliseconds(random_.Between(1, 50)), [this] { SendSome(); });
}

void KeyedLoad::OnReport(const client::DeliveryReport& report) {
  const uint32_t partition = report.partition.partition.value();
  std::deque<Stored>& unanswered = unanswered_[partition];
  if (!report.status.ok()) {
    history_.SawStuck("a keyed record was refused: " + report.status.ToString());
  }
  for (uint32_t i = 0; i < report.record_count; ++i) {
    CHECK(!unanswered.empty());
    const Stored stored = std::move(unanswered.front());
    unanswered.pop_front();
    if (!report.status.ok() || report.base_offset < Offset(0)) continue;
    const Offset offset = report.base_offset + i;
    Note(partition, offset, stored, "the producer");
    ends_[partition] = std::max(ends_[partition], offset + 1);
  }
}

// A replica that is excused is compared as far as it can be read.
void KeyedLoad::VerifyFrom(uint32_t partition) {
  verified_ = partition;
  if (partition == kPartitions || follower_ == nullptr) {
    verified_ = kPartitions;
    return;
  }
  const client::VerifyRequest request{
      .topic = topic(), .partition = PartitionId(partition), .patience = seconds(5)};
  client::VerifyPartition(
      own_.client, request, [this, partition](const Result<client::Verification>& verified) {
        const std::string name = "partition " + std::to_string(partition);
        if (!verified.ok()) {
          history_.SawKeyed(name + " cannot be compared: " + verified.status().ToString());
        } else if (verified->first_difference.has_value()) {
          history_.SawKeyed("replicas of " + name + " differ" + Difference(*verified));
        } else {
          MILLRACE_SOMETIMES_IF("replicas of a compacted log were compared", verified->records > 0);
        }
        VerifyFrom(partition + 1);
      });
}

// A tombstone has no number to be known by.
void KeyedLoad::Note(uint32_t partition, Offset offset, const Stored& stored, const char* by) {
  const auto [at, is_new] = records_[partition].emplace(offset, stored);
  const Stored& known = at->second;
  const bool is_same = known.key == stored.key && known.is_tombstone == stored.is_tombstone &&
                       (known.is_tombstone || known.number == stored.number);
  if (is_new || is_same) return;
  history_.SawKeyed("offset " + std::to_string(offset.value()) + " of partition " +
                    std::to_string(partition) + " is " + known.key + " number " +
                    std::to_string(known.number) + ", and " + by + " was told " + stored.key +
                    " number " + std::to_string(stored.number));
}

void KeyedLoad::Stop(MoveFunction<void()> done) {
  is_stopped_ = true;
  done_ = std::move(done);
  // It could not even be created.
  if (producer_ == nullptr) done_();
}

bool KeyedLoad::IsCompacted(const std::set<size_t>& excused) {
  std::map<RaftGroupId, uint32_t> passes;
  for (size_t i = 0; i < cluster_.size(); ++i) {
    if (excused.contains(i)) continue;
    if (!cluster_.is_serving(i) || !cluster_.process(i).is_alive()) return false;
    const broker::TopicInfo* info = cluster_.node(i).controller().image().FindTopic(topic());
    if (info == nullptr) return true;
    for (const broker::PartitionInfo& partition : info->partitions) {
      const broker::Partition* replica = cluster_.node(i).replicas().Find(partition.group);
      if (replica == nullptr) continue;
      if (replica->passes_done() != replica->compaction().pass) return false;
      passes[partition.group] = replica->compaction().pass;
    }
  }
  if (std::exchange(seen_passes_, passes) != passes) passes_seen_at_ = world_.elapsed();
  return world_.elapsed() - passes_seen_at_ >= kQuiet;
}

void KeyedLoad::ReadBack() {
  if (follower_ != nullptr) last_ = std::make_unique<Reader>(*this, "keyed last reader", ends_);
}

bool KeyedLoad::HasReadBack() const { return last_ == nullptr || last_->HasEnded(); }

void KeyedLoad::Check() {
  for (uint32_t i = 0; i < kPartitions && last_ != nullptr; ++i) CheckPartition(i, last_->read(i));
}

// Of each key the newest record is there, but for a tombstone; and nothing that a tombstone covers
// that is not.
void KeyedLoad::CheckPartition(uint32_t partition, const Records& left) const {
  std::map<std::string, Offset> newest;
  std::map<std::string, Offset> gone;  // the newest tombstone that is not there
  for (const auto& [offset, stored] : records_[partition]) {
    newest[stored.key] = offset;
    if (stored.is_tombstone && !left.contains(offset)) gone[stored.key] = offset;
  }
  MILLRACE_SOMETIMES_IF("a tombstone was gone in the end", !gone.empty());
  MILLRACE_SOMETIMES_IF("superseded records were gone in the end",
                        left.size() < records_[partition].size());
  for (const auto& [key, offset] : newest) {
    if (left.contains(offset) || records_[partition].at(offset).is_tombstone) continue;
    history_.SawKeyed("the newest value of " + key + " is lost: offset " +
                      std::to_string(offset.value()) + " of partition " +
                      std::to_string(partition));
  }
  for (const auto& [offset, stored] : left) {
    const auto tombstone = gone.find(stored.key);
    if (tombstone == gone.end() || tombstone->second < offset) continue;
    history_.SawKeyed("the dead rose: " + stored.key + " at offset " +
                      std::to_string(offset.value()) + " of partition " +
                      std::to_string(partition) + " is there, and its tombstone at " +
                      std::to_string(tombstone->second.value()) + " is not");
  }
}

}  // namespace millrace::sim
