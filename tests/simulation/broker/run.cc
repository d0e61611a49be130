#include "tests/simulation/broker/run.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "tests/simulation/broker/admin_load.h"
#include "tests/simulation/broker/cluster.h"
#include "tests/simulation/broker/contest_load.h"
#include "tests/simulation/broker/copiers_load.h"
#include "tests/simulation/broker/durability.h"
#include "tests/simulation/broker/equality.h"
#include "tests/simulation/broker/history.h"
#include "tests/simulation/broker/keyed_load.h"
#include "tests/simulation/broker/log_start_check.h"
#include "tests/simulation/broker/log_start_load.h"
#include "tests/simulation/broker/members_load.h"
#include "tests/simulation/broker/nemesis.h"
#include "tests/simulation/broker/offsets_load.h"
#include "tests/simulation/broker/readers_load.h"
#include "tests/simulation/broker/topic_churn.h"
#include "tests/simulation/broker/transactions_load.h"
#include "tests/simulation/broker/walker.h"
#include "tests/simulation/broker/workload.h"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint32_t kPartitions = 3;
constexpr uint32_t kProducers = 2;
// Many election timeouts (0.3 to 0.6 s) and the client's own time-outs and pauses.
constexpr Duration kRecoveryMax = seconds(30);
constexpr Duration kCatchUpMax = seconds(60);

class Run {
 public:
  explicit Run(const RunOptions& options)
      : options_(options),
        swarm_(Swarm::Draw(options.seed, options.brokers, options.without)),
        world_(options.seed),
        random_(StreamOf(options.seed, "run")),
        check_random_(StreamOf(options.seed, "checks")),
        cluster_(world_, {.brokers = swarm_.brokers,
                          .large_write_bytes = swarm_.large_write_bytes,
                          .segment_bytes = swarm_.segment_bytes,
                          .controller_segment_bytes = swarm_.controller_segment_bytes,
                          .tail_bytes_max = swarm_.tail_bytes_max,
                          .coordinator_shards = swarm_.coordinator_shards}),
        nemesis_(world_, cluster_, swarm_, options.seed,
                 {.before_loss = [this] { durability_.Check(); },
                  .on_damage =
                      [this](size_t broker) {
                        durability_.SetDamaged(broker);
                        equality_.SetDamaged(broker);
                        log_starts_.SetDamaged(broker);
                      },
                  .clients = {"producer0", "producer1", "reader"},
                  .note = [this](const std::string& text) { Note(text); }}),
        durability_(cluster_, history_),
        equality_(cluster_),
        log_starts_(world_, cluster_, swarm_, history_),
        churn_(world_, cluster_, history_, StreamOf(options.seed, "topics").Fork()),
        keyed_(world_, cluster_, history_, StreamOf(options.seed, "compaction").Fork()),
        contest_(world_, cluster_, history_, StreamOf(options.seed, "contest").Fork()),
        transactions_(world_, cluster_, history_, StreamOf(options.seed, "ledger").Fork()),
        copiers_(world_, cluster_, history_, StreamOf(options.seed, "copiers").Fork()),
        admin_load_(world_, cluster_, kPartitions, StreamOf(options.seed, "admin load")),
        offsets_load_(world_, cluster_, history_, StreamOf(options.seed, "offsets"),
                      [this] { return EndsEver(); }),
        members_load_(world_, cluster_, history_, StreamOf(options.seed, "members"),
                      [this] { return EndsEver(); }),
        readers_load_(world_, cluster_, history_, StreamOf(options.seed, "readers").Fork()) {}
  RunResult Go();

 private:
  bool Begin();
  void PlanFailure(size_t broker);
  bool CreateTopic();
  void Locate();
  void OnAcknowledged(const Acknowledgement& ack);
  void StartClients();
  void StartLogStartClients();
  void OnDeletion(uint32_t partition, Offset before);
  void Watch();
  void Observe();

