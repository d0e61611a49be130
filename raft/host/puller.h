// Asks replicas elsewhere for parts of a group's log and for the state after it, and matches what
// comes back to what was asked: what Restorer and Repairer have in common.
//
// One question a group at a time; a second one takes the place of the first. An answer counts if
// it is to the question asked last, from whom it was asked of, about both ends' lives.
//
// Part of Host, on the shard's thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/codec/pull_messages.h"
#include "raft/host/environment.h"
#include "raft/ports/request_ids.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/task.h"

namespace millrace::raft {

class Puller {
 public:
  using RangeDone = MoveFunction<void(Result<RangeReply>)>;
  using StateDone = MoveFunction<void(Result<StatePiece>)>;

  Puller(const HostEnvironment& environment, BootEpoch boot_epoch)
      : environment_(environment), ids_(boot_epoch) {}

  // `done` is called once: with the answer, or UNAVAILABLE if none came in time; not at all if the
  // question was forgotten. `first` 0: where the log begins.
  void AskRange(const ReplicaId& puller, const Voter& source, LogIndex first, uint64_t bytes_max,
                RangeDone done);
  // The same; the answer's `piece` is the whole state.
  void AskState(const ReplicaId& puller, const Voter& source, StateDone done);
  // What is asked for the group is not to be answered any more.
  void Forget(RaftGroupId group);
  void Stop();

  // Peer messages of the kinds that answer.
  void OnRangeReply(const BrokerIncarnation& from, const Bytes& body);
  void OnStatePiece(const BrokerIncarnation& from, const Bytes& body);

 private:
  struct Question {
    Voter source;
    PullRoute route;
    TimerId timer;
    RangeDone range_done;  // one of the two
    StateDone state_done;
    std::string pieces;  // of a state that is not whole yet
  };

  Question& Begin(const ReplicaId& puller, const Voter& source);
  void Send(const Question& question, PeerKind kind, Bytes body);
  // The question that an answer is to; null if it is none that is asked.
  Question* Answered(const BrokerIncarnation& from, const PullRoute& route);
  Question End(RaftGroupId group);
  void OnNoAnswer(RaftGroupId group);

  const HostEnvironment environment_;
  std::map<RaftGroupId, Question> questions_;
  RequestIds ids_;
  Lifetime lifetime_;
};

}  // namespace millrace::raft
