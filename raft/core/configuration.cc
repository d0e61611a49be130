#include "raft/core/configuration.h"

#include <algorithm>

namespace millrace::raft::core {
namespace {

bool Contains(const std::vector<Voter>& sorted, const Voter& who) {
  return std::binary_search(sorted.begin(), sorted.end(), who);
}

}  // namespace

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