  void HealMajority();
  bool HasMajorityWithout(const std::set<size_t>& down) const;
  void TakeDown(size_t broker);
  void DemandProgress();

  void Finish();
  void RestartSilent();
  void StopLogStartClients();
  void ReadBack();
  void ReadContest();
  void ReadTransactions();
  void ReadCompacted();
  std::vector<Offset> Ends(const std::string& topic) const;
  std::vector<Offset> EndsEver();
  bool HasMembers() const {
    return swarm_.coordinator_shards > 0 && swarm_.Has(FaultClass::kMembers);
  }
  bool IsHealthy(size_t broker) const {
    return cluster_.is_serving(broker) && cluster_.process(broker).is_alive();
  }
  bool RunUntil(const std::function<bool()>& is_done, Duration limit, const std::string& what);
  void Note(const std::string& text) const {
    LOG_IF(INFO, options_.is_verbose) << "t=" << world_.elapsed().count() / 1000 << "ms " << text;
  }

  const RunOptions options_;
  const Swarm swarm_;
  SimWorld world_;
  Random random_;
  Random check_random_;
  mutable SimCluster cluster_;  // its brokers are asked, not changed
  History history_;
  Nemesis nemesis_;
  DurabilityCheck durability_;
  EqualityCheck equality_;
  LogStartCheck log_starts_;
  TopicChurn churn_;
  KeyedLoad keyed_;
  ContestLoad contest_;
  TransactionsLoad transactions_;
  CopiersLoad copiers_;
  AdminLoad admin_load_;
  OffsetsLoad offsets_load_;
  MembersLoad members_load_;
  ReadersLoad readers_load_;
  std::vector<Offset> ends_ever_;  // of the topic, as far as any broker told
  std::vector<std::unique_ptr<SimProducer>> producers_;
  std::unique_ptr<SimConsumer> consumer_;
  // Where records of the topic may go.
  std::vector<std::unique_ptr<LogStartLoad>> log_start_loads_;
  std::unique_ptr<Walker> walker_;
  std::map<uint32_t, PartitionReplicas> partitions_;
  // Of partitions that came, until an image can be looked at that has them.
  std::vector<Acknowledgement> unlocated_;
  std::map<RaftGroupId, Term> terms_;
  // What each producer's next value was when a healthy majority was there; and who acknowledged
  // one since.
  std::vector<uint64_t> fresh_from_;
  std::set<uint32_t> demanded_;
  std::set<uint32_t> progressed_;
  bool is_over_ = false;
  RunResult result_;
};

bool Run::RunUntil(const std::function<bool()>& is_done, Duration limit, const std::string& what) {
  if (world_.RunUntil(is_done, limit)) return true;
  history_.SawStuck(what + "; the last broker that ended said: " + cluster_.fatal().ToString());
  return false;
}

bool Run::Begin() {
  if (options_.fail_broker > 0) PlanFailure(options_.fail_broker - 1);
  cluster_.StartAll();
  if (!CreateTopic()) return false;
  Locate();
  CHECK(!partitions_.empty());
  StartClients();
  return true;
}

void Run::PlanFailure(size_t broker) {
  CHECK_LT(broker, cluster_.size());
  const auto on_fail = [this, broker](SimDisk::Kind kind, const std::string& path) {
    using Kind = SimDisk::Kind;
    const std::string what = kind == Kind::kRead   ? "read "
                             : kind == Kind::kSync ? "sync "
                                                   : "change ";
    result_.failed_call = what + path;
    Note(cluster_.host(broker) + " cannot " + result_.failed_call);
    if (options_.fail_for == Duration(0)) return;
    SimDisk& disk = cluster_.disk(broker);
    disk.FailEvery(1, "", ResourceExhausted("No space left on device", Reason::kDiskFull));
    world_.After(options_.fail_for, [&disk] { disk.ForgetFaults(); });
  };
  if (options_.fail_call > 0) {
    const std::optional<Status> error = options_.FailStatus();
    CHECK(error.has_value()) << options_.fail_with;
    cluster_.disk(broker).FailCall(options_.fail_call, *error, on_fail);
  }
  world_.After(options_.chaos / 2, [this, broker] {
    if (!cluster_.is_up(broker)) return;
    nemesis_.Kill(broker, /*power_loss=*/false);
    cluster_.Start(broker);
  });
}

