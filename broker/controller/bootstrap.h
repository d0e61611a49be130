// How the listed controllers agree, once, on who they are (design D3, "Identity"): each durably
// stores the full list of (broker id, incarnation, replica number) and never replaces it; a
// controller is initialised when all have confirmed the same list; the cluster's UUID is a hash of
// that list. A wipe in between is an error that asks to wipe all, and a controller wiped later is
// refused by name. So is one that was told of other controllers than its data directory or its
// peers know: a list of one's own would be a cluster of one's own.
//
// Pure: inputs are what peers say and what storage did; outputs are taken with TakeActions. Owned
// by the Broker, on the shard's thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/internal/v1/controller.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::broker {

// FNV-1a of cluster name and list: the same on every controller, never 0.
uint64_t ClusterUuid(std::string_view cluster_name, const std::vector<Voter>& controllers);

class Bootstrap {
 public:
  enum class Stage { kFresh, kListed, kInitialized };

  struct Actions {
    // To be stored durably in the superblock; then call OnStored().
    std::optional<std::vector<Voter>> store_list;
    std::optional<uint64_t> store_cluster_uuid;
    // To be sent to these peers.
    std::vector<std::pair<BrokerId, internal::v1::BootstrapState>> messages;
    // Not ok: this broker can't join; the process ends with this error.
    Status refused;
  };

  // `members` are the listed controllers' ids, self included. `stage` and `controllers` are what
  // the superblock holds.
  Bootstrap(std::string cluster_name, const BrokerIncarnation& self, std::vector<BrokerId> members,
            Stage stage, std::vector<Voter> controllers);

  // Begins; a single controller needs nobody else.
  void Start();
  void OnPeerConnected(const BrokerIncarnation& peer);
  void OnMessage(const BrokerIncarnation& from, const internal::v1::BootstrapState& message);
  // What the last store_* asked for is durable.
  void OnStored();

  Actions TakeActions();
  Stage stage() const { return stage_; }
  // Sorted; empty while fresh.
  const std::vector<Voter>& controllers() const { return controllers_; }
  // The number of this broker's replica in the controllers' group. Pre: stage() is kInitialized.
  ReplicaNumber number() const;

 private:
  void RefusePeer(const BrokerIncarnation& from, std::string why);
  void OnOtherMembers(const BrokerIncarnation& from, const internal::v1::BootstrapState& message);
  void OnUnknownPeer(const BrokerIncarnation& from);
  void OnOtherList(const BrokerIncarnation& from);
  void Adopt(std::vector<Voter> list);
  void Advance();
  void Tell(BrokerId peer);
  void TellAll();
  internal::v1::BootstrapState StateMessage() const;

  const std::string cluster_name_;
  const BrokerIncarnation self_;
  const std::vector<BrokerId> members_;  // sorted
  Stage stage_;
  std::vector<Voter> controllers_;
  bool is_storing_ = false;
  std::map<BrokerId, BrokerIncarnation> peers_;  // as connected last
  std::set<BrokerId> fresh_;                     // said so, on the connection that stands
  std::set<BrokerId> confirmed_;                 // those that stored our list
  Actions actions_;
};

}  // namespace millrace::broker
