// Transactions whatever the network does: no transaction has two outcomes, none that a partition
// takes part in stays open, and who takes a transactional id finds nothing of before.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "broker/coordinator/transaction_requests.h"
#include "proto/base/mutants.h"
#include "raft/runtime/random.h"
#include "tests/broker/coordinator/transaction_rig.h"

namespace millrace::broker {
namespace {

using internal::v1::EndTransactionRequest;
using internal::v1::InitTransactionsRequest;
using internal::v1::ParticipantsEnded;
using internal::v1::RegisterTransactionRequest;
using Next = TransactionDecision::Next;

// What of transactions a partition's log says: what is open, and what has ended.
struct Log {
  std::set<TransactionName> open;
  std::map<TransactionName, TransactionOutcome> ended;
};

// A process that uses a transactional id, and does not hear of another one that has taken it.
struct Process {
  std::string id;
  TransactionName name;  // what it is at; number 0: it has not begun
  bool has_asked_to_end = false;
  bool is_out = false;
};

// Some ids and partitions, and a network that loses, repeats and reorders what is said, and what is
// answered. The leader's state is written and read back now and then.
class World {
 public:
  explicit World(uint64_t seed) : random_(seed) {}

  // One thing happens.
  void Step() {
    switch (random_.Below(9)) {
      case 0:
        if (random_.OneIn(4)) sent_.push_back(InitOf(AnyId(), ++requests_, 1'000));
        return;
      case 1:
        return Write();
      case 2:
        return End();
      case 3:
        return Tell();
      case 4:
        if (random_.OneIn(20)) LookAtTime();
        return;
      case 5:
        if (random_.OneIn(20)) Reload();
        return;
      default:
        return Deliver();
    }
  }
  // The network heals, and time passes: all that is open is ended.
  void Settle() {
    for (int round = 0; round < 4; ++round) {
      LookAtTime();
      while (state_.transactions().completing().size() > 0) Tell(/*is_lost=*/false);
    }
    for (const auto& [group, log] : logs_) {
      if (!log.open.empty()) wrong_ = "a partition has an open transaction that nobody ends";
    }
  }

  const std::string& wrong() const { return wrong_; }
  const std::map<std::string, int>& counts() const { return counts_; }

 private:
  using Message = std::variant<InitTransactionsRequest, RegisterTransactionRequest,
                               EndTransactionRequest, ParticipantsEnded>;

  std::string AnyId() { return "id-" + std::to_string(random_.Below(2)); }
  Process* AnyProcess() {
    if (processes_.empty()) return nullptr;
    // One of the last, so that not all are fenced.
    const size_t among = std::min<size_t>(processes_.size(), 5);
    Process& process = processes_[processes_.size() - 1 - random_.Below(among)];
    return process.is_out ? nullptr : &process;
  }
  // A partition hears of the transaction and asks to take part.
  void Write() {
    Process* process = AnyProcess();
    if (process == nullptr) return;
    if (process->name.number == 0) process->name.number = 1;
    TransactionName name = process->name;
    // It may write the next one before it has the answer to its End.
    if (process->has_asked_to_end) ++name.number;
    sent_.push_back(RegisterOf(name, {1 + random_.Below(4)}));
  }
  void End() {
    Process* process = AnyProcess();
    if (process == nullptr || process->name.number == 0 || process->has_asked_to_end) return;
    process->has_asked_to_end = true;
    sent_.push_back(EndOf(process->id, process->name, random_.OneIn(3) ? kAbort : kCommit));
  }

  // One of those that were sent, perhaps not for the last time.
  void Deliver() {
    if (sent_.empty()) return;
    const size_t place = random_.Below(sent_.size());
    const Message message = sent_[place];
    if (!random_.OneIn(3)) sent_.erase(sent_.begin() + static_cast<ptrdiff_t>(place));
    std::visit([this](const auto& request) { Ask(request); }, message);
    // What is forgotten was lost.
    if (sent_.size() > 60) sent_.erase(sent_.begin());
  }
  void Ask(const InitTransactionsRequest& request) {
    const TransactionDecision decided =
        DecideInit(state_, {.image = image_}, request,
                   {.offered = ProducerOf(request.transactional_id(), ++blocks_)});
    Apply(decided.records);
    if (decided.next == Next::kWait || !decided.status.ok()) return;
    ++counts_["granted"];
    // All of before has its outcome by now.
    for (const TransactionName& name : registered_) {
      const bool is_before =
          SlotOf(name.producer) == SlotOf(decided.granted.producer) && name < decided.granted;
      if (is_before && !outcomes_.contains(name)) wrong_ = "an older transaction is still open";
    }
    // It may not hear of it, or twice.
    if (random_.OneIn(4) || !granted_.insert(decided.granted).second) return;
    processes_.push_back({.id = request.transactional_id(), .name = decided.granted});
  }
  void Ask(const RegisterTransactionRequest& request) {
    const TransactionDecision decided = DecideRegister(state_, {.image = image_}, request);
    Apply(decided.records);
    const TransactionName name = NameFrom(request.transaction());
    if (decided.next == Next::kWait) {
      ++counts_["waited"];
      sent_.push_back(request);
      return;
    }
    if (!decided.status.ok()) return Refused(name, decided.status);
    registered_.insert(name);
    // The partition may hear of it late, or never.
    if (random_.OneIn(4)) return;
    Log& log = logs_[request.participants(0)];
    if (!log.ended.contains(name)) log.open.insert(name);
    ++counts_["opened"];
  }
  void Ask(const EndTransactionRequest& request) {
    const TransactionDecision decided = DecideEnd(state_, request);
    Apply(decided.records);
    const TransactionName name = NameFrom(request.transaction());
    if (decided.next == Next::kWait) {
      sent_.push_back(request);
      return;
    }
    for (Process& process : processes_) {
      if (process.name != name || !process.has_asked_to_end) continue;
      process.is_out = decided.status.reason() == Reason::kTransactionFenced ||
                       decided.status.reason() == Reason::kUnknownProducer;
      process.has_asked_to_end = false;
      ++process.name.number;
    }
    if (!decided.status.ok()) return Refused(name, decided.status);
    Has(name, request.outcome());
    ++counts_["ended"];
  }
  void Ask(const ParticipantsEnded& request) { Apply(*DecideEnded(state_, request)); }

  // What it is told of the outcome is so.
  void Refused(const TransactionName& name, const Status& why) {
    if (why.reason() != Reason::kTransactionEnded || why.metadata().empty()) return;
    Has(name, why.metadata()[0].second == "committed" ? kCommit : kAbort);
    ++counts_["refused"];
  }
  void Has(const TransactionName& name, TransactionOutcome outcome) {
    if (outcomes_.emplace(name, outcome).first->second != outcome) {
      wrong_ = "a transaction has two outcomes";
    }
  }

  // A marker comes to a partition, and it says so.
  void Tell(bool is_lost = true) {
    std::vector<std::string> completing;
    state_.transactions().completing().ForEach(
        [&](const std::string& id, uint64_t) { completing.push_back(id); });
    if (completing.empty()) return;
    const std::string& id = completing[random_.Below(completing.size())];
    const TransactionalId::Completing one = *state_.transactions().Find(id)->completing;
    Has(one.name, one.outcome);
    const RaftGroupId group = one.participants[random_.Below(one.participants.size())];
    Log& log = logs_[group.value()];
    log.open.erase(one.name);
    if (log.ended.emplace(one.name, one.outcome).first->second != one.outcome) {
      wrong_ = "two markers of one transaction differ";
    }
    const ParticipantsEnded told = ToldOf(id, one.name, {group.value()});
    if (is_lost && random_.OneIn(2)) {
      sent_.push_back(told);
    } else {
      Ask(told);
    }
  }
  void LookAtTime() {
    for (int i = 0; i < 2; ++i) {
      const std::string id = "id-" + std::to_string(i);
      const TransactionalId* known = state_.transactions().Find(id);
      if (known == nullptr || !known->ongoing.has_value()) continue;
      const CoordinatorDecision decided =
          DecideTimeLimit(state_, id, {known->producer, known->epoch, known->ongoing->number});
      if (!decided->records().empty()) ++counts_["late"];
      Apply(*decided);
    }
  }
  void Reload() {
    internal::v1::CoordinatorState saved;
    state_.SaveTo(&saved);
    Result<ShardState> loaded = ShardState::LoadFrom(saved);
    if (!loaded.ok()) wrong_ = loaded.status().ToString();
    if (loaded.ok()) state_ = *std::move(loaded);
  }
  void Apply(const internal::v1::CoordinatorRecords& records) {
    last_ = last_ + 1;
    for (const auto& record : records.records()) {
      const Status applied = state_.Apply(record, {.index = last_, .time_ms = 5});
      if (!applied.ok()) wrong_ = applied.ToString();
      if (!record.has_transaction_changed()) continue;
      const auto& changed = record.transaction_changed();
      if (changed.outcome() == TransactionOutcome{}) continue;
      Has(NameFrom(changed.name()), changed.outcome());
    }
  }

  Random random_;
  Image image_;
  ShardState state_;
  LogIndex last_;
  uint64_t requests_ = 0;
  uint64_t blocks_ = 0;
  std::vector<Process> processes_;
  std::vector<Message> sent_;
  std::map<uint64_t, Log> logs_;
  std::set<TransactionName> granted_;
  std::set<TransactionName> registered_;
  std::map<TransactionName, TransactionOutcome> outcomes_;
  std::map<std::string, int> counts_;
  std::string wrong_;
};

// "" if nothing is wrong in a whole life.
std::string Live(uint64_t seed, std::map<std::string, int>* counts) {
  World world(seed);
  for (int step = 0; step < 900 && world.wrong().empty(); ++step) {
    world.Step();
    if (step % 300 == 299) world.Settle();
  }
  for (const auto& [what, count] : world.counts()) (*counts)[what] += count;
  return world.wrong();
}

TEST(TransactionWorld, WhateverTheNetworkDoes_ATransactionHasOneOutcome_AndAllThatTakePartHearIt) {
  std::map<std::string, int> counts;
  for (uint64_t seed = 1; seed <= 1'000; ++seed) {
    ASSERT_EQ(Live(seed, &counts), "") << "seed=" << seed;
  }
  for (const char* what : {"granted", "opened", "ended", "waited", "refused", "late"}) {
    EXPECT_GT(counts[what], 1'000) << what;
  }
}

// The variant end_without_number: an End that comes late ends what its producer has open by then.
TEST(TransactionWorld, AnEndThatNamesNoNumber_IsFoundOut) {
  active_mutant = Mutant::kEndWithoutNumber;
  std::map<std::string, int> counts;
  std::string wrong;
  for (uint64_t seed = 1; seed <= 200 && wrong.empty(); ++seed) wrong = Live(seed, &counts);
  active_mutant = Mutant::kNone;
  EXPECT_NE(wrong, "");
}

}  // namespace
}  // namespace millrace::broker