bool Run::CreateTopic() {
  SimProcess& admin = world_.AddProcess("admin");
  SimConnector connector(cluster_.edge(), admin);
  client::Client client({admin.executor(), admin.clock(), connector, admin.Fork()},
                        {.bootstrap = cluster_.addresses()});
  v1::CreateTopicRequest request;
  request.set_name("t");
  request.set_partition_count(kPartitions);
  request.set_replication_factor(swarm_.replication_factor);
  // One setting at a time: the order of a message's map is not the seed's to say.
  const auto settings = swarm_.TopicSettings();
  if (!settings.empty()) (*request.mutable_settings())[settings[0].first] = settings[0].second;
  // A controller that dies may have created it: the second attempt then finds it there.
  bool is_created = false;
  bool is_set = settings.size() < 2;
  std::function<void()> set_rest = [&] {
    if (is_set) return;
    v1::AlterTopicRequest alter;
    alter.set_name("t");
    (*alter.mutable_set())[settings[1].first] = settings[1].second;
    client.AlterTopic(alter, seconds(2), [&](const Result<v1::AlterTopicResponse>& reply) {
      is_set = reply.ok();
      if (!is_set) admin.executor().RunAfter(milliseconds(100), [&] { set_rest(); });
    });
  };
  std::function<void()> create = [&] {
    client.CreateTopic(request, seconds(20), [&](const Result<v1::CreateTopicResponse>& reply) {
      is_created = reply.ok() || reply.status().code() == Code::kAlreadyExists;
      if (!is_created) admin.executor().RunAfter(milliseconds(100), [&] { create(); });
      if (is_created) set_rest();
    });
  };
  create();
  const bool is_in_time =
      RunUntil([&] { return is_created && is_set; }, seconds(40), "the topic was not created");
  admin.Kill();
  return is_in_time;
}

// Where each partition is that is in the image of a broker that can be asked; it may have come
// since this was called last.
void Run::Locate() {
  for (size_t i = 0; i < cluster_.size(); ++i) {
    const broker::TopicInfo* topic =
        IsHealthy(i) ? cluster_.node(i).controller().image().FindTopic("t") : nullptr;
    for (size_t at = partitions_.size(); topic != nullptr && at < topic->partitions.size(); ++at) {
      const broker::PartitionInfo& partition = topic->partitions[at];
      PartitionReplicas& replicas = partitions_[partition.partition.value()];
      replicas.group = partition.group;
      for (const Voter& voter : partition.replicas) {
        replicas.brokers.push_back(voter.broker.value() - 1);
      }
      durability_.SetReplicas(partition.partition.value(), replicas);
      log_starts_.SetReplicas(partition.partition.value(), replicas);
    }
  }
  for (const Acknowledgement& ack : std::exchange(unlocated_, {})) OnAcknowledged(ack);
}

void Run::OnAcknowledged(const Acknowledgement& ack) {
  if (!partitions_.contains(ack.partition)) return unlocated_.push_back(ack);
  durability_.Acknowledged(ack);
  log_starts_.Acknowledged(ack);
  // Reading all disks is dear: at this very instant for some, soon for the others.
  if (check_random_.OneIn(300)) durability_.Check();
  const bool is_fresh = !fresh_from_.empty() && ack.value.number >= fresh_from_[ack.value.producer];
  if (is_fresh) progressed_.insert(ack.partition);
}

