#include "tests/simulation/broker/copiers_load.h"

#include <charconv>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <glog/logging.h>

#include "client/core/consumer_driver.h"
#include "client/core/group_consumer.h"
#include "client/core/producer_driver.h"
#include "proto/base/coverage.h"
#include "proto/record/record_batch.h"
#include "tests/simulation/broker/transactions_load.h"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr size_t kCopiers = 3;
constexpr uint32_t kPartitions = 2;
constexpr Duration kSession = seconds(4);
constexpr Duration kRevoke = seconds(3);

// Calls `visit(offset, value)` for those of the chunk's records that are to be read.
template <typename Visit>
void ForEach(const client::FetchedChunk& chunk, Visit visit) {
  const Result<OpenedBatch> opened = OpenRecordBatch(chunk.batch.view());
  CHECK(opened.ok()) << opened.status();
  RecordIterator records(opened->view);
  RecordView record;
  for (Offset offset = chunk.base_offset; records.Next(&record); ++offset) {
    if (offset < chunk.first_wanted || offset >= chunk.end_wanted) continue;
    visit(offset, record.value.value_or(""));
  }
}

}  // namespace

// One process that is a member, with a producer, again and again.
class CopiersLoad::Copier {
 public:
  Copier(CopiersLoad& load, size_t number, Random random)
      : load_(load),
        name_("copier " + std::to_string(number)),
        random_(random),
        own_(load.world_, load.cluster_.edge(), load.cluster_.addresses(), name_) {
    own_.process.executor().Post([this] {
      Join();
      Act();
    });
  }

  void Wake() { own_.process.Resume(); }

 private:
  template <typename Call>
  void After(Duration delay, Call call) {
    own_.process.executor().RunAfter(delay, std::move(call));
  }
  // Unless it is another life by then.
  template <typename Call>
  void AfterInThisLife(Duration delay, Call call) {
    After(delay, InThisLife(std::move(call)));
  }
  template <typename Call>
  auto InThisLife(Call call) {
    return [this, life = life_, call = std::move(call)](const auto&... args) {
      if (life == life_) call(args...);
    };
  }

  void Join() {
    ++life_;
    client::ProducerTuning tuning;
    tuning.transactional_id = name_;
    tuning.transaction_timeout = milliseconds(random_.Between(1'500, 6'000));
    tuning.delivery_timeout = seconds(10);
    writer_ = std::make_unique<client::ProducerDriver>(
        own_.client, topic(), tuning,
        client::ProducerDriver::Callbacks{.on_report = [](const client::DeliveryReport&) {},
                                          .on_room = {}});
    writer_->Open(seconds(10), InThisLife([this](const Status& opened) {
                    if (!opened.ok()) return End();
                    Read();
                  }));
  }

  void Read() {
    client::GroupConsumerOptions options;
    options.session.group = "copiers";
    options.session.subscription.add_topics(TransactionsLoad::topic());
    options.session.session_timeout = kSession;
    options.session.revoke_timeout = kRevoke;
    reader_ = std::make_unique<client::GroupConsumer>(
        own_.client, options,
        client::GroupConsumer::Listener{
            .ready = [this] { TakeOne(); },
            .assigned =
                [this](const std::vector<client::GroupPartition>& partitions) {
                  for (const auto& one : partitions) tokens_[one.partition] = one.fencing_token;
                },
            .revoked = [this](const auto& partitions) { OnRevoked(partitions); },
            .lost =
                [this](const auto& partitions, const Status&) {
                  for (const TopicPartition& one : partitions) tokens_.erase(one);
                },
            .failed =
                [this](const Status& why) {
                  load_.history_.SawMember(name_ + " failed: " + why.ToString());
                }});
    reader_->Start();
  }

