// Three Raft cores whose messages, disks, ticks and crashes are played as the input says: any
// order, loss, repetition, and at any instant. Messages go through the peers' wire format. After
// every step the cores' invariants hold, no term has two leaders, what is committed is durable on a
// quorum and never changes. Voters change, too.
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "proto/base/checksum.h"
#include "proto/frame/frame.h"
#include "raft/codec/entry_codec.h"
#include "raft/core/quorum.h"
#include "raft/core/raft.h"
#include "raft/net/raft_codec.h"
#include "tests/fuzz/fuzz.h"

using namespace millrace;              // NOLINT: one file, one target
using namespace millrace::raft::core;  // NOLINT

namespace {

constexpr RaftGroupId kGroup{1};
// Whom a message is for does not matter to what is in it.
constexpr raft::RaftRoute kRoute{.group = kGroup, .from = ReplicaNumber(1), .to = {}};
constexpr size_t kVoters = 3;
constexpr int kStepsMax = 600;
constexpr size_t kMessagesMax = 64;

Entry SealedEntry(const Raft& leader, FrameType type, std::string_view payload) {
  FrameHeader header{.type = type,
                     .payload_size = static_cast<uint32_t>(payload.size()),
                     .group = kGroup,
                     .term = leader.term(),
                     .index = leader.log().last_index() + 1};
  Buffer buffer = AllocateFrame(payload.size());
  payload.copy(FramePayload(buffer), payload.size());
  header.payload_crc = header.stored_crc = Crc32c(payload);
  header.chain = FrameChain(leader.log().last_chain(), header);
  Result<Entry> entry = raft::MakeEntry(header, SealFrame(header, std::move(buffer)));
  CHECK(entry.ok()) << entry.status();
  return std::move(entry).value();
}

// As the other side of a connection gets it.
Message ThroughTheWire(const Message& message) {
  if (const auto* append = std::get_if<AppendRequest>(&message)) {
    std::vector<Bytes> pieces;
    const auto head = raft::net::EncodeGroupAppend(kRoute, *append, &pieces);
    std::string body;
    for (const Bytes& piece : pieces) body += piece.view();
    Result<AppendRequest> decoded = raft::net::DecodeGroupAppend(head, Bytes::Own(std::move(body)));
    CHECK(decoded.ok()) << decoded.status();
    return std::move(decoded).value();
  }
  raft::net::wire::GroupMessage out;
  raft::net::EncodeGroupMessage(kRoute, message, &out);
  Result<Message> decoded = raft::net::DecodeGroupMessage(out);
  CHECK(decoded.ok()) << decoded.status();
  return std::move(decoded).value();
}

struct Node {
  std::unique_ptr<Raft> raft;
  HardState hard_state;
  std::vector<Entry> entries;
  TruncationEpoch epoch;
  std::deque<StorageWrite> writes;
};

class Trio {
 public:
  Trio() {
    for (uint32_t id = 1; id <= kVoters; ++id) {
      configuration_.voters.push_back({BrokerId(id), Incarnation(1), ReplicaNumber(1)});
    }
    for (size_t i = 0; i < kVoters; ++i) Boot(i);
  }

  void Step(FuzzedDataProvider& input) {
    const size_t i = input.ConsumeIntegralInRange<size_t>(0, kVoters - 1);
    switch (input.ConsumeIntegralInRange<int>(0, 16)) {
      case 0:
      case 1:
      case 2:
        nodes_[i].raft->Tick();
        break;
      case 3:
        nodes_[i].raft->Campaign();
        break;
      case 4:
      case 5:
        Propose(i, input.ConsumeIntegralInRange<uint32_t>(0, 3));
        break;
      case 16:
        nodes_[i].raft->PeerConnected(
            configuration_.voters[input.ConsumeIntegralInRange<size_t>(0, kVoters - 1)].holder(),
            1);
        break;
      case 15:
        Reconfigure(i, input.ConsumeIntegralInRange<uint32_t>(1, 7));
        break;
      case 6:
      case 7:
        Sync(i);
        break;
      case 8:
        Crash(i, input.ConsumeBool());
        break;
      case 9:
        if (!network_.empty()) Take(input);
        break;
      case 10:
        if (!network_.empty() && network_.size() < kMessagesMax) network_.push_back(network_[0]);
        break;
      case 11:
        nodes_[i].raft->PeerDisconnected(
            BrokerId(input.ConsumeIntegralInRange<uint32_t>(1, kVoters)), 1);
        break;
      default:
        if (!network_.empty()) Deliver(Take(input));
    }
    for (size_t node = 0; node < kVoters; ++node) Drain(node);
    Check();
  }

 private:
  struct Envelope {
    Voter from;
    OutgoingMessage outgoing;
  };

  void Boot(size_t i) {
    Node& node = nodes_[i];
    InitialState initial{.hard_state = node.hard_state,
                         .log = Log({}, {}, {}, node.entries),
                         .epoch = node.epoch,
                         .commit_index = LogIndex(0),
                         .configuration = configuration_};
    node.raft = std::make_unique<Raft>(
        Options{.self = configuration_.voters[i], .random_seed = i + 1}, std::move(initial));
  }

