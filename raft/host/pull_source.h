// Answers replicas elsewhere that restore themselves (raft/host/restorer.h): committed entries,
// from memory or from segments, and the state machine's state. It remembers nothing of who asks.
//
// Part of Host, on the shard's thread.
#pragma once

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "raft/codec/pull_messages.h"
#include "raft/host/environment.h"
#include "raft/host/replicas.h"
#include "raft/runtime/lifetime.h"

namespace millrace::raft {

class PullSource {
 public:
  // Both outlive this.
  PullSource(const HostEnvironment& environment, const Replicas& replicas)
      : environment_(environment), replicas_(&replicas) {}

  // Peer messages of the kinds that ask. What cannot be answered just now is not: who asks does so
  // again.
  void OnRangeRequest(const BrokerIncarnation& from, const Bytes& body);
  void OnStateRequest(const BrokerIncarnation& from, const Bytes& body);
  void Stop() { lifetime_.End(); }

 private:
  // Null if it cannot answer.
  Replica* Find(const PullRoute& route) const;
  void SendRange(BrokerId to, const PullRoute& route, std::vector<core::Entry> entries);

  const HostEnvironment environment_;
  const Replicas* replicas_;
  Lifetime lifetime_;
};

}  // namespace millrace::raft
