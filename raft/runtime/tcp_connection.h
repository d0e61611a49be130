// An established TCP connection on an EventLoop. What is queued is written at the end of the loop's
// turn with one writev of the pieces as they lie in memory; what arrives is read into the loop's
// buffer and handed on from there.
//
// Made by TcpNetwork, owned by whom it was handed to; on the loop's thread, and gone before the
// loop.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "raft/runtime/event_loop.h"
#include "raft/runtime/network.h"

namespace millrace {

class TcpConnection final : public Connection, public EventSource {
 public:
  // Takes over `fd`, a connected non-blocking socket.
  TcpConnection(EventLoop& loop, int fd, std::string peer_address);
  ~TcpConnection() override;
  TcpConnection(const TcpConnection&) = delete;
  TcpConnection& operator=(const TcpConnection&) = delete;

  void SetHandler(ConnectionHandler* handler) override { handler_ = handler; }
  void Send(std::vector<Bytes> pieces) override;
  size_t pending_bytes() const override { return pending_bytes_; }
  void SetReading(bool on) override;
  // Writes once more of what is queued, as far as the kernel takes it at once.
  void Close() override;
  std::string peer_address() const override { return peer_address_; }

  void OnEvents(uint32_t events) override;
  void OnTurnEnd() override;

 private:
  bool is_open() const { return fd_ >= 0; }
  void Read();
  // Writes until the queue is empty or the socket is full.
  Status Write();
  void DropWritten(size_t count);
  void UpdateEvents();
  void Shut();
  // Closes and tells the handler, which may destroy this.
  void Fail(const Status& why);

  EventLoop* loop_;
  int fd_;
  SourceId source_;
  std::string peer_address_;
  ConnectionHandler* handler_ = nullptr;
  std::deque<Bytes> queue_;
  size_t pending_bytes_ = 0;
  bool has_turn_end_ = false;
  bool is_reading_ = true;
  bool waits_to_write_ = false;
  uint32_t events_ = 0;
};

}  // namespace millrace
