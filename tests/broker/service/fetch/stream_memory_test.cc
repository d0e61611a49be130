// Streams whose clients do not read: whatever they ask for, what is read for them stays within the
// memory for it, and is theirs once they do read.

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/v1/consumer_service.pb.h"
#include "millrace/v1/producer_service.pb.h"
#include "proto/record/record_batch_builder.h"
#include "tests/broker/service/service_rig.h"

namespace millrace::broker {
namespace {

using std::chrono::seconds;

constexpr char kFetch[] = "/millrace.v1.ConsumerService/Fetch";
constexpr char kSubscribe[] = "/millrace.v1.ConsumerService/Subscribe";
constexpr uint64_t kClientMemory = 32 << 20;  // half of it for reading

// The edge's end of a stream: what its client has not taken is counted in the broker's budget.
class UnreadStream final : public Stream {
 public:
  explicit UnreadStream(MemoryBudget& budget) : budget_(&budget) {}

  const Principal& principal() const override { return principal_; }
  void Write(std::vector<Bytes> pieces) override {
    std::string message;
    for (const Bytes& piece : pieces) message.append(piece.view());
    held_.emplace_back(*budget_, message.size());
    pending_ += message.size();
    total += message.size();
    most = std::max(most, pending_);
    most_of_all = std::max(most_of_all, budget_->used());
    if (does_keep) kept.push_back(std::move(message));
  }
  uint64_t pending_bytes() const override { return pending_; }
  void SetReading(bool) override {}
  void Finish(const Status& why) override { status = why; }
  void TakeAll() {
    pending_ = 0;
    held_.clear();
  }

  bool does_keep = false;
  std::vector<std::string> kept;
  std::optional<Status> status;
  uint64_t total = 0;
  uint64_t most = 0;
  uint64_t most_of_all = 0;  // in the budget

 private:
  MemoryBudget* budget_;
  const Principal principal_;
  uint64_t pending_ = 0;
  std::vector<MemoryHold> held_;
};

// A client, at the only broker.
struct Reader {
  template <typename Request>
  Reader(ServiceRig& rig, const std::string& method, const Request& request)
      : stream(std::make_shared<UnreadStream>(rig.cluster.node(0).client_memory().outgoing)) {
    StreamFactory* factory = rig.cluster.node(0).registry().FindStream(method);
    CHECK(factory != nullptr) << method;
    handler = (*factory)(stream);
    handler->OnMessage(Bytes::Own(request.SerializeAsString()));
  }
  void TakeAll() {
    stream->TakeAll();
    handler->OnWritable();
  }

