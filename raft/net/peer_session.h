// The standing relation to one peer: dials it or takes its calls, keeps the three lanes together,
// and puts messages on them. Of two brokers the one with the lower id dials.
//
//     idle --dial / first lane accepted--> joining --all three lanes stand--> up --any lane
//     breaks--> idle
//
// The lanes live and die together: when one breaks all are closed, so that "connected" has one
// meaning. Each attempt has a number, and a later one replaces an earlier one that the acceptor
// still takes for alive.
//
// Owned by PeerTransport, one for each configured peer; on the shard's thread. The handler is never
// called from within a Send.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "raft/net/complaints.h"
#include "raft/net/handshake.h"
#include "raft/net/lane_connection.h"
#include "raft/net/options.h"
#include "raft/ports/transport.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/random.h"

namespace millrace::raft::net {

// What all sessions of a transport share.
struct SessionContext {
  PeerTransportOptions options;
  Executor& executor;
  const Clock& clock;
  Network& network;
  TransportHandler* handler = nullptr;  // from Start on
  Random random;
  PeerTransportStats stats;
  LaneGraveyard graveyard;
  Complaints complaints;
  // Where peers were last seen, by the addresses that their connections have: their strangers do
  // not make room for others'.
  std::map<BrokerId, std::string> peer_hosts;

  // Tells the handler, unless `source` was refused within this minute.
  void ReportRefusal(std::string_view source, const Status& why);
};

class PeerSession final : public LaneOwner {
 public:
  PeerSession(SessionContext& context, BrokerId peer, Endpoint endpoint);
  ~PeerSession() override;
  PeerSession(const PeerSession&) = delete;
  PeerSession& operator=(const PeerSession&) = delete;

  // Dials, if that is this side's part.
  void Start();
  // A lane that the peer dialled, whose Hello passed CheckHello. Not ok: it must be refused.
  Status Accept(const wire::Hello& hello, std::unique_ptr<LaneConnection>& connection);

  bool is_up() const { return state_ == State::kUp; }
  // As the peer told it last in this session.
  const std::optional<PeerCondition>& condition() const { return condition_; }
  // What its wall clock shows by now, if it told it.
  std::optional<int64_t> wall_clock_ms() const;
  void SendRaft(const RaftRoute& route, const core::Message& message, bool bulk);
  void SendPeer(Lane lane, PeerKind kind, std::vector<Bytes> body);
  // Asks a silent peer, and one that did not say for long how it is; gives up one that stays
  // silent. `is_late`: this broker itself stood still.
  void CheckKeepalive(bool is_late);

  void OnFrame(LaneConnection& lane, const PeerFrame& frame) override;
  void OnLaneClosed(LaneConnection& lane, const Status& why) override;

 private:
  enum class State { kIdle, kJoining, kUp };
  struct LaneState {
    std::unique_ptr<LaneConnection> connection;
    bool is_standing = false;
  };

  bool is_dialer() const { return context_->options.self.who.broker < peer_; }
  LaneState& lane_state(Lane lane) { return lanes_[static_cast<size_t>(lane)]; }
  std::optional<Lane> LaneOf(const LaneConnection& connection) const;
  // Who this is about, for the log.
  std::string Name() const;

  void Dial();
  void OnConnected(uint64_t session, Lane lane, Result<std::unique_ptr<Connection>> made);
  void BeginJoining(uint64_t session);
  // The peer's Hello on a lane was right: it stands, and with the last one the session is up.
  Status Admit(const PeerIdentity& identity, Lane lane);
  void RiseIfComplete();
  // Closes all lanes and tells the handler if it was up; the dialer tries again, after waits that
  // grow longer if it was refused.
  void Fail(const Status& why, bool was_refused = false);
  void PlanDial(bool was_refused);

  Status HandleHandshake(Lane lane, const PeerFrame& frame);
  std::string RefusedBy(const wire::Refusal& refusal) const;
  Status HandleFrame(LaneConnection& lane, const PeerFrame& frame);
  Status HandlePing(LaneConnection& lane, const PeerFrame& frame);
  Status HandlePong(const PeerFrame& frame);
  void TakeCondition(const PeerCondition& condition);
  Status HandleGroupMessages(const PeerFrame& frame);
  Status HandleGroupAppend(const PeerFrame& frame);
  Status HandleEnvelope(const PeerFrame& frame);

  // Counts what this version does not know, and tells of it now and then.
  void SkipUnknown(std::string_view what);

  void SendPing();
  bool HasNews() const;
  bool HasRoom(Lane lane);
  void QueueControl(const RaftRoute& route, const core::Message& message);
  void FlushControl();

  SessionContext* context_;
  BrokerId peer_;
  Endpoint endpoint_;
  State state_ = State::kIdle;
  uint64_t session_ = 0;
  std::array<LaneState, kLaneCount> lanes_;
  std::optional<PeerIdentity> identity_;  // of the lanes that stand
  TimerId attempt_timer_;  // while joining: the handshake's end; dialer idle: the next dial
  Duration backoff_;
  Duration refused_backoff_;
  MonotonicTime up_since_{0};
  std::string last_failure_;
  std::optional<PeerCondition> condition_;
  bool told_disk_full_ = false;  // in the last Ping
  MonotonicTime condition_at_{0};
  uint64_t ping_nonce_ = 0;
  MonotonicTime last_ping_{0};
  // Control messages of this turn of the loop, sent as one frame at its end.
  wire::GroupMessages control_;
  bool has_flush_planned_ = false;
  Lifetime lifetime_;
};

}  // namespace millrace::raft::net
