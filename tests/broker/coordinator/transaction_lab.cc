#include "tests/broker/coordinator/transaction_lab.h"

#include <memory>
#include <utility>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "broker/coordinator/transaction_sweep.h"
#include "tests/broker/coordinator/transaction_rig.h"

namespace millrace::broker {

using raft::core::Command;
using Next = TransactionDecision::Next;

namespace {

const std::string kId = "pay";

std::string TextOf(const Status& status) {
  std::string text = "refused: " + std::string(CodeName(status.code()));
  if (status.reason() != Reason::kNone) text += " " + std::string(ReasonName(status.reason()));
  for (const auto& [key, value] : status.metadata()) text += " " + key + "=" + value;
  return text + "\n";
}

}  // namespace

std::string TransactionLab::Run(const Command& command) {
  const std::string& name = command.name();
  if (name == "init") return Init(command);
  if (name == "register") {
    const auto request = RegisterOf(NameOf(command), command.Numbers("groups"));
    return Decide({.what = "register", .ask = [this, request] {
                     return DecideRegister(state_, {.image = image_}, request);
                   }});
  }
  if (name == "end") {
    const auto request =
        EndOf(kId, NameOf(command), command.Text("outcome") == "commit" ? kCommit : kAbort);
    return Decide({.what = "end", .ask = [this, request] { return DecideEnd(state_, request); }});
  }
  if (name == "abort") {
    const auto request = AbortOf(kId, NameOf(command));
    return Decide(
        {.what = "abort", .ask = [this, request] { return DecideAbort(state_, request); }});
  }
  if (name == "told") {
    const CoordinatorDecision decided =
        DecideEnded(state_, ToldOf(kId, NameOf(command), command.Numbers("groups")));
    Apply(*decided);
    return decided->records().empty() ? "it is known\n" : "";
  }
  if (name == "again") {
    std::string out;
    for (Waiting& one : std::exchange(waiting_, {})) {
      out += one.what + ": ";
      out += Decide(std::move(one));
    }
    return out;
  }
  if (name == "time") {
    times_.Look(state_.transactions(), now());
    now_ms_ += static_cast<int64_t>(command.Number("ms"));
    return Look();
  }
  CHECK_EQ(name, "state");
  const TransactionalId* id = state_.transactions().Find(kId);
  return id == nullptr ? "none\n" : ToText(*id) + "\n";
}

std::string TransactionLab::Init(const Command& command) {
  std::string out;
  const uint64_t times = command.Number("times", 1);
  for (uint64_t i = 0; i < times; ++i) {
    const auto request =
        InitOf(kId, command.Number("request") + i, static_cast<uint32_t>(command.Number("limit")));
    const bool is_full = command.Has("full");
    const auto asked = std::make_shared<InitAsked>();
    out = Decide({.what = "init",
                  .ask =
                      [this, request, is_full, asked] {
                        TransactionDecision decided = DecideInit(
                            state_, {.image = image_, .is_memory_full = is_full}, request, *asked);
                        if (decided.next == Next::kNeedProducer) {
                          asked->offered = ProducerOf(kId, ++blocks_);
                          decided = DecideInit(state_, {.image = image_}, request, *asked);
                        }
                        if (!decided.records.records().empty()) asked->was_granted = true;
                        return decided;
                      },
                  .is_init = true});
  }
  return out;
}

TransactionName TransactionLab::NameOf(const Command& command) const {
  const TransactionalId* id = state_.transactions().Find(kId);
  const uint64_t block = command.Number("producer", blocks_);
  const auto epoch = static_cast<uint32_t>(command.Number("epoch", id == nullptr ? 1 : id->epoch));
  return TransactionOf(kId, epoch, command.Number("number"), block);
}

std::string TransactionLab::Decide(Waiting asked) {
  const TransactionDecision decided = asked.ask();
  Apply(decided.records);
  if (decided.next == Next::kWait) {
    waiting_.push_back(std::move(asked));
    return "waits\n";
  }
  if (!decided.status.ok()) return TextOf(decided.status);
  if (!asked.is_init) return "ok\n";
  return "producer " + std::to_string(decided.granted.producer.value() / kProducerIdBlock) +
         ", epoch " + std::to_string(decided.granted.epoch) + "\n";
}

std::string TransactionLab::Look() {
  std::string out;
  for (const OverdueTransaction& one : times_.Look(state_.transactions(), now())) {
    const CoordinatorDecision decided = DecideTimeLimit(state_, one.id, one.name);
    Apply(*decided);
    if (!decided->records().empty()) out += "took too long\n";
  }
  TransactionTable::Cursor ids;
  for (const std::string& id : Unused(state_.transactions(), now_ms_, &ids)) {
    Apply(*DecideForget(state_, id, now_ms_ - kTransactionalIdKeptMs));
    out += "is not kept any more\n";
  }
  return out;
}

void TransactionLab::Apply(const internal::v1::CoordinatorRecords& records) {
  if (records.records().empty()) return;
  last_ = last_ + 1;
  ++now_ms_;
  for (const auto& record : records.records()) {
    const Status applied = state_.Apply(record, {.index = last_, .time_ms = now_ms_});
    EXPECT_TRUE(applied.ok()) << applied << " " << record.ShortDebugString();
  }
}

}  // namespace millrace::broker
