#include "raft/host/host.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"

namespace millrace::raft {
namespace {

// How often a replica is asked whether its segment is to be ended: each second.
constexpr uint64_t kTicksPerLook = 40;
// A group's tail is never trimmed below this, however many groups share the budget.
constexpr uint64_t kTailBytesMin = 64 << 10;

}  // namespace

Host::Host(const HostOptions& options, const HostEnvironment& environment, Random random)
    : options_(options),
      environment_(environment),
      random_(random),
      turn_(environment, replicas_),
      shared_{.environment = environment, .turn = turn_, .namer = {}},
      source_(environment, replicas_),
      puller_(environment, options.boot_epoch),
      restorer_(environment, puller_, replicas_, turn_,
                [this](RecoveredReplica restored) { Rebuild(std::move(restored)); }),
      repairer_(environment, puller_, replicas_,
                [this](RaftGroupId group) { return restorer_.IsUnderWay(group); }) {
  CHECK_NE(options_.self.broker, BrokerId());
  shared_.on_behind = [this](const Replica& replica, const Voter& source) {
    if (!restorer_.IsUnderWay(replica.group())) repairer_.Forget(replica.group());
    restorer_.OnBehind(replica, source);
  };
  shared_.is_lost = [this](RaftGroupId group) { return repairer_.IsLost(group); };
  environment_.log_store.SetDamageListener(
      lifetime_.Guard([this](RaftGroupId group) { repairer_.OnDamage(group); }));
  environment_.log_store.SetSegmentListener(lifetime_.Guard(
      [this](RaftGroupId group, LogIndex readable_end) { OnSegmentsGrew(group, readable_end); }));
  environment_.log_store.SetBeginListener(
      lifetime_.Guard([this](RaftGroupId group, const core::LogPoint& begin) {
        Replica* replica = replicas_.Find(group);
        if (replica != nullptr) replica->OnBegin(begin);
      }));
  environment_.log_store.SetSegmentsStateListener(
      lifetime_.Guard([this](RaftGroupId group, Status state) {
        Replica* replica = replicas_.Find(group);
        if (replica != nullptr) replica->OnSegmentsState(std::move(state));
      }));
  environment_.log_store.SetRecoveredListener(lifetime_.Guard([this](RecoveredReplica recovered) {
    MILLRACE_SOMETIMES("a replica that could not be read at start joined later");
    LOG(INFO) << "replica could be read " << replicas_.NameOf(recovered.record.group);
    Rebuild(std::move(recovered));
  }));
}

Host::~Host() { Stop(); }

void Host::Start() {
  tick_timer_ =
      environment_.executor.RunAfter(options_.tick, lifetime_.Guard([this] { OnTick(); }));
}

void Host::Stop() {
  environment_.executor.Cancel(tick_timer_);
  lifetime_.End();
  turn_.Stop();
  source_.Stop();
  puller_.Stop();
  restorer_.Stop();
  repairer_.Stop();
  replicas_.ForEachJoined([](Replica& replica) { replica.SaveLastState(); });
  replicas_.Halt();
}

std::unique_ptr<Replica> Host::MakeReplica(const ReplicaRecord& record, StateMachine& machine) {
  CHECK(replicas_.Find(record.group) == nullptr) << "group=" << record.group;
  const core::Options options{
      .self = {options_.self.broker, options_.self.incarnation, record.number},
      .election_timeout_ticks = options_.election_timeout_ticks,
      .heartbeat_ticks = options_.heartbeat_ticks,
      .uncommitted_bytes_max = options_.uncommitted_bytes_max,
      .random_seed = random_.Next()};
  return std::make_unique<Replica>(record, options, shared_, machine);
}

void Host::AddReplica(RecoveredReplica recovered, StateMachine& machine) {
  std::unique_ptr<Replica> replica = MakeReplica(recovered.record, machine);
  // Before the others can find it: a machine that is restored may act on what it finds here.
  replica->Recover(std::move(recovered));
  Replica& added = replicas_.Add(std::move(replica));
  added.Replay();
  if (added.without_state() != nullptr) {
    repairer_.Forget(added.group());
    restorer_.OnStateLost(added);
  } else if (environment_.log_store.HasDamage(added.group())) {
    repairer_.OnDamage(added.group());
  }
}

void Host::CreateReplica(const ReplicaRecord& record, bool campaign, StateMachine& machine) {
  replicas_.Add(MakeReplica(record, machine)).Create(campaign);
}

void Host::RemoveReplica(RaftGroupId group, LogIndex controller_index, Task done) {
  Replica* replica = replicas_.Find(group);
  CHECK(replica != nullptr) << "group=" << group;
  restorer_.Forget(group);
  repairer_.Forget(group);
  if (replica->has_joined()) {
    replica->Stop(NotFound("the partition was deleted", Reason::kTopicDeleted));
  }
  replicas_.Remove(group);
  environment_.log_store.RemoveReplica(group, controller_index, std::move(done));
}

void Host::OnPeerMessage(const BrokerIncarnation& from, PeerKind kind, const Bytes& body) {
  switch (kind) {
    case PeerKind::kRangeRequest:
      return source_.OnRangeRequest(from, body);
    case PeerKind::kStateRequest:
      return source_.OnStateRequest(from, body);
    case PeerKind::kRangeReply:
      return puller_.OnRangeReply(from, body);
    case PeerKind::kStatePiece:
      return puller_.OnStatePiece(from, body);
    case PeerKind::kBootstrap:
    case PeerKind::kLeaderReport:
    case PeerKind::kForwardRequest:
    case PeerKind::kForwardReply:
      break;
  }
}

// A silent one is to take part: its log could be read at last, or was restored.
void Host::Rebuild(RecoveredReplica recovered) {
  Replica* silent = replicas_.Find(recovered.record.group);
  if (silent == nullptr) return;
  CHECK(!silent->health().ok()) << "group=" << recovered.record.group;
  StateMachine& machine = silent->machine();
  replicas_.Remove(recovered.record.group);
  AddReplica(std::move(recovered), machine);
}

uint64_t Host::tail_bytes() const {
  uint64_t bytes = 0;
  replicas_.ForEachJoined(
      [&bytes](const Replica& replica) { bytes += replica.core().log().tail_bytes(); });
  return bytes;
}

void Host::OnRaftMessage(const Voter& from, RaftGroupId group, ReplicaNumber to,
                         core::Message message) {
  // To another life of the replica, which this one knows nothing of: dropped.
  Replica* replica = replicas_.Find(ReplicaId{group, to});
  if (replica != nullptr) replica->OnMessage(from, std::move(message));
}

void Host::SetMayLead(bool may_lead) {
  if (std::exchange(shared_.may_lead, may_lead) == may_lead) return;
  replicas_.ForEachJoined([](Replica& replica) { replica.UpdateMayLead(); });
}

void Host::OnPeerConnected(const BrokerIncarnation& peer) {
  replicas_.ForEachJoined(
      [&](Replica& replica) { replica.OnPeerConnected(peer, ElectionTurn(replica)); });
}

void Host::OnPeerDisconnected(BrokerId peer) {
  replicas_.ForEachJoined(
      [&](Replica& replica) { replica.OnPeerDisconnected(peer, ElectionTurn(replica)); });
}

uint32_t Host::ElectionTurn(const Replica& replica) const {
  const core::Configuration& configuration = replica.core().configuration();
  uint32_t turn = 0;
  uint32_t voters = 0;
  for (const Voter& voter : configuration.Members()) {
    const bool is_self = voter == replica.self();
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
  ++ticks_;
  replicas_.ForEachJoined([this](Replica& replica) {
    replica.OnTick();
    // Not all in one tick.
    if ((ticks_ + replica.group().value()) % kTicksPerLook != 0) return;
    replica.SaveStateIfDue();
    replica.LookForRoom();
  });
  GiveUpLeadershipIfDiskStalls();
}

void Host::GiveUpLeadershipIfDiskStalls() {
  const Duration waited = oldest_write_age();
  if (waited < options_.tick * options_.election_timeout_ticks) return;
  bool is_one_given_up = false;  // One a tick: staggered.
  replicas_.ForEachJoined([&](Replica& replica) {
    if (is_one_given_up || !replica.core().is_leader() || replica.is_alone()) return;
    LOG(WARNING) << "the disk stalls, giving up leadership " << replica.Name()
                 << " waited_us=" << waited.count();
    MILLRACE_SOMETIMES("a stalled disk gave up a leadership");
    replica.StepDown();
    is_one_given_up = true;
  });
}

void Host::OnSegmentsGrew(RaftGroupId group, LogIndex readable_end) {
  Replica* replica = replicas_.Find(group);
  if (replica == nullptr) return;
  const uint64_t share = options_.tail_bytes_max / std::max<size_t>(1, replicas_.size());
  replica->OnSegmentsGrew(readable_end, std::max(share, kTailBytesMin));
}

void Host::CheckInvariants() const {
  replicas_.ForEachJoined([](const Replica& replica) { replica.CheckInvariants(); });
}

}  // namespace millrace::raft
