// One connection to a peer as a stream of frames, before and after it is known whose it is.
//
// Made by PeerTransport and PeerSession and owned by one of them; on the shard's thread. Inside its
// owner's callbacks it may be closed but not destroyed: LaneGraveyard takes it from there.
//
//   lane->SendFrame(FrameKind::kPing, ping);
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "raft/net/options.h"
#include "raft/net/peer_frame.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/network.h"

namespace millrace::raft::net {

class LaneConnection;

class LaneOwner {
 public:
  virtual ~LaneOwner() = default;
  virtual void OnFrame(LaneConnection& lane, const PeerFrame& frame) = 0;
  // It broke, or what came was no frame; nothing follows.
  virtual void OnLaneClosed(LaneConnection& lane, const Status& why) = 0;
};

class LaneConnection final : public ConnectionHandler {
 public:
  LaneConnection(std::unique_ptr<Connection> connection, LaneOwner& owner, const Clock& clock,
                 PeerTransportStats& stats);
  LaneConnection(const LaneConnection&) = delete;
  LaneConnection& operator=(const LaneConnection&) = delete;

  // Who hears of it from the next frame on.
  void SetOwner(LaneOwner& owner) { owner_ = &owner; }
  // Once the peer is known: frames of full size are taken. What comes is held back until Release.
  void Trust();
  void Release();

  void SendFrame(FrameKind kind, const google::protobuf::MessageLite& header,
                 std::vector<Bytes> body = {});
  // No callback follows.
  void Close();

  bool is_open() const { return is_open_; }
  size_t pending_bytes() const { return connection_->pending_bytes(); }
  std::string peer_address() const { return connection_->peer_address(); }
  // The address without its port.
  std::string peer_host() const;
  MonotonicTime last_heard() const { return last_heard_; }

  void OnData(std::string_view bytes) override;
  void OnClosed(const Status& why) override;

 private:
  void ReadFrames(std::string_view bytes);

  std::unique_ptr<Connection> connection_;
  LaneOwner* owner_;
  const Clock* clock_;
  PeerTransportStats* stats_;
  PeerFrameReader reader_{kHandshakeFrameSizeMax};
  bool is_open_ = true;
  bool is_held_ = false;
  std::string held_;  // at most what one read gives: reading stops while held
  MonotonicTime last_heard_;
};

// Destroys lanes a turn later than they were given up, when none of their callbacks runs any more.
class LaneGraveyard {
 public:
  explicit LaneGraveyard(Executor& executor) : executor_(&executor) {}
  // Closes `lane`, which may be null.
  void Bury(std::unique_ptr<LaneConnection> lane);

 private:
  Executor* executor_;
};

}  // namespace millrace::raft::net