void Run::StartClients() {
  for (uint32_t i = 0; i < kProducers; ++i) {
    producers_.push_back(std::make_unique<SimProducer>(
        world_, cluster_.edge(), cluster_.addresses(),
        SimProducerOptions{.number = i, .value_bytes_max = swarm_.value_bytes_max}, history_,
        [this](const Acknowledgement& ack) {
          if (!partitions_.contains(ack.partition)) Locate();
          OnAcknowledged(ack);
        }));
  }
  consumer_ = std::make_unique<SimConsumer>(world_, cluster_.edge(), cluster_.addresses(),
                                            SimConsumerOptions{.name = "reader"}, history_);
  if (swarm_.MayLoseRecords()) StartLogStartClients();
  if (swarm_.Has(FaultClass::kCompaction)) keyed_.Start();
  if (swarm_.Has(FaultClass::kContests)) contest_.Start();
  if (swarm_.coordinator_shards > 0) {
    offsets_load_.Start();
    if (HasMembers()) members_load_.Start();
    if (swarm_.Has(FaultClass::kTransactions)) transactions_.Start();
    if (swarm_.Has(FaultClass::kCopiers)) copiers_.Start();
    if (swarm_.Has(FaultClass::kReaders)) readers_load_.Start(swarm_.MayLoseRecords());
  }
  if (!swarm_.Has(FaultClass::kTopics)) return;
  churn_.Start();
  admin_load_.Start();
}

// Reads meet it where it is carried out.
void Run::OnDeletion(uint32_t partition, Offset before) {
  log_starts_.DeletionAsked(partition, before);
  if (partition >= kPartitions) return;  // nobody walks those that came
  const uint64_t within_ms = swarm_.Has(FaultClass::kSlowDisks) ? 1000 : 30;
  for (int jumps = 0; jumps < 4; ++jumps) {
    world_.After(milliseconds(random_.Below(within_ms)),
                 [this, partition, before] { walker_->JumpBelow(partition, before); });
  }
}

void Run::StartLogStartClients() {
  Random random = StreamOf(options_.seed, "log start clients");
  walker_ = std::make_unique<Walker>(world_, cluster_.edge(), cluster_.addresses(), kPartitions,
                                     history_, random.Fork());
  walker_->Start();
  // Two at a time meet each other's deletions.
  for (const char* name : {"log starts", "more log starts"}) {
    LogStartLoadOptions load{.name = name, .partitions = kPartitions};
    if (swarm_.Has(FaultClass::kDeletions)) {
      load.on_delete = [this](uint32_t partition, Offset before) { OnDeletion(partition, before); };
      load.on_deleted = [this] { nemesis_.OnDeletion(); };
    }
    log_start_loads_.push_back(
        std::make_unique<LogStartLoad>(world_, cluster_, history_, random.Fork(), std::move(load)));
    log_start_loads_.back()->Start();
  }
}

// Looks at the cluster now and then, as long as the run lasts.
void Run::Watch() {
  if (is_over_) return;
  Observe();
  Locate();
  durability_.Check();
  world_.After(milliseconds(250), [this] { Watch(); });
}

void Run::Observe() {
  for (size_t i = 0; i < cluster_.size(); ++i) {
    if (!IsHealthy(i)) continue;
    const auto see = [&](RaftGroupId group, const raft::Leadership& leadership) {
      if (!leadership.is_leader) return;
      history_.SawLeader(group, leadership.term, BrokerId(static_cast<uint32_t>(i + 1)));
      Term& known = terms_[group];
      if (leadership.term > known) ++result_.leader_changes;
      known = std::max(known, leadership.term);
    };
    see(kControllerGroup, cluster_.node(i).controller().leadership());
    for (const auto& [group, partition] : cluster_.node(i).replicas().partitions()) {
      const raft::Replica* replica = cluster_.node(i).host().Find(group);
      const Status& health = replica->health();
      MILLRACE_SOMETIMES_IF("a replica was silent", !health.ok());
      if (health.code() == Code::kDataLoss && !nemesis_.is_damaged(i)) {
        history_.SawDamage(health.With(cluster_.host(i)).ToString());
      }
      see(group, partition->leadership());
    }
    for (const auto& [group, shard] : cluster_.node(i).replicas().shards()) {
      see(group, shard->leadership());
    }
  }
  log_starts_.Observe();
  cluster_.CheckInvariants();
}

