// Byte streams between processes, injected: TCP over epoll in production, modelled links in the
// simulator. Everything here belongs to one Executor and is called on its thread only; handlers run
// there too, and never inside a call into this interface.
//
//   network.Connect({"127.0.0.1", 7441}, handler);   // handler.OnConnected(connection)
//   connection.Send(std::move(frames));              // handler.OnData(...), OnClosed(status)
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/task.h"

namespace millrace {

// Where a server listens. `host` is a name or an address, IPv6 without brackets.
struct Endpoint {
  std::string host;
  uint16_t port = 0;
  auto operator<=>(const Endpoint&) const = default;
  std::string ToString() const;  // "host:port", "[::1]:port"
  bool IsLoopback() const;       // "localhost", 127.0.0.0/8 or ::1
};

// INVALID_ARGUMENT naming the text if it is not HOST:PORT with a port in 0..65535.
Result<Endpoint> ParseEndpoint(std::string_view text);

class ConnectionHandler {
 public:
  virtual ~ConnectionHandler() = default;
  // The bytes are valid during the call only.
  virtual void OnData(std::string_view bytes) = 0;
  // What was queued fell to zero after having been more.
  virtual void OnDrained() {}
  // The peer or the network ended the connection; nothing follows. Not called after Close().
  virtual void OnClosed(const Status& status) = 0;
};

// An established stream of bytes, in order, both ways. Destroying it closes it.
class Connection {
 public:
  virtual ~Connection() = default;
  // Must be set before control returns to the executor after the connection was made known.
  // `handler` outlives the connection or its Close().
  virtual void SetHandler(ConnectionHandler* handler) = 0;
  // Queues `pieces` behind what was queued; takes any amount, the caller bounds it by
  // pending_bytes().
  virtual void Send(std::vector<Bytes> pieces) = 0;
  virtual size_t pending_bytes() const = 0;
  // Stop and resume reading, for backpressure.
  virtual void SetReading(bool on) = 0;
  virtual void Close() = 0;
  virtual std::string peer_address() const = 0;
};

// Destroying it stops listening.
class Listener {
 public:
  virtual ~Listener() = default;
  // With the real port where 0 was asked.
  virtual Endpoint endpoint() const = 0;
};

class Network {
 public:
  using AcceptHandler = MoveFunction<void(std::unique_ptr<Connection>)>;
  using ConnectHandler = MoveFunction<void(Result<std::unique_ptr<Connection>>)>;

  virtual ~Network() = default;
  // UNAVAILABLE naming the endpoint if the port is in use or the host does not resolve.
  virtual Result<std::unique_ptr<Listener>> Listen(const Endpoint& endpoint,
                                                   AcceptHandler on_accept) = 0;
  // Calls `done` once, with the connection or why there is none, within `timeout`.
  virtual void Connect(const Endpoint& endpoint, Duration timeout, ConnectHandler done) = 0;
};

}  // namespace millrace
