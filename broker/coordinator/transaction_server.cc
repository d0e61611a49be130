#include "broker/coordinator/transaction_server.h"

#include <memory>
#include <utility>

#include "broker/coordinator/slot.h"
#include "broker/coordinator/transaction_description.h"
#include "broker/coordinator/transaction_requests.h"
#include "proto/base/coverage.h"

namespace millrace::broker {

using internal::v1::AbortTransactionReply;
using internal::v1::AbortTransactionRequest;
using internal::v1::EndTransactionReply;
using internal::v1::EndTransactionRequest;
using internal::v1::InitTransactionsReply;
using internal::v1::InitTransactionsRequest;
using internal::v1::ParticipantsEndedReply;
using internal::v1::ParticipantsEndedRequest;
using internal::v1::RegisterTransactionReply;
using internal::v1::RegisterTransactionRequest;

namespace {

// Answers a request whose reply says nothing.
template <typename Reply>
TransactionJobs::Granted WithoutWords(CoordinatorReplied<Reply> done) {
  return [done = std::move(done)](const Result<TransactionName>& granted) mutable {
    if (!granted.ok()) return done(granted.status());
    done(Reply());
  };
}

// Pre: one of its transactions is completing.
Marker MarkerOf(const std::string& id, const TransactionalId& known) {
  return {.transactional_id = id,
          .name = known.completing->name,
          .outcome = known.completing->outcome,
          .reason = known.completing->reason,
          .participants = known.completing->participants};
}

}  // namespace

TransactionServer::TransactionServer(Environment environment)
    : environment_(std::move(environment)),
      jobs_({.executor = environment_.executor,
             .clock = environment_.clock,
             .producers = environment_.producers,
             .find_shard = environment_.find_shard,
             .not_leader = environment_.not_leader}) {}

void TransactionServer::Stop() {
  lifetime_.End();
  jobs_.Stop();
}

Status TransactionServer::CheckServes(RaftGroupId shard, uint32_t slot) const {
  RETURN_IF_ERROR(CheckHasTransactions(environment_.image));
  const TopicInfo* coordinator = environment_.image.FindTopic(kCoordinatorTopic);
  if (coordinator != nullptr && ShardOf(*coordinator, slot).group == shard) return {};
  return Unavailable("slot " + std::to_string(slot) + " is of another shard of the coordinator",
                     Reason::kNotLeader);
}

CoordinatorCircumstances TransactionServer::now() const {
  return {.image = environment_.image, .is_memory_full = environment_.memory.is_full()};
}

void TransactionServer::OnLeadership(RaftGroupId shard, const raft::Leadership& leadership) {
  if (!jobs_.OnLeadership(shard, leadership)) return;
  const Result<CoordinatorShard*> led = jobs_.FindLed(shard);
  if (!led.ok() || (*led)->state().transactions().completing().size() == 0) return;
  MILLRACE_SOMETIMES("a coordinator began to lead a transaction that was decided");
  environment_.markers.Wake(shard);
}

void TransactionServer::OnChanged(RaftGroupId shard, const std::set<std::string>& ids) {
  const Result<CoordinatorShard*> led = jobs_.FindLed(shard);
  if (!led.ok()) return;
  std::vector<Marker> markers;
  for (const std::string& id : ids) {
    const TransactionalId* known = (*led)->state().transactions().Find(id);
    const bool is_completing = known != nullptr && known->completing.has_value();
    if (is_completing) markers.push_back(MarkerOf(id, *known));
  }
  if (!markers.empty()) environment_.markers.Send(shard, std::move(markers));
  jobs_.OnChanged(shard, ids);
}

std::vector<Marker> TransactionServer::Markers(RaftGroupId shard, size_t max,
                                               TransactionTable::Completing::Cursor* cursor) const {
  std::vector<Marker> markers;
  const Result<CoordinatorShard*> led = jobs_.FindLed(shard);
  if (!led.ok()) return markers;
  const TransactionTable& table = (*led)->state().transactions();
  while (markers.size() < max && table.completing().Next(cursor) != nullptr) {
    markers.push_back(MarkerOf(cursor->name, *table.Find(cursor->name)));
  }
  return markers;
}

void TransactionServer::Init(RaftGroupId shard, Asked<InitTransactionsRequest> request,
                             CoordinatorReplied<InitTransactionsReply> done) {
  const std::string& id = request->transactional_id();
  Status checked = CheckInit(*request);
  if (checked.ok()) checked = CheckServes(shard, SlotOf(id));
  if (!checked.ok()) return done(std::move(checked));
  jobs_.Begin({.shard = shard,
               .slot = SlotOf(id),
               .id = id,
               .wait_ms = request->wait_ms(),
               .bytes = request->ByteSizeLong(),
               .decide =
                   [this, request](const ShardState& state, const InitAsked& asked) {
                     return DecideInit(state, now(), *request, asked);
                   },
               .done =
                   [done = std::move(done)](const Result<TransactionName>& granted) mutable {
                     if (!granted.ok()) return done(granted.status());
                     InitTransactionsReply reply;
                     reply.set_producer_id(granted->producer.value());
                     reply.set_epoch(granted->epoch);
                     done(std::move(reply));
                   }});
}

void TransactionServer::Register(RaftGroupId shard, Asked<RegisterTransactionRequest> request,
                                 CoordinatorReplied<RegisterTransactionReply> done) {
  const ProducerId producer(request->transaction().producer_id());
  Status checked = CheckRegister(*request);
  if (checked.ok()) checked = CheckServes(shard, SlotOf(producer));
  if (!checked.ok()) return done(std::move(checked));
  const Result<CoordinatorShard*> led = jobs_.FindLed(shard);
  const std::string* id =
      led.ok() ? (*led)->state().transactions().FindByProducer(producer) : nullptr;
  jobs_.Begin({.shard = shard,
               .slot = SlotOf(producer),
               .id = id == nullptr ? "" : *id,
               .wait_ms = request->wait_ms(),
               .bytes = request->ByteSizeLong(),
               .decide = [this, request](
                             const ShardState& state,
                             const InitAsked&) { return DecideRegister(state, now(), *request); },
               .done = WithoutWords(std::move(done))});
}

void TransactionServer::End(RaftGroupId shard, Asked<EndTransactionRequest> request,
                            CoordinatorReplied<EndTransactionReply> done) {
  Status checked = CheckEnd(*request);
  if (!checked.ok()) return done(std::move(checked));
  Outcome(shard, request, DecideEnd, std::move(done));
}

void TransactionServer::Abort(RaftGroupId shard, Asked<AbortTransactionRequest> request,
                              CoordinatorReplied<AbortTransactionReply> done) {
  Status checked = CheckAbort(*request);
  if (!checked.ok()) return done(std::move(checked));
  Outcome(shard, request, DecideAbort, std::move(done));
}

template <typename Request, typename Reply, typename Decide>
void TransactionServer::Outcome(RaftGroupId shard, Asked<Request> request, Decide decide,
                                CoordinatorReplied<Reply> done) {
  const std::string& id = request->transactional_id();
  if (Status serves = CheckServes(shard, SlotOf(id)); !serves.ok()) return done(std::move(serves));
  jobs_.Begin({.shard = shard,
               .slot = SlotOf(id),
               .id = id,
               .wait_ms = request->wait_ms(),
               .bytes = request->ByteSizeLong(),
               .is_end = true,
               .decide = [request, decide](const ShardState& state,
                                           const InitAsked&) { return decide(state, *request); },
               .done = WithoutWords(std::move(done))});
}

void TransactionServer::Ended(RaftGroupId shard, Asked<ParticipantsEndedRequest> request,
                              CoordinatorReplied<ParticipantsEndedReply> done) {
  const Result<CoordinatorShard*> led = jobs_.FindLed(shard);
  if (!led.ok()) return done(led.status());
  // Answered once all are.
  struct Rest {
    int missing = 1;
    Status first;  // that went wrong
    CoordinatorReplied<ParticipantsEndedReply> done;
  };
  const auto rest = std::make_shared<Rest>();
  rest->done = std::move(done);
  const auto on_one = [rest](const Status& status) {
    if (rest->first.ok()) rest->first = status;
    if (--rest->missing > 0) return;
    if (!rest->first.ok()) return rest->done(rest->first);
    rest->done(ParticipantsEndedReply());
  };
  for (int i = 0; i < request->ended_size(); ++i) {
    ++rest->missing;
    // None takes anything from another: all of a turn are one entry.
    (*led)->Execute(
        {.kind = CoordinatorShard::KeyKind::kTransactionalId,
         .key = request->ended(i).transactional_id(),
         .is_alone = false,
         .bytes = request->ended(i).ByteSizeLong(),
         .decide = [request,
                    i](const ShardState& state) { return DecideEnded(state, request->ended(i)); },
         .done = on_one});
  }
  on_one({});
}

template <typename Request, typename Reply, typename Answer>
void TransactionServer::Read(RaftGroupId shard, Asked<Request> request, Answer answer,
                             CoordinatorReplied<Reply> done) {
  const Result<CoordinatorShard*> led = jobs_.FindLed(shard);
  if (!led.ok()) return done(led.status());
  (*led)->Confirm(lifetime_.Guard(
      [this, shard, request, answer, done = std::move(done)](const Status& confirmed) mutable {
        if (!confirmed.ok()) return done(confirmed);
        const CoordinatorShard* found = environment_.find_shard(shard);
        if (found == nullptr) return done(environment_.not_leader(shard));
        Reply reply;
        Status status = answer(found->state(), *request, &reply);
        if (!status.ok()) return done(std::move(status));
        done(std::move(reply));
      }));
}

void TransactionServer::List(RaftGroupId shard,
                             Asked<internal::v1::ListTransactionsRequest> request,
                             CoordinatorReplied<internal::v1::ListTransactionsReply> done) {
  if (Status level = CheckHasTransactions(environment_.image); !level.ok()) {
    return done(std::move(level));
  }
  Read<internal::v1::ListTransactionsRequest, internal::v1::ListTransactionsReply>(
      shard, request, AnswerListTransactions, std::move(done));
}

void TransactionServer::Describe(RaftGroupId shard,
                                 Asked<internal::v1::DescribeTransactionRequest> request,
                                 CoordinatorReplied<internal::v1::DescribeTransactionReply> done) {
  if (Status serves = CheckServes(shard, SlotOf(request->transactional_id())); !serves.ok()) {
    return done(std::move(serves));
  }
  Read<internal::v1::DescribeTransactionRequest, internal::v1::DescribeTransactionReply>(
      shard, request, AnswerDescribeTransaction, std::move(done));
}

}  // namespace millrace::broker