// Phase two ---------------------------------------------------------------------------------------

bool Run::HasMajorityWithout(const std::set<size_t>& down) const {
  if (down.size() * 2 >= cluster_.size()) return false;
  return std::all_of(partitions_.begin(), partitions_.end(), [&](const auto& partition) {
    const std::vector<size_t>& replicas = partition.second.brokers;
    const auto lost = std::count_if(replicas.begin(), replicas.end(),
                                    [&](size_t broker) { return down.contains(broker); });
    return static_cast<size_t>(lost) * 2 < replicas.size();
  });
}

void Run::TakeDown(size_t broker) {
  switch (random_.Below(3)) {
    case 0:
      if (cluster_.is_up(broker)) nemesis_.Kill(broker, random_.OneIn(2));
      return;
    case 1:
      for (size_t i = 0; i < cluster_.size(); ++i) {
        if (i != broker) world_.Partition(cluster_.host(broker), cluster_.host(i));
      }
      return;
    default:
      cluster_.process(broker).Pause();
  }
}

void Run::HealMajority() {
  for (size_t i = 0; i < cluster_.size(); ++i) result_.calls.push_back(cluster_.disk(i).calls());
  nemesis_.Stop();
  nemesis_.Heal();
  admin_load_.Stop();
  Locate();
  for (const auto& [partition, replicas] : partitions_) demanded_.insert(partition);
  std::vector<size_t> order;
  std::set<size_t> down;
  for (size_t i = 0; i < cluster_.size(); ++i) {
    order.insert(order.begin() + static_cast<std::ptrdiff_t>(random_.Below(i + 1)), i);
    if (nemesis_.is_damaged(i)) down.insert(i);
  }
  world_.RunFor(milliseconds(2));  // those that were down are on their way up
  // Whoever stays down may have the only whole copy of what a leader has to send a follower.
  if (nemesis_.has_rotted_segments()) return;
  for (const size_t broker : order) {
    std::set<size_t> more = down;
    if (!more.insert(broker).second || !HasMajorityWithout(more)) continue;
    down = more;
    Note("down for the second phase: " + cluster_.host(broker));
    TakeDown(broker);
  }
}

void Run::DemandProgress() {
  for (const auto& producer : producers_) fresh_from_.push_back(producer->next_value());
  const Duration began = world_.elapsed();
  RunUntil([this] { return std::ranges::includes(progressed_, demanded_); }, kRecoveryMax,
           "a healthy majority did not acknowledge");
  result_.recovery = world_.elapsed() - began;
  for (const auto& [partition, replicas] : partitions_) {
    if (progressed_.contains(partition) || !demanded_.contains(partition)) continue;
    std::string seen = "partition " + std::to_string(partition) + " did not progress;";
    for (const size_t broker : replicas.brokers) {
      const raft::Replica* replica =
          IsHealthy(broker) ? cluster_.node(broker).host().Find(replicas.group) : nullptr;
      if (replica == nullptr || !replica->has_joined()) continue;
      seen += " " + cluster_.host(broker) + ": term " +
              std::to_string(replica->core().term().value()) + " leader " +
              std::to_string(replica->core().leader().broker.value()) + " commit " +
              std::to_string(replica->core().commit_index().value()) + " last " +
              std::to_string(replica->core().log().last_index().value()) +
              (replica->leadership().is_ready ? " ready" : "");
    }
    history_.SawStuck(seen);
  }
}

// Phase three -------------------------------------------------------------------------------------

