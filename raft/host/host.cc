#include "raft/host/host.h"

#include <algorithm>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"

namespace millrace::raft {
namespace {

// Entries read back from segments in one go, for a follower.
constexpr uint64_t kReadBytes = 1 << 20;
// A group's tail is never trimmed below this, however many groups share the budget.
constexpr uint64_t kTailBytesMin = 64 << 10;
// Followers refuse entries a little later than leaders refuse proposals, so that what leaders took
// can be replicated.
constexpr double kFollowerPressureMax = 1.2;
// Of who would write to a replica whose segments cannot be written just now.
constexpr int64_t kStallRetryMs = 500;

// The chain at `index`, if this log holds that entry of `term` there and still knows its chain.
std::optional<uint32_t> ChainAt(const core::Log& log, LogIndex index, Term term) {
  if (index == LogIndex()) return 0;
  if (log.TermAt(index) != term) return std::nullopt;
  if (log.InTail(index)) return log.At(index).chain;
  if (index == log.prefix().index) return log.prefix().chain;
  return std::nullopt;
}

// Whether the first entry's chain follows from what this log holds before it; those after it were
// held against each other when the message was read. A chain that breaks here would be found only
// when segments are written, on every replica at once.
bool FollowsOn(const core::Log& log, const core::AppendRequest& append) {
  if (append.entries.empty()) return true;
  const std::optional<uint32_t> before = ChainAt(log, append.prev_index, append.prev_term);
  if (!before.has_value()) return true;
  const core::Entry& first = append.entries.front();
  return FrameChain(*before, first.frame.header()) == first.chain;
}

// Leaves of `append` what does not make a full journal fuller; false if that is nothing. A follower
// that refused it would stay full for ever: entries go to segments once they are known to be
// committed, and come off the journal once others take their place.
bool KeepWhatMakesRoom(const core::Raft& core, core::AppendRequest* append) {
  const core::Log& log = core.log();
  auto& entries = append->entries;
  const auto first_new = std::find_if(entries.begin(), entries.end(), [&log](const auto& entry) {
    return log.TermAt(entry.index) != entry.term;
  });
  if (first_new != entries.end() && log.TermAt(first_new->index).has_value()) return true;
  if (core.commit_index() >= std::min(append->commit_index, log.last_index())) return false;
  entries.erase(first_new, entries.end());
  return true;
}

void WarnOfFullJournal(double pressure) {
  LOG_EVERY_T(WARNING, 10)
      << "the journal is full, leaders' entries are refused until older ones are in "
         "segments; --journal-bytes-max gives it more room pressure="
      << pressure;
}

}  // namespace

Host::Host(const HostOptions& options, const Environment& environment, Random random)
    : options_(options), environment_(environment), random_(random) {
  CHECK_NE(options_.self.broker, BrokerId());
  environment_.log_store.SetSegmentListener(
      [this, alive = is_alive_](RaftGroupId group, LogIndex readable_end) {
        if (*alive) OnSegmentsGrew(group, readable_end);
      });
  environment_.log_store.SetSegmentsStateListener(
      [this, alive = is_alive_](RaftGroupId group, Status state) {
        if (*alive) OnSegmentsState(group, std::move(state));
      });
  environment_.log_store.SetRecoveredListener(
      [this, alive = is_alive_](RecoveredReplica recovered) {
        if (*alive) OnRecovered(std::move(recovered));
      });
}

Host::~Host() { Stop(); }

void Host::Start() {
  tick_timer_ = environment_.executor.RunAfter(options_.tick, [this, alive = is_alive_] {
    if (*alive) OnTick();
  });
}

void Host::Stop() {
  environment_.executor.Cancel(tick_timer_);
  *is_alive_ = false;
  dirty_.clear();
  replicas_.clear();
}

Voter Host::SelfOf(const Replica& replica) const {
  return {options_.self.broker, options_.self.incarnation, replica.record().number};
}

core::Options Host::CoreOptions(const Replica& replica) {
  return {.self = SelfOf(replica),
          .election_timeout_ticks = options_.election_timeout_ticks,
          .heartbeat_ticks = options_.heartbeat_ticks,
          .uncommitted_bytes_max = options_.uncommitted_bytes_max,
          .random_seed = random_.Next()};
}

void Host::RemoveReplica(RaftGroupId group, LogIndex controller_index, Task done) {
  Replica* replica = FindMutable(group);
  CHECK(replica != nullptr) << "group=" << group;
  if (replica->has_joined())
    replica->Stop(NotFound("the partition was deleted", Reason::kTopicDeleted));
  replicas_.erase(group);
  environment_.log_store.RemoveReplica(group, controller_index, std::move(done));
}

Result<LogIndex> Host::Propose(RaftGroupId group, FrameHeader draft, Buffer frame) {
  Replica* replica = FindMutable(group);
  if (replica == nullptr || !replica->has_joined() || !replica->core().is_leader()) {
    return NotLeader(group);
  }
  const bool is_no_op = draft.type == FrameType::kNoOp;
  if (!is_no_op && !replica->stall.ok()) return NotLeader(group);
  if (!is_no_op && environment_.log_store.journal_pressure() > 1) {
    return ResourceExhausted("the journal is full; segments are being written", Reason::kThrottled)
        .RetryAfterMs(100);
  }
  core::Raft& raft = replica->core();
  draft.group = group;
  draft.term = raft.term();
  draft.index = raft.log().last_index() + 1;
  draft.chain = FrameChain(raft.log().last_chain(), draft);
  core::Entry entry{
      .term = draft.term,
      .index = draft.index,
      .type = draft.type == FrameType::kNoOp ? core::EntryType::kNoOp : core::EntryType::kCommand,
      .chain = draft.chain,
      .frame = SealFrame(draft, std::move(frame)),
      .configuration = nullptr};
  RETURN_IF_ERROR(raft.Propose(std::move(entry)));
  MarkDirty(*replica);
  return draft.index;
}

void Host::ProposeNoOp(Replica& replica) {
  const FrameHeader draft{
      .type = FrameType::kNoOp,
      .flags = kFrameControl,
      .base_offset = replica.next_offset(),
      .append_time_ms = std::max(environment_.clock.WallMs(), replica.last_append_time_ms())};
  const Result<LogIndex> index = Propose(replica.group(), draft, AllocateFrame(0));
  CHECK(index.ok()) << "group=" << replica.group() << " " << index.status();
}

void Host::ReadBarrier(RaftGroupId group, MoveFunction<void(Status)> done) {
  Replica* replica = FindMutable(group);
  if (replica == nullptr || !replica->has_joined() || !replica->leadership().is_ready) {
    done(NotLeader(group));
    return;
  }
  const uint64_t request_id = random_.Next();
  if (Status status = replica->core().ReadIndex(request_id); !status.ok()) {
    done(status);
    return;
  }
  replica->barriers().emplace(request_id,
                              Replica::Barrier{.done = std::move(done), .index = std::nullopt});
  MarkDirty(*replica);
}

const Replica* Host::Find(RaftGroupId group) const {
  auto found = replicas_.find(group);
  return found == replicas_.end() ? nullptr : found->second.get();
}

Replica* Host::FindMutable(RaftGroupId group) {
  auto found = replicas_.find(group);
  return found == replicas_.end() ? nullptr : found->second.get();
}

Replica* Host::FindLife(const ReplicaId& id) {
  Replica* replica = FindMutable(id.group);
  return replica != nullptr && replica->id() == id ? replica : nullptr;
}

Status Host::NotLeader(RaftGroupId group) const {
  const Replica* replica = Find(group);
  if (replica != nullptr && !replica->health().ok()) {
    return Unavailable(
        "this broker's replica is silent: " + std::string(replica->health().message()),
        Reason::kReplicaSilent);
  }
  if (replica != nullptr && !replica->apply_fault().ok()) {
    return Unavailable(
        "this broker's replica has stopped: " + std::string(replica->apply_fault().message()),
        Reason::kReplicaSilent);
  }
  if (replica != nullptr && !replica->stall.ok()) {
    return Unavailable("this broker cannot write the partition's segments and tries again: " +
                           std::string(replica->stall.message()),
                       Reason::kReplicaSilent)
        .RetryAfterMs(kStallRetryMs);
  }
  Status status = Unavailable("this broker does not lead the partition", Reason::kNotLeader);
  if (replica != nullptr && replica->has_joined() && replica->leadership().leader.broker.value()) {
    status.AddMetadata("leader_id", std::to_string(replica->leadership().leader.broker.value()));
  }
  return status;
}

uint64_t Host::tail_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [group, replica] : replicas_) {
    if (replica->has_joined()) bytes += replica->core().log().tail_bytes();
  }
  return bytes;
}

