// Writes the inputs that fuzzing begins with: the worked examples of docs/formats.md and other
// valid bytes, each followed by what its target takes off the end of its input to choose what to
// do.
//
//   build/fuzz/bin/make_fuzz_seeds build/fuzz/corpus && tests/fuzz/corpus.py pack
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <string_view>

#include <glog/logging.h>

#include "broker/routing/partition_messages.h"
#include "millrace/v1/consumer_service.pb.h"
#include "millrace/v1/producer_service.pb.h"
#include "proto/frame/frame.h"
#include "proto/record/compression.h"
#include "proto/record/record_batch.h"
#include "raft/codec/entry_codec.h"
#include "raft/net/handshake.h"
#include "raft/net/peer_frame.h"
#include "raft/net/raft_codec.h"
#include "tests/docs/examples.h"

namespace millrace::fuzz {
namespace {

namespace fs = std::filesystem;

class Seeds {
 public:
  explicit Seeds(fs::path folder) : folder_(std::move(folder)) {}

  // FuzzedDataProvider takes numbers off the end: the last of `choices` first.
  void Write(const std::string& target, const std::string& name, std::string_view bytes,
             std::initializer_list<unsigned> choices) const {
    std::string seed(bytes);
    for (const unsigned choice : choices) seed.push_back(static_cast<char>(choice));
    fs::create_directories(folder_ / target);
    std::ofstream out(folder_ / target / ("seed-" + name), std::ios::binary);
    out << seed;
    CHECK(out.good()) << target << " " << name;
  }

