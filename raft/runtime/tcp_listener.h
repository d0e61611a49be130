// A listening TCP socket on an EventLoop. Out of file descriptors, it pauses and goes on by itself.
//
// Made by TcpNetwork::Listen; on the loop's thread, and gone before the loop.
#pragma once

#include <memory>

#include "raft/runtime/event_loop.h"
#include "raft/runtime/network.h"
#include "raft/runtime/socket_address.h"

namespace millrace {

class TcpListener final : public Listener, public EventSource {
 public:
  // UNAVAILABLE naming `endpoint` and the operating system's reason.
  static Result<std::unique_ptr<Listener>> Open(EventLoop& loop, const Endpoint& endpoint,
                                                const SocketAddress& address,
                                                Network::AcceptHandler on_accept);
  // Takes over `fd`, a listening non-blocking socket bound to `endpoint`.
  TcpListener(EventLoop& loop, int fd, Endpoint endpoint, Network::AcceptHandler on_accept);
  ~TcpListener() override;
  TcpListener(const TcpListener&) = delete;
  TcpListener& operator=(const TcpListener&) = delete;

  Endpoint endpoint() const override { return endpoint_; }
  void OnEvents(uint32_t events) override;

 private:
  void Pause();

  EventLoop* loop_;
  int fd_;
  SourceId source_;
  Endpoint endpoint_;
  // Shared by this and a call of it in progress, which may destroy this.
  std::shared_ptr<Network::AcceptHandler> on_accept_;
  TimerId resume_;
};

}  // namespace millrace