void Host::OnRaftMessage(const Voter& from, RaftGroupId group, ReplicaNumber to,
                         core::Message message) {
  Replica* replica = FindMutable(group);
  if (replica == nullptr || !replica->has_joined()) return;
  // To another life of the replica, which this one knows nothing of.
  if (to != replica->record().number) return;
  auto* append = std::get_if<core::AppendRequest>(&message);
  const double pressure = environment_.log_store.journal_pressure();
  const bool is_full = pressure > kFollowerPressureMax;
  if (append != nullptr && !append->entries.empty() && (is_full || !replica->stall.ok())) {
    if (is_full) WarnOfFullJournal(pressure);
    if (!KeepWhatMakesRoom(replica->core(), append)) return;
  }
  if (append != nullptr && !FollowsOn(replica->core().log(), *append)) {
    LOG_EVERY_T(ERROR, 60) << "entries that break the chain were not taken group=" << group
                           << " from=" << from.broker << " after=" << append->prev_index;
    return;
  }
  replica->core().Step(from, std::move(message));
  MarkDirty(*replica);
}

void Host::ReportUnreadable(RaftGroupId group, const Status& why) {
  Replica* replica = FindMutable(group);
  if (replica == nullptr || !replica->has_joined()) return;
  if (replica->core().configuration().Members().size() == 1) return;
  if (why.code() != Code::kDataLoss) {
    MILLRACE_SOMETIMES_IF("a leader that could not read its log gave it away",
                          replica->core().is_leader());
    replica->core().StepDown();
    MarkDirty(*replica);
    return;
  }
  MILLRACE_SOMETIMES("a replica that could not read its log fell silent");
  replica->Fail(why);
}

