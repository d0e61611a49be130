#include "raft/net/lane_connection.h"

#include <numeric>
#include <utility>

#include <glog/logging.h>

namespace millrace::raft::net {

LaneConnection::LaneConnection(std::unique_ptr<Connection> connection, LaneOwner& owner,
                               const Clock& clock, PeerTransportStats& stats)
    : connection_(std::move(connection)),
      owner_(&owner),
      clock_(&clock),
      stats_(&stats),
      last_heard_(clock.Now()) {
  connection_->SetHandler(this);
}

std::string LaneConnection::peer_host() const {
  const std::string address = peer_address();
  return address.substr(0, address.rfind(':'));
}

void LaneConnection::Trust() {
  reader_.set_frame_size_max(kPeerFrameSizeMax);
  reader_.TakeUnknownKinds();
  is_held_ = true;
  connection_->SetReading(false);
}

void LaneConnection::Release() {
  if (!is_open_ || !std::exchange(is_held_, false)) return;
  connection_->SetReading(true);
  last_heard_ = clock_->Now();
  const std::string held = std::exchange(held_, {});
  ReadFrames(held);
}

void LaneConnection::SendFrame(FrameKind kind, const google::protobuf::MessageLite& header,
                               std::vector<Bytes> body) {
  if (!is_open_) return;
  const size_t body_size =
      std::accumulate(body.begin(), body.end(), size_t{0},
                      [](size_t sum, const Bytes& piece) { return sum + piece.size(); });
  body.insert(body.begin(), EncodePeerFrameHead(kind, header, body_size));
  connection_->Send(std::move(body));
  ++stats_->frames_sent;
}

void LaneConnection::Close() {
  if (!std::exchange(is_open_, false)) return;
  connection_->Close();
}

void LaneConnection::OnData(std::string_view bytes) {
  last_heard_ = clock_->Now();
  if (is_held_) {
    held_.append(bytes);
    return;
  }
  ReadFrames(bytes);
}

void LaneConnection::ReadFrames(std::string_view bytes) {
  while (is_open_) {
    if (is_held_) {
      held_.append(bytes);
      return;
    }
    Result<std::optional<PeerFrame>> frame = reader_.Next(bytes);
    if (!frame.ok()) {
      ++stats_->frames_rejected;
      Close();
      owner_->OnLaneClosed(*this, frame.status());
      return;
    }
    if (!frame->has_value()) return;
    ++stats_->frames_received;
    owner_->OnFrame(*this, **frame);
  }
}

void LaneConnection::OnClosed(const Status& why) {
  if (!std::exchange(is_open_, false)) return;
  owner_->OnLaneClosed(*this, why);
}

void LaneGraveyard::Bury(std::unique_ptr<LaneConnection> lane) {
  if (lane == nullptr) return;
  lane->Close();
  executor_->Post([buried = std::move(lane)] {});
}

}  // namespace millrace::raft::net
