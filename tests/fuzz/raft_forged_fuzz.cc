// A Raft core among peers that say anything: messages that the wire would carry, with any numbers
// in them, in any order, between ticks, syncs and proposals. The core ignores them, obeys them, or
// stops with a fault; its invariants hold and the process goes on.
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "proto/base/checksum.h"
#include "proto/frame/frame.h"
#include "raft/codec/entry_codec.h"
#include "raft/core/raft.h"
#include "raft/net/raft_codec.h"
#include "tests/fuzz/fuzz.h"

using namespace millrace;              // NOLINT: one file, one target
using namespace millrace::raft::core;  // NOLINT

namespace {

constexpr RaftGroupId kGroup{1};
// Whom a message is for does not matter to what is in it.
constexpr raft::RaftRoute kRoute{.group = kGroup, .from = ReplicaNumber(1), .to = {}};
constexpr int kStepsMax = 300;

// Near what the core holds as a rule, anything now and then.
uint64_t Number(FuzzedDataProvider& input) {
  if (input.ConsumeIntegralInRange<int>(0, 15) == 0) return input.ConsumeIntegral<uint64_t>();
  return input.ConsumeIntegralInRange<uint64_t>(0, 9);
}

Entry SealedEntry(FrameType type, Term term, LogIndex index, uint32_t last_chain) {
  FrameHeader header{.type = type, .group = kGroup, .term = term, .index = index};
  header.payload_crc = header.stored_crc = Crc32c("");
  header.chain = FrameChain(last_chain, header);
  Result<Entry> entry = raft::MakeEntry(header, SealFrame(header, AllocateFrame(0)));
  CHECK(entry.ok()) << entry.status();
  return std::move(entry).value();
}

Message AnyMessage(FuzzedDataProvider& input) {
  const Term term(Number(input));
  switch (input.ConsumeIntegralInRange<int>(0, 5)) {
    case 0:
      return VoteRequest{.term = term,
                         .is_pre_vote = input.ConsumeBool(),
                         .last_log_term = Term(Number(input)),
                         .last_log_index = LogIndex(Number(input)),
                         .is_transfer = input.ConsumeBool()};
    case 1:
      return VoteReply{
          .term = term, .is_pre_vote = input.ConsumeBool(), .granted = input.ConsumeBool()};
    case 2:
      return AppendReply{.term = term,
                         .success = input.ConsumeBool(),
                         .index = LogIndex(Number(input)),
                         .hint_index = LogIndex(Number(input)),
                         .hint_term = Term(Number(input))};
    case 3:
      return Heartbeat{
          .term = term, .commit_index = LogIndex(Number(input)), .round = Number(input)};
    case 4:
      return Behind{.term = term, .begin = LogIndex(Number(input))};
    default:
      return HeartbeatReply{.term = term, .round = Number(input)};
  }
}

AppendRequest AnyAppend(FuzzedDataProvider& input) {
  AppendRequest append{.term = Term(Number(input)),
                       .prev_index = LogIndex(Number(input)),
                       .prev_term = Term(Number(input)),
                       .commit_index = LogIndex(Number(input)),
                       .entries = {}};
  Term term = append.prev_term;
  const auto count = input.ConsumeIntegralInRange<uint64_t>(0, 4);
  for (uint64_t i = 1; i <= count; ++i) {
    if (input.ConsumeBool()) term = Term(Number(input));
    append.entries.push_back(SealedEntry(FrameType::kRecordBatch, term, append.prev_index + i,
                                         input.ConsumeIntegralInRange<uint32_t>(0, 1)));
  }
  return append;
}

// As the other side of a connection gets it; nothing if it is refused there.
std::optional<Message> ThroughTheWire(const AppendRequest& append) {
  std::vector<Bytes> pieces;
  const auto head = raft::net::EncodeGroupAppend(kRoute, append, &pieces);
  std::string body;
  for (const Bytes& piece : pieces) body += piece.view();
  Result<AppendRequest> decoded = raft::net::DecodeGroupAppend(head, Bytes::Own(std::move(body)));
  if (!decoded.ok()) return std::nullopt;
  return std::move(decoded).value();
}

class Victim {
 public:
  Victim() {
    for (uint32_t id = 1; id <= 3; ++id) {
      configuration_.voters.push_back({BrokerId(id), Incarnation(1), ReplicaNumber(1)});
    }
    Boot();
  }

  void Step(FuzzedDataProvider& input) {
    const Voter from = configuration_.voters[input.ConsumeIntegralInRange<size_t>(1, 2)];
    switch (input.ConsumeIntegralInRange<int>(0, 9)) {
      case 0:
        raft_->Tick();
        break;
      case 1:
        raft_->Campaign();
        break;
      case 2:
        Propose();
        break;
      case 3:
      case 4:
        if (writes_.empty()) break;
        raft_->OnDurable(writes_.front());
        writes_.pop_front();
        break;
      case 5:
      case 6:
      case 7:
        if (std::optional<Message> append = ThroughTheWire(AnyAppend(input))) {
          raft_->Step(from, std::move(*append));
        }
        break;
      default:
        raft_->Step(from, AnyMessage(input));
    }
    Drain();
  }

 private:
  void Boot() {
    writes_.clear();
    raft_ = std::make_unique<Raft>(Options{.self = configuration_.voters[0], .random_seed = 1},
                                   InitialState{.hard_state = {},
                                                .log = Log({}, {}, {}, {}),
                                                .epoch = {},
                                                .commit_index = LogIndex(0),
                                                .configuration = configuration_});
  }

  void Propose() {
    if (!raft_->is_leader() || !raft_->has_committed_in_term()) return;
    ProposeEntry(FrameType::kRecordBatch);
  }

  void ProposeEntry(FrameType type) {
    const Status status = raft_->Propose(
        SealedEntry(type, raft_->term(), raft_->log().last_index() + 1, raft_->log().last_chain()));
    CHECK(status.ok()) << status;
  }

  void Drain() {
    while (raft_->HasReady()) {
      const Ready ready = raft_->TakeReady();
      raft_->CheckInvariants();
      if (!ready.fault.ok()) return Boot();
      if (ready.write) writes_.push_back(ready.write->durable_point);
      if (ready.wants_no_op && raft_->is_leader()) ProposeEntry(FrameType::kNoOp);
    }
  }

  Configuration configuration_;
  std::unique_ptr<Raft> raft_;
  std::deque<DurablePoint> writes_;
};

}  // namespace

FUZZ_TARGET(FuzzedDataProvider& input) {
  Victim victim;
  for (int step = 0; step < kStepsMax && input.remaining_bytes() > 0; ++step) victim.Step(input);
}
