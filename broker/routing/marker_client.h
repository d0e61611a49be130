// Tells participants how transactions ended, wherever they are led, for the shards that are led
// here: those of all shards that another broker leads together. What cannot be told is told again,
// until each participant has it or its topic is gone (docs/adr/0018-transactions.md, 5).
//
// Owned by the Node, on the shard's thread; no gRPC.
//
//   markers.Send(shard, {marker});
//   markers.Wake(shard);   // all that it has
#pragma once

#include <compare>
#include <cstddef>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "broker/controller/transaction_end.h"
#include "broker/controller/transaction_name.h"
#include "broker/coordinator/transaction_ports.h"
#include "broker/coordinator/transaction_table.h"
#include "broker/routing/cluster_view.h"
#include "broker/routing/forwarder.h"
#include "millrace/internal/v1/transaction.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {

class MarkerClient final : public MarkerSender {
 public:
  using Cursor = TransactionTable::Completing::Cursor;
  // All outlive this.
  struct Environment {
    Executor& executor;
    ClusterView& view;
    // Ends a transaction in a participant that may be led here (Partition::EndTransaction,
    // CoordinatorServer::EndTransaction). UNAVAILABLE (NOT_LEADER) where it is not.
    std::function<void(RaftGroupId, const TransactionEnd&, raft::StatusDone)> end;
    Forwarder& forwarder;
    BrokerId self;
    // TransactionServer::Markers and Ended.
    std::function<std::vector<Marker>(RaftGroupId shard, size_t max, Cursor*)> markers;
    std::function<void(RaftGroupId shard, internal::v1::ParticipantsEndedRequest,
                       MoveFunction<void(const Status&)> done)>
        ended;
  };
  // Of one message.
  static constexpr size_t kEndingsMax = 1'000;
  // A leader that does not answer for so long is asked again.
  static constexpr Duration kTimeout = std::chrono::seconds(5);
  // Where nobody tells that a leader was found.
  static constexpr Duration kRetryInterval = std::chrono::milliseconds(200);

  // Serves what others tell of partitions that are led here, too.
  explicit MarkerClient(Environment environment);
  MarkerClient(const MarkerClient&) = delete;
  MarkerClient& operator=(const MarkerClient&) = delete;

  void Stop() { lifetime_.End(); }
  void Send(RaftGroupId shard, std::vector<Marker> markers) override;
  void Wake(RaftGroupId shard) override;

 private:
  // One participant of one transaction.
  struct Ending {
    RaftGroupId participant;
    TransactionEnd end;
    std::string transactional_id;
  };
  struct Key {
    RaftGroupId participant;
    TransactionName name;
    auto operator<=>(const Key&) const = default;
  };
  using Endings = std::vector<Ending>;
  using ByLeader = std::map<BrokerId, Endings>;

  void PostTelling();
  // At the end of a turn.
  void TellAll();
  // What nobody is being told just now.
  void Add(const std::vector<Marker>& markers, ByLeader* out);
  void Tell(RaftGroupId shard, ByLeader endings);
  void Tell(RaftGroupId shard, BrokerId leader, Endings endings);
  void TellHere(RaftGroupId shard, Endings endings);
  bool IsGone(RaftGroupId participant) const;
  void OnTold(RaftGroupId shard, const Endings& endings, const std::vector<Status>& answers);
  void TellAgainLater(RaftGroupId shard);
  void EndHere(const Endings& endings, MoveFunction<void(std::vector<Status>)> done) const;
  void Serve(const ForwardedRequest& forwarded, ForwardReplied done);

  Environment environment_;
  std::set<RaftGroupId> woken_;
  std::map<RaftGroupId, std::vector<Marker>> given_;  // in this turn
  std::set<Key> telling_;
  bool is_posted_ = false;
  std::set<RaftGroupId> again_;  // after a while, or once a leader changed
  TimerId timer_;
  uint64_t listener_ = 0;
  Lifetime lifetime_;
};

}  // namespace millrace::broker
