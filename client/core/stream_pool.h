// One stream per broker of one method, opened when there is something to send and begun with the
// same first message; what producer and consumer have in common.
//
// Owned by a StreamDriver; on the client's executor.
//
//   StreamPool pool(connector, "/millrace.v1.ProducerService/Produce", init, on_message, on_closed);
//   pool.Send(broker, address, std::move(pieces));
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/core/connector.h"
#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::client {

class StreamPool {
 public:
  using MessageHandler = std::function<void(BrokerId, Bytes)>;
  using ClosedHandler = std::function<void(BrokerId, const Status&)>;

  // `on_closed` is called for streams that end, not for those that Close ends.
  StreamPool(Connector& connector, std::string method, Bytes first_message,
             MessageHandler on_message, ClosedHandler on_closed);
  ~StreamPool();

  // Queues a message to `broker`, reached at `address` if there is no stream to it yet.
  void Send(BrokerId broker, const std::string& address, std::vector<Bytes> pieces);
  // Cancels the stream at once, if there is one. May be called in its own message's handler.
  void Close(BrokerId broker);

 private:
  class Slot;
  using Slots = std::map<BrokerId, std::unique_ptr<Slot>>;

  void End(Slots::iterator slot);
  void OnClosed(BrokerId broker, const Status& status);

  Connector* connector_;
  const std::string method_;
  const Bytes first_message_;
  MessageHandler on_message_;
  ClosedHandler on_closed_;
  Slots slots_;
  // Ended in their own handlers, where they can't be destroyed.
  std::vector<std::unique_ptr<Slot>> ended_;
};

}  // namespace millrace::client