// A replica that met a read error at its start is silent until the next.
void Run::RestartSilent() {
  for (size_t i = 0; i < cluster_.size(); ++i) {
    if (!IsHealthy(i) || nemesis_.is_damaged(i)) continue;
    const broker::ReplicaSet& replicas = cluster_.node(i).replicas();
    const auto is_silent = [&](RaftGroupId group) {
      const raft::Replica* replica = cluster_.node(i).host().Find(group);
      return replica == nullptr || !replica->health().ok();
    };
    const bool is_any_silent =
        is_silent(kControllerGroup) ||
        std::ranges::any_of(replicas.partitions(),
                            [&](const auto& one) { return is_silent(one.first); }) ||
        std::ranges::any_of(replicas.shards(),
                            [&](const auto& one) { return is_silent(one.first); });
    if (!is_any_silent) continue;
    nemesis_.Kill(i, /*power_loss=*/false);
    cluster_.Start(i);
  }
}

std::vector<Offset> Run::Ends(const std::string& name) const {
  std::vector<Offset> ends;
  for (size_t i = 0; i < cluster_.size(); ++i) {
    if (!IsHealthy(i)) continue;
    const broker::TopicInfo* topic = cluster_.node(i).controller().image().FindTopic(name);
    if (topic == nullptr) continue;
    ends.resize(std::max(ends.size(), topic->partitions.size()));
    for (const broker::PartitionInfo& info : topic->partitions) {
      const broker::Partition* partition = cluster_.node(i).replicas().Find(info.group);
      Offset& end = ends[info.partition.value()];
      if (partition != nullptr) end = std::max(end, partition->high_watermark());
    }
  }
  return ends;
}

std::vector<Offset> Run::EndsEver() {
  const std::vector<Offset> ends = Ends("t");
  ends_ever_.resize(std::max(ends_ever_.size(), ends.size()));
  for (size_t i = 0; i < ends.size(); ++i) ends_ever_[i] = std::max(ends_ever_[i], ends[i]);
  return ends_ever_;
}

void Run::StopLogStartClients() {
  if (log_start_loads_.empty()) return;
  // Nothing is left, and nothing follows: what holds the last records goes all the same.
  if (swarm_.Has(FaultClass::kDeletions) && random_.OneIn(2)) {
    for (auto& load : log_start_loads_) load->DeleteAllFromNow();
    world_.RunFor(seconds(4));
  }
  for (auto& load : log_start_loads_) load->Stop();
  const auto is_idle = [](const auto& load) { return load->is_idle(); };
  RunUntil([&] { return std::ranges::all_of(log_start_loads_, is_idle); }, kCatchUpMax,
           "deletions were not answered after everything healed");
  RunUntil([this] { return log_starts_.IsRetained(); }, kCatchUpMax,
           "retention did not let go what it should");
}

void Run::ReadBack() {
  const std::vector<Offset> ends = Ends("t");
  SimConsumer last(world_, cluster_.edge(), cluster_.addresses(),
                   SimConsumerOptions{.name = "last", .begins_at_earliest = false}, history_);
  RunUntil([&] { return last.HasReached(ends); }, kCatchUpMax, "the records were not read back");
  // It does not hear of an end below which everything is gone.
  if (!swarm_.MayLoseRecords()) {
    RunUntil([&] { return consumer_->HasReached(ends); }, kCatchUpMax,
             "the reader that was there all the time has not read all");
  }
  if (!last.error().ok()) history_.SawStuck("a reader failed: " + last.error().ToString());
  ReadContest();
  ReadTransactions();
  if (!churn_.is_there()) return;
  const std::vector<Offset> churned = Ends(TopicChurn::topic());
  churn_.ReadBack();
  RunUntil([&] { return churn_.HasRead(churned); }, kCatchUpMax,
           "the records of the topic made anew were not read back");
}

void Run::ReadContest() {
  if (!contest_.is_there()) return;
  const std::vector<Offset> ends = Ends(ContestLoad::topic());
  contest_.ReadBack();
  RunUntil([&] { return contest_.HasRead(ends); }, kCatchUpMax,
           "the records of the contest were not read back");
}

