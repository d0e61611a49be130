#include "broker/controller/bootstrap.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

namespace millrace::broker {
namespace {

using internal::v1::BootstrapState;

std::vector<Voter> ListOf(const BootstrapState& message) {
  std::vector<Voter> list;
  for (const auto& controller : message.controllers()) {
    list.push_back({BrokerId(controller.broker_id()), Incarnation(controller.incarnation()),
                    ReplicaNumber(controller.number())});
  }
  std::sort(list.begin(), list.end());
  return list;
}

bool Contains(const std::vector<Voter>& list, const BrokerIncarnation& who) {
  return std::any_of(list.begin(), list.end(),
                     [&who](const Voter& voter) { return voter.holder() == who; });
}

std::vector<BrokerId> Sorted(std::vector<BrokerId> ids) {
  std::sort(ids.begin(), ids.end());
  return ids;
}

std::vector<BrokerId> IdsOf(const std::vector<Voter>& voters) {
  std::vector<BrokerId> ids;
  ids.reserve(voters.size());
  for (const Voter& voter : voters) ids.push_back(voter.broker);
  return Sorted(std::move(ids));
}

std::vector<BrokerId> MembersOf(const BootstrapState& message) {
  std::vector<BrokerId> ids;
  for (const uint32_t id : message.members()) ids.emplace_back(id);
  return Sorted(std::move(ids));
}

// "{1, 2, 3}".
std::string TextOf(const std::vector<BrokerId>& ids) {
  std::string text;
  for (const BrokerId id : ids) text += (text.empty() ? "" : ", ") + std::to_string(id.value());
  return "{" + text + "}";
}

constexpr char kSameList[] =
    "start every broker with the same list; a cluster's controllers cannot change yet";

std::string Name(const BrokerIncarnation& who) {
  return "broker " + std::to_string(who.broker.value());
}

}  // namespace

uint64_t ClusterUuid(std::string_view cluster_name, const std::vector<Voter>& controllers) {
  uint64_t hash = 0xCBF29CE484222325;
  const auto mix = [&hash](uint64_t byte) { hash = (hash ^ byte) * 0x100000001B3; };
  for (const char c : cluster_name) mix(static_cast<unsigned char>(c));
  for (const Voter& voter : controllers) {
    for (int shift = 0; shift < 64; shift += 8) {
      mix((uint64_t{voter.broker.value()} >> shift) & 0xFF);
      mix((voter.incarnation.value() >> shift) & 0xFF);
    }
  }
  return hash == 0 ? 1 : hash;
}

Bootstrap::Bootstrap(std::string cluster_name, const BrokerIncarnation& self,
                     std::vector<BrokerId> members, Stage stage, std::vector<Voter> controllers)
    : cluster_name_(std::move(cluster_name)),
      self_(self),
      members_(Sorted(std::move(members))),
      stage_(stage),
      controllers_(std::move(controllers)) {
  CHECK(std::find(members_.begin(), members_.end(), self_.broker) != members_.end());
  peers_[self_.broker] = self_;
  if (stage_ != Stage::kFresh) confirmed_.insert(self_.broker);
}

void Bootstrap::Start() {
  if (stage_ != Stage::kFresh && !Contains(controllers_, self_)) {
    actions_.refused = FailedPrecondition(
        Name(self_) + " is not in the controllers' list that its own data directory holds");
    return;
  }
  if (stage_ != Stage::kFresh && IdsOf(controllers_) != members_) {
    actions_.refused =
        FailedPrecondition("--controllers names the brokers " + TextOf(members_) +
                           ", but the cluster of this data directory has the controllers " +
                           TextOf(IdsOf(controllers_)) +
                           ": give that list, as a cluster's controllers cannot change " +
                           "yet; or another --data-dir, for a new cluster");
    return;
  }
  Advance();
}

void Bootstrap::OnPeerConnected(const BrokerIncarnation& peer) {
  peers_[peer.broker] = peer;
  fresh_.erase(peer.broker);  // Until it says so itself.
  Tell(peer.broker);
  Advance();
}

void Bootstrap::OnMessage(const BrokerIncarnation& from, const BootstrapState& message) {
  peers_[from.broker] = from;
  if (!message.refusal().empty()) {
    actions_.refused =
        FailedPrecondition(Name(from) + " refuses this broker: " + message.refusal());
    return;
  }
  if (MembersOf(message) != members_) return OnOtherMembers(from, message);
  if (stage_ != Stage::kFresh && !Contains(controllers_, from)) return OnUnknownPeer(from);
  if (message.stage() == BootstrapState::STAGE_FRESH) {
    fresh_.insert(from.broker);
    return Advance();
  }
  fresh_.erase(from.broker);
  const std::vector<Voter> theirs = ListOf(message);
  if (stage_ == Stage::kFresh && !Contains(theirs, self_)) {
    actions_.refused = FailedPrecondition(
        Name(self_) + " is not, with this data directory, in the list that " + Name(from) +
        " holds: it was wiped, or belongs to another cluster" +
        (message.stage() == BootstrapState::STAGE_INITIALIZED
             ? "; the other brokers' data directories are the cluster's, leave them as they are"
             : "; as the cluster was never up, wipe the data directories of all controllers and "
               "start again"));
    return;
  }
  if (stage_ == Stage::kFresh && !is_storing_) Adopt(theirs);
  if (theirs != controllers_) return OnOtherList(from);
  confirmed_.insert(from.broker);
  if (message.stage() == BootstrapState::STAGE_INITIALIZED) {
    for (const Voter& voter : controllers_) confirmed_.insert(voter.broker);
    if (stage_ == Stage::kFresh) confirmed_.erase(self_.broker);
  }
  Advance();
}

// We go on without it.
void Bootstrap::RefusePeer(const BrokerIncarnation& from, std::string why) {
  BootstrapState refusal = StateMessage();
  refusal.set_refusal(std::move(why));
  LOG(ERROR) << "refused a controller: " << refusal.refusal();
  actions_.messages.emplace_back(from.broker, std::move(refusal));
}

// It, or we, were started with another list. Whoever stored a list goes on with it; among those
// that stored none, nobody can tell which is right.
void Bootstrap::OnOtherMembers(const BrokerIncarnation& from, const BootstrapState& message) {
  const std::string both = "--controllers of " + Name(from) + " names the brokers " +
                           TextOf(MembersOf(message)) + ", that of " + Name(self_) + " " +
                           TextOf(members_) + ": " + kSameList;
  if (stage_ != Stage::kFresh) return RefusePeer(from, both);
  actions_.refused = FailedPrecondition(both);
}

// It is in no list of ours: its data directory was wiped or replaced.
void Bootstrap::OnUnknownPeer(const BrokerIncarnation& from) {
  RefusePeer(from,
             stage_ == Stage::kInitialized
                 ? Name(from) + " was wiped: the cluster knows it as another incarnation"
                 : Name(from) +
                       " was wiped while the cluster was being set up: wipe the data directories "
                       "of all controllers and start again");
}

// Another list than ours, from one who is in ours. An initialised controller's list is the
// cluster's; among those that are not, nobody can tell which is right.
void Bootstrap::OnOtherList(const BrokerIncarnation& from) {
  if (stage_ == Stage::kInitialized) return OnUnknownPeer(from);
  actions_.refused =
      FailedPrecondition("the controllers' lists of " + Name(self_) + " and " + Name(from) +
                         " differ: wipe the data directories of all controllers and start again");
}

void Bootstrap::Adopt(std::vector<Voter> list) {
  CHECK(stage_ == Stage::kFresh);
  CHECK(Contains(list, self_));
  controllers_ = std::move(list);
  is_storing_ = true;
  actions_.store_list = controllers_;
}

void Bootstrap::Advance() {
  if (is_storing_ || stage_ == Stage::kInitialized) return;
  if (stage_ == Stage::kFresh) {
    std::vector<Voter> list;
    for (const BrokerId member : members_) {
      auto peer = peers_.find(member);
      // All must have said that they are fresh, too: one that is not has a list to follow.
      const bool is_fresh = member == self_.broker || fresh_.contains(member);
      if (peer == peers_.end() || !is_fresh) return;
      // In the order of their ids, so that every controller numbers them alike.
      const uint32_t number = static_cast<uint32_t>(list.size()) + 1;
      list.push_back({peer->second.broker, peer->second.incarnation, ReplicaNumber(number)});
    }
    Adopt(std::move(list));
    return;
  }
  const bool all_confirmed =
      std::all_of(controllers_.begin(), controllers_.end(),
                  [this](const Voter& voter) { return confirmed_.contains(voter.broker); });
  if (!all_confirmed) return;
  is_storing_ = true;
  actions_.store_cluster_uuid = ClusterUuid(cluster_name_, controllers_);
}

void Bootstrap::OnStored() {
  CHECK(is_storing_);
  is_storing_ = false;
  stage_ = stage_ == Stage::kFresh ? Stage::kListed : Stage::kInitialized;
  confirmed_.insert(self_.broker);
  TellAll();
  Advance();
}

ReplicaNumber Bootstrap::number() const {
  CHECK(stage_ == Stage::kInitialized);
  const auto self = std::find_if(controllers_.begin(), controllers_.end(),
                                 [this](const Voter& voter) { return voter.holder() == self_; });
  CHECK(self != controllers_.end());
  return self->number;
}

BootstrapState Bootstrap::StateMessage() const {
  BootstrapState message;
  for (const BrokerId member : members_) message.add_members(member.value());
  switch (stage_) {
    case Stage::kFresh:
      message.set_stage(BootstrapState::STAGE_FRESH);
      return message;
    case Stage::kListed:
      message.set_stage(BootstrapState::STAGE_LISTED);
      break;
    case Stage::kInitialized:
      message.set_stage(BootstrapState::STAGE_INITIALIZED);
      break;
  }
  for (const Voter& voter : controllers_) {
    auto& listed = *message.add_controllers();
    listed.set_broker_id(voter.broker.value());
    listed.set_incarnation(voter.incarnation.value());
    listed.set_number(voter.number.value());
  }
  return message;
}

void Bootstrap::Tell(BrokerId peer) {
  if (peer != self_.broker) actions_.messages.emplace_back(peer, StateMessage());
}

void Bootstrap::TellAll() {
  for (const auto& [broker, voter] : peers_) Tell(broker);
}

Bootstrap::Actions Bootstrap::TakeActions() { return std::exchange(actions_, {}); }

}  // namespace millrace::broker
