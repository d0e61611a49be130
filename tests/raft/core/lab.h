// Replicas on a bench: messages lie still until a script delivers or drops them, ticks come one by
// one, and disks finish at once or when told.
//
// For tests; one thread. The commands are listed at Run.
//
//   Lab lab;
//   lab.Run(Command("cluster voters=3"));
//   lab.Run(Command("campaign node=1"));
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "raft/core/raft.h"
#include "tests/raft/core/script.h"

namespace millrace::raft::core {

// "1" is broker 1 in incarnation 1, the replica of number 1; "1.2" the same broker on another disk;
// "1#2" another replica of it.
Voter VoterNamed(const std::string& name);
// An entry sealed as the host would: its chain depends on all entries before it.
Entry SealedEntry(uint32_t chain_before, Term term, LogIndex index);
// "1->2 append term=2 prev=3@1 entries=4@2 commit=3"; entries are index@term.
std::string Describe(const Message& message);

class Lab {
 public:
  // Making replicas
  //   cluster voters=N [disk=manual] [inflight=BYTES] [append=BYTES] [uncommitted=BYTES]
  //   node id=N[#NUMBER] [term=T] [vote=N] [log=TERM,TERM,...] [commit=I] [voters=..] [outgoing=..]
  //        [trimmed=I] [begin=I]               makes or replaces one; trimmed: not in memory;
  //        begin:
  //                                            dropped up to there
  //   crash node=N                             loses what its disk had not finished
  //   restart node=N
  // Inputs of one replica
  //   campaign | step_down node=N              tick [node=N] [count=N]
  //   time_out node=N                          ticks until it asks for pre-votes
  //   propose node=N [count=N] [bytes=B] [voters=..] [outgoing=..] [learners=..]
  //   read node=N id=N                         trim node=N index=I
  //   begin node=N index=I                     drops what is trimmed up to there
  //   disconnect node=N peer=N [delay=TICKS]   connect node=N peer=N [delay=TICKS]
  //   sync node=N [writes=N]
  //   give_entries node=N                      answers what it wants for followers behind its tail
  //   inject from=N to=N kind=K term=T ...     a message by hand (see lab.cc)
  // The network
  //   deliver | drop [from=N] [to=N] [kind=K] [count=N]
  //   settle [without=N,N]                     delivers and syncs until nothing moves
  // Looking
  //   state [node=N]       log node=N          messages
  // What every command prints: messages that it delivers, roles, commits, reads, refusals, and who
  // asks for what its leader no longer has.
  std::string Run(const Command& command);

 private:
  struct Node {
    Voter self;
    std::unique_ptr<Raft> raft;
    InitialState disk;           // what is durable, but for the log's entries
    std::vector<Entry> entries;  // durable
    std::deque<StorageWrite> writes;
    std::vector<EntriesWanted> wanted;
    std::map<LogIndex, Entry> segment;  // what was trimmed from memory
    LogPoint begin;
    std::string role_seen;
    LogIndex commit_seen;
  };
  struct Envelope {
    uint32_t from = 0;
    Voter sender;
    OutgoingMessage outgoing;
  };

  void MakeCluster(const Command& command);
  void MakeNode(const Command& command);
  void Restart(uint32_t id);
  void RunInput(const Command& command);
  void Propose(const Command& command);
  void Inject(const Command& command);
  void Trim(uint32_t id, LogIndex index);
  void MoveBegin(uint32_t id, LogIndex index);
  void GiveEntries(uint32_t id);
  void Sync(uint32_t id, uint64_t writes);
  void TimeOut(uint32_t id);
  void Deliver(const Command& command, bool is_dropped);
  void Settle(const Command& command);
  void Receive(const Envelope& envelope);
  void Pump(uint32_t id);
  void Observe(uint32_t id, const Ready& ready);
  bool Matches(const Envelope& envelope, const Command& command) const;
  std::string Line(const Envelope& envelope) const;
  void PrintState(uint32_t id);
  void PrintLog(uint32_t id);
  Raft& raft(uint32_t id);

  std::map<uint32_t, Node> nodes_;
  std::deque<Envelope> messages_;
  Options options_;
  Configuration configuration_;
  bool is_disk_manual_ = false;
  std::string output_;
};

}  // namespace millrace::raft::core