void Host::SetMayLead(bool may_lead) {
  if (std::exchange(may_lead_, may_lead) == may_lead) return;
  for (auto& [group, replica] : replicas_) {
    if (replica->has_joined()) UpdateMayLead(*replica);
  }
}

void Host::OnPeerConnected(const BrokerIncarnation& peer) {
  for (auto& [group, replica] : replicas_) {
    if (!replica->has_joined()) continue;
    replica->core().PeerConnected(peer, ElectionTurn(*replica));
    if (replica->core().HasReady()) MarkDirty(*replica);
  }
}

void Host::UpdateMayLead(Replica& replica) {
  const bool is_alone = replica.core().configuration().Members().size() == 1;
  const bool can_write = replica.stall.ok() || is_alone;
  if (may_lead_ && can_write && replica.apply_fault().ok()) {
    replica.core().LeadAgain();
  } else {
    replica.core().StopLeading();
  }
  MarkDirty(replica);
}

void Host::OnPeerDisconnected(BrokerId peer) {
  for (auto& [group, replica] : replicas_) {
    if (!replica->has_joined()) continue;
    replica->core().PeerDisconnected(peer, ElectionTurn(*replica));
    MarkDirty(*replica);
  }
}

uint32_t Host::ElectionTurn(const Replica& replica) const {
  const core::Configuration& configuration = replica.core().configuration();
  uint32_t turn = 0;
  uint32_t voters = 0;
  for (const Voter& voter : configuration.Members()) {
    const bool is_self = voter == SelfOf(replica);
    const bool is_here = is_self || environment_.transport.IsConnected(voter.broker);
    if (!is_here || !configuration.IsVoter(voter)) continue;
    if (is_self) turn = voters;
    ++voters;
  }
  if (voters == 0) return 0;
  return static_cast<uint32_t>((turn + replica.group().value()) % voters);
}

