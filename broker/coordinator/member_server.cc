#include "broker/coordinator/member_server.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "broker/coordinator/member_requests.h"
#include "broker/coordinator/target.h"
#include "proto/base/coverage.h"
#include "proto/base/mutants.h"

namespace millrace::broker {

using internal::v1::MemberReply;
using internal::v1::MemberRequest;

namespace {

// How exactly times are kept.
constexpr Duration kTick = std::chrono::milliseconds(250);
// Changes of members that come together have one target.
constexpr Duration kGather = std::chrono::milliseconds(50);
// Somebody who was not heard of for so long may be replaced.
constexpr Duration kPingsFor = std::chrono::milliseconds(2 * kMemberIntervalMs);

Duration FromMs(uint32_t ms) { return std::chrono::milliseconds(ms); }

Duration IntervalOf(const Member& member) { return FromMs(IntervalMsOf(member.info)); }

}  // namespace

MemberServer::MemberServer(Environment environment) : environment_(std::move(environment)) {}

MemberServer::~MemberServer() { Stop(); }

void MemberServer::Stop() {
  lifetime_.End();
  led_.clear();
}

Result<CoordinatorShard*> MemberServer::FindLed(RaftGroupId shard) const {
  CoordinatorShard* found = environment_.find_shard(shard);
  const bool is_led = found != nullptr && found->is_ready() && led_.contains(shard);
  if (!is_led) return environment_.not_leader(shard);
  return found;
}

MemberServer::LiveGroup* MemberServer::Find(const Where& where) {
  const auto led = led_.find(where.shard);
  if (led == led_.end() || led->second.term != where.term) return nullptr;
  const auto group = led->second.groups.find(where.group);
  return group == led->second.groups.end() ? nullptr : &group->second;
}

const Group* MemberServer::StateOf(const Where& where) const {
  const auto led = led_.find(where.shard);
  const CoordinatorShard* shard = environment_.find_shard(where.shard);
  if (led == led_.end() || led->second.term != where.term || shard == nullptr) return nullptr;
  return shard->state().Find(where.group);
}

void MemberServer::OnLeadership(RaftGroupId shard, const raft::Leadership& leadership) {
  const CoordinatorShard* found = environment_.find_shard(shard);
  if (found == nullptr) return;
  const auto led = led_.find(shard);
  const bool is_same =
      led != led_.end() && leadership.is_ready && led->second.term == leadership.term;
  if (is_same) return;
  EndTerm(shard);
  if (leadership.is_ready) BeginTerm(*found, leadership.term);
}

std::vector<std::string> MemberServer::GroupsWithMembers(RaftGroupId shard) const {
  std::vector<std::string> names;
  const auto led = led_.find(shard);
  if (led == led_.end()) return names;
  names.reserve(led->second.groups.size());
  for (const auto& [name, group] : led->second.groups) names.push_back(name);
  return names;
}

void MemberServer::BeginTerm(const CoordinatorShard& shard, Term term) {
  Led& led = led_[shard.group()];
  led.term = term;
  const MonotonicTime now = environment_.clock.Now();
  ShardState::Cursor at;
  while (const Group* group = shard.state().Next(&at)) {
    if (group->membership->empty()) continue;
    MILLRACE_SOMETIMES("a coordinator began to lead a group with members");
    LiveGroup& live = led.groups[at.name];
    for (const auto& [id, member] : group->membership->members()) {
      live.members[id] = {.heard = now, .session = member->info.session()};
    }
    const Where where{.shard = shard.group(), .term = term, .group = at.name};
    Look(where);
    AdvanceMembers(where);
    TargetIsDue(where, kGather);
  }
  if (!led.groups.empty()) ScheduleTick();
}

void MemberServer::OnReleased(RaftGroupId shard, const std::set<std::string>& groups) {
  const auto led = led_.find(shard);
  if (led == led_.end()) return;
  for (const std::string& group : groups) {
    if (!led->second.groups.contains(group)) continue;
    AdvanceMembers({.shard = shard, .term = led->second.term, .group = group});
  }
}

void MemberServer::AdvanceMembers(const Where& where) {
  const Result<CoordinatorShard*> shard = FindLed(where.shard);
  if (!shard.ok()) return;
  (*shard)->Execute(
      {.key = where.group,
       .is_alone = true,
       .bytes = where.group.size(),
       .decide = [where](const ShardState& state) { return DecideAdvance(state, where.group); },
       .done = lifetime_.Guard([this, where](const Status&) { Look(where); })});
}

void MemberServer::EndTerm(RaftGroupId shard) {
  auto ended = led_.extract(shard);
  if (ended.empty()) return;
  for (auto& [name, group] : ended.mapped().groups) {
    for (auto& [id, member] : group.members) {
      if (member.waiting.has_value()) member.waiting->done(environment_.not_leader(shard));
    }
  }
}

void MemberServer::Ask(RaftGroupId shard, const MemberRequest& request, Done done) {
  const Result<CoordinatorShard*> found = FindLed(shard);
  if (!found.ok()) return done(found.status());
  const Where where{.shard = shard, .term = led_.at(shard).term, .group = request.group()};
  if (LiveGroup* live = Find(where)) {
    const auto member = live->members.find(request.member_id());
    if (member != live->members.end()) {
      if (Status heard = Hear(request, &member->second); !heard.ok()) return done(std::move(heard));
      StopWaiting(where, &member->second);
    }
  }
  if (request.is_broken()) return done(MemberReply());
  const auto asked = std::make_shared<const MemberRequest>(request);
  (*found)->Execute(
      {.key = request.group(),
       .is_alone = true,
       .bytes = request.ByteSizeLong(),
       .decide =
           [this, where, asked](const ShardState& state) {
             return DecideMember(
                 state,
                 {.image = environment_.image, .is_memory_full = environment_.memory.is_full()},
                 *asked, [this, &where](const std::string& id) { return Pings(where, id); });
           },
       .done =
           lifetime_.Guard([this, where, asked, done = std::move(done)](Status decided) mutable {
             if (!decided.ok()) return done(std::move(decided));
             OnDecided(where, *asked, std::move(done));
           })});
}

Status MemberServer::Hear(const MemberRequest& request, LiveMember* member) const {
  const auto place = [](uint64_t session, uint64_t sequence) {
    return std::pair(session, sequence);
  };
  const bool is_late =
      place(request.session(), request.sequence()) < place(member->session, member->sequence);
  if (is_late && !MILLRACE_MUTANT(kTwoSessions)) {
    return Aborted("member \"" + request.member_id() + "\" of group \"" + request.group() +
                       "\" has said something newer",
                   Reason::kMemberFenced);
  }
  member->session = request.session();
  member->sequence = request.sequence();
  member->is_broken = request.is_broken();
  const bool is_heard = !request.is_broken() && !request.is_silent();
  if (is_heard) member->heard = environment_.clock.Now();
  return {};
}

bool MemberServer::Pings(const Where& where, const std::string& member_id) {
  LiveGroup* live = Find(where);
  if (live == nullptr) return false;
  const auto member = live->members.find(member_id);
  if (member == live->members.end() || member->second.is_broken) return false;
  return environment_.clock.Now() - member->second.heard <= kPingsFor;
}

void MemberServer::OnDecided(const Where& where, const MemberRequest& request, Done done) {
  Look(where);
  Result<MemberReply> reply = Answer(where, request);
  if (!reply.ok() || request.member_epoch() < kMemberComes) return done(std::move(reply));
  LiveGroup* live = Find(where);
  if (live == nullptr) return done(environment_.not_leader(where.shard));
  LiveMember& member = live->members[request.member_id()];
  const bool is_newest =
      request.session() == member.session && request.sequence() >= member.sequence;
  const bool has_news = reply->assignment().version() != request.known_version();
  if (has_news || request.wait_ms() == 0 || !is_newest) return done(std::move(reply));
  StopWaiting(where, &member);
  // No longer than until it is to be heard again.
  member.waiting = {.request = request,
                    .done = std::move(done),
                    .until = environment_.clock.Now() +
                             FromMs(std::min(request.wait_ms(), reply->interval_ms()))};
}

Result<MemberReply> MemberServer::Answer(const Where& where, const MemberRequest& request) const {
  const CoordinatorShard* shard = environment_.find_shard(where.shard);
  if (shard == nullptr) return environment_.not_leader(where.shard);
  MemberReply reply;
  RETURN_IF_ERROR(AnswerMember(shard->state(), environment_.image, request, &reply));
  return reply;
}

void MemberServer::StopWaiting(const Where& where, LiveMember* member) {
  if (!member->waiting.has_value()) return;
  Waiting waiting = *std::exchange(member->waiting, std::nullopt);
  waiting.done(Answer(where, waiting.request));
}

void MemberServer::Look(const Where& where) {
  const Group* group = StateOf(where);
  const auto led = led_.find(where.shard);
  if (led == led_.end() || led->second.term != where.term) return;
  const CopyOnWrite<Membership> members =
      group == nullptr ? CopyOnWrite<Membership>() : group->membership;
  const Membership& membership = *members;
  LiveGroup& live = led->second.groups[where.group];
  const LogIndex changed = group == nullptr ? LogIndex() : group->changed_index;
  if (group == nullptr || live.seen != changed) {
    live.seen = changed;
    LookAtMembers(where, membership, &live);
  }
  if (membership.empty()) {
    led->second.groups.erase(where.group);
    return;
  }
  if (group->epoch > membership.target_epoch()) {
    TargetIsDue(where, membership.target_epoch() == 0 ? Duration() : kGather);
  }
  ScheduleTick();
}

void MemberServer::LookAtMembers(const Where& where, const Membership& membership,
                                 LiveGroup* live) {
  const MonotonicTime now = environment_.clock.Now();
  for (const auto& [id, member] : membership.members()) {
    const auto [place, is_new] = live->members.try_emplace(id);
    LiveMember& known = place->second;
    if (is_new) known = {.heard = now, .session = member->info.session()};
    // What it is told to give up later has its own time.
    Assignment revoking = PartitionsOf(member->revoking);
    Assignment left = Intersection(revoking, known.revoking);
    if (!left.empty()) {
      known.revoking = std::move(left);
      continue;
    }
    known.revoking = std::move(revoking);
    known.revoking_since = now;
  }
  std::vector<std::string> told;
  for (auto& [id, known] : live->members) {
    const Member* member = membership.Find(id);
    const bool has_news = member == nullptr ||
                          (known.waiting.has_value() && member->assigned_index.value() !=
                                                            known.waiting->request.known_version());
    if (has_news) told.push_back(id);
  }
  for (const std::string& id : told) {
    StopWaiting(where, &live->members[id]);
    if (membership.Find(id) == nullptr) live->members.erase(id);
  }
}

void MemberServer::TargetIsDue(const Where& where, Duration delay) {
  LiveGroup* live = Find(where);
  if (live == nullptr || std::exchange(live->is_target_due, true)) return;
  environment_.executor.RunAfter(delay, lifetime_.Guard([this, where] { ComputeTarget(where); }));
}

void MemberServer::ComputeTarget(const Where& where) {
  LiveGroup* live = Find(where);
  const Group* group = StateOf(where);
  // What is computed now is looked at once it is there.
  if (live == nullptr || group == nullptr || live->is_computing) return;
  live->is_target_due = false;
  live->is_computing = true;
  const uint32_t epoch = group->epoch;
  environment_.aside(
      [epoch, membership = group->membership, image = environment_.image] {
        return broker::ComputeTarget(epoch, *membership, image);
      },
      lifetime_.Guard(
          [this, where, epoch](const Target& target) { OnTarget(where, epoch, target); }));
}

void MemberServer::OnTarget(const Where& where, uint32_t group_epoch, const Target& target) {
  const Result<CoordinatorShard*> shard = FindLed(where.shard);
  LiveGroup* live = Find(where);
  if (!shard.ok() || live == nullptr) return;
  const auto finish = lifetime_.Guard([this, where](const Status&) {
    LiveGroup* computed = Find(where);
    if (computed == nullptr) return;
    computed->is_computing = false;
    if (computed->is_target_due) return ComputeTarget(where);
    Look(where);
  });
  (*shard)->Execute({.key = where.group,
                     .is_alone = true,
                     .bytes = target.ByteSizeLong(),
                     .decide =
                         [where, group_epoch, target](const ShardState& state) {
                           return DecideTarget(state, where.group, group_epoch, target);
                         },
                     .done = finish});
}

void MemberServer::ScheduleTick() {
  if (std::exchange(is_ticking_, true)) return;
  last_tick_ = environment_.clock.Now();
  environment_.executor.RunAfter(kTick, lifetime_.Guard([this] { Tick(); }));
}

void MemberServer::Tick() {
  const Duration since_last = environment_.clock.Now() - last_tick_;
  const LogIndex image_index = environment_.image.applied_index();
  const bool is_image_new = std::exchange(image_index_, image_index) != image_index;
  bool has_groups = false;
  for (const auto& [shard, led] : led_) {
    std::vector<std::string> names;
    names.reserve(led.groups.size());
    for (const auto& [name, group] : led.groups) names.push_back(name);
    for (std::string& name : names) {
      has_groups = true;
      const Where where{.shard = shard, .term = led.term, .group = std::move(name)};
      if (is_image_new) TargetIsDue(where, Duration());
      if (LiveGroup* live = Find(where)) {
        GiveTimeBack(where, since_last, live);
        TickGroup(where, live);
      }
    }
  }
  is_ticking_ = false;
  if (has_groups) ScheduleTick();
}

void MemberServer::GiveTimeBack(const Where& where, Duration since_last, LiveGroup* live) {
  const MonotonicTime now = environment_.clock.Now();
  const Group* group = StateOf(where);
  if (group == nullptr || MILLRACE_MUTANT(kExpireAfterPause)) return;
  for (auto& [id, known] : live->members) {
    const Member* member = group->membership->Find(id);
    if (member == nullptr || since_last <= std::max(IntervalOf(*member), 2 * kTick)) continue;
    MILLRACE_SOMETIMES("a coordinator that was stopped gave its members their time again");
    known.heard = now;
    known.revoking_since = now;
  }
}

void MemberServer::TickGroup(const Where& where, LiveGroup* live) {
  const MonotonicTime now = environment_.clock.Now();
  const Group* group = StateOf(where);
  if (group == nullptr) return;
  std::vector<std::pair<std::string, v1::GroupEventKind>> late;
  std::vector<std::string> waited;
  for (auto& [id, known] : live->members) {
    const Member* member = group->membership->Find(id);
    if (member == nullptr || known.is_going) continue;
    const bool is_slow = !known.revoking.empty() &&
                         now - known.revoking_since >= FromMs(member->info.revoke_timeout_ms());
    if (now - known.heard >= FromMs(member->info.session_timeout_ms())) {
      late.emplace_back(id, v1::GROUP_EVENT_KIND_SESSION_ENDED);
    } else if (is_slow) {
      late.emplace_back(id, v1::GROUP_EVENT_KIND_REVOKE_ENDED);
    } else if (known.waiting.has_value() && now >= known.waiting->until) {
      waited.push_back(id);
    }
  }
  for (const std::string& id : waited) StopWaiting(where, &live->members[id]);
  for (const auto& [id, reason] : late) TakeOut(where, id, reason);
}

void MemberServer::TakeOut(const Where& where, const std::string& member_id,
                           v1::GroupEventKind reason) {
  const Result<CoordinatorShard*> shard = FindLed(where.shard);
  LiveGroup* live = Find(where);
  if (!shard.ok() || live == nullptr) return;
  live->members[member_id].is_going = true;
  MILLRACE_SOMETIMES_IF("a member was taken out for its silence",
                        reason == v1::GROUP_EVENT_KIND_SESSION_ENDED);
  MILLRACE_SOMETIMES_IF("a member was taken out for what it did not give up",
                        reason == v1::GROUP_EVENT_KIND_REVOKE_ENDED);
  (*shard)->Execute({.key = where.group,
                     .is_alone = true,
                     .bytes = where.group.size(),
                     .decide =
                         [where, member_id, reason](const ShardState& state) {
                           return DecideRemoval(state, where.group, member_id, reason);
                         },
                     .done = lifetime_.Guard([this, where, member_id](const Status&) {
                       LiveGroup* known = Find(where);
                       if (known == nullptr) return;
                       if (const auto member = known->members.find(member_id);
                           member != known->members.end()) {
                         member->second.is_going = false;
                       }
                       Look(where);
                     })});
}

}  // namespace millrace::broker