  std::shared_ptr<UnreadStream> stream;
  std::unique_ptr<StreamHandler> handler;
};

using Readers = std::vector<std::unique_ptr<Reader>>;

uint64_t MostOfAll(const Readers& readers) {
  uint64_t most = 0;
  for (const auto& reader : readers) most = std::max(most, reader->stream->most_of_all);
  return most;
}

v1::SubscribeRequest SubscribeAll(bool stops_at_end) {
  v1::SubscribeRequest request;
  request.set_topic("t");
  request.mutable_position()->set_earliest(true);
  request.set_stop_at_end(stops_at_end);
  return request;
}

v1::FetchRequest FetchLatest() {
  v1::FetchRequest request;
  request.mutable_init();
  v1::FetchPartition& add = *request.add_add();
  add.set_topic("t");
  add.mutable_position()->set_latest(true);
  request.set_credit_bytes(1 << 30);
  return request;
}

// Stores a batch of `count` records in partition 0.
void Store(ServiceRig& rig, int count, size_t value_bytes, BatchCompression compression) {
  RecordBatchBuilder builder({.records_bytes_max = 1'000'000});
  const std::string value(value_bytes, 'x');
  for (int i = 0; i < count; ++i) CHECK(builder.TryAppend({.value = value}));
  Bytes batch = std::move(builder).Finish(
      {.destination = {rig.TopicIdOf("t"), PartitionId(0)}, .compression = compression});
  const v1::ProduceResult result = rig.Produce(0, "t", std::move(batch));
  CHECK(!result.has_error()) << result.error().ShortDebugString();
}

int RecordsIn(const std::vector<std::string>& messages) {
  int count = 0;
  for (const std::string& message : messages) {
    v1::SubscribeResponse response;
    CHECK(response.ParseFromString(message));
    count += response.records_size();
  }
  return count;
}

TEST(StreamMemory, ManySubscribersThatDoNotRead_StayWithinIt_AndOneThatReadsGetsEverything) {
  ServiceRig rig(1, {.brokers = 1, .client_memory_bytes_max = kClientMemory});
  rig.CreateTopic("t", 1);
  for (int i = 0; i < 8; ++i) Store(rig, 9, 100'000, BatchCompression::kNone);
  Readers readers;
  for (int i = 0; i < 100; ++i) {
    readers.push_back(std::make_unique<Reader>(rig, kSubscribe, SubscribeAll(false)));
  }
  rig.world.RunFor(seconds(10));
  EXPECT_LE(MostOfAll(readers), kClientMemory / 2);
  EXPECT_TRUE(rig.cluster.node(0).client_memory().outgoing.has_waiters())
      << "so that the edge cuts who does not read";

  readers.resize(10);
  Reader honest(rig, kSubscribe, SubscribeAll(true));
  honest.stream->does_keep = true;
  for (int i = 0; i < 200 && !honest.stream->status.has_value(); ++i) {
    honest.TakeAll();
    rig.world.RunFor(seconds(1));
  }
  ASSERT_TRUE(honest.stream->status.has_value());
  EXPECT_EQ(RecordsIn(honest.stream->kept), 8 * 9);
}

TEST(StreamMemory, ManyReadersAtTheEndThatDoNotRead_StayWithinIt) {
  ServiceRig rig(2, {.brokers = 1, .client_memory_bytes_max = kClientMemory});
  rig.CreateTopic("t", 1);
  Readers readers;
  for (int i = 0; i < 50; ++i) {
    readers.push_back(std::make_unique<Reader>(rig, kFetch, FetchLatest()));
  }
  rig.world.RunFor(seconds(1));
  for (const auto& reader : readers) reader->TakeAll();
  for (int i = 0; i < 3; ++i) {
    Store(rig, 9, 100'000, BatchCompression::kZstd);
    rig.world.RunFor(seconds(1));
  }
  EXPECT_LE(MostOfAll(readers), kClientMemory / 2);

  const auto got = [](const std::unique_ptr<Reader>& reader) {
    return reader->stream->pending_bytes() > 0;
  };
  EXPECT_TRUE(std::any_of(readers.begin(), readers.end(), got));
  EXPECT_FALSE(std::all_of(readers.begin(), readers.end(), got));
  // What one did not get for want of memory it gets later.
  Reader& late = **std::find_if_not(readers.begin(), readers.end(), got);
  for (int round = 0; round < 10; ++round) {
    for (const auto& reader : readers) reader->TakeAll();
    rig.world.RunFor(seconds(1));
  }
  EXPECT_GT(late.stream->total, 3u * 9 * 100'000);
}

TEST(StreamMemory, ABatchThatIsManyTimesLargerAsSingleRecords_ComesInParts) {
  ServiceRig rig(3, {.brokers = 1, .client_memory_bytes_max = kClientMemory});
  rig.CreateTopic("t", 1);
  Store(rig, 150'000, 1, BatchCompression::kZstd);
  Reader reader(rig, kSubscribe, SubscribeAll(true));
  reader.stream->does_keep = true;
  for (int i = 0; i < 100 && !reader.stream->status.has_value(); ++i) {
    rig.world.RunFor(seconds(1));
    reader.TakeAll();
  }
  ASSERT_TRUE(reader.stream->status.has_value());
  EXPECT_EQ(RecordsIn(reader.stream->kept), 150'000);
  EXPECT_LE(reader.stream->most, kClientMemory / 2 / 32 + (256 << 10));
}

TEST(StreamMemory, PartitionsOfSubscribers_AreRefusedPastTheMemoryForThem) {
  ServiceRig rig(4, {.brokers = 1, .client_memory_bytes_max = 1 << 20});
  rig.CreateTopic("t", 65);  // of 512 bytes each, of an eighth of a quarter of 1 MiB
  Reader all(rig, kSubscribe, SubscribeAll(false));
  ASSERT_TRUE(all.stream->status.has_value());
  EXPECT_EQ(all.stream->status->code(), Code::kResourceExhausted) << *all.stream->status;
  EXPECT_TRUE(all.stream->status->retry_after_ms().has_value());
  v1::SubscribeRequest request = SubscribeAll(false);
  for (uint32_t i = 0; i < 64; ++i) request.add_partitions(i);
  Reader most(rig, kSubscribe, request);
  EXPECT_FALSE(most.stream->status.has_value()) << *most.stream->status;
}

}  // namespace
}  // namespace millrace::broker
