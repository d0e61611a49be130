// One group whose members, targets and clock are a script's: each command is one decision, applied
// as one entry, and prints which members are different after it.
//
//   join member=a [instance=i] [topic=u]   it comes, in its first stream
//   ping member=a                          it is there, and says nothing of what it owns
//   gives member=a                         it has given up what it was told to, and says what it owns
//   says member=a owned=0-3|none [version=9] [epoch=2]
//   back member=a [epoch=0]                a new stream; with epoch 0 it owns nothing
//   repeat member=a [back=1]               a request of it once more: the last, or one before it
//   leave|away|silent|stuck member=a       it goes; will be back; does not ping; does not give up
//   target a=0-3 b=4-7 [for=1]             what each is to have, computed for the group's epoch
//   stage member=a partitions=0-3 [epoch=2] [number=1]  offsets in a transaction: the partition's number
//   ends [number=1] [aborted=1]            the transaction has ended, and members go on
//   state                                  prints all members
//
// `lost=1`: the answer does not reach the member, which knows and owns what it did before. A member
// that is told of a partition takes it at once. `pings=0`: nobody is heard of.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "broker/controller/image.h"
#include "broker/coordinator/member_requests.h"
#include "broker/coordinator/shard_state.h"
#include "millrace/internal/v1/coordinator.pb.h"
#include "proto/base/ids.h"
#include "tests/raft/core/script.h"

namespace millrace::broker {

// What holds of a group's members whatever happens. "" if nothing is wrong.
class OwnerCheck {
 public:
  // After a decision. `is_anew`: a member that says it owns nothing, "" for none.
  std::string Look(const Group& group, const std::string& is_anew);

 private:
  struct Owner {
    std::string member;
    uint32_t token = 0;
    bool is_revoking = false;
  };
  std::map<PartitionId, Owner> last_;
};

class GroupLab {
 public:
  std::string Run(const raft::core::Command& command);

 private:
  struct Client {
    std::string instance;
    std::string topic = "t";
    uint64_t session = 1;
    int32_t epoch = 0;
    uint64_t version = 0;
    Assignment owned;
    Assignment assigned;  // as it was told
    std::vector<internal::v1::MemberRequest> sent;
  };

  internal::v1::MemberRequest RequestOf(const std::string& id, int32_t epoch);
  std::string Ask(const raft::core::Command& command, internal::v1::MemberRequest request);
  std::string Join(const raft::core::Command& command, const std::string& id);
  std::string Say(const raft::core::Command& command, const std::string& id, Assignment owned);
  std::string SetTarget(const raft::core::Command& command);
  std::string Stage(const raft::core::Command& command, const std::string& id);
  std::string End(const raft::core::Command& command);
  // What is different after it; `is_anew` as in OwnerCheck.
  std::string Apply(const CoordinatorDecision& decision, const std::string& is_anew);
  void Hear(const std::string& id, const v1::Assignment& told);
  // By member.
  std::map<std::string, std::string> Lines() const;

  Image image_;
  ShardState state_;
  LogIndex last_;
  std::map<std::string, Client> clients_;
  OwnerCheck check_;
};

}  // namespace millrace::broker
