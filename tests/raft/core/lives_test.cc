// One broker's replica leaves the group and comes back as another one, again and again, while
// messages of its former lives are still on their way. What those promised must not count.
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "proto/base/mutants.h"
#include "raft/core/raft.h"
#include "tests/raft/core/lab.h"
#include "tests/support/seeds/seeds.h"

namespace millrace::raft::core {
namespace {

constexpr BrokerId kRestless{3};

class Lives {
 public:
  explicit Lives(uint64_t seed) : random_(seed) {
    for (uint32_t broker = 1; broker <= 3; ++broker) {
      first_.voters.push_back({BrokerId(broker), Incarnation(broker), ReplicaNumber(1)});
    }
    for (const Voter& voter : first_.voters) Begin(voter, first_);
  }

  // "" or what went wrong.
  std::string Play(int steps) {
    for (int step = 0; step < steps && wrong_.empty(); ++step) Step();
    return wrong_;
  }

 private:
  struct Life {
    Voter self;
    std::unique_ptr<Raft> raft;
    std::vector<Entry> disk;
    LogIndex commit_seen;
  };
  struct Envelope {
    Voter from;
    OutgoingMessage outgoing;
  };

  void Begin(const Voter& self, const Configuration& configuration) {
    Life& life = lives_[self.broker];
    life = Life{.self = self, .raft = nullptr, .disk = {}, .commit_seen = {}};
    InitialState initial;
    initial.configuration = configuration;
    life.raft = std::make_unique<Raft>(Options{.self = self, .random_seed = random_.Next()},
                                       std::move(initial));
  }

  void Step() {
    const uint64_t choice = random_.Below(100);
    if (choice < 60) return Deliver();
    if (choice < 85) {
      for (auto& [broker, life] : lives_) Drain(&life, [&life] { life.raft->Tick(); });
    } else if (choice < 95) {
      Propose(nullptr);
    } else {
      ChangeMembers();
    }
  }

  // Any message, not the oldest; some stay for long.
  void Deliver() {
    if (messages_.empty()) return;
    const auto at = messages_.begin() + static_cast<ptrdiff_t>(random_.Below(messages_.size()));
    const Envelope envelope = *at;
    if (!random_.OneIn(10)) messages_.erase(at);
    const auto found = lives_.find(envelope.outgoing.to.broker);
    if (found == lives_.end()) return;
    Life& life = found->second;
    // The host's part.
    if (life.self != envelope.outgoing.to && !MILLRACE_MUTANT(kOldLifeCounts)) return;
    Drain(&life, [&] { life.raft->Step(envelope.from, envelope.outgoing.message); });
  }

  Life* Leader() {
    for (auto& [broker, life] : lives_) {
      if (life.raft->is_leader() && life.raft->has_committed_in_term()) return &life;
    }
    return nullptr;
  }

  void Propose(std::shared_ptr<const Configuration> configuration) {
    Life* leader = Leader();
    if (leader == nullptr) return;
    Drain(leader, [&] {
      Raft& raft = *leader->raft;
      Entry entry = SealedEntry(raft.log().last_chain(), raft.term(), raft.log().last_index() + 1);
      if (configuration != nullptr) entry.type = EntryType::kConfiguration;
      entry.configuration = std::move(configuration);
      const Status proposed = raft.Propose(std::move(entry));  // refused while another is under way
    });
  }

  // Out, if it is in; and back under the next number, with an empty disk.
  void ChangeMembers() {
    Life* leader = Leader();
    if (leader == nullptr || leader->self.broker == kRestless) return;
    auto next = std::make_shared<Configuration>(leader->raft->configuration());
    if (std::erase_if(next->voters, [](const Voter& v) { return v.broker == kRestless; }) == 0) {
      const Voter before = lives_.at(kRestless).self;
      const Voter self{before.broker, before.incarnation, ReplicaNumber(before.number.value() + 1)};
      Begin(self, Configuration{});
      next->voters.push_back(self);
    }
    Propose(std::move(next));
  }

  template <typename Input>
  void Drain(Life* life, Input input) {
    if (!wrong_.empty()) return;
    input();
    while (life->raft->HasReady() && wrong_.empty()) {
      Ready ready = life->raft->TakeReady();
      if (!ready.fault.ok()) {
        wrong_ = "a replica stopped: " + ready.fault.ToString();
        return;
      }
      for (OutgoingMessage& outgoing : ready.messages) {
        messages_.push_back({life->self, std::move(outgoing)});
      }
      if (ready.write) {
        if (ready.write->truncate_from) {
          life->disk.resize(ready.write->truncate_from->value() - 1);
        }
        for (Entry& entry : ready.write->entries) life->disk.push_back(std::move(entry));
        life->raft->OnDurable(ready.write->durable_point);
      }
      if (ready.wants_no_op && life->raft->is_leader()) {
        Raft& raft = *life->raft;
        Entry no_op =
            SealedEntry(raft.log().last_chain(), raft.term(), raft.log().last_index() + 1);
        no_op.type = EntryType::kNoOp;
        CHECK(raft.Propose(std::move(no_op)).ok());
      }
      Check(life);
    }
  }

  // What a leader calls committed lies on the disks of a majority, as they are now.
  void Check(Life* life) {
    const LogIndex commit = life->raft->commit_index();
    if (commit <= life->commit_seen) return;
    life->commit_seen = commit;
    if (!life->raft->is_leader()) return;
    const std::vector<Voter>& voters = life->raft->configuration().voters;
    size_t holders = 0;
    for (const Voter& voter : voters) {
      const Life& holder = lives_.at(voter.broker);
      if (holder.self == voter && holder.disk.size() >= commit.value() &&
          holder.disk[commit.value() - 1].chain == life->raft->log().At(commit).chain) {
        ++holders;
      }
    }
    if (holders * 2 > voters.size()) return;
    wrong_ = "entry " + std::to_string(commit.value()) + " counts as committed, and is on " +
             std::to_string(holders) + " of " + std::to_string(voters.size()) + " disks";
  }

  Random random_;
  Configuration first_;
  std::map<BrokerId, Life> lives_;  // by broker
  std::vector<Envelope> messages_;
  std::string wrong_;
};

constexpr int kSteps = 3000;

std::string PlayLives(uint64_t seed) { return Lives(seed).Play(kSteps); }

TEST(Lives, WhatAFormerLifePromised_DoesNotCountForTheNext) {
  sim::ExpectHolds({.count = 600, .count_long = 20'000}, PlayLives);
}

TEST(Lives, OldLifeAcknowledges_IsFound) {
  sim::ExpectFound(Mutant::kOldLifeCounts, 500, PlayLives);
}

}  // namespace
}  // namespace millrace::raft::core