void Host::OnTick() {
  Start();
  for (auto& [group, replica] : replicas_) {
    if (!replica->has_joined()) continue;
    replica->core().Tick();
    if (replica->core().HasReady()) MarkDirty(*replica);
  }
  WatchDisk();
}

Duration Host::oldest_write_age() const {
  if (outstanding_writes_.empty()) return Duration(0);
  return std::max(environment_.clock.Now() - outstanding_writes_.front().submitted, Duration(1));
}

void Host::WatchDisk() {
  const Duration waited = oldest_write_age();
  if (waited < options_.tick * options_.election_timeout_ticks) return;
  for (auto& [group, replica] : replicas_) {
    if (!replica->has_joined() || !replica->core().is_leader()) continue;
    if (replica->core().configuration().Members().size() == 1) continue;
    LOG(WARNING) << "the disk stalls, giving up leadership " << replica->Name()
                 << " waited_us=" << waited.count();
    MILLRACE_SOMETIMES("a stalled disk gave up a leadership");
    replica->core().StepDown();
    MarkDirty(*replica);
    return;  // One a tick: staggered.
  }
}

void Host::MarkDirty(Replica& replica) {
  if (replica.is_dirty) return;
  replica.is_dirty = true;
  dirty_.push_back(replica.group());
  if (is_flush_posted_) return;
  is_flush_posted_ = true;
  environment_.executor.Post([this, alive = is_alive_] {
    if (*alive) Flush();
  });
}

void Host::Flush() {
  is_flush_posted_ = false;
  std::vector<RaftGroupId> dirty = std::exchange(dirty_, {});
  std::vector<ReplicaWrite> writes;
  for (const RaftGroupId group : dirty) {
    Replica* replica = FindMutable(group);
    if (replica == nullptr) continue;
    replica->is_dirty = false;
    if (replica->has_joined()) Drain(*replica, &writes);
  }
  if (!writes.empty()) SubmitWrites(std::move(writes));
}

void Host::Drain(Replica& replica, std::vector<ReplicaWrite>* writes) {
  while (replica.has_joined() && replica.core().HasReady()) {
    core::Ready ready = replica.core().TakeReady();
    if (!ready.fault.ok()) {
      replica.Fail(std::move(ready.fault));
      return;
    }
    SendMessages(replica, std::move(ready.messages));
    if (ready.write.has_value()) {
      writes->push_back({.replica = replica.id(), .write = std::move(*ready.write)});
    }
    for (const core::EntriesWanted& wanted : ready.wanted) ReadForPeer(replica, wanted);
    for (const core::FollowerBehind& follower : ready.behind) {
      ++followers_left_behind_;
      LOG(ERROR) << "a follower says that it needs entries that are not kept any more group="
                 << replica.group() << " peer=" << follower.peer << " needed=" << follower.needed
                 << " begin=" << replica.core().log().begin().index;
    }
    for (const auto& read : ready.read_states) {
      auto barrier = replica.barriers().find(read.request_id);
      if (barrier != replica.barriers().end()) barrier->second.index = read.index;
    }
    // A lost leadership first: what another leader committed in the place of this one's proposals
    // must not be taken for them. Then again, for a new leader is ready once its no-op is applied.
    replica.UpdateLeadership();
    replica.ApplyCommitted(environment_.log_store);
    replica.UpdateLeadership();
    replica.CompleteBarriers();
    if (ready.wants_no_op && replica.core().is_leader()) ProposeNoOp(replica);
  }
}

