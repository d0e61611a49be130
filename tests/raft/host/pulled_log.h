// A part of a log that is pulled from another replica, a state machine that is only restored, and
// the host of a replica that has two others: what tests of restoring and of repairing replicas have
// in common.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "proto/base/checksum.h"
#include "proto/frame/frame.h"
#include "raft/codec/entry_codec.h"
#include "raft/host/host.h"
#include "raft/ports/state_machine.h"
#include "tests/raft/host/memory_log_store.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::raft {

// Its state is what it was restored from.
class PulledMachine final : public StateMachine {
 public:
  void Attach(Group& to) override { group = &to; }
  Status Restore(Bytes saved) override {
    state = std::string(saved.view());
    return {};
  }
  Status Apply(const core::Entry&) override { return {}; }
  StateEncoder TakeSnapshot() const override {
    return [] { return Bytes::CopyOf("s"); };
  }
  Offset next_offset() const override { return Offset(); }
  Offset log_start() const override { return Offset(); }
  int64_t last_append_time_ms() const override { return 0; }
  void OnLeadership(const Leadership&) override {}

  Group* group = nullptr;
  std::string state;
};

struct PulledLog {
  static constexpr RaftGroupId kGroup{7};
  static constexpr core::LogPoint kBegin{
      .index = LogIndex(40), .term = Term(3), .chain = 77, .next_offset = Offset(100)};

  // Entries of one record each that follow on kBegin.
  static std::vector<core::Entry> Entries(size_t count, Term term = Term(4),
                                          RaftGroupId group = kGroup) {
    std::vector<core::Entry> entries;
    uint32_t chain = kBegin.chain;
    for (size_t i = 0; i < count; ++i) {
      FrameHeader header{.type = FrameType::kRecordBatch,
                         .payload_size = 4,
                         .group = group,
                         .term = term,
                         .index = kBegin.index + (i + 1),
                         .base_offset = kBegin.next_offset + static_cast<int64_t>(i),
                         .offset_span = 1,
                         .record_count = 1,
                         .append_time_ms = 1000 + static_cast<int64_t>(i)};
      Buffer frame = AllocateFrame(4);
      std::memcpy(FramePayload(frame), "abcd", 4);
      header.payload_crc = header.stored_crc = Crc32c("abcd");
      header.chain = chain = FrameChain(chain, header);
      entries.push_back({.term = header.term,
                         .index = header.index,
                         .type = core::EntryType::kCommand,
                         .chain = header.chain,
                         .frame = SealFrame(header, std::move(frame))});
    }
    return entries;
  }
  // The end of what lies before the entry of that place.
  static core::LogPoint Before(const std::vector<core::Entry>& entries, size_t place) {
    return place == 0 ? kBegin : EndAfter(entries.at(place - 1).frame.header());
  }
};

class OneOfThreeTest : public testing::Test {
 protected:
  static constexpr Voter kSelf{BrokerId(1), Incarnation(11), ReplicaNumber(1)};
  static constexpr Voter kSecond{BrokerId(2), Incarnation(12), ReplicaNumber(2)};
  static constexpr Voter kThird{BrokerId(3), Incarnation(13), ReplicaNumber(3)};

  void SetUp() override {
    FLAGS_minloglevel = google::GLOG_FATAL;
    host_ = std::make_unique<Host>(
        HostOptions{.self = kSelf.holder()},
        HostEnvironment{process_.executor(), process_.clock(), transport_, store_},
        process_.Fork());
    host_->Start();
    ReplicaRecord record{.group = PulledLog::kGroup, .number = kSelf.number};
    record.configuration.voters = {kSelf, kSecond, kThird};
    host_->CreateReplica(record, /*campaign=*/false, machine_);
    Settle();
  }
  void Settle() { world_.RunFor(std::chrono::milliseconds(1)); }
  // What was sent last, which asks this one for a range.
  RangeRequest LastAsked(BrokerId of) {
    EXPECT_FALSE(transport_.peers.empty());
    const auto& [to, kind, body] = transport_.peers.back();
    EXPECT_EQ(to, of);
    EXPECT_EQ(kind, PeerKind::kRangeRequest);
    return DecodeRangeRequest(body).value();
  }

  sim::SimWorld world_{1};
  sim::SimProcess& process_ = world_.AddProcess("broker");
  MemoryTransport transport_;
  MemoryLogStore store_{process_.executor()};
  PulledMachine machine_;
  std::unique_ptr<Host> host_;
};

}  // namespace millrace::raft
