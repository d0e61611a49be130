#include "raft/runtime/tcp_connection.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <glog/logging.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace millrace {
namespace {

constexpr size_t kPiecesAtOnce = 256;
// Reads of one connection in one turn, so that a busy one does not starve the rest.
constexpr int kReadsAtOnce = 4;

Status SocketError(std::string_view what, const std::string& peer, int error) {
  return Unavailable(std::string(what) + " " + peer + ": " + std::strerror(error));
}

}  // namespace

TcpConnection::TcpConnection(EventLoop& loop, int fd, std::string peer_address)
    : loop_(&loop), fd_(fd), peer_address_(std::move(peer_address)), events_(EPOLLIN) {
  const int on = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  source_ = loop_->Register(fd_, events_, this);
}

TcpConnection::~TcpConnection() { Close(); }

void TcpConnection::Send(std::vector<Bytes> pieces) {
  DCHECK(loop_->IsOwnerThread());
  if (!is_open()) return;
  for (Bytes& piece : pieces) {
    if (piece.empty()) continue;
    pending_bytes_ += piece.size();
    queue_.push_back(std::move(piece));
  }
  if (waits_to_write_ || has_turn_end_ || queue_.empty()) return;
  has_turn_end_ = true;
  loop_->RequestTurnEnd(source_);
}

void TcpConnection::SetReading(bool on) {
  DCHECK(loop_->IsOwnerThread());
  is_reading_ = on;
  if (is_open()) UpdateEvents();
}

void TcpConnection::Close() {
  if (!is_open()) return;
  DCHECK(loop_->IsOwnerThread());
  if (!queue_.empty() && !waits_to_write_) (void)Write();
  handler_ = nullptr;
  Shut();
}

void TcpConnection::Shut() {
  loop_->Unregister(source_, fd_);
  close(fd_);
  fd_ = -1;
  queue_.clear();
  pending_bytes_ = 0;
}

void TcpConnection::OnEvents(uint32_t events) {
  if ((events & EPOLLOUT) != 0) {
    EventLoop& loop = *loop_;
    const SourceId source = source_;
    OnTurnEnd();
    if (events == EPOLLOUT || !loop.IsRegistered(source)) return;
  }
  if (is_reading_) {
    Read();
  } else if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
    // Reported whether asked for or not: without an end here the loop would spin.
    Fail(Unavailable("connection to " + peer_address_ + " broke"));
  }
}

void TcpConnection::Read() {
  EventLoop& loop = *loop_;
  const SourceId source = source_;
  std::vector<char>& buffer = loop.read_buffer();
  for (int left = kReadsAtOnce; left > 0; --left) {
    const ssize_t got = recv(fd_, buffer.data(), buffer.size(), 0);
    if (got < 0) {
      if (errno == EAGAIN || errno == EINTR) return;
      return Fail(SocketError("connection to", peer_address_, errno));
    }
    if (got == 0) return Fail(Unavailable("connection closed by peer " + peer_address_));
    CHECK(handler_ != nullptr) << "a connection was left without a handler";
    const auto size = static_cast<size_t>(got);
    handler_->OnData({buffer.data(), size});
    if (!loop.IsRegistered(source)) return;  // The handler closed or destroyed this.
    if (!is_reading_ || size < buffer.size()) return;
  }
}

void TcpConnection::OnTurnEnd() {
  has_turn_end_ = false;
  const bool had_queue = !queue_.empty();
  if (const Status written = Write(); !written.ok()) return Fail(written);
  waits_to_write_ = !queue_.empty();
  UpdateEvents();
  if (had_queue && queue_.empty() && handler_ != nullptr) handler_->OnDrained();
}

Status TcpConnection::Write() {
  while (!queue_.empty()) {
    std::array<iovec, kPiecesAtOnce> pieces;
    const size_t count = std::min(queue_.size(), pieces.size());
    for (size_t at = 0; at < count; ++at) {
      pieces[at] = {const_cast<char*>(queue_[at].data()), queue_[at].size()};
    }
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = count;
    const ssize_t written = sendmsg(fd_, &message, MSG_NOSIGNAL);
    if (written < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return Status::Ok();
      return SocketError("connection to", peer_address_, errno);
    }
    DropWritten(static_cast<size_t>(written));
  }
  return Status::Ok();
}

void TcpConnection::DropWritten(size_t count) {
  CHECK_LE(count, pending_bytes_);
  pending_bytes_ -= count;
  while (count > 0) {
    Bytes& front = queue_.front();
    if (count < front.size()) {
      front = front.Slice(count, front.size() - count);
      return;
    }
    count -= front.size();
    queue_.pop_front();
  }
}

void TcpConnection::UpdateEvents() {
  const uint32_t events = (is_reading_ ? EPOLLIN : 0U) | (waits_to_write_ ? EPOLLOUT : 0U);
  if (events == events_) return;
  events_ = events;
  loop_->SetEvents(source_, fd_, events);
}

void TcpConnection::Fail(const Status& why) {
  Shut();
  if (ConnectionHandler* handler = std::exchange(handler_, nullptr)) handler->OnClosed(why);
}

}  // namespace millrace