// Up to the last record: no transaction is open any more.
void Run::ReadTransactions() {
  if (!transactions_.is_there()) return;
  transactions_.ReadBack(Ends(TransactionsLoad::topic()));
  const bool has_read = RunUntil([this] { return transactions_.HasRead(); }, kCatchUpMax,
                                 "the records of transactions were not read back");
  if (!has_read) return;
  transactions_.Check();
  if (!copiers_.is_there()) return;
  RunUntil([this] { return copiers_.HasCopied(transactions_.read_back()); }, kCatchUpMax,
           "the records of transactions were not all copied");
  copiers_.Check(transactions_.read_back());
}

void Run::ReadCompacted() {
  if (!swarm_.Has(FaultClass::kCompaction)) return;
  RunUntil([this] { return keyed_.IsCompacted(nemesis_.damaged()); }, kCatchUpMax,
           "the replicas were not compacted");
  keyed_.ReadBack();
  RunUntil([this] { return keyed_.HasReadBack(); }, kCatchUpMax,
           "what compaction left was not read back");
  keyed_.Check();
  keyed_.Verify();
  RunUntil([this] { return keyed_.HasVerified(); }, kCatchUpMax, "the replicas were not compared");
}

void Run::Finish() {
  nemesis_.Heal();
  RestartSilent();
  size_t flushed = 0;
  for (auto& producer : producers_) producer->StopAndFlush([&flushed] { ++flushed; });
  churn_.Stop([&flushed] { ++flushed; });
  keyed_.Stop([&flushed] { ++flushed; });
  contest_.Stop([&flushed] { ++flushed; });
  transactions_.Stop([&flushed] { ++flushed; });
  if (walker_) walker_->Stop();
  RunUntil([&] { return flushed == producers_.size() + 4; }, kCatchUpMax,
           "producers were not answered after everything healed");
  durability_.Check();
  RestartSilent();
  StopLogStartClients();
  offsets_load_.Stop();
  RunUntil([this] { return swarm_.coordinator_shards == 0 || offsets_load_.is_idle(); },
           kCatchUpMax, "groups were not answered after everything healed");
  copiers_.Stop();
  members_load_.Stop();
  RunUntil([this] { return !HasMembers() || members_load_.IsSettled(); }, kCatchUpMax,
           "partitions of groups were not owned after everything healed");
  readers_load_.Stop();
  RunUntil([this] { return readers_load_.HasWorkedOn(Ends("t")); }, kCatchUpMax,
           "a group has not worked on all records after everything healed");
  RunUntil([this] { return equality_.Holds(); }, kCatchUpMax, "the replicas did not become equal");
  ReadBack();
  ReadCompacted();
  if (!consumer_->error().ok()) {
    history_.SawStuck("the reader failed: " + consumer_->error().ToString());
  }
  if (walker_ && !walker_->error().ok()) {
    history_.SawStuck("a reader failed: " + walker_->error().ToString());
  }
  log_starts_.Observe();
  history_.CheckComplete();
}

RunResult Run::Go() {
  result_.swarm = swarm_.ToString();
  if (Begin()) {
    Watch();
    nemesis_.Start();
    world_.RunFor(options_.chaos);
    HealMajority();
    DemandProgress();
    Finish();
  }
  is_over_ = true;
  result_.anomalies = history_.anomalies();
  result_.trace_hash = world_.trace_hash();
  result_.acknowledged = history_.acknowledged();
  result_.reads = history_.reads();
  result_.deletions = history_.deletions();
  result_.kills = nemesis_.counts().kills;
  result_.power_losses = nemesis_.counts().power_losses;
  result_.partitions = nemesis_.counts().partitions;
  result_.simulated = world_.elapsed();
  // Clients go before the edge that they talk through.
  producers_.clear();
  consumer_.reset();
  walker_.reset();
  log_start_loads_.clear();
  return result_;
}

}  // namespace

RunResult RunSeed(const RunOptions& options) { return Run(options).Go(); }

}  // namespace millrace::sim