  // Dies, and is somebody else after a while.
  void End() {
    ++life_;
    tokens_.clear();
    is_busy_ = is_leaving_ = has_left_ = false;
    // In a turn of their own: they may be what is running.
    own_.process.executor().Post(
        [reader = std::shared_ptr<client::GroupConsumer>(std::move(reader_)),
         writer = std::shared_ptr<client::ProducerDriver>(std::move(writer_))] {});
    AfterInThisLife(milliseconds(random_.Below(2'000)), [this] { Join(); });
  }

  void Act() {
    After(milliseconds(random_.Between(500, 6'000)), [this] { Act(); });
    if (load_.is_stopped_ || reader_ == nullptr) return;
    switch (random_.Below(4)) {
      case 0:
        return End();
      case 1:
        return Leave();
      case 2:
        return Pause(100, 8'000);
      default:
        is_slow_ = !is_slow_;
    }
  }

  void Pause(uint64_t ms_min, uint64_t ms_max) {
    own_.process.Pause();
    load_.world_.After(milliseconds(random_.Between(ms_min, ms_max)), [this] { Wake(); });
  }

  // Others have its partitions at once; what it is about to commit ends by itself.
  void Leave() {
    if (reader_ == nullptr || std::exchange(is_leaving_, true)) return;
    tokens_.clear();
    reader_->Leave(/*will_be_back=*/false, InThisLife([this] {
                     has_left_ = true;
                     if (!is_busy_) End();
                   }));
  }

  // Also of what it is copying just then: that must not count.
  void OnRevoked(const std::vector<TopicPartition>& partitions) {
    AfterInThisLife(milliseconds(random_.Below(500)), [this, partitions, tokens = tokens_] {
      if (reader_ == nullptr) return;
      reader_->GaveUp(partitions);
      // Not where it was lost meanwhile, and has come again.
      for (const TopicPartition& one : partitions) {
        if (tokens_.contains(one) && tokens_.at(one) == tokens.at(one)) tokens_.erase(one);
      }
    });
  }

  void TakeOne() {
    while (!is_busy_ && reader_ != nullptr) {
      const std::optional<client::FetchedChunk> chunk = reader_->Next();
      if (!chunk) return;
      const auto token = tokens_.find(chunk->partition);
      if (token == tokens_.end() || chunk->has_moved) continue;
      if (!chunk->status.ok()) {
        load_.history_.SawMember(name_ + " cannot read: " + chunk->status.ToString());
        continue;
      }
      Copy(*chunk, token->second);
    }
  }

  void Copy(const client::FetchedChunk& chunk, uint32_t token) {
    is_busy_ = true;
    Status status = writer_->BeginTransaction();
    ForEach(chunk, [&](Offset offset, std::string_view) {
      if (!status.ok()) return;
      const std::string value =
          std::to_string(chunk.partition.partition.value()) + ":" + std::to_string(offset.value());
      status = writer_->Send({.value = value}, own_.process.clock().Now()).status();
    });
    if (!status.ok()) return End();
    const client::ReadUpTo read{.partition = {.partition = chunk.partition, .fencing_token = token},
                                .next = chunk.end_wanted};
    const bool is_slow = is_slow_ && !load_.is_stopped_;
    AfterInThisLife(milliseconds(random_.Below(is_slow ? 2'000 : 20)),
                    [this, read] { Commit(read); });
  }

  void Commit(const client::ReadUpTo& read) {
    Result<v1::CommitOffsetsRequest> offsets =
        reader_->RequestOf({read}, writer_->member_producer());
    // It is to be read by somebody else.
    if (!offsets.ok() || !writer_->AddOffsets(*std::move(offsets)).ok()) return End();
    if (!load_.is_stopped_ && random_.OneIn(3)) {
      AfterInThisLife(milliseconds(random_.Below(10)), [this] { Leave(); });
      AfterInThisLife(milliseconds(random_.Below(20)), [this] { Pause(300, 1'200); });
    }
    writer_->EndTransaction(
        /*is_commit=*/true, InThisLife([this](const Status& ended) {
          MILLRACE_SOMETIMES_IF("what was read and written was committed", ended.ok());
          MILLRACE_SOMETIMES_IF("what was read and written was aborted", !ended.ok());
          if (!ended.ok() || has_left_) return End();
          is_busy_ = false;
          TakeOne();
        }));
  }

  CopiersLoad& load_;
  const std::string name_;
  Random random_;
  SimClient own_;
  std::unique_ptr<client::ProducerDriver> writer_;
  std::unique_ptr<client::GroupConsumer> reader_;
  std::map<TopicPartition, uint32_t> tokens_;
  uint64_t life_ = 0;
  bool is_busy_ = false;
  bool is_leaving_ = false;
  bool has_left_ = false;
  bool is_slow_ = false;
};

// Reads the copies that are committed, from the beginning and for ever.
class CopiersLoad::Reader {
 public:
  explicit Reader(CopiersLoad& load)
      : load_(load),
        own_(load.world_, load.cluster_.edge(), load.cluster_.addresses(), "copies reader"),
        consumer_(own_.client, topic(), {}, [this] { TakeAll(); }, [](PartitionId) {}) {
    Open();
  }

 private:
  void Open() {
    consumer_.Open(seconds(60), [this](const Status& status) {
      if (!status.ok()) return Open();
      for (uint32_t i = 0; i < kPartitions; ++i) {
        const Status assigned =
            consumer_.Assign(PartitionId(i), client::StartAt::At(Offset(0)), std::nullopt);
        CHECK(assigned.ok()) << assigned;
      }
    });
  }

  void TakeAll() {
    while (std::optional<client::FetchedChunk> chunk = consumer_.Next()) {
      if (!chunk->status.ok()) {
        load_.history_.SawTransaction("copies reader: " + chunk->status.ToString());
        continue;
      }
      ForEach(*chunk, [this](Offset, std::string_view value) { Take(value); });
    }
  }

  void Take(std::string_view value) {
    uint32_t partition = 0;
    int64_t offset = 0;
    const char* end = value.data() + value.size();
    const auto first = std::from_chars(value.data(), end, partition);
    CHECK(first.ec == std::errc() && first.ptr != end) << value;
    CHECK(std::from_chars(first.ptr + 1, end, offset).ec == std::errc()) << value;
    load_.OnCopied(partition, offset);
  }

  CopiersLoad& load_;
  SimClient own_;
  client::ConsumerDriver consumer_;
};

CopiersLoad::CopiersLoad(SimWorld& world, SimCluster& cluster, History& history, Random random)
    : world_(world), cluster_(cluster), history_(history), random_(random) {}

CopiersLoad::~CopiersLoad() = default;

void CopiersLoad::Start() {
  own_ = std::make_unique<SimClient>(world_, cluster_.edge(), cluster_.addresses(), "copies");
  Create();
}

void CopiersLoad::Create() {
  if (is_stopped_) return;
  v1::CreateTopicRequest request;
  request.set_name(topic());
  request.set_partition_count(kPartitions);
  request.set_replication_factor(0);
  own_->client.CreateTopic(
      request, seconds(10), [this](const Result<v1::CreateTopicResponse>& reply) {
        if (is_stopped_) return;
        const bool is_there = reply.ok() || reply.status().code() == Code::kAlreadyExists;
        if (!is_there) {
          own_->process.executor().RunAfter(milliseconds(100), [this] { Create(); });
          return;
        }
        reader_ = std::make_unique<Reader>(*this);
        for (size_t number = 0; number < kCopiers; ++number) {
          copiers_.push_back(std::make_unique<Copier>(*this, number, random_.Fork()));
        }
      });
}

void CopiersLoad::Stop() {
  is_stopped_ = true;
  for (const auto& copier : copiers_) copier->Wake();
}

void CopiersLoad::OnCopied(uint32_t partition, int64_t offset) {
  if (copied_.emplace(partition, offset).second) return;
  history_.SawTransaction("offset " + std::to_string(offset) + " of the ledger's partition " +
                          std::to_string(partition) + " was copied twice");
}

bool CopiersLoad::HasCopied(const Records& ledger) const { return copied_.size() >= ledger.size(); }

void CopiersLoad::Check(const Records& ledger) {
  for (const auto& [partition, offset] : copied_) {
    if (ledger.contains({partition, offset})) continue;
    history_.SawTransaction("offset " + std::to_string(offset) + " of the ledger's partition " +
                            std::to_string(partition) + " was copied, and is not committed");
  }
  for (const auto& [partition, offset] : ledger) {
    if (copied_.contains({partition, offset})) continue;
    history_.SawTransaction("offset " + std::to_string(offset) + " of the ledger's partition " +
                            std::to_string(partition) + " was not copied");
  }
}

}  // namespace millrace::sim
