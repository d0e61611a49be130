#include "broker/coordinator/transaction_jobs.h"

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

#include "proto/base/coverage.h"
#include "proto/base/mutants.h"

namespace millrace::broker {

using internal::v1::CoordinatorRecords;
using Next = TransactionDecision::Next;

namespace {

constexpr uint32_t kWaitMsDefault = 10'000;
constexpr uint32_t kWaitMsMax = 30'000;

// When the id was changed last.
LogIndex ChangedIndex(const ShardState& state, const std::string& id) {
  const TransactionalId* known = state.transactions().Find(id);
  return known == nullptr ? LogIndex() : known->changed_index;
}

}  // namespace

struct TransactionJobs::Job {
  Question question;  // `done`: none once it is called
  Term term;
  uint64_t place = 0;  // in the order of all
  MonotonicTime until{};
  TimerId timer;
  InitAsked asked;

  const std::string& id() const { return question.id; }
  void Answer(Result<TransactionName> granted) {
    if (Granted done = std::exchange(question.done, {})) done(std::move(granted));
  }
};

// What came of a decision. Its records are in the log.
struct TransactionJobs::Outcome {
  Next next{};
  Status status;
  TransactionName granted;
  bool has_changed = false;  // something
  LogIndex seen;             // when the id had changed last, as it was decided
};

void TransactionJobs::Stop() {
  lifetime_.End();
  led_.clear();
}

Result<CoordinatorShard*> TransactionJobs::FindLed(RaftGroupId shard) const {
  CoordinatorShard* found = environment_.find_shard(shard);
  const bool is_led = found != nullptr && found->is_ready() && led_.contains(shard);
  if (!is_led) return environment_.not_leader(shard);
  return found;
}

TransactionJobs::Led* TransactionJobs::Find(const Job& job) {
  const auto led = led_.find(job.question.shard);
  return led == led_.end() || led->second.term != job.term ? nullptr : &led->second;
}

bool TransactionJobs::OnLeadership(RaftGroupId shard, const raft::Leadership& leadership) {
  const auto led = led_.find(shard);
  const bool is_same =
      led != led_.end() && leadership.is_ready && led->second.term == leadership.term;
  if (is_same) return false;
  if (auto ended = led_.extract(shard); !ended.empty()) {
    ended.mapped().waits.FailAll(environment_.not_leader(shard));
  }
  if (leadership.is_ready) led_[shard].term = leadership.term;
  return leadership.is_ready;
}

void TransactionJobs::OnChanged(RaftGroupId shard, const std::set<std::string>& ids) {
  const auto led = led_.find(shard);
  if (led == led_.end()) return;
  std::vector<std::deque<CoordinatorShard::Request>> changed;
  changed.reserve(ids.size());
  for (const std::string& id : ids) changed.push_back(led->second.waits.TakeRequests(id));
  for (std::deque<CoordinatorShard::Request>& requests : changed) {
    environment_.find_shard(shard)->Execute(std::move(requests));
  }
}

void TransactionJobs::Begin(Question question) {
  const Result<CoordinatorShard*> led = FindLed(question.shard);
  if (!led.ok()) return question.done(led.status());
  const uint32_t wait_ms = question.wait_ms == 0 ? kWaitMsDefault : question.wait_ms;
  const auto job = std::make_shared<Job>();
  job->term = led_.at(question.shard).term;
  job->place = ++begun_;
  job->until = environment_.clock.Now() + std::chrono::milliseconds(std::min(wait_ms, kWaitMsMax));
  job->question = std::move(question);
  Run(job);
}

void TransactionJobs::Run(const JobPtr& job) {
  const RaftGroupId shard = job->question.shard;
  const Result<CoordinatorShard*> led = FindLed(shard);
  if (!led.ok() || Find(*job) == nullptr) return job->Answer(environment_.not_leader(shard));
  std::deque<CoordinatorShard::Request> requests;
  if (job->question.is_end) requests = led_.at(shard).waits.TakeRequests(job->id());
  requests.push_front(RequestOf(job));
  (*led)->Execute(std::move(requests));
}

CoordinatorShard::Request TransactionJobs::RequestOf(const JobPtr& job) {
  const auto outcome = std::make_shared<Outcome>();
  return {.kind = CoordinatorShard::KeyKind::kTransactionalId,
          .key = job->id(),
          .is_alone = true,
          .bytes = job->question.bytes,
          .decide = [job, outcome](const ShardState& state) -> Result<CoordinatorRecords> {
            TransactionDecision decided = job->question.decide(state, job->asked);
            const bool is_done = decided.next == Next::kAnswer && decided.status.ok();
            if (is_done && MILLRACE_MUTANT(kPrepareNotDurable)) job->Answer(decided.granted);
            *outcome = {.next = decided.next,
                        .status = std::move(decided.status),
                        .granted = decided.granted,
                        .has_changed = !decided.records.records().empty(),
                        .seen = ChangedIndex(state, job->id())};
            return std::move(decided.records);
          },
          .done = lifetime_.Guard([this, job, outcome](Status applied) {
            if (!applied.ok()) return job->Answer(std::move(applied));
            OnDecided(job, *outcome);
          })};
}

void TransactionJobs::OnDecided(const JobPtr& job, const Outcome& outcome) {
  job->asked.was_granted = job->asked.was_granted || outcome.has_changed;
  switch (outcome.next) {
    case Next::kAnswer:
      if (!outcome.status.ok()) return job->Answer(outcome.status);
      return job->Answer(outcome.granted);
    case Next::kWait:
      return Wait(job, outcome);
    case Next::kNeedProducer:
      return TakeProducer(job);
  }
}

void TransactionJobs::Wait(const JobPtr& job, const Outcome& outcome) {
  const RaftGroupId shard = job->question.shard;
  const Result<CoordinatorShard*> found = FindLed(shard);
  Led* led = Find(*job);
  if (!found.ok() || led == nullptr) return job->Answer(environment_.not_leader(shard));
  // What it waits for may have come since it was decided.
  if (ChangedIndex((*found)->state(), job->id()) != outcome.seen) return Run(job);
  MILLRACE_SOMETIMES("a request waited for a transaction before its own");
  const Duration left = job->until - environment_.clock.Now();
  job->timer = environment_.executor.RunAfter(std::max(left, Duration()),
                                              lifetime_.Guard([this, job, why = outcome.status] {
                                                if (Led* known = Find(*job))
                                                  known->waits.TimeOut(job->id(), job->place, why);
                                              }));
  led->waits.Add(job->id(), {.place = job->place,
                             .again =
                                 [this, job] {
                                   environment_.executor.Cancel(job->timer);
                                   return RequestOf(job);
                                 },
                             .fail =
                                 [this, job](Status status) {
                                   environment_.executor.Cancel(job->timer);
                                   job->Answer(std::move(status));
                                 }});
}

void TransactionJobs::TakeProducer(const JobPtr& job) {
  environment_.producers.Take(job->question.slot,
                              lifetime_.Guard([this, job](const Result<ProducerId>& producer) {
                                if (!producer.ok()) return job->Answer(producer.status());
                                job->asked.offered = *producer;
                                Run(job);
                              }));
}

}  // namespace millrace::broker
