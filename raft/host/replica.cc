#include "raft/host/replica.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "proto/frame/frame.h"
#include "raft/host/append_admission.h"

namespace millrace::raft {
namespace {

// Entries read back from segments in one go, for a follower.
constexpr uint64_t kReadBytes = 1 << 20;
// Leaders refuse what is bulk past this, as a share of what the journal may hold.
constexpr double kLeaderPressureMax = 1;
// Followers refuse entries a little later, so that what leaders took can be replicated.
constexpr double kFollowerPressureMax = 1.2;
// While its segments cannot be written a replica takes entries up to here: what it was sent before
// somebody noticed must not stand between it and a command that makes room. They stay in the
// journal, which the other groups need, too.
constexpr double kStalledPressureMax = 0.5;
// Up to here where a majority has no room: its leader takes no more then, so that what still comes
// is all there is, and stands before the commands that make room.
constexpr double kLastEntriesPressureMax = 1.5;
// So many election timeouts without a leader, and a replica leads whose segments cannot be written.
constexpr uint32_t kLeaderlessTimeouts = 4;
// So many such timeouts as leader, and it lets others have it.
constexpr uint32_t kStalledLeadTimeouts = 32;
// After how long whoever would write where too many disks are full may ask again.
constexpr int64_t kFullRetryMs = 1000;
// After how long whoever would write to a replica may ask again, while its segments cannot be
// written.
constexpr int64_t kStallRetryMs = 500;
// After how long whoever reads what is being repaired may ask again.
constexpr int64_t kRepairRetryMs = 100;

void WarnOfFullJournal(double pressure) {
  LOG_EVERY_T(WARNING, 10)
      << "the journal is full, leaders' entries are refused until older ones are in "
         "segments; --journal-bytes-max gives it more room pressure="
      << pressure;
}

}  // namespace

Replica::Replica(ReplicaRecord record, const core::Options& options, ReplicaShared& shared,
                 StateMachine& machine)
    : record_(std::move(record)), options_(options), shared_(&shared), machine_(&machine) {
  machine_->Attach(*this);
}

std::string Replica::Name() const {
  std::string name = "group=" + std::to_string(group().value());
  if (shared_->namer) name += " " + shared_->namer(record_);
  return name;
}

Status Replica::CheckMayPropose(ProposalClass proposal_class) const {
  if (!has_joined() || !core_->is_leader()) return NotLeader();
  if (proposal_class == ProposalClass::kControl) return Status::Ok();
  if (!stall_.ok()) return NotLeader();
  if (shared_->environment.log_store.journal_pressure() > kLeaderPressureMax) {
    return ResourceExhausted("the journal is full; segments are being written", Reason::kThrottled)
        .RetryAfterMs(100);
  }
  if (LacksMajorityWithRoom()) {
    MILLRACE_SOMETIMES("a leader refused records as a majority had no room");
    return ResourceExhausted("the disks of too many brokers that hold the partition are full",
                             Reason::kDiskFull)
        .RetryAfterMs(kFullRetryMs);
  }
  return Status::Ok();
}

// Alike on all replicas, so that followers know whether their leader takes more.
bool Replica::LacksMajorityWithRoom() const {
  const HostEnvironment& environment = shared_->environment;
  const std::vector<Voter>& voters = core_->configuration().voters;
  const auto with_room = std::ranges::count_if(voters, [&](const Voter& voter) {
    return voter == self() ? environment.log_store.admission().ok()
                           : !environment.transport.IsDiskFull(voter.broker);
  });
  return 2 * static_cast<size_t>(with_room) <= voters.size();
}

double Replica::EntriesPressureMax() const {
  if (stall_.ok()) return kFollowerPressureMax;
  return LacksMajorityWithRoom() ? kLastEntriesPressureMax : kStalledPressureMax;
}

Result<LogIndex> Replica::Propose(ProposalClass proposal_class, FrameHeader draft, Buffer frame) {
  RETURN_IF_ERROR(CheckMayPropose(proposal_class));
  draft.group = group();
  draft.term = core_->term();
  draft.index = core_->log().last_index() + 1;
  draft.chain = FrameChain(core_->log().last_chain(), draft);
  core::Entry entry{
      .term = draft.term,
      .index = draft.index,
      .type = draft.type == FrameType::kNoOp ? core::EntryType::kNoOp : core::EntryType::kCommand,
      .chain = draft.chain,
      .frame = SealFrame(draft, std::move(frame)),
      .configuration = nullptr};
  RETURN_IF_ERROR(core_->Propose(std::move(entry)));
  shared_->turn.Add(*this);
  return draft.index;
}

void Replica::ProposeNoOp() {
  const FrameHeader draft{
      .type = FrameType::kNoOp,
      .flags = kFrameControl,
      .base_offset = next_offset(),
      .append_time_ms = std::max(shared_->environment.clock.WallMs(), last_append_time_ms())};
  const Result<LogIndex> index = Propose(ProposalClass::kControl, draft, AllocateFrame(0));
  CHECK(index.ok()) << "group=" << group() << " " << index.status();
}

void Replica::ReadBarrier(MoveFunction<void(Status)> done) {
  if (!has_joined() || !leadership_.is_ready) return done(NotLeader());
  const uint64_t id = barriers_.NewId();
  if (Status status = core_->ReadIndex(id); !status.ok()) return done(std::move(status));
  barriers_.Add(id, std::move(done));
  shared_->turn.Add(*this);
}

Status Replica::NotLeader() const {
  if (health_.reason() == Reason::kTopicDeleted) return health_;
  if (!health_.ok()) {
    return Unavailable("this broker's replica is silent: " + std::string(health_.message()),
                       Reason::kReplicaSilent);
  }
  if (!apply_fault_.ok()) {
    return Unavailable("this broker's replica has stopped: " + std::string(apply_fault_.message()),
                       Reason::kReplicaSilent);
  }
  if (!stall_.ok()) {
    return Unavailable("this broker cannot write the partition's segments and tries again: " +
                           std::string(stall_.message()),
                       Reason::kReplicaSilent)
        .RetryAfterMs(kStallRetryMs);
  }
  Status status = Unavailable("this broker does not lead the partition", Reason::kNotLeader);
  if (const BrokerId leader = leadership_.leader.broker; has_joined() && leader != BrokerId()) {
    status.AddMetadata("leader_id", std::to_string(leader.value()));
  }
  return status;
}

Status Replica::ReportUnreadable(const Status& why) {
  if (!has_joined() || is_alone()) return why;
  if (why.code() != Code::kDataLoss) {
    MILLRACE_SOMETIMES_IF("a leader that could not read its log gave it away", core_->is_leader());
    StepDown();
    return why;
  }
  const bool is_lost = shared_->is_lost && shared_->is_lost(group());
  const LogStore& store = shared_->environment.log_store;
  if (is_lost || !store.HasDamage(group())) return why;
  // What is written on is ended first, for which followers may be needed that lack what is damaged.
  if (!store.damaged_range(group()).has_value()) StepDown();
  return Unavailable("what is damaged here is being repaired from another replica: " +
                         std::string(why.message()),
                     Reason::kReplicaSilent)
      .RetryAfterMs(kRepairRetryMs);
}

Offset Replica::next_offset() const {
  CHECK(has_joined()) << "group=" << group();
  const core::Log& log = core_->log();
  if (log.prefix().index == log.last_index()) return machine_->next_offset();
  const FrameHeader& last = log.At(log.last_index()).frame.header();
  return last.base_offset + last.offset_span;
}

int64_t Replica::last_append_time_ms() const {
  CHECK(has_joined()) << "group=" << group();
  const core::Log& log = core_->log();
  if (log.prefix().index == log.last_index()) return machine_->last_append_time_ms();
  return log.At(log.last_index()).frame.header().append_time_ms;
}

std::optional<TailView> Replica::tail() const {
  if (!has_joined()) return std::nullopt;
  const core::Log& log = core_->log();
  return TailView(log, MILLRACE_MUTANT(kFetchServesUncommitted) ? log.last_index() : applied_);
}

void Replica::OnMessage(const Voter& from, core::Message message) {
  if (!has_joined()) return;
  if (auto* append = std::get_if<core::AppendRequest>(&message)) {
    TakeLeadersLogStart(append->log_start);
    const double pressure = shared_->environment.log_store.journal_pressure();
    if (!append->entries.empty() && pressure > EntriesPressureMax()) {
      if (pressure > kFollowerPressureMax) WarnOfFullJournal(pressure);
      if (!KeepWhatMakesRoom(core_->log(), core_->commit_index(), append)) return;
    }
    if (!FollowsOn(core_->log(), *append)) {
      LOG_EVERY_T(ERROR, 60) << "entries that break the chain were not taken " << Name()
                             << " from=" << from.broker << " after=" << append->prev_index;
      return;
    }
  }
  if (const auto* reply = std::get_if<core::AppendReply>(&message)) passes_[from] = reply->pass;
  core_->Step(from, std::move(message));
  shared_->turn.Add(*this);
}

uint32_t Replica::settled_pass() const {
  if (!has_joined()) return 0;
  uint32_t settled = shared_->environment.log_store.compacted(group()).pass;
  for (const Voter& member : core_->configuration().Members()) {
    if (member == self()) continue;
    const auto told = passes_.find(member);
    settled = std::min(settled, told == passes_.end() ? 0 : told->second);
  }
  return settled;
}

void Replica::TellPass() {
  if (!has_joined()) return;
  core_->AnswerAgain();
  shared_->turn.Add(*this);
}

void Replica::OnTick() {
  if (!has_joined()) return;
  core_->Tick();
  if (ShouldOthersLead()) LeadIfNobodyElseDoes();
  if (core_->HasReady()) shared_->turn.Add(*this);
}

bool Replica::HasRoomElsewhere() const {
  const Transport& transport = shared_->environment.transport;
  return std::ranges::any_of(core_->configuration().voters, [&](const Voter& voter) {
    return voter != self() && transport.IsConnected(voter.broker) &&
           !transport.IsDiskFull(voter.broker);
  });
}

// Not where the others have no room either: then a change of leaders helps nobody.
bool Replica::ShouldOthersLead() const {
  if (is_alone()) return false;
  if (stall_.reason() == Reason::kDiskFull) return HasRoomElsewhere();
  return !stall_.ok() || lacks_room_;
}

void Replica::LookForRoom() {
  if (!has_joined()) return;
  const bool is_full = shared_->environment.log_store.admission().reason() == Reason::kDiskFull;
  lacks_room_ = is_full && HasRoomElsewhere();
  if (ShouldOthersLead() == lets_others_lead_) return;
  MILLRACE_SOMETIMES_IF("a leader whose disk was full let others lead",
                        lacks_room_ && core_->is_leader());
  LOG_IF(INFO, lacks_room_ && core_->is_leader())
      << "the disk is full, letting another broker lead " << Name();
  stalled_ticks_ = 0;
  UpdateMayLead();
}

// Where all stall, as on disks that are full alike, somebody must lead: to read, and for the
// commands that make room. Not for ever, as another one may have room by then.
void Replica::LeadIfNobodyElseDoes() {
  const bool leads = core_->is_leader();
  const bool is_followed = !leads && core_->leader().broker != BrokerId();
  if (std::exchange(led_while_stalled_, leads) != leads || is_followed) stalled_ticks_ = 0;
  if (is_followed) core_->StopLeading();
  const uint32_t timeouts = ++stalled_ticks_ / options_.election_timeout_ticks;
  if (leads && timeouts == kStalledLeadTimeouts) UpdateMayLead();
  if (!leads && timeouts == kLeaderlessTimeouts && shared_->may_lead && apply_fault_.ok()) {
    MILLRACE_SOMETIMES("a replica led whose segments could not be written");
    core_->LeadAgain();
  }
}

void Replica::OnPeerConnected(const BrokerIncarnation& peer, uint32_t delay_ticks) {
  if (!has_joined()) return;
  core_->PeerConnected(peer, delay_ticks);
  if (core_->HasReady()) shared_->turn.Add(*this);
}

void Replica::OnPeerDisconnected(BrokerId peer, uint32_t delay_ticks) {
  if (!has_joined()) return;
  core_->PeerDisconnected(peer, delay_ticks);
  shared_->turn.Add(*this);
}

void Replica::OnDurable(const core::DurablePoint& point) {
  if (!has_joined()) return;
  core_->OnDurable(point);
  shared_->turn.Add(*this);
}

void Replica::StepDown() {
  if (!has_joined()) return;
  core_->StepDown();
  shared_->turn.Add(*this);
}

void Replica::OnSegmentsState(Status state) {
  const bool is_final = state.code() == Code::kDataLoss;
  if (is_final && (health_.ok() || !has_joined())) return Fail(std::move(state));
  if (!health_.ok()) return;
  stall_ = std::move(state);
  stalled_ticks_ = 0;
  UpdateMayLead();
}

void Replica::UpdateMayLead() {
  if (!has_joined()) return;
  lets_others_lead_ = ShouldOthersLead();
  if (shared_->may_lead && !lets_others_lead_ && apply_fault_.ok()) {
    core_->LeadAgain();
  } else {
    core_->StopLeading();
  }
  shared_->turn.Add(*this);
}

void Replica::Drain(std::vector<ReplicaWrite>* writes) {
  while (has_joined() && core_->HasReady()) {
    core::Ready ready = core_->TakeReady();
    if (!ready.fault.ok()) return Fail(std::move(ready.fault));
    SendMessages(std::move(ready.messages));
    if (ready.write.has_value()) {
      writes->push_back({.replica = id(), .write = std::move(*ready.write)});
    }
    for (const core::EntriesWanted& wanted : ready.wanted) ReadForPeer(wanted);
    for (const core::FollowerBehind& follower : ready.behind) {
      ++shared_->followers_left_behind;
      LOG(INFO) << "a follower needs entries that are not kept any more, and is to restore itself "
                << Name() << " peer=" << follower.peer << " needed=" << follower.needed
                << " begin=" << core_->log().begin().index;
    }
    if (ready.left_behind_by.has_value() && shared_->on_behind) {
      shared_->on_behind(*this, *ready.left_behind_by);
    }
    for (const auto& read : ready.read_states) barriers_.OnConfirmed(read.request_id, read.index);
    // A lost leadership first: what another leader committed in the place of this one's proposals
    // must not be taken for them. Then again, for a new leader is ready once its no-op is applied.
    UpdateLeadership();
    ApplyCommitted();
    UpdateLeadership();
    if (leadership_.is_leader) {
      barriers_.Complete(applied_);
    } else {
      barriers_.CompleteOrFail(applied_);
    }
    if (ready.wants_no_op && has_joined() && core_->is_leader()) ProposeNoOp();
  }
}

void Replica::SendMessages(std::vector<core::OutgoingMessage> messages) {
  for (core::OutgoingMessage& outgoing : messages) {
    auto* append = std::get_if<core::AppendRequest>(&outgoing.message);
    if (append != nullptr) append->log_start = machine_->log_start();
    auto* reply = std::get_if<core::AppendReply>(&outgoing.message);
    if (reply != nullptr) reply->pass = shared_->environment.log_store.compacted(group()).pass;
    const bool is_bulk = append != nullptr && !append->entries.empty() &&
                         append->entries.front().index <= core_->log().prefix().index;
    shared_->environment.transport.SendRaft(
        {.group = group(), .from = record_.number, .to = outgoing.to}, std::move(outgoing.message),
        is_bulk);
  }
}

void Replica::ReadForPeer(const core::EntriesWanted& wanted) {
  MILLRACE_SOMETIMES("a follower was caught up from segments");
  shared_->environment.log_store.Read(
      group(), wanted.first_index, std::min(wanted.bytes_max, kReadBytes),
      lifetime_.Guard([this, wanted](Result<std::vector<core::Entry>> entries) {
        OnReadForPeer(wanted, std::move(entries));
      }));
}

void Replica::OnReadForPeer(const core::EntriesWanted& wanted,
                            Result<std::vector<core::Entry>> entries) {
  if (!has_joined()) return;
  // Its own begin may have passed it.
  const bool was_dropped = wanted.first_index <= core_->log().begin().index;
  const bool is_error = !entries.ok() && entries.status().code() != Code::kOutOfRange;
  const Status why = is_error ? ReportUnreadable(entries.status()) : entries.status();
  if (!why.ok() && !was_dropped) {
    LOG_EVERY_T(WARNING, 1) << "cannot read entries for a follower " << Name()
                            << " index=" << wanted.first_index << " why=" << why;
  }
  core_->OnEntriesRead(wanted.peer, wanted.first_index,
                       entries.ok() ? std::move(*entries) : std::vector<core::Entry>());
  shared_->turn.Add(*this);
}

void Replica::Fail(Status why) {
  LOG(ERROR) << "replica stopped " << Name() << " why=" << why;
  Stop(std::move(why));
}

void Replica::Stop(Status why) {
  core_.reset();
  without_state_.reset();
  health_ = std::move(why);
  leadership_ = Leadership{};
  machine_->OnLeadership(leadership_);
  barriers_.CompleteOrFail(applied_);
}

void Replica::Halt() {
  lifetime_.End();
  joining_.reset();
  without_state_.reset();
  core_.reset();
  leadership_ = Leadership{};
  barriers_.Clear();
}

void Replica::Apply(const core::Entry& entry) {
  CHECK(apply_fault_.ok()) << "group=" << group() << " " << apply_fault_;
  if (IsRewritten(entry.frame.header())) {
    return StopApplying(DataLoss("entry " + std::to_string(entry.index.value()) +
                                 " was compacted before the state had it"));
  }
  if (entry.type == core::EntryType::kUnknown) {
    MILLRACE_SOMETIMES("a replica met an entry of a newer build");
    return StopApplying(NotUnderstood(entry.frame.header()));
  }
  CHECK_EQ(entry.index, applied_ + 1) << "group=" << group();
  CHECK_GE(entry.term, applied_term_) << "group=" << group();
  // Before the machine hears of it: a reader that Apply wakes must find this entry applied.
  applied_ = entry.index;
  applied_term_ = entry.term;
  Status applied = machine_->Apply(entry);
  if (applied.ok()) return;
  applied_ = entry.index - 1;
  StopApplying(applied.With("entry " + std::to_string(entry.index.value()) + " cannot be applied"));
}

void Replica::StopApplying(Status why) {
  LOG(ERROR) << "replica applies no further " << Name() << " why=" << why;
  apply_fault_ = std::move(why);
  if (has_joined()) core_->StopLeading();
  // A follower's leadership does not change by this; those who watch it must look again.
  machine_->OnLeadership(leadership_);
}

void Replica::ApplyCommitted() {
  const LogIndex commit = core_->commit_index();
  while (apply_fault_.ok() && applied_ < commit) Apply(core_->log().At(applied_ + 1));
}

// By commit, not by what was applied: what this replica cannot apply others may need from it, and
// the journal cannot hold it for ever.
void Replica::TellCommitted() {
  if (!has_joined() || core_->commit_index() <= told_committed_) return;
  LogStore& store = shared_->environment.log_store;
  told_committed_ = core_->commit_index();
  store.Commit(group(), told_committed_);
  TellLogStart();
  SaveStateIfDue();
}

// The command that moved it may lie behind more entries than there is room for here. This replica
// cannot lead before it has that command, so that nobody reads here what goes.
void Replica::TakeLeadersLogStart(Offset start) {
  if (stall_.ok() || start <= told_log_start_) return;
  MILLRACE_SOMETIMES("a replica without room let go of what its leader does not keep");
  shared_->environment.log_store.SetLogStart(group(), std::min(start, machine_->next_offset()));
}

void Replica::TellLogStart() {
  const Offset start = machine_->log_start();
  if (start == told_log_start_) return;
  CHECK_GT(start, told_log_start_) << "group=" << group();
  told_log_start_ = start;
  shared_->environment.log_store.SetLogStart(group(), start);
}

void Replica::SaveStateIfDue() {
  if (!has_joined()) return;
  LogStore& store = shared_->environment.log_store;
  if (!store.WantsRoll(group(), shared_->environment.clock.Now())) {
    const bool is_due = apply_fault_.ok() && store.WantsCheckpoint(group());
    if (is_due) store.Checkpoint(group(), applied_, machine_->TakeSnapshot());
    return;
  }
  // A segment is sealed with the state at its end, which a replica that stopped does not have.
  if (!apply_fault_.ok()) return store.Roll(group(), told_committed_, std::nullopt);
  MILLRACE_SOMETIMES("a segment was rolled");
  store.Roll(group(), applied_, machine_->TakeSnapshot());
}

void Replica::SaveLastState() {
  LogStore& store = shared_->environment.log_store;
  const bool is_due = has_joined() && apply_fault_.ok() && store.WantsLastCheckpoint(group());
  if (is_due) store.Checkpoint(group(), applied_, machine_->TakeSnapshot());
}

void Replica::UpdateLeadership() {
  Leadership now{.is_leader = core_->is_leader(),
                 .is_ready = core_->is_leader() && applied_term_ == core_->term(),
                 .term = core_->term(),
                 .leader = core_->leader()};
  if (now == leadership_) return;
  if (now.is_leader && !leadership_.is_leader) {
    LOG(INFO) << "became leader " << Name() << " term=" << now.term;
  }
  const bool lost = leadership_.is_leader && (!now.is_leader || now.term != leadership_.term);
  if (lost) LOG(INFO) << "lost leadership " << Name() << " term=" << now.term;
  leadership_ = now;
  machine_->OnLeadership(leadership_);
  if (lost) barriers_.CompleteOrFail(applied_);
}

void Replica::OnSegmentsGrew(LogIndex readable_end, uint64_t keep_bytes) {
  if (!has_joined()) return;
  const core::Log& log = core_->log();
  const LogIndex used = apply_fault_.ok() ? applied_ : core_->commit_index();
  const LogIndex limit = std::min(readable_end, std::min(used, core_->commit_index()));
  uint64_t bytes = log.tail_bytes();
  LogIndex cut = log.prefix().index;
  while (cut < limit && bytes > keep_bytes) {
    bytes -= log.At(cut + 1).size_bytes();
    ++cut;
  }
  if (cut > log.prefix().index) core_->TrimTail(cut);
}

core::LogPoint Replica::applied_point() const {
  const core::Log& log = core_->log();
  const bool is_in_tail = log.InTail(applied_);
  CHECK(is_in_tail || applied_ == log.prefix().index) << "group=" << group();
  return {.index = applied_,
          .term = *log.TermAt(applied_),
          .chain = is_in_tail ? log.At(applied_).chain : log.prefix().chain,
          .next_offset = machine_->next_offset()};
}

void Replica::OnBegin(const core::LogPoint& begin) {
  if (!has_joined()) return;
  CHECK_LE(begin.index, applied_) << "group=" << group();
  if (core_->log().prefix().index < begin.index) core_->TrimTail(begin.index);
  core_->MoveBeginTo(begin);
}

void Replica::CheckInvariants() const {
  core_->CheckInvariants();
  CHECK_LE(applied_, std::max(core_->commit_index(), applied_)) << "group=" << group();
}

}  // namespace millrace::raft