void Host::SendMessages(Replica& replica, std::vector<core::OutgoingMessage> messages) {
  for (core::OutgoingMessage& outgoing : messages) {
    const auto* append = std::get_if<core::AppendRequest>(&outgoing.message);
    const bool is_bulk = append != nullptr && !append->entries.empty() &&
                         append->entries.front().index <= replica.core().log().prefix().index;
    const RaftRoute route{
        .group = replica.group(), .from = replica.record().number, .to = outgoing.to};
    environment_.transport.SendRaft(route, std::move(outgoing.message), is_bulk);
  }
}

void Host::ReadForPeer(Replica& replica, const core::EntriesWanted& wanted) {
  MILLRACE_SOMETIMES("a follower was caught up from segments");
  environment_.log_store.Read(
      replica.group(), wanted.first_index, std::min(wanted.bytes_max, kReadBytes),
      [this, id = replica.id(), wanted,
       alive = is_alive_](Result<std::vector<core::Entry>> entries) {
        if (!*alive) return;
        Replica* waiting = FindLife(id);
        if (waiting == nullptr || !waiting->has_joined()) return;
        LOG_IF(WARNING, !entries.ok())
            << "cannot read entries for a follower " << waiting->Name()
            << " index=" << wanted.first_index << " why=" << entries.status();
        if (!entries.ok() && entries.status().code() != Code::kOutOfRange) {
          ReportUnreadable(waiting->group(), entries.status());
          if (!waiting->has_joined()) return;
        }
        waiting->core().OnEntriesRead(
            wanted.peer, wanted.first_index,
            entries.ok() ? std::move(*entries) : std::vector<core::Entry>());
        MarkDirty(*waiting);
      });
}

void Host::SubmitWrites(std::vector<ReplicaWrite> writes) {
  std::vector<std::pair<ReplicaId, core::DurablePoint>> points;
  points.reserve(writes.size());
  for (const ReplicaWrite& write : writes) {
    points.emplace_back(write.replica, write.write.durable_point);
  }
  outstanding_writes_.push_back({.submitted = environment_.clock.Now()});
  environment_.log_store.Write(std::move(writes),
                               [this, points = std::move(points), alive = is_alive_] {
                                 if (*alive) OnWritten(points);
                               });
}

void Host::OnWritten(const std::vector<std::pair<ReplicaId, core::DurablePoint>>& points) {
  CHECK(!outstanding_writes_.empty());
  outstanding_writes_.pop_front();
  for (const auto& [id, point] : points) {
    Replica* replica = FindLife(id);
    if (replica == nullptr || !replica->has_joined()) continue;
    replica->core().OnDurable(point);
    MarkDirty(*replica);
  }
}

void Host::OnSegmentsGrew(RaftGroupId group, LogIndex readable_end) {
  Replica* replica = FindMutable(group);
  if (replica == nullptr || !replica->has_joined()) return;
  const uint64_t share = options_.tail_bytes_max / std::max<size_t>(1, replicas_.size());
  replica->TrimTail(readable_end, std::max(share, kTailBytesMin));
}

void Host::OnSegmentsState(RaftGroupId group, Status state) {
  Replica* replica = FindMutable(group);
  if (replica == nullptr || !replica->health().ok()) return;
  if (state.code() == Code::kDataLoss) return replica->Fail(std::move(state));
  replica->stall = std::move(state);
  if (replica->has_joined()) UpdateMayLead(*replica);
}

void Host::CheckInvariants() const {
  for (const auto& [group, replica] : replicas_) {
    if (!replica->has_joined()) continue;
    replica->core().CheckInvariants();
    CHECK_LE(replica->applied(), std::max(replica->core().commit_index(), replica->applied()));
  }
}

}  // namespace millrace::raft
