#include "broker/node/node.h"

#include <algorithm>
#include <memory>
#include <utility>

#include <glog/logging.h>

#include "broker/node/clock_guard.h"
#include "proto/base/coverage.h"
#include "proto/base/mutants.h"

namespace millrace::broker {
namespace {

using internal::v1::BootstrapState;
using internal::v1::BrokerRegistered;
using internal::v1::GroupLeader;
using internal::v1::LeaderReport;

// Reports are sent on every change; now and then all again, should one have been lost.
constexpr Duration kReportInterval = std::chrono::seconds(1);
constexpr Duration kRegisterRetry = std::chrono::milliseconds(10);
constexpr Duration kRegisterTimeout = std::chrono::seconds(2);
// Lookups by time. One thread reads segments and one unpacks: more at a time would only wait there,
// each with its entry.
constexpr size_t kLookupsRunningMax = 4;
// Half a KiB each; a call may ask for 10,000.
constexpr size_t kLookupsWaitingMax = 50'000;

raft::HostOptions WithSelf(raft::HostOptions options, const Identity& identity) {
  options.self = identity.self();
  options.boot_epoch = identity.boot_epoch();
  return options;
}

}  // namespace

Node::Node(const NodeOptions& options, const Environment& environment,
           std::vector<raft::RecoveredReplica> recovered, Random random)
    : options_(options),
      environment_(environment),
      client_memory_(options.client_memory_bytes_max),
      recovered_(std::move(recovered)),
      host_(WithSelf(options.host, environment.identity),
            {environment.executor, environment.clock, environment.transport, environment.log_store},
            random.Fork()),
      controller_(environment.clock),
      forwarder_(environment.executor, environment.transport, environment.identity.boot_epoch()),
      batches_(environment.executor, environment.batch_executor),
      lookups_(kLookupsRunningMax, kLookupsWaitingMax),
      producer_memory_(options.producers),
      coordinator_memory_(options.coordinator),
      registrar_(environment.executor, coordinators_),
      replicas_(host_,
                {environment.log_store, environment.clock, batches_, lookups_, controller_.image(),
                 producer_memory_, registrar_},
                coordinator_memory_, environment.executor, options.compaction,
                environment.identity.self(), random.Fork()),
      bootstrap_(options.cluster_name, environment.identity.self(), options.members,
                 environment.identity.stage(), environment.identity.controllers()),
      view_(controller_.image(), leaders_,
            {.is_current = [this] { return is_ready_; },
             .controller_health = [this] { return ControllerHealth(); }}),
      controller_server_(
          {.executor = environment.executor,
           .clock = environment.clock,
           .controller = controller_,
           .once_image_changed = [this](Task task) { view_.OnceImageChanged(std::move(task)); },
           .term_of = [this](RaftGroupId group) { return leaders_.Find(group).term; },
           .cluster_size = options.members.size(),
           .coordinator_shards = options.coordinator_shards,
           .producer_id_key = options.producer_id_key}),
      controllers_({.controller = controller_,
                    .server = controller_server_,
                    .view = view_,
                    .forwarder = forwarder_,
                    .self = self()}),
      partition_client_(
          {.executor = environment.executor,
           .view = view_,
           .find_replica = [this](RaftGroupId group) { return replicas_.Find(group); },
           .forwarder = forwarder_,
           .self = self()}),
      ends_({.applied_here = [this](RaftGroupId group) -> std::optional<Offset> {
               const Partition* replica = replicas_.Find(group);
               if (replica == nullptr) return std::nullopt;
               return replica->high_watermark();
             },
             .ask =
                 [this](RaftGroupId group, PartitionEnds::Done done) {
                   partition_client_.Offsets(
                       {}, group, {}, kForwardTimeout,
                       [done = std::move(done)](const Result<PartitionOffsets>& offsets) mutable {
                         if (!offsets.ok()) return done(offsets.status());
                         done(offsets->high_watermark);
                       });
                 }}),
      unread_client_({.clock = environment.clock,
                      .view = view_,
                      .find_replica = [this](RaftGroupId group) { return replicas_.Find(group); },
                      .forwarder = forwarder_,
                      .self = self()}),
      markers_(
          {.executor = environment.executor,
           .view = view_,
           .end = [this](RaftGroupId group, const TransactionEnd& end,
                         auto done) { EndTransaction(group, end, std::move(done)); },
           .forwarder = forwarder_,
           .self = self(),
           .markers =
               [this](RaftGroupId shard, size_t max, MarkerClient::Cursor* cursor) {
                 return transactions_.Markers(shard, max, cursor);
               },
           .ended =
               [this](RaftGroupId shard, internal::v1::ParticipantsEndedRequest request,
                      auto done) {
                 transactions_.Ended(
                     shard,
                     std::make_shared<const internal::v1::ParticipantsEndedRequest>(
                         std::move(request)),
                     [done = std::move(done)](const auto& reply) mutable { done(reply.status()); });
               }}),
      slot_producers_({.image = controller_.image(),
                       .allocate =
                           [this](auto done) {
                             controllers_.AllocateProducerIds(
                                 {.principal = {}, .timeout = kForwardTimeout}, std::move(done));
                           }}),
      transactions_({.executor = environment.executor,
                     .clock = environment.clock,
                     .image = controller_.image(),
                     .memory = coordinator_memory_,
                     .producers = slot_producers_,
                     .markers = markers_,
                     .find_shard = [this](RaftGroupId group) { return replicas_.FindShard(group); },
                     .not_leader = [this](RaftGroupId group) { return view_.NotLeader(group); }}),
      members_({.executor = environment.executor,
                .clock = environment.clock,
                .image = controller_.image(),
                .memory = coordinator_memory_,
                .find_shard = [this](RaftGroupId group) { return replicas_.FindShard(group); },
                .not_leader = [this](RaftGroupId group) { return view_.NotLeader(group); },
                .aside =
                    [this](auto work, auto done) {
                      batches_.Run<MemberServer::Target>({.kind = BatchWorker::Kind::kFetched},
                                                         std::move(work), std::move(done));
                    }}),
      lags_({.executor = environment.executor,
             .clock = environment.clock,
             .image = controller_.image(),
             .find_shard = [this](RaftGroupId group) { return replicas_.FindShard(group); },
             .not_leader = [this](RaftGroupId group) { return view_.NotLeader(group); },
             .groups_with_members =
                 [this](RaftGroupId shard) { return members_.GroupsWithMembers(shard); },
             .ask = [this](const std::vector<UnreadQuestion>& questions,
                           UnreadDone done) { unread_client_.Ask(questions, std::move(done)); }}),
      coordinator_server_(
          {.image = controller_.image(),
           .memory = coordinator_memory_,
           .ends = ends_,
           .members = members_,
           .lags = lags_,
           .registrar = registrar_,
           .find_shard = [this](RaftGroupId group) { return replicas_.FindShard(group); },
           .not_leader = [this](RaftGroupId group) { return view_.NotLeader(group); }}),
      fencer_(
          {.executor = environment.executor,
           .find_shard = [this](RaftGroupId group) { return replicas_.FindShard(group); },
           .init =
               [this](internal::v1::InitTransactionsRequest request, auto done) {
                 coordinators_.InitTransactions(
                     {.principal = {}, .timeout = kForwardTimeout}, std::move(request),
                     [done = std::move(done)](const auto& reply) mutable { done(reply.status()); });
               }}),
      coordinators_({.executor = environment.executor,
                     .clock = environment.clock,
                     .view = view_,
                     .server = coordinator_server_,
                     .transactions = transactions_,
                     .find_shard = [this](RaftGroupId group) { return replicas_.FindShard(group); },
                     .forwarder = forwarder_,
                     .self = self()}),
      digester_({.executor = environment.executor,
                 .clock = environment.clock,
                 .batches = batches_,
                 .find_replica = [this](RaftGroupId group) { return replicas_.Find(group); },
                 .writes = [this] { return host_.writes(); }},
                options.verify_bytes_per_second),
      services_({.executor = environment.executor,
                 .clock = environment.clock,
                 .transport = environment.transport,
                 .batches = batches_,
                 .memory = client_memory_,
                 .view = view_,
                 .controllers = controllers_,
                 .partitions = partition_client_,
                 .coordinators = coordinators_,
                 .replicas = replicas_,
                 .host = host_,
                 .digester = digester_},
                {.self = self(),
                 .cluster_name = options.cluster_name,
                 .cluster_uuid = [this] { return environment_.identity.cluster_uuid(); },
                 .message_bytes_max = options.message_bytes_max,
                 .segment_bytes = options.segment_bytes,
                 .streams_per_connection_max = options.streams_per_connection_max},
                random.Fork()) {
  host_.SetReplicaNamer([this](const raft::ReplicaRecord& record) { return NameOf(record); });
  controller_.SetListener([this](const ImageChange& change) { OnImageChanged(change); });
  controller_.SetLeadershipListener(
      [this](const raft::Leadership& leadership) { OnLeadership(kControllerGroup, leadership); });
  replicas_.SetLeadershipListener([this](RaftGroupId group, const raft::Leadership& leadership) {
    OnLeadership(group, leadership);
  });
  replicas_.SetChangeListener([this](RaftGroupId shard, const CoordinatorShard::Changes& changes) {
    transactions_.OnChanged(shard, changes.transactional_ids);
    members_.OnReleased(shard, changes.released);
    fencer_.OnChanged(shard, changes.fencing);
  });
}

Node::~Node() { Stop(); }

void Node::EndTransaction(RaftGroupId group, const TransactionEnd& end, raft::StatusDone done) {
  if (Partition* partition = replicas_.Find(group)) {
    return partition->EndTransaction(end, std::move(done));
  }
  coordinator_server_.EndTransaction(group, end, std::move(done));
}

std::string Node::NameOf(const raft::ReplicaRecord& record) const {
  if (record.group == kControllerGroup) return "controller";
  const TopicInfo* topic = controller_.image().FindTopic(record.partition.topic);
  return (topic != nullptr ? "topic=" + topic->name
                           : "topic_id=" + std::to_string(record.partition.topic.value())) +
         " partition=" + std::to_string(record.partition.partition.value());
}

void Node::Start(OnFatal on_fatal) {
  on_fatal_ = std::move(on_fatal);
  bootstrap_.Start();
  CarryOutBootstrap();
}

void Node::Stop() {
  if (lifetime_.has_ended()) return;
  lifetime_.End();
  environment_.executor.Cancel(register_timer_);
  environment_.executor.Cancel(report_timer_);
  services_.Stop();
  controller_server_.Stop();
  members_.Stop();
  fencer_.Stop();
  lags_.Stop();
  transactions_.Stop();
  markers_.Stop();
  coordinator_server_.Stop();
  coordinators_.Stop();
  forwarder_.Stop();
  host_.Stop();
  replicas_.Clear();
}

void Node::OnceReady(Task task) {
  if (is_ready_) {
    environment_.executor.Post(lifetime_.Guard(std::move(task)));
  } else {
    ready_listeners_.push_back(std::move(task));
  }
}

void Node::Fatal(Status why) {
  if (!on_fatal_) return;
  OnFatal on_fatal = std::exchange(on_fatal_, {});
  on_fatal(std::move(why));
}

void Node::CarryOutBootstrap() {
  Bootstrap::Actions actions = bootstrap_.TakeActions();
  for (const auto& [peer, message] : actions.messages) {
    environment_.transport.SendPeer(peer, raft::Lane::kControl, raft::PeerKind::kBootstrap,
                                    {Bytes::Own(message.SerializeAsString())});
  }
  if (!actions.refused.ok()) return Fatal(std::move(actions.refused));
  const auto stored = lifetime_.Guard([this] {
    bootstrap_.OnStored();
    CarryOutBootstrap();
  });
  if (actions.store_list.has_value()) {
    environment_.identity.StoreControllers(*actions.store_list, stored);
  }
  if (actions.store_cluster_uuid.has_value()) {
    environment_.identity.StoreClusterUuid(*actions.store_cluster_uuid, stored);
  }
  if (bootstrap_.stage() == Bootstrap::Stage::kInitialized && !is_started_) StartGroups();
}

void Node::StartGroups() {
  is_started_ = true;
  LOG(INFO) << "joining the cluster name=" << options_.cluster_name << " broker=" << self();
  host_.Start();
  std::optional<raft::RecoveredReplica> controller;
  for (raft::RecoveredReplica& replica : std::exchange(recovered_, {})) {
    switch (replica.record.kind) {
      case raft::ReplicaKind::kController:
        controller = std::move(replica);
        break;
      case raft::ReplicaKind::kPartition:
      case raft::ReplicaKind::kCoordinator:
        replicas_.AddRecovered(std::move(replica));
    }
  }
  // Last: the image that it restores is held against the replicas that are here.
  StartController(std::move(controller));
  CheckController();
  ReportRegularly();
}

void Node::StartController(std::optional<raft::RecoveredReplica> recovered) {
  if (recovered.has_value()) return host_.AddReplica(std::move(*recovered), controller_);
  const ReplicaNumber number = bootstrap_.number();
  if (!environment_.log_store.MayCreate({kControllerGroup, number})) {
    is_controller_lost_ = true;
    LOG(ERROR) << "the controller's replica was lost to damage; this broker stays silent in it";
    return;
  }
  raft::ReplicaRecord record;
  record.group = kControllerGroup;
  record.number = number;
  record.kind = raft::ReplicaKind::kController;
  record.configuration.voters = bootstrap_.controllers();
  host_.CreateReplica(record, record.configuration.voters.front().number == number, controller_);
}

// Without the controller's log this broker does not learn what topics there are: its replicas go on
// to vote and to store, and leave it to others to lead.
void Node::CheckController() {
  const raft::Replica* controller = host_.Find(kControllerGroup);
  host_.SetMayLead(controller != nullptr && controller->health().ok() &&
                   controller->apply_fault().ok());
}

// Another broker's replica may be whole; where there is no other, nobody knows the topics.
Status Node::ControllerHealth() const {
  const raft::Replica* controller = host_.Find(kControllerGroup);
  Status health = controller != nullptr ? controller->health() : Status::Ok();
  // What was learned before an entry that cannot be applied is still worth telling.
  if (health.ok() && controller != nullptr && !is_ready_) health = controller->apply_fault();
  if (health.ok() && !is_controller_lost_) return Status::Ok();
  const bool is_data_lost = is_controller_lost_ || health.code() == Code::kDataLoss;
  std::string text = "broker " + std::to_string(self().value()) +
                     " does not know the topics: its replica of the controller's log is silent; "
                     "see the broker's log";
  if (options_.members.size() == 1 && is_data_lost) {
    return DataLoss(std::move(text), Reason::kReplicaSilent);
  }
  return Unavailable(std::move(text), Reason::kReplicaSilent);
}

void Node::OnImageChanged(const ImageChange& change) {
  const Image& image = controller_.image();
  if (change.is_whole) {
    replicas_.ReconcileAll(image);
  } else {
    replicas_.Reconcile(image, change.topic);
  }
  for (const RaftGroupId group : change.removed) leaders_.Forget(group);
  KeepLevel();
  // Not from within Apply: what listeners do may propose.
  environment_.executor.Post(lifetime_.Guard([this] {
    CheckReady();
    controller_server_.MakeCoordinator();
    view_.NotifyImageChanged();
  }));
}

// What this broker holds against peers that do not know the level, and an older build of it against
// its own start. A restored image may be older than what is kept.
void Node::KeepLevel() {
  const uint32_t level = controller_.image().level();
  if (level <= environment_.identity.cluster_level()) return;
  LOG(INFO) << "the cluster is of feature level=" << level;
  environment_.identity.StoreClusterLevel(level, [] {});
}

void Node::OnLeadership(RaftGroupId group, const raft::Leadership& leadership) {
  const LeaderHint hint{.leader = leadership.leader.broker, .term = leadership.term};
  if (!leadership.is_leader) {
    if (hint.leader == BrokerId()) {
      leaders_.Lost(group, leadership.term);
    } else {
      leaders_.Report(group, hint);
    }
  } else if (leadership.is_ready) {
    leaders_.Report(group, {.leader = self(), .term = leadership.term});
    GroupLeader leader;
    leader.set_group_id(group.value());
    leader.set_term(leadership.term.value());
    for (const auto& [peer, boot_epoch] : connected_) SendLeaderReport(peer, {leader});
  }
  if (group == kControllerGroup) {
    environment_.executor.Post(lifetime_.Guard([this] {
      CheckController();
      CheckReady();
    }));
  } else {
    members_.OnLeadership(group, leadership);
    transactions_.OnLeadership(group, leadership);
    fencer_.OnLeadership(group, leadership);
    lags_.OnLeadership(group, leadership);
  }
}

void Node::CheckReady() {
  if (is_ready_) return;
  const bool has_controller = controller_.leadership().leader.broker != BrokerId();
  const raft::Replica* controller = host_.Find(kControllerGroup);
  if (has_controller && !caught_up_at_.has_value()) Register();
  if (!has_controller || !caught_up_at_.has_value() || controller->applied() < *caught_up_at_) {
    return;
  }
  CHECK(controller_.image().FindBroker(self()) != nullptr);
  is_ready_ = true;
  LOG(INFO) << "ready broker=" << self()
            << " controller=" << controller_.leadership().leader.broker;
  std::vector<Task> listeners = std::exchange(ready_listeners_, {});
  for (Task& listener : listeners) listener();
}

BrokerRegistered Node::Registration() const {
  BrokerRegistered broker;
  broker.set_broker_id(self().value());
  broker.set_incarnation(environment_.identity.self().incarnation.value());
  const auto add = [&broker](BrokerRegistered::Protocol protocol, const std::string& address) {
    if (address.empty()) return;
    auto& endpoint = *broker.add_endpoints();
    endpoint.set_protocol(protocol);
    endpoint.set_address(address);
  };
  add(BrokerRegistered::PROTOCOL_CLIENTS, options_.client_address);
  add(BrokerRegistered::PROTOCOL_INTERNAL, options_.internal_address);
  broker.set_software_version(options_.software_version);
  broker.set_level_min(kFirstFeatureLevel);
  broker.set_level_max(KnownFeatureLevel());
  return broker;
}

// At every start, also where the registration stands already: the answer tells how far this
// broker's own image must have come before it may say that something does not exist.
void Node::Register() {
  if (is_registering_) return;
  is_registering_ = true;
  internal::v1::RegisterRequest request;
  *request.mutable_broker() = Registration();
  controllers_.Register({.principal = {}, .timeout = kRegisterTimeout}, request,
                        lifetime_.Guard([this](const Result<internal::v1::RegisterReply>& reply) {
                          is_registering_ = false;
                          if (reply.ok()) {
                            caught_up_at_ = LogIndex(reply->image_index());
                          } else if (reply.status().code() == Code::kFailedPrecondition) {
                            return Fatal(reply.status());
                          }
                          CheckReadySoon();
                        }));
}

// An error that will pass, or entries that are still on their way.
void Node::CheckReadySoon() {
  environment_.executor.Cancel(register_timer_);
  register_timer_ = environment_.executor.RunAfter(kRegisterRetry, lifetime_.Guard([this] {
    if (is_ready_) return;
    CheckReady();
    if (!is_registering_) CheckReadySoon();
  }));
}

std::vector<GroupLeader> Node::LedGroups() const {
  std::vector<GroupLeader> led;
  const auto add = [&led](RaftGroupId group, const raft::Leadership& leadership) {
    if (!leadership.is_ready) return;
    GroupLeader& leader = led.emplace_back();
    leader.set_group_id(group.value());
    leader.set_term(leadership.term.value());
  };
  add(kControllerGroup, controller_.leadership());
  for (const auto& [group, partition] : replicas_.partitions()) add(group, partition->leadership());
  for (const auto& [group, shard] : replicas_.shards()) add(group, shard->leadership());
  return led;
}

void Node::SendLeaderReport(BrokerId to, const std::vector<GroupLeader>& leaders) {
  LeaderReport report;
  for (const GroupLeader& leader : leaders) *report.add_leaders() = leader;
  environment_.transport.SendPeer(to, raft::Lane::kControl, raft::PeerKind::kLeaderReport,
                                  {Bytes::Own(report.SerializeAsString())});
}

void Node::ReportRegularly() {
  report_timer_ = environment_.executor.RunAfter(kReportInterval,
                                                 lifetime_.Guard([this] { ReportRegularly(); }));
  controller_server_.MakeCoordinator();
  TendReplicas();
  const std::vector<GroupLeader> led = LedGroups();
  if (led.empty()) return;
  for (const auto& [peer, boot_epoch] : connected_) SendLeaderReport(peer, led);
}

void Node::TendReplicas() {
  const int64_t wall_ms = environment_.clock.WallMs();
  const size_t brokers = std::max(options_.members.size(), controller_.image().brokers().size());
  const ClockVerdict verdict =
      JudgeClock(wall_ms, environment_.transport.PeerWallClocksMs(), brokers);
  MILLRACE_SOMETIMES_IF("a broker could not hold its clock against others'",
                        verdict == ClockVerdict::kUnknown);
  const bool differs = verdict == ClockVerdict::kDiffers;
  if (verdict != ClockVerdict::kUnknown && std::exchange(does_clock_differ_, differs) != differs) {
    MILLRACE_SOMETIMES_IF("a broker did not believe its clock", differs);
    LOG(WARNING) << "this broker's clock "
                 << (differs ? "is more than a minute from the other brokers': nothing that it "
                               "leads expires by time until it agrees with them"
                             : "agrees with the other brokers' again")
                 << " wall_ms=" << wall_ms;
  }
  const bool is_trusted =
      verdict == ClockVerdict::kAgrees || MILLRACE_MUTANT(kRetentionTrustsOwnClock);
  replicas_.Tend(is_trusted ? std::optional(wall_ms) : std::nullopt);
}

void Node::TakeLeaderReport(BrokerId from, const Bytes& body) {
  LeaderReport report;
  if (!report.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    LOG(WARNING) << "a leader report cannot be read from=" << from;
    return;
  }
  for (const GroupLeader& leader : report.leaders()) {
    leaders_.Report(RaftGroupId(leader.group_id()), {.leader = from, .term = Term(leader.term())});
  }
}

void Node::OnRaftMessage(const Voter& from, RaftGroupId group, ReplicaNumber to,
                         raft::core::Message message) {
  host_.OnRaftMessage(from, group, to, std::move(message));
}

void Node::OnPeerMessage(const BrokerIncarnation& from, raft::PeerKind kind, Bytes body) {
  switch (kind) {
    case raft::PeerKind::kBootstrap: {
      BootstrapState state;
      if (!state.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
        LOG(WARNING) << "a bootstrap message cannot be read from=" << from;
        return;
      }
      bootstrap_.OnMessage(from, state);
      return CarryOutBootstrap();
    }
    case raft::PeerKind::kLeaderReport:
      return TakeLeaderReport(from.broker, body);
    case raft::PeerKind::kForwardRequest:
      return forwarder_.OnRequest(from.broker, body);
    case raft::PeerKind::kForwardReply:
      return forwarder_.OnReply(from.broker, body);
    case raft::PeerKind::kRangeRequest:
    case raft::PeerKind::kRangeReply:
    case raft::PeerKind::kStateRequest:
    case raft::PeerKind::kStatePiece:
      return host_.OnPeerMessage(from, kind, body);
  }
}

void Node::OnPeerConnected(const raft::PeerIdentity& peer) {
  connected_[peer.who.broker] = peer.boot_epoch;
  bootstrap_.OnPeerConnected(peer.who);
  CarryOutBootstrap();
  host_.OnPeerConnected(peer.who);
  const std::vector<GroupLeader> led = LedGroups();
  if (!led.empty()) SendLeaderReport(peer.who.broker, led);
}

void Node::OnPeerDisconnected(BrokerId peer, const Status&) {
  connected_.erase(peer);
  forwarder_.OnPeerDisconnected(peer);
  leaders_.BrokerGone(peer);
  host_.OnPeerDisconnected(peer);
}

void Node::OnPeerRefused(const Status& why) { LOG(ERROR) << "peer refused why=" << why; }

}  // namespace millrace::broker
