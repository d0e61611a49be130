// Answers replicas elsewhere that restore themselves (raft/host/restorer.h) or repair a segment
// (raft/host/repairer.h): committed entries, from memory or from segments, and the state machine's
// state. It remembers nothing of who asks.
//
// Part of Host, on the shard's thread.
#pragma once

#include <optional>
#include <vector>

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

  // Peer messages of the kinds that ask. Who asks does so again, here or elsewhere, where nothing
  // can be given just now.
  void OnRangeRequest(const BrokerIncarnation& from, const Bytes& body);
  void OnStateRequest(const BrokerIncarnation& from, const Bytes& body);
  void Stop() { lifetime_.End(); }

 private:
  // What others may have of a replica's log: committed entries, behind its begin.
  struct Range {
    core::LogPoint begin;
    LogIndex commit;
    const core::Log* log = nullptr;  // what is in memory; none if it does not take part
  };
  // Of one that does not take part, what its segments have: it may be waiting for entries of
  // others, and they for its. nullopt if there is none.
  std::optional<Range> FindRange(const PullRoute& route) const;
  // What the source knows is filled in.
  void SendRange(BrokerId to, RangeReply reply);

  const HostEnvironment environment_;
  const Replicas* replicas_;
  Lifetime lifetime_;
};

}  // namespace millrace::raft
