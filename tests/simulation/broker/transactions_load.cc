#include "tests/simulation/broker/transactions_load.h"

#include <charconv>

#include <glog/logging.h>

#include "client/core/consumer_driver.h"
#include "proto/base/coverage.h"
#include "proto/record/record_batch.h"
#include "tests/simulation/broker/transaction_actor.h"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint32_t kActors = 3;

std::optional<TransactionsLoad::Name> NameIn(std::string_view text) {
  TransactionsLoad::Name name;
  const char* end = text.data() + text.size();
  const auto actor = std::from_chars(text.data(), end, name.first);
  if (actor.ec != std::errc() || actor.ptr == end || *actor.ptr != ':') return std::nullopt;
  if (std::from_chars(actor.ptr + 1, end, name.second).ec != std::errc()) return std::nullopt;
  return name;
}

}  // namespace

std::string TextOf(const TransactionsLoad::Name& name) {
  return std::to_string(name.first) + ":" + std::to_string(name.second);
}

// Reads what is committed, from the beginning; up to `ends`, or for ever.
class TransactionsLoad::Reader {
 public:
  using Counts = std::map<Name, std::map<uint32_t, uint64_t>>;

  Reader(TransactionsLoad& load, const char* name, std::optional<std::vector<Offset>> ends)
      : load_(load),
        name_(name),
        own_(load.world_, load.cluster_.edge(), load.cluster_.addresses(), name),
        consumer_(
            own_.client, topic(), {}, [this] { TakeAll(); }, [](PartitionId) {}),
        ends_(std::move(ends)),
        newest_(kPartitions) {
    Open();
  }

  bool HasEnded() const { return ended_.size() == kPartitions; }
  const Counts& counts() const { return counts_; }
  const std::set<std::pair<uint32_t, int64_t>>& records() const { return records_; }

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
    if (!chunk.status.ok()) return load_.Saw(std::string(name_) + ": " + chunk.status.ToString());
    const Result<OpenedBatch> opened = OpenRecordBatch(chunk.batch.view());
    CHECK(opened.ok()) << opened.status();
    RecordIterator records(opened->view);
    RecordView record;
    for (Offset offset = chunk.base_offset; records.Next(&record); ++offset) {
      if (offset < chunk.first_wanted || offset >= chunk.end_wanted) continue;
      records_.emplace(partition, offset.value());
      TakeRecord(partition, record.value.value_or(""));
    }
  }

  void TakeRecord(uint32_t partition, std::string_view value) {
    const std::optional<Name> name = NameIn(value);
    if (!name.has_value()) return load_.Saw(std::string(name_) + " read what nobody wrote");
    ++counts_[*name][partition];
    uint64_t& newest = newest_[partition][name->first];
    if (name->second < newest) {
      load_.Saw(std::string(name_) + " read transaction " + TextOf(*name) + " behind " +
                std::to_string(newest));
    }
    newest = name->second;
    load_.OnRead(name_, *name);
  }

  TransactionsLoad& load_;
  const char* name_;
  SimClient own_;
  client::ConsumerDriver consumer_;
  const std::optional<std::vector<Offset>> ends_;
  Counts counts_;
  std::set<std::pair<uint32_t, int64_t>> records_;
  std::vector<std::map<uint32_t, uint64_t>> newest_;  // by partition, of each producer
  std::set<uint32_t> ended_;
};

TransactionsLoad::TransactionsLoad(SimWorld& world, SimCluster& cluster, History& history,
                                   Random random)
    : world_(world), cluster_(cluster), history_(history), random_(random) {}

TransactionsLoad::~TransactionsLoad() = default;

void TransactionsLoad::Start() {
  own_ = std::make_unique<SimClient>(world_, cluster_.edge(), cluster_.addresses(), "ledger");
  Create();
}

void TransactionsLoad::Create() {
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
        follower_ = std::make_unique<Reader>(*this, "ledger reader", std::nullopt);
        for (uint32_t i = 0; i < kActors; ++i) {
          actors_.push_back(std::make_unique<TransactionActor>(*this, i, random_.Fork()));
        }
      });
}

void TransactionsLoad::Stop(MoveFunction<void()> done) {
  is_stopped_ = true;
  busy_ = actors_.size();
  if (busy_ == 0) return done();
  done_ = std::move(done);
}

void TransactionsLoad::OnIdle() {
  CHECK_GT(busy_, 0u);
  if (--busy_ == 0) done_();
}

void TransactionsLoad::OnRead(const std::string& reader, const Name& name) {
  const SeenTransaction& seen = transactions_[name];
  if (!seen.may_be_committed) {
    Saw(reader + " read transaction " + TextOf(name) + ", which nobody asked to commit");
  } else if (seen.is_committed == false) {
    Saw(reader + " read transaction " + TextOf(name) + ", which was aborted");
  }
}

void TransactionsLoad::ReadBack(const std::vector<Offset>& ends) {
  last_ = std::make_unique<Reader>(*this, "last ledger reader", ends);
}

bool TransactionsLoad::HasRead() const { return last_->HasEnded(); }

const std::set<std::pair<uint32_t, int64_t>>& TransactionsLoad::read_back() const {
  return last_->records();
}

void TransactionsLoad::Check() {
  for (const auto& [name, seen] : transactions_) {
    const auto read = last_->counts().find(name);
    const bool is_read = read != last_->counts().end();
    const bool is_whole = is_read ? read->second == seen.stored : seen.stored.empty();
    if (seen.is_committed == true && !is_whole) {
      Saw("transaction " + TextOf(name) + " is committed, and not read whole and once");
    } else if (is_read && !is_whole) {
      Saw("transaction " + TextOf(name) + " is torn");
    }
    MILLRACE_SOMETIMES_IF("a transaction was read whole", is_read);
    MILLRACE_SOMETIMES_IF("a transaction that nobody told of was committed",
                          is_read && !seen.is_committed.has_value());
  }
}

}  // namespace millrace::sim
