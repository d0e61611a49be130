// The hot functions on fixed input, one function a path, for callgrind to count: no clock, no
// thread, no file, and the same instructions at every run (count.py runs it and compares).
//
// What a path needs is in Input, made before and not counted: callgrind tells the inclusive cost of
// each hot_* function.
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "broker/controller/image.h"
#include "broker/partition/producer_table.h"
#include "broker/service/fetch/fetch_wire.h"
#include "broker/service/produce/produce_wire.h"
#include "client/core/fetch_wire.h"
#include "client/core/producer.h"
#include "millrace/v1/consumer_service.pb.h"
#include "millrace/v1/producer_service.pb.h"
#include "proto/base/checksum.h"
#include "proto/frame/frame.h"
#include "proto/record/record_batch.h"
#include "proto/record/record_batch_builder.h"
#include "raft/codec/entry_codec.h"
#include "raft/core/quorum.h"
#include "raft/core/raft.h"
#include "raft/net/raft_codec.h"
#include "storage/journal/block_writer.h"

// A path's body, and the function around it that callgrind counts: not inlined and with a name of
// C, so that the table names it. Of how many operations it is made, and what one is, is for
// count.py to read.
#define HOT_PATH(name, operations, what)                                                  \
  static void body_of_##name(Input& input);                                               \
  extern "C" __attribute__((noinline)) void name(Input& input) { body_of_##name(input); } \
  __attribute__((noinline)) static void body_of_##name
// Each runs once uncounted: what it finds of the heap is then what it left itself, not what others
// did before it.
#define RUN(name)        \
  body_of_##name(input); \
  name(input)

namespace millrace {
namespace {

using raft::core::Entry;
using raft::core::Raft;

constexpr TopicPartition kHome{TopicId(7), PartitionId(3)};
constexpr RaftGroupId kGroup{11};
constexpr raft::RaftRoute kRoute{.group = kGroup,
                                 .from = ReplicaNumber(1),
                                 .to = {BrokerId(2), Incarnation(2), ReplicaNumber(2)}};
constexpr uint32_t kRepeats = 200;

Entry SealedEntry(Term term, LogIndex index, uint32_t chain, FrameType type, size_t payload) {
  FrameHeader header{.type = type,
                     .payload_size = static_cast<uint32_t>(payload),
                     .group = kGroup,
                     .term = term,
                     .index = index,
                     .base_offset = Offset(static_cast<int64_t>(index.value())),
                     .offset_span = 1,
                     .record_count = 1};
  Buffer buffer = AllocateFrame(payload);
  std::memset(FramePayload(buffer), 'x', payload);
  header.payload_crc = header.stored_crc = Crc32c({FramePayload(buffer), payload});
  header.chain = FrameChain(chain, header);
  Result<Entry> entry = raft::MakeEntry(header, SealFrame(header, std::move(buffer)));
  CHECK(entry.ok()) << entry.status();
  return std::move(entry).value();
}

std::vector<Entry> Entries(size_t count, size_t payload) {
  std::vector<Entry> entries;
  uint32_t chain = 0;
  for (size_t i = 1; i <= count; ++i) {
    entries.push_back(SealedEntry(Term(1), LogIndex(i), chain, FrameType::kRecordBatch, payload));
    chain = entries.back().chain;
  }
  return entries;
}

// Replicas whose disks and network are done at once.
class Cores {
 public:
  explicit Cores(uint32_t voters) {
    for (uint32_t id = 1; id <= voters; ++id) {
      configuration_.voters.push_back({BrokerId(id), Incarnation(1)});
    }
    for (const Voter& self : configuration_.voters) {
      raft::core::InitialState initial;
      initial.configuration = configuration_;
      replicas_.push_back(std::make_unique<Raft>(raft::core::Options{.self = self}, initial));
    }
    replicas_[0]->Campaign();
    Settle();
    CHECK(replicas_[0]->is_leader());
  }

  // One entry, on all replicas and committed there.
  void Commit(size_t payload) {
    Propose(FrameType::kRecordBatch, payload);
    Settle();
  }
  void CheckCommitted(uint64_t entries) const {
    // The leader's no-op is one more.
    CHECK_EQ(replicas_[0]->commit_index(), LogIndex(entries + 1));
  }

 private:
  struct Envelope {
    Voter from;
    raft::core::OutgoingMessage outgoing;
  };

  void Propose(FrameType type, size_t payload) {
    Raft& leader = *replicas_[0];
    const LogIndex index = leader.log().last_index() + 1;
    const Status status =
        leader.Propose(SealedEntry(leader.term(), index, leader.log().last_chain(), type, payload));
    CHECK(status.ok()) << status;
  }

  void Settle() {
    bool is_moving = true;
    while (is_moving) {
      is_moving = false;
      for (size_t i = 0; i < replicas_.size(); ++i) is_moving |= TakeOutputs(i);
      while (!network_.empty()) {
        Envelope envelope = std::move(network_.front());
        network_.pop_front();
        Raft& to = *replicas_[envelope.outgoing.to.broker.value() - 1];
        to.Step(envelope.from, std::move(envelope.outgoing.message));
        is_moving = true;
      }
    }
  }

  bool TakeOutputs(size_t i) {
    Raft& replica = *replicas_[i];
    if (!replica.HasReady()) return false;
    raft::core::Ready ready = replica.TakeReady();
    for (auto& message : ready.messages) {
      network_.push_back({configuration_.voters[i], std::move(message)});
    }
    if (ready.write) replica.OnDurable(ready.write->durable_point);
    if (ready.wants_no_op) Propose(FrameType::kNoOp, 0);
    if (replica.commit_index() > LogIndex(8)) {
      replica.TrimTail(LogIndex(replica.commit_index().value() - 8));
    }
    return true;
  }

  raft::core::Configuration configuration_;
  std::vector<std::unique_ptr<Raft>> replicas_;
  std::deque<Envelope> network_;
};

// A packed batch of `count` records of `value_bytes` each.
Bytes Batch(uint32_t count, size_t value_bytes) {
  const std::string value(value_bytes, 'v');
  RecordBatchBuilder builder({.records_bytes_max = size_t{1} << 20});
  for (uint32_t i = 0; i < count; ++i) {
    CHECK(builder.TryAppend({.key = "key", .value = value, .timestamp_ms = 1'700'000'000'000}));
  }
  return std::move(builder).Finish({.producer_id = ProducerId(1), .destination = kHome});
}

Bytes ProduceMessage(uint32_t batches) {
  v1::ProduceRequest request;
  for (uint32_t i = 0; i < batches; ++i) {
    v1::ProduceBatch* batch = request.add_batches();
    batch->set_topic_id(7);
    batch->set_partition(i);
    batch->set_batch_id(i + 1);
    const Bytes bytes = Batch(10, 100);
    CHECK(batch->mutable_batch()->ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  }
  return Bytes::Own(request.SerializeAsString());
}

Bytes FetchMessage(uint32_t batches) {
  v1::FetchResponse response;
  v1::FetchedPartition* partition = response.add_partitions();
  partition->set_fetch_id(1);
  for (uint32_t i = 0; i < batches; ++i) {
    v1::FetchedBatch* batch = partition->add_batches();
    batch->set_base_offset(10 * i);
    batch->set_record_count(10);
    batch->set_end_offset(10 * i + 10);
    const Bytes bytes = Batch(10, 100);
    CHECK(batch->mutable_batch()->ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  }
  return Bytes::Own(response.SerializeAsString());
}

// Everything that the paths read.
// That the next topic is made, of 10 partitions.
internal::v1::ControllerRecord NextTopic(const broker::Image& image) {
  internal::v1::ControllerRecord record;
  auto& created = *record.mutable_topic_created();
  created.set_topic_id(image.next_topic_id().value());
  created.set_name("topic" + std::to_string(created.topic_id()));
  created.set_kind(internal::v1::TopicCreated::KIND_PARTITION_LOG);
  created.set_leader_epoch_base(1);
  for (uint32_t i = 0; i < 10; ++i) {
    auto& placement = *created.add_partitions();
    placement.set_partition(i);
    placement.set_group_id(image.next_group_id().value() + i);
    auto& replica = *placement.add_replicas();
    replica.set_broker_id(1);
    replica.set_incarnation(1);
    replica.set_number(1);
  }
  return record;
}

broker::Image LargeImage() {
  broker::Image image;
  for (int i = 0; i < 1000; ++i) CHECK(image.Apply(NextTopic(image)).ok());
  return image;
}

// Every producer with all the batches that are kept of one.
struct Producers {
  explicit Producers(uint64_t count) {
    for (uint64_t i = 0; i < count * broker::kProducerBatchesKept; ++i) {
      table.Apply({ProducerId(i % count + 1)},
                  {.first_sequence = static_cast<uint32_t>(i / count),
                   .record_count = 1,
                   .base_offset = Offset(static_cast<int64_t>(i)),
                   .append_time_ms = 1},
                  LogIndex(i + 1));
    }
  }

  broker::ProducerMemory memory{broker::ProducerLimits{}};
  broker::ProducerTable table{memory};
};

struct Input {
  Cores three{3};
  Cores five{5};
  Bytes small_records = Batch(600, 100);
  Bytes large_records = Batch(60, 1024);
  std::vector<Entry> entries = Entries(64, 1024);
  Bytes produce = ProduceMessage(16);
  Bytes fetched = FetchMessage(64);
  std::string value = std::string(100, 'v');
  broker::Image image = LargeImage();
  // Made when it is needed: the others' counts depend on what was freed in the heap before.
  std::optional<Producers> producers;
};

}  // namespace

HOT_PATH(hot_core_commit_3_voters, 200, "commit of 100 bytes, all three cores")(Input& input) {
  for (uint32_t i = 0; i < kRepeats; ++i) input.three.Commit(100);
}

HOT_PATH(hot_core_commit_5_voters, 200, "commit of 100 bytes, all five cores")(Input& input) {
  for (uint32_t i = 0; i < kRepeats; ++i) input.five.Commit(100);
}

HOT_PATH(hot_quorum_index, 200, "quorum of five voters")(Input&) {
  raft::core::Configuration configuration;
  for (uint32_t id = 1; id <= 5; ++id) {
    configuration.voters.push_back({BrokerId(id), Incarnation(1)});
  }
  for (uint32_t i = 0; i < kRepeats; ++i) {
    const LogIndex index = raft::core::QuorumIndex(
        configuration, [&](const Voter& voter) { return LogIndex(i + voter.broker.value()); });
    CHECK_EQ(index, LogIndex(i + 3));
  }
}

HOT_PATH(hot_batch_parse_100_bytes, 600, "record of 100 bytes, parsed")(Input& input) {
  const Result<RecordBatchView> batch = ParseRecordBatch(input.small_records.view(), kHome);
  CHECK(batch.ok()) << batch.status();
}

HOT_PATH(hot_batch_parse_1_kib, 60, "record of 1 KiB, parsed")(Input& input) {
  const Result<RecordBatchView> batch = ParseRecordBatch(input.large_records.view(), kHome);
  CHECK(batch.ok()) << batch.status();
}

HOT_PATH(hot_batch_build_100_bytes, 600, "record of 100 bytes, appended")(Input& input) {
  RecordBatchBuilder builder({.records_bytes_max = size_t{1} << 20});
  for (uint32_t i = 0; i < 600; ++i) {
    CHECK(builder.TryAppend({.key = "key", .value = input.value, .timestamp_ms = 1}));
  }
  CHECK(!std::move(builder).Finish({.destination = kHome}).empty());
}

HOT_PATH(hot_frame_seal_and_decode, 200, "frame of 1 KiB, sealed and decoded")(Input&) {
  for (uint32_t i = 0; i < kRepeats; ++i) {
    const Entry entry = SealedEntry(Term(1), LogIndex(1), 0, FrameType::kRecordBatch, 1024);
    CHECK(raft::DecodeEntry(entry.frame).ok());
  }
}

HOT_PATH(hot_append_encode_and_decode, 64, "entry of 1 KiB on the peers' wire")(Input& input) {
  const raft::core::AppendRequest append{.term = Term(1),
                                         .prev_index = LogIndex(0),
                                         .prev_term = Term(0),
                                         .commit_index = LogIndex(0),
                                         .entries = input.entries};
  std::vector<Bytes> pieces;
  const auto head = raft::net::EncodeGroupAppend(kRoute, append, &pieces);
  std::string body;
  for (const Bytes& piece : pieces) body += piece.view();
  CHECK(raft::net::DecodeGroupAppend(head, Bytes::Own(std::move(body))).ok());
}

HOT_PATH(hot_journal_blocks, 64, "entry of 1 KiB laid out in a block")(Input& input) {
  storage::journal::BlockWriter writer(
      {.header = {.key = 1, .file_sequence = 1, .lsn = 1}, .block_bytes = 256 << 10});
  for (const Entry& entry : input.entries) {
    writer.Add({.type = storage::journal::RecordType::kEntry, .replica = {kGroup, kRoute.from}},
               storage::journal::EncodeEntryPrefix(TruncationEpoch(1)), entry.frame.bytes());
  }
  CHECK_GT(std::move(writer).Finish().size, 0u);
}

HOT_PATH(hot_sequence_check, 200, "batch checked and applied in the producer table")(Input&) {
  broker::ProducerMemory memory{broker::ProducerLimits()};
  broker::ProducerTable table(memory);
  for (uint32_t i = 0; i < kRepeats; ++i) {
    const ProducerId producer(i % 8 + 1);
    const uint32_t sequence = i / 8 * 10;
    CHECK_EQ(table.Check({.producer = producer, .first_sequence = sequence}).verdict,
             broker::SequenceCheck::kNew);
    const broker::TransactionName sent{.producer = producer};
    CHECK_EQ(table.CheckTransaction(sent).verdict, broker::TransactionCheck::kTake);
    const broker::ProducedBatch batch{.first_sequence = sequence,
                                      .record_count = 10,
                                      .base_offset = Offset(static_cast<int64_t>(i)),
                                      .append_time_ms = 1};
    table.AddInFlight(sent, batch, LogIndex(i + 1));
    table.Apply(sent, batch, LogIndex(i + 1));
  }
}

// What the shard pays for a snapshot; it is encoded elsewhere.
HOT_PATH(hot_image_view, 1, "image of 1,000 topics, frozen, and its next topic")(Input& input) {
  const broker::Image view = input.image;
  CHECK(input.image.Apply(NextTopic(view)).ok());
  CHECK_EQ(view.topics().size() + 1, input.image.topics().size());
}

HOT_PATH(hot_producers_view, 1, "table of 1,000 producers with 16 batches each, frozen")
(Input& input) {
  const broker::FrozenProducers view = input.producers->table.Freeze();
  CHECK_EQ(input.producers->table.size(), 1000u);
}

HOT_PATH(hot_produce_request_parse, 200, "produce request of 16 batches, parsed")(Input& input) {
  for (uint32_t i = 0; i < kRepeats; ++i) {
    const auto request = broker::ParseProduceRequest(input.produce);
    CHECK(request.ok()) << request.status();
    CHECK_EQ(request->batches.size(), 16u);
  }
}

HOT_PATH(hot_fetch_response_encode, 200, "fetch response of 64 batches, written")(Input& input) {
  v1::FetchedPartition head;
  head.set_fetch_id(1);
  head.set_high_watermark(100);
  for (uint32_t i = 0; i < kRepeats; ++i) {
    std::vector<broker::FetchedBatch> batches;
    batches.reserve(input.entries.size());
    for (const Entry& entry : input.entries) batches.push_back(broker::FetchedAsStored(entry));
    const auto pieces =
        broker::EncodeFetchResponse(head, broker::EncodeBatches(std::move(batches), Offset(0), 1));
    CHECK_GT(TotalSize(pieces), 64u * 1024);
  }
}

HOT_PATH(hot_fetch_response_parse, 200, "fetch response of 64 batches, parsed")(Input& input) {
  for (uint32_t i = 0; i < kRepeats; ++i) {
    const auto partitions = client::ParseFetchResponse(input.fetched);
    CHECK(partitions.ok()) << partitions.status();
    CHECK_EQ(partitions->front().batches.size(), 64u);
  }
}

HOT_PATH(hot_client_send_and_acknowledge, 600, "record of 100 bytes, sent and acknowledged")
(Input& input) {
  constexpr uint32_t kRecordsPerBatch = 3;
  const MonotonicTime now{std::chrono::seconds(1)};
  client::Producer producer({}, {.id = ProducerId(1)}, Random(1));
  const uint32_t partition = producer.AddPartition(kHome);
  producer.OnLeader(partition, {.broker = BrokerId(1), .epoch = Term(1)});
  for (uint32_t batch = 1; batch <= kRepeats; ++batch) {
    for (uint32_t record = 0; record < kRecordsPerBatch; ++record) {
      const Status sent = producer.Send(partition, {.key = "key", .value = input.value}, now);
      CHECK(sent.ok()) << sent;
    }
    client::ProducerOutput output;
    producer.Poll(now, &output);
    CHECK_EQ(output.messages.size(), 1u);
    v1::ProduceResult result;
    result.set_batch_id(batch);
    producer.OnResult(BrokerId(1), result, now);
  }
  CHECK_EQ(producer.unanswered_records(), 0u);
}

}  // namespace millrace

int main(int, char** argv) {
  google::InitGoogleLogging(argv[0]);
  using namespace millrace;  // NOLINT: the paths alone
  Input input;
  RUN(hot_core_commit_3_voters);
  RUN(hot_core_commit_5_voters);
  input.three.CheckCommitted(2 * kRepeats);
  input.five.CheckCommitted(2 * kRepeats);
  RUN(hot_quorum_index);
  RUN(hot_batch_parse_100_bytes);
  RUN(hot_batch_parse_1_kib);
  RUN(hot_batch_build_100_bytes);
  RUN(hot_frame_seal_and_decode);
  RUN(hot_append_encode_and_decode);
  RUN(hot_journal_blocks);
  RUN(hot_sequence_check);
  RUN(hot_image_view);
  input.producers.emplace(1000);
  RUN(hot_producers_view);
  RUN(hot_produce_request_parse);
  RUN(hot_fetch_response_encode);
  RUN(hot_fetch_response_parse);
  RUN(hot_client_send_and_acknowledge);
  std::puts("done");
  return 0;
}
