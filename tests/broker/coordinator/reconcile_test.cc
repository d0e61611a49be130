// How members come to have what they are to have: scripts that say it in examples
// (tests/broker/coordinator/scenarios), and random members who come, go, are late and repeat
// themselves.
#include "broker/coordinator/reconcile.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "broker/coordinator/member_requests.h"
#include "raft/runtime/random.h"
#include "tests/broker/coordinator/group_lab.h"
#include "tests/broker/coordinator/member_rig.h"

namespace millrace::broker {
namespace {

using internal::v1::MemberRequest;
using internal::v1::TargetComputed;

const std::filesystem::path kScenarios =
    std::filesystem::path(MILLRACE_SOURCE_DIR) / "tests/broker/coordinator/scenarios";

std::vector<std::string> Scenarios() {
  std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(kScenarios)) {
    names.push_back(file.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class ReconcileScenario : public testing::TestWithParam<std::string> {};

// A script begins anew with `group`.
TEST_P(ReconcileScenario, PrintsWhatTheScriptSays) {
  GroupLab lab;
  raft::core::RunScript(kScenarios / (GetParam() + ".txt"),
                        [&lab](const raft::core::Command& command) {
                          if (command.name() == "group") lab = GroupLab();
                          return command.name() == "group" ? "" : lab.Run(command);
                        });
}

INSTANTIATE_TEST_SUITE_P(Scripts, ReconcileScenario, testing::ValuesIn(Scenarios()),
                         [](const auto& script) { return script.param; });

constexpr uint32_t kPartitions = 12;

// A process that is a member: what it knows and owns. It takes an answer to its newest request
// only.
struct Process {
  std::string id;
  std::string instance;
  uint64_t session = 1;
  uint64_t sequence = 0;
  int32_t epoch = 0;
  uint64_t version = 0;
  int topic = 0;
  Assignment owned;
  Assignment assigned;     // as it was told
  bool is_broken = false;  // it is not heard of any more, but goes on
  bool is_away = false;
  // It was taken out, or its place was: what it still owns does not count.
  bool is_out = false;
};

// A group, processes that are its members, and a network that loses, repeats and reorders what they
// say. Requests arrive as at a leader that has served none before.
class World {
 public:
  explicit World(uint64_t seed) : random_(seed) {}

  // One thing happens.
  void Step() {
    switch (random_.Below(12)) {
      case 0:
        return Start("");
      case 1:
        return Start("i" + std::to_string(random_.Below(2)));
      case 2:
        return Compute();
      case 3:
        return TakeTarget();
      case 4:
        return Disturb();
      case 5:
      case 6:
      case 7:
        return SendSomething();
      default:
        return DeliverSome();
    }
  }
  // Everybody answers, nobody is disturbed.
  void Settle() {
    requests_.clear();
    targets_.clear();
    RemoveTheLost();
    for (int round = 0; round < 8; ++round) {
      std::vector<std::string> ids;
      for (const auto& [id, process] : processes_) ids.push_back(id);
      for (const std::string& id : ids) {
        const auto process = processes_.find(id);
        if (process == processes_.end() || process->second.is_away) continue;
        GiveUp(&process->second);
        Send(&process->second, /*says_owned=*/true);
        DeliverAll();
      }
      RemoveTheLost();
      if (round > 3) continue;
      Compute();
      TakeTarget();
    }
  }
  std::string wrong() const { return wrong_; }
  bool has_all_owners() const {
    const Membership* members = membership();
    if (members == nullptr || members->empty()) return true;
    for (const auto& [id, member] : members->members()) {
      if (PartitionsOf(member->assigned) != member->target || !member->revoking.empty()) {
        return false;
      }
    }
    return PartitionCountOf(members->held()) == kPartitions;
  }
  const std::map<std::string, int>& counts() const { return counts_; }

 private:
  const Membership* membership() const {
    const Group* group = state_.Find("g");
    return group == nullptr ? nullptr : &*group->membership;
  }
  const Member* Find(const std::string& id) const {
    return membership() == nullptr ? nullptr : membership()->Find(id);
  }
  Process* Any() {
    if (processes_.empty()) return nullptr;
    return &std::next(processes_.begin(), static_cast<ptrdiff_t>(random_.Below(processes_.size())))
                ->second;
  }

  void Start(const std::string& instance) {
    if (processes_.size() >= 8) return;
    const std::string id = "p" + std::to_string(++started_);
    processes_[id] = {.id = id, .instance = instance};
    Send(&processes_[id], false);
  }
  // A new stream, the end of one, another subscription, silence.
  void Disturb() {
    Process* process = Any();
    if (process == nullptr) return;
    switch (random_.Below(6)) {
      case 0:  // it forgets everything
        process->owned.clear();
        process->assigned.clear();
        process->epoch = 0;
        process->version = 0;
        [[fallthrough]];
      case 1:
        ++process->session;
        process->is_broken = process->is_away = false;
        return Send(process, true);
      case 2:
        if (process->is_away) return;
        process->topic = 1 - process->topic;
        return Send(process, true);
      case 3:
        process->is_broken = true;
        return;
      case 4: {
        if (process->is_away) return;
        MemberRequest request = RequestOf(*process);
        const bool is_back = !process->instance.empty() && random_.OneIn(2);
        request.set_member_epoch(is_back ? kMemberGoesAway : kMemberGoes);
        process->owned.clear();
        process->assigned.clear();
        process->is_away = true;
        process->is_out = !is_back;
        request.set_sequence(++process->sequence);
        requests_.push_back(std::move(request));
        return;
      }
      default: {
        if (!process->is_broken && random_.OneIn(2)) return;
        process->is_out = true;
        Decide(DecideRemoval(state_, "g", process->id, v1::GROUP_EVENT_KIND_SESSION_ENDED), "",
               "removed");
      }
    }
  }
  void SendSomething() {
    Process* process = Any();
    if (process == nullptr || process->is_away) return;
    if (random_.OneIn(2)) GiveUp(process);
    Send(process, random_.OneIn(2));
  }
  static void GiveUp(Process* process) {
    process->owned = Intersection(process->owned, process->assigned);
  }

  static MemberRequest RequestOf(const Process& process) {
    MemberRequest request;
    request.set_group("g");
    request.set_member_id(process.id);
    request.set_session(process.session);
    request.set_member_epoch(process.epoch);
    request.set_known_version(process.version);
    return request;
  }
  void Send(Process* process, bool says_owned) {
    MemberRequest request = RequestOf(*process);
    request.set_sequence(++process->sequence);
    *request.mutable_info() =
        InfoOf(process->id, process->instance, "topic-" + std::to_string(process->topic));
    request.mutable_info()->set_session(process->session);
    if (says_owned) request.mutable_owned();
    for (const auto& [topic, partitions] : process->owned) {
      if (!says_owned) break;
      auto& out = *request.mutable_owned()->add_topics();
      out.set_topic_id(topic.value());
      for (const PartitionId partition : partitions) out.add_partitions(partition.value());
    }
    requests_.push_back(std::move(request));
  }

  void DeliverSome() {
    if (requests_.empty()) return;
    const size_t place = random_.Below(requests_.size());
    const MemberRequest request = requests_[place];
    // Some come again, much later.
    if (!random_.OneIn(4)) requests_.erase(requests_.begin() + static_cast<ptrdiff_t>(place));
    Deliver(request, /*is_answer_lost=*/random_.OneIn(4));
  }
  void DeliverAll() {
    for (const MemberRequest& request : std::exchange(requests_, {})) Deliver(request, false);
  }
  void Deliver(const MemberRequest& request, bool is_answer_lost) {
    const std::string& id = request.member_id();
    std::vector<std::string> before;
    if (membership() != nullptr) {
      for (const auto& [member_id, member] : membership()->members()) before.push_back(member_id);
    }
    const CoordinatorDecision decision =
        DecideMember(state_, {.image = image_}, request, [this](const std::string& other) {
          const auto found = processes_.find(other);
          return found != processes_.end() && !found->second.is_broken && !found->second.is_away;
        });
    Decide(decision, request.member_epoch() == kMemberComes ? id : "", "asked");
    // Whoever's place was taken, or who left by a late word of its own.
    for (const std::string& member_id : before) {
      if (Find(member_id) == nullptr) MarkOut(member_id);
    }
    const auto found = processes_.find(id);
    if (is_answer_lost || found == processes_.end()) return;
    Process& process = found->second;
    const bool is_newest =
        request.session() == process.session && request.sequence() == process.sequence;
    if (!is_newest) return;
    if (!decision.ok()) return MarkOut(id);  // it begins anew, as another
    if (request.member_epoch() < kMemberComes) return;
    internal::v1::MemberReply reply;
    if (!AnswerMember(state_, image_, request, &reply).ok()) return MarkOut(id);
    Hear(reply.assignment(), &process);
  }
  static void Hear(const v1::Assignment& told, Process* process) {
    process->epoch = told.member_epoch();
    process->version = told.version();
    process->assigned.clear();
    for (const v1::AssignedTopic& topic : told.topics()) {
      for (const auto& one : topic.partitions()) {
        process->assigned[TopicId(topic.topic_id())].Add(PartitionId(one.partition()));
      }
    }
    process->owned = Union(process->owned, process->assigned);
  }
  void MarkOut(const std::string& id) {
    const auto found = processes_.find(id);
    if (found == processes_.end()) return;
    processes_.erase(found);
  }

  // A target for the group as it is now, which comes some time.
  void Compute() {
    if (membership() == nullptr || membership()->empty()) return;
    const Group& group = *state_.Find("g");
    std::vector<std::pair<std::string, std::string>> members;
    for (const auto& [id, member] : membership()->members()) members.emplace_back(id, "");
    for (uint32_t partition = 0; partition < kPartitions; ++partition) {
      std::string& text = members[random_.Below(members.size())].second;
      text += (text.empty() ? "" : ",") + std::to_string(partition);
    }
    targets_.emplace_back(group.epoch,
                          TargetOf(group.epoch + (random_.OneIn(4) ? 1 : 0), members, kPartitions));
  }
  void TakeTarget() {
    if (targets_.empty()) return;
    const size_t place = random_.Below(targets_.size());
    const auto [epoch, target] = targets_[place];
    targets_.erase(targets_.begin() + static_cast<ptrdiff_t>(place));
    Decide(DecideTarget(state_, "g", epoch, target), "", "targets");
  }
  // Members whose process is not there are silent.
  void RemoveTheLost() {
    std::vector<std::string> lost;
    if (membership() == nullptr) return;
    for (const auto& [id, member] : membership()->members()) {
      if (!processes_.contains(id) || processes_.at(id).is_away) lost.push_back(id);
    }
    for (const std::string& id : lost) {
      MarkOut(id);
      Decide(DecideRemoval(state_, "g", id, v1::GROUP_EVENT_KIND_SESSION_ENDED), "", "removed");
    }
  }

  void Decide(const CoordinatorDecision& decision, const std::string& is_anew,
              const std::string& what) {
    if (!decision.ok() || decision->records().empty() || !wrong_.empty()) return;
    ++counts_[what];
    last_ = last_ + 1;
    for (const auto& record : decision->records()) {
      const Status applied = state_.Apply(record, {.index = last_, .time_ms = 5});
      if (!applied.ok()) wrong_ += applied.ToString();
      if (record.has_member_changed() && !record.member_changed().replaced_member_id().empty()) {
        ++counts_["replaced"];
      }
      if (record.has_member_assigned() && !record.member_assigned().revoking().empty()) {
        ++counts_["revoking"];
      }
    }
    wrong_ += check_.Look(*state_.Find("g"), is_anew);
    for (const auto& [id, process] : processes_) {
      if (process.is_out || process.owned.empty()) continue;
      const Member* member = Find(id);
      if (member == nullptr) continue;  // its place was taken: found out below
      if (!Difference(process.owned, PartitionsOf(member->held())).empty()) {
        wrong_ += id + " owns " + ToText(process.owned) + " and has " + ToText(member->held());
      }
    }
  }

  Random random_;
  Image image_;
  ShardState state_;
  LogIndex last_;
  OwnerCheck check_;
  std::map<std::string, Process> processes_;
  std::vector<MemberRequest> requests_;
  std::vector<std::pair<uint32_t, TargetComputed>> targets_;
  uint64_t started_ = 0;
  std::map<std::string, int> counts_;
  std::string wrong_;
};

TEST(Reconcile, WhateverMembersDo_NoPartitionIsTwos_AndAllAreOwnedOnceEverybodyAnswers) {
  std::map<std::string, int> counts;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    World world(seed);
    for (int step = 0; step < 600; ++step) {
      world.Step();
      ASSERT_EQ(world.wrong(), "") << "seed=" << seed << " step=" << step;
      if (step % 200 != 199) continue;
      world.Settle();
      ASSERT_EQ(world.wrong(), "") << "seed=" << seed << " step=" << step;
      ASSERT_TRUE(world.has_all_owners()) << "seed=" << seed << " step=" << step;
    }
    for (const auto& [what, count] : world.counts()) counts[what] += count;
  }
  for (const char* what : {"asked", "targets", "removed", "replaced", "revoking"}) {
    EXPECT_GT(counts[what], 100) << what;
  }
}

}  // namespace
}  // namespace millrace::broker
