#include "raft/core/configuration.h"

#include <algorithm>
#include <iterator>
#include <sstream>
#include <string>

namespace millrace::raft::core {
namespace {

bool Contains(const std::vector<Voter>& sorted, const Voter& who) {
  return std::binary_search(sorted.begin(), sorted.end(), who);
}

// Empty if `list` is sorted, names no broker twice and no broker 0, and has numbers that can be.
std::string FlawOf(const std::vector<Voter>& list, const std::string& name) {
  for (size_t at = 0; at < list.size(); ++at) {
    const std::string broker = "broker " + std::to_string(list[at].broker.value());
    if (list[at].broker == BrokerId()) return name + " name broker 0";
    if (list[at].number.value() >= kReplicaNumberEnd) {
      return name + " name " + broker + " with a number that cannot be";
    }
    if (at > 0 && list[at - 1].broker == list[at].broker)
      return name + " name " + broker + " twice";
    if (at > 0 && list[at] < list[at - 1]) return name + " are not sorted";
  }
  return "";
}

// Those that are in one of the two and not in the other.
std::vector<Voter> Difference(const std::vector<Voter>& a, const std::vector<Voter>& b) {
  std::vector<Voter> difference;
  std::set_symmetric_difference(a.begin(), a.end(), b.begin(), b.end(),
                                std::back_inserter(difference));
  return difference;
}

std::string Names(const std::vector<Voter>& list) {
  std::ostringstream out;
  for (const Voter& voter : list) out << (&voter == &list.front() ? "" : ", ") << voter.broker;
  return out.str();
}

}  // namespace

Status CheckConfiguration(const Configuration& configuration) {
  if (configuration.voters.empty()) return InvalidArgument("a configuration without voters");
  for (const std::string& flaw :
       {FlawOf(configuration.voters, "voters"), FlawOf(configuration.outgoing, "outgoing voters"),
        FlawOf(configuration.learners, "learners")}) {
    if (!flaw.empty()) return InvalidArgument("a configuration whose " + flaw);
  }
  for (const Voter& learner : configuration.learners) {
    if (!Contains(configuration.voters, learner)) continue;
    return InvalidArgument("a configuration in which broker " +
                           std::to_string(learner.broker.value()) + " is voter and learner");
  }
  return {};
}

Status CheckChange(const Configuration& now, const Configuration& next) {
  if (Status flaw = CheckConfiguration(next); !flaw.ok()) return flaw;
  if (now.is_joint()) {
    Configuration left = now;
    left.outgoing.clear();
    if (next == left) return {};
    return FailedPrecondition("the joint configuration in force (voters " + Names(now.voters) +
                              ", outgoing " + Names(now.outgoing) +
                              ") can only be left for its own voters and learners");
  }
  if (next.is_joint()) {
    if (next.outgoing == now.voters) return {};
    return FailedPrecondition("a joint configuration whose outgoing voters (" +
                              Names(next.outgoing) + ") are not those in force (" +
                              Names(now.voters) + ")");
  }
  const std::vector<Voter> changed = Difference(now.voters, next.voters);
  if (changed.size() <= 1) return {};
  return FailedPrecondition("voters " + Names(changed) +
                            " change at once; more than one takes a joint configuration");
}

bool Configuration::IsVoter(const Voter& who) const {
  return Contains(voters, who) || Contains(outgoing, who);
}

bool Configuration::IsMember(const Voter& who) const {
  return IsVoter(who) || Contains(learners, who);
}

std::vector<Voter> Configuration::Members() const {
  std::vector<Voter> members = voters;
  members.insert(members.end(), outgoing.begin(), outgoing.end());
  members.insert(members.end(), learners.begin(), learners.end());
  std::sort(members.begin(), members.end());
  members.erase(std::unique(members.begin(), members.end()), members.end());
  return members;
}

}  // namespace millrace::raft::core