  void Propose(size_t i, uint32_t payload) {
    Raft& raft = *nodes_[i].raft;
    if (!raft.is_leader() || !raft.has_committed_in_term()) return;
    const Status status =
        raft.Propose(SealedEntry(raft, FrameType::kRecordBatch, std::string(payload, 'x')));
    CHECK(status.ok()) << status;
  }

  // The next step of a change of voters: into a joint configuration with those of `mask`, or out of
  // the one that is.
  void Reconfigure(size_t i, uint32_t mask) {
    Raft& raft = *nodes_[i].raft;
    if (!raft.is_leader() || !raft.has_committed_in_term()) return;
    const Configuration& now = raft.configuration();
    Configuration next;
    if (now.is_joint()) {
      next.voters = now.voters;
    } else {
      for (size_t voter = 0; voter < kVoters; ++voter) {
        if ((mask >> voter & 1) != 0) next.voters.push_back(configuration_.voters[voter]);
      }
      next.outgoing = now.voters;
    }
    const Status status =
        raft.Propose(SealedEntry(raft, FrameType::kConfiguration, raft::EncodeConfiguration(next)));
    CHECK(status.ok() || status.code() == Code::kFailedPrecondition) << status;
  }

  void Sync(size_t i) {
    Node& node = nodes_[i];
    if (node.writes.empty()) return;
    const StorageWrite write = std::move(node.writes.front());
    node.writes.pop_front();
    Store(&node, write, write.entries.size());
    node.raft->OnDurable(write.durable_point);
  }

  static void Store(Node* node, const StorageWrite& write, size_t entries) {
    if (write.hard_state) node->hard_state = *write.hard_state;
    if (write.truncate_from) {
      while (!node->entries.empty() && node->entries.back().index >= *write.truncate_from) {
        node->entries.pop_back();
      }
    }
    node->epoch = write.epoch;
    node->entries.insert(node->entries.end(), write.entries.begin(),
                         write.entries.begin() + static_cast<std::ptrdiff_t>(entries));
  }

  // What was not synced is lost, or was written for all that.
  void Crash(size_t i, bool is_kept) {
    Node& node = nodes_[i];
    if (is_kept && !node.writes.empty()) {
      Store(&node, node.writes.front(), node.writes.front().entries.size());
    }
    node.writes.clear();
    Boot(i);
  }

  Envelope Take(FuzzedDataProvider& input) {
    const size_t at = input.ConsumeIntegralInRange<size_t>(0, network_.size() - 1);
    Envelope envelope = std::move(network_[at]);
    network_.erase(network_.begin() + static_cast<std::ptrdiff_t>(at));
    return envelope;
  }

  void Deliver(const Envelope& envelope) {
    nodes_[envelope.outgoing.to.broker.value() - 1].raft->Step(
        envelope.from, ThroughTheWire(envelope.outgoing.message));
  }

  void Drain(size_t i) {
    Node& node = nodes_[i];
    while (node.raft->HasReady()) {
      Ready ready = node.raft->TakeReady();
      CHECK(ready.fault.ok()) << ready.fault;
      if (ready.write) node.writes.push_back(std::move(*ready.write));
      for (OutgoingMessage& message : ready.messages) {
        if (network_.size() == kMessagesMax) network_.pop_front();
        network_.push_back({configuration_.voters[i], std::move(message)});
      }
      if (ready.wants_no_op) {
        const Status status = node.raft->Propose(SealedEntry(*node.raft, FrameType::kNoOp, ""));
        CHECK(status.ok()) << status;
      }
    }
  }

  void Check() {
    for (size_t i = 0; i < kVoters; ++i) {
      const Raft& raft = *nodes_[i].raft;
      raft.CheckInvariants();
      if (raft.is_leader()) {
        const auto [known, is_new] = leaders_.try_emplace(raft.term(), i);
        CHECK_EQ(known->second, i) << "two leaders in term " << raft.term();
      }
      for (LogIndex index(1); index <= raft.commit_index(); index = index + 1) {
        const uint32_t chain = raft.log().At(index).chain;
        const auto [known, is_new] = committed_.try_emplace(index, chain);
        CHECK_EQ(known->second, chain) << "what was committed at " << index << " has changed";
        if (is_new) CHECK(IsDurableOnQuorum(raft.configuration(), index, chain)) << index;
      }
    }
  }

  bool IsDurableOnQuorum(const Configuration& voters, LogIndex index, uint32_t chain) const {
    return HasQuorum(voters, [&](const Voter& voter) {
      const std::vector<Entry>& durable = nodes_[voter.broker.value() - 1].entries;
      const uint64_t at = index.value() - 1;
      return at < durable.size() && durable[at].chain == chain;
    });
  }

  Configuration configuration_;
  Node nodes_[kVoters];
  std::deque<Envelope> network_;
  std::map<Term, size_t> leaders_;
  std::map<LogIndex, uint32_t> committed_;
};

}  // namespace

FUZZ_TARGET(FuzzedDataProvider& input) {
  Trio trio;
  for (int step = 0; step < kStepsMax && input.remaining_bytes() > 0; ++step) trio.Step(input);
}