 private:
  const fs::path folder_;
};

unsigned ByteOf(uint64_t value, unsigned number) { return (value >> (8 * number)) & 0xFF; }

void WriteBatches(const Seeds& seeds, const std::string& packed) {
  seeds.Write("record_batch", "packed", packed, {0});
  const Result<RecordBatchView> view = ParseRecordBatch(packed, docs::kPartition);
  CHECK(view.ok()) << view.status();
  v1::RecordBatch message;
  v1::Records records;
  CHECK(message.ParseFromString(packed) && records.ParseFromString(message.packed()));
  for (const BatchCompression codec : kBatchCompressions) {
    if (!IsCompressed(codec)) continue;
    const std::string name(CompressionName(codec));
    const Result<Bytes> compressed = Compress(codec, view->records);
    CHECK(compressed.ok()) << compressed.status();
    const size_t size = view->records.size();
    seeds.Write("decompress", name, compressed->view(),
                {ByteOf(size, 0), ByteOf(size, 1), ByteOf(size, 2),
                 static_cast<unsigned>(codec) - static_cast<unsigned>(BatchCompression::kGzip)});
    v1::RecordBatch smaller = message;
    smaller.set_compression(static_cast<v1::Compression>(codec));
    smaller.set_uncompressed_size(static_cast<uint32_t>(size));
    smaller.set_packed(std::string(compressed->view()));
    smaller.set_checksum(PackedChecksum(smaller.packed(), docs::kPartition));
    seeds.Write("record_batch", name, smaller.SerializeAsString(), {0});
  }
  v1::RecordBatch typed = message;
  typed.clear_packed();
  typed.clear_checksum();
  *typed.mutable_records() = records.records();
  v1::Header* header = typed.mutable_records(0)->add_headers();
  header->set_key("source");
  header->set_value("bureau");
  seeds.Write("record_batch", "typed", typed.SerializeAsString(), {0});
}

// What another broker answers to a read: the message, and a frame behind it.
std::string ForwardedRead(const std::string& frame) {
  const Result<raft::core::Entry> entry = raft::DecodeEntry(Bytes::CopyOf(frame));
  CHECK(entry.ok()) << entry.status();
  std::string body;
  for (const Bytes& piece : broker::EncodeReadReply({.offsets = {},
                                                     .entries = {*entry},
                                                     .next_offset = Offset(2),
                                                     .leader_epoch_base = 5})) {
    body += piece.view();
  }
  return body;
}

void WriteClientWire(const Seeds& seeds, const std::string& batch, const std::string& frame) {
  v1::ProduceRequest request;
  request.mutable_init()->set_client_id("seed");
  v1::ProduceBatch* produced = request.add_batches();
  produced->set_topic("flights");
  produced->set_partition(1);
  produced->set_batch_id(9);
  CHECK(produced->mutable_batch()->ParseFromString(batch));
  seeds.Write("client_wire", "produce", request.SerializeAsString(), {1});
  v1::FetchResponse response;
  v1::FetchedPartition* partition = response.add_partitions();
  partition->set_fetch_id(1);
  partition->set_high_watermark(2);
  partition->set_next_offset(2);
  partition->mutable_error()->set_message("none");
  v1::FetchedBatch* fetched = partition->add_batches();
  fetched->set_base_offset(0);
  fetched->set_record_count(2);
  fetched->set_end_offset(fetched->base_offset() + 2);
  fetched->set_batch_checksum(7);
  CHECK(fetched->mutable_batch()->ParseFromString(batch));
  seeds.Write("client_wire", "fetch", response.SerializeAsString(), {0});
  seeds.Write("client_wire", "subscribed", batch, {3});
  seeds.Write("client_wire", "forwarded", ForwardedRead(frame), {4});
  v1::PublishRequest publish;
  publish.set_topic("flights");
  publish.set_partition(1);
  publish.add_records()->set_value("1545");
  seeds.Write("client_wire", "publish", publish.SerializeAsString(), {2});
}

void WritePeerWire(const Seeds& seeds, const std::string& frame) {
  namespace net = raft::net;
  constexpr unsigned kPiece = 7;
  const raft::RaftRoute route{.group = docs::kGroup, .from = ReplicaNumber(1), .to = docs::kVoter};
  net::wire::GroupMessages messages;
  for (const raft::core::Message& message :
       {raft::core::Message(raft::core::VoteRequest{.term = Term(3), .is_pre_vote = true}),
        raft::core::Message(raft::core::AppendReply{.term = Term(3), .success = true}),
        raft::core::Message(raft::core::Heartbeat{.term = Term(3)})}) {
    net::EncodeGroupMessage(route, message, messages.add_messages());
  }
  seeds.Write("peer_wire", "messages", messages.SerializeAsString(), {1, kPiece});
  const Result<raft::core::Entry> entry = raft::DecodeEntry(Bytes::CopyOf(frame));
  CHECK(entry.ok()) << entry.status();
  std::vector<Bytes> body;
  const auto head = net::EncodeGroupAppend(route, {.term = Term(2), .entries = {*entry}}, &body);
  // A backslash ends the first of two strings.
  seeds.Write("peer_wire", "append", head.SerializeAsString() + "\\." + frame, {2, kPiece});
  seeds.Write("peer_wire", "configuration",
              raft::EncodeConfiguration({.voters = {docs::kVoter}, .outgoing = {}, .learners = {}}),
              {3, kPiece});
  net::PeerTransportOptions options;
  options.self = {.who = {BrokerId(1), Incarnation(11)}, .cluster_uuid = 4712};
  options.cluster_name = "secret";
  seeds.Write("peer_wire", "hello",
              net::MakeHello(options, BrokerId(2), raft::Lane::kBulk, 1).SerializeAsString(),
              {4, kPiece});
}

void WriteDisk(const Seeds& seeds, const std::map<std::string, docs::Dump>& examples) {
  const std::string frame = examples.at("frame").Bytes();
  seeds.Write("frame", "batch", frame, {0});
  seeds.Write("superblock", "copy", examples.at("superblock").Bytes(), {1});
  seeds.Write("journal", "blocks", examples.at("head block").Bytes() + examples.at("block").Bytes(),
              {0});
  const Result<FrameHeader> header = ParseFrame(frame);
  CHECK(header.ok()) << header.status();
  const uint32_t chain = header->chain;
  // With its own header, and what the journal would name as its end.
  seeds.Write(
      "segment", "sealed", examples.at("segment").Bytes(),
      {1, 2, ByteOf(chain, 0), ByteOf(chain, 1), ByteOf(chain, 2), ByteOf(chain, 3), 2, 1, 0});
}

void WriteText(const Seeds& seeds) {
  seeds.Write("text", "size", "batch_bytes_max\\.64MiB", {1});
  seeds.Write("text", "duration", "linger\\.300ms", {2});
  seeds.Write("text", "name", "\\.flights-2013.january_1", {0});
  seeds.Write("text", "segment", "\\.00000000000000000042.segment", {0});
}

void WriteAll(const fs::path& folder) {
  const Seeds seeds(folder);
  const std::map<std::string, docs::Dump> examples = docs::MakeExamples();
  WriteBatches(seeds, examples.at("record batch").Bytes());
  WriteClientWire(seeds, examples.at("record batch").Bytes(), examples.at("frame").Bytes());
  WritePeerWire(seeds, examples.at("frame").Bytes());
  WriteDisk(seeds, examples);
  WriteText(seeds);
  // Elections, proposals, syncs and deliveries in no order: the fuzzer finds its own.
  seeds.Write("raft", "steps", std::string(600, '\x5A'), {});
}

}  // namespace
}  // namespace millrace::fuzz

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: make_fuzz_seeds FOLDER\n";
    return 1;
  }
  millrace::fuzz::WriteAll(argv[1]);
  return 0;
}
