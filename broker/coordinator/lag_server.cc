#include "broker/coordinator/lag_server.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "broker/coordinator/lag_answer.h"
#include "broker/coordinator/requests.h"
#include "proto/base/coverage.h"

namespace millrace::broker {
namespace {

// That are asked for together, but for a single group that has more.
constexpr size_t kQuestionsMax = 10'000;
constexpr int64_t kThrottledRetryMs = 1'000;
// Past every end: nothing is committed, and no record's time is of interest.
constexpr Offset kNoTime{INT64_MAX};

int64_t ToMs(MonotonicTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
}

}  // namespace

void LagServer::Stop() {
  lifetime_.End();
  led_.clear();
  due_.clear();
}

void LagServer::OnLeadership(RaftGroupId shard, const raft::Leadership& leadership) {
  if (lifetime_.has_ended() || environment_.find_shard(shard) == nullptr) return;
  const auto led = led_.find(shard);
  const bool is_same =
      led != led_.end() && leadership.is_ready && led->second.term == leadership.term;
  if (is_same) return;
  EndTerm(shard);
  if (!leadership.is_ready) return;
  led_[shard].term = leadership.term;
  ScheduleTick();
}

// Whoever waits is answered once nothing is kept any more.
void LagServer::EndTerm(RaftGroupId shard) {
  auto ended = led_.extract(shard);
  if (ended.empty()) return;
  std::vector<Task> waiting;
  for (auto& [name, measured] : ended.mapped().groups) {
    CHECK_GE(partitions_kept_, measured.partition_count);
    partitions_kept_ -= measured.partition_count;
    for (std::vector<Task>* tasks : {&measured.waiting, &measured.next}) {
      std::move(tasks->begin(), tasks->end(), std::back_inserter(waiting));
    }
  }
  for (Task& task : waiting) task();
}

bool LagServer::Leads(const Where& where) const {
  const auto led = led_.find(where.shard);
  return led != led_.end() && led->second.term == where.term &&
         environment_.find_shard(where.shard) != nullptr;
}

const Group* LagServer::StateOf(const Where& where) const {
  if (!Leads(where)) return nullptr;
  return environment_.find_shard(where.shard)->state().Find(where.group);
}

LagServer::Measured* LagServer::Find(const Where& where) {
  const auto led = led_.find(where.shard);
  if (led == led_.end() || led->second.term != where.term) return nullptr;
  const auto group = led->second.groups.find(where.group);
  return group == led->second.groups.end() ? nullptr : &group->second;
}

LagServer::Look LagServer::Begin(const Where& where, std::vector<UnreadQuestion>* questions) const {
  Look look{.where = where};
  const Group* group = StateOf(where);
  if (group == nullptr) return look;
  const int64_t now_ms = ToMs(environment_.clock.Now());
  const int64_t wall_ms = environment_.clock.WallMs();
  const std::vector<LagTarget> targets = LagTargetsOf(*group, environment_.image);
  look.partitions.reserve(targets.size());
  for (const LagTarget& target : targets) {
    const CommittedOffset* committed = target.committed;
    LagSample sample{.at_ms = now_ms};
    if (committed != nullptr) {
      sample.committed = committed->offset;
      sample.commit_age_ms = std::max<int64_t>(0, wall_ms - committed->time_ms);
    }
    look.partitions.push_back({.place = target.place, .sample = sample});
    questions->push_back({.group = target.group, .next = sample.committed.value_or(kNoTime)});
  }
  return look;
}

// What was measured of topics that do not count any more goes with it.
void LagServer::End(const Look& look, const UnreadAnswers& answers, size_t first) {
  Measured* measured = Find(look.where);
  if (measured == nullptr) return;
  MeasuredLag lag;
  std::vector<LagHistory>* histories = nullptr;  // of the topic that is at hand
  for (size_t i = 0; i < look.partitions.size(); ++i) {
    const auto& [place, sample] = look.partitions[i];
    const bool is_next_topic = i == 0 || place.topic != look.partitions[i - 1].place.topic;
    if (is_next_topic) {
      histories = &lag.topics[place.topic];
      *histories = std::move(measured->lag.topics[place.topic]);
    }
    const size_t number = place.partition.value();
    if (histories->size() <= number) histories->resize(number + 1);
    const Result<Unread>& answer = answers[first + i];
    if (!answer.ok()) {
      lag.unanswered.emplace(place, answer.status());
      continue;
    }
    LagSample taken = sample;
    taken.unread = *answer;
    (*histories)[number].Add(taken);
  }
  measured->lag = std::move(lag);
  measured->is_complete = true;
}

void LagServer::Keep(size_t partitions, Measured* measured) {
  partitions_kept_ = partitions_kept_ - measured->partition_count + partitions;
  measured->partition_count = partitions;
}

void LagServer::Forget(std::map<std::string, Measured>* groups,
                       std::map<std::string, Measured>::iterator group) {
  CHECK_GE(partitions_kept_, group->second.partition_count);
  partitions_kept_ -= group->second.partition_count;
  groups->erase(group);
}

void LagServer::Describe(RaftGroupId shard, Request request, Done done) {
  const auto led = led_.find(shard);
  if (led == led_.end()) return done(environment_.not_leader(shard));
  const Where where{.shard = shard, .term = led->second.term, .group = request->group()};
  if (!Leads(where)) return done(environment_.not_leader(shard));
  if (StateOf(where) == nullptr) return done(UnknownGroup(where.group));
  const Measured* measured = Find(where);
  const bool goes_on = !request->page_token().empty() && measured != nullptr;
  if (goes_on && measured->is_complete) return Answer(where, request, std::move(done));
  MeasureFor(where, [this, where, request, done = std::move(done)]() mutable {
    Answer(where, request, std::move(done));
  });
}

void LagServer::MeasureFor(const Where& where, Task then) {
  Measured& measured = led_.at(where.shard).groups[where.group];
  measured.asked_for = environment_.clock.Now();
  measured.next.push_back(std::move(then));
  if (!measured.is_asking) AskFor(where);
}

void LagServer::AskFor(const Where& where) {
  Measured& measured = *Find(where);
  measured.waiting = std::exchange(measured.next, {});
  std::vector<UnreadQuestion> questions;
  auto look = std::make_shared<const Look>(Begin(where, &questions));
  const auto finish = [this, where] {
    Measured* found = Find(where);
    if (found == nullptr) return;
    found->is_asking = false;
    std::vector<Task> answered = std::exchange(found->waiting, {});
    if (!found->next.empty()) AskFor(where);
    for (Task& task : answered) task();
  };
  if (!MayKeep(questions.size(), environment_.limits.partitions_kept, measured.partition_count)) {
    MILLRACE_SOMETIMES("more groups were asked for than are kept in mind");
    return finish();
  }
  Keep(questions.size(), &measured);
  measured.is_asking = true;
  environment_.ask(std::move(questions),
                   lifetime_.Guard([this, look, finish](const UnreadAnswers& answers) {
                     End(*look, answers, 0);
                     finish();
                   }));
}

void LagServer::Answer(const Where& where, const Request& request, Done done) const {
  if (!Leads(where)) return done(environment_.not_leader(where.shard));
  const Group* group = StateOf(where);
  if (group == nullptr) return done(UnknownGroup(where.group));
  const auto& groups = led_.at(where.shard).groups;
  const auto measured = groups.find(where.group);
  if (measured == groups.end() || !measured->second.is_complete) {
    return done(
        ResourceExhausted("the lag of too many large groups is asked for", Reason::kThrottled)
            .RetryAfterMs(kThrottledRetryMs));
  }
  v1::DescribeLagResponse response;
  const Status status = AnswerLag(
      *group, measured->second.lag,
      {.image = environment_.image, .wall_ms = environment_.clock.WallMs()}, *request, &response);
  if (!status.ok()) return done(status);
  done(std::move(response));
}

void LagServer::ScheduleTick() {
  if (std::exchange(is_ticking_, true)) return;
  environment_.executor.RunAfter(kInterval, lifetime_.Guard([this] { Tick(); }));
}

void LagServer::Tick() {
  is_ticking_ = false;
  std::vector<RaftGroupId> gone;
  for (const auto& [shard, led] : led_) {
    if (environment_.find_shard(shard) == nullptr) gone.push_back(shard);
  }
  for (const RaftGroupId shard : gone) EndTerm(shard);
  if (led_.empty()) return;
  ScheduleTick();
  // Leaders that are slow to answer are not asked again meanwhile.
  const bool may_sample = due_.empty() && !is_sampling_;
  for (const auto& [shard, led] : led_) {
    const std::vector<std::string> names = environment_.groups_with_members(shard);
    ForgetUnused(shard, names);
    if (!may_sample) continue;
    for (const std::string& name : names) {
      due_.push_back({.shard = shard, .term = led.term, .group = name});
    }
  }
  if (may_sample) SampleNext();
}

void LagServer::ForgetUnused(RaftGroupId shard, const std::vector<std::string>& with_members) {
  auto& groups = led_.at(shard).groups;
  const MonotonicTime now = environment_.clock.Now();
  for (auto group = groups.begin(); group != groups.end();) {
    const auto current = group++;
    const Measured& measured = current->second;
    const bool is_used = measured.is_asking || now - measured.asked_for < kRemembered ||
                         std::ranges::binary_search(with_members, current->first);
    if (!is_used) Forget(&groups, current);
  }
}

void LagServer::SampleNext() {
  auto looks = std::make_shared<std::vector<Look>>();
  std::vector<UnreadQuestion> questions;
  while (!due_.empty() && questions.size() < kQuestionsMax) {
    const Where where = std::move(due_.front());
    due_.pop_front();
    if (StateOf(where) == nullptr) continue;
    const size_t before = questions.size();
    Look look = Begin(where, &questions);
    const Measured* known = Find(where);
    const size_t kept = known == nullptr ? 0 : known->partition_count;
    if (!MayKeep(look.partitions.size(), environment_.limits.partitions_sampled, kept)) {
      MILLRACE_SOMETIMES("a group was too large to be sampled");
      questions.resize(before);
      continue;
    }
    Keep(look.partitions.size(), &led_.at(where.shard).groups[where.group]);
    looks->push_back(std::move(look));
  }
  if (looks->empty()) return;
  is_sampling_ = true;
  environment_.ask(std::move(questions),
                   lifetime_.Guard([this, looks](const UnreadAnswers& answers) {
                     size_t first = 0;
                     for (const Look& look : *looks) {
                       End(look, answers, first);
                       first += look.partitions.size();
                     }
                     is_sampling_ = false;
                     SampleNext();
                   }));
}

}  // namespace millrace::broker
