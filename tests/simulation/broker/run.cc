#include "tests/simulation/broker/run.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include <glog/logging.h>

#include "tests/simulation/broker/cluster.h"
#include "tests/simulation/broker/history.h"
#include "tests/simulation/broker/workload.h"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint32_t kPartitions = 3;
constexpr size_t kProducers = 2;

class Run {
 public:
  explicit Run(const RunOptions& options)
      : options_(options),
        world_(options.seed),
        random_(world_.Fork()),
        check_random_(world_.Fork()),
        cluster_(world_, {.brokers = options.brokers}) {
    result_.seed = options.seed;
  }
  RunResult Go();

 private:
  // Which faults this seed has (swarm testing): a run with few kinds goes deeper than one with all.
  struct Swarm {
    bool kills = false;
    bool power_loss = false;
    bool crash_at_operation = false;
    bool partitions = false;
    bool one_way = false;
    bool breaks = false;
    bool slow_links = false;
    uint64_t pace_ms = 500;
  };
  void DrawSwarm();
  bool Begin();
  void Chaos();
  void OneFault();
  void KillSome(size_t broker);
  void RestartLater(size_t broker);
  void PartitionSome();
  void Heal();
  void Finish();
  void Watch();
  void CheckAcknowledged();
  void Observe();
  bool AreReplicasEqual() const;
  bool Serves(size_t broker) const { return cluster_.is_serving(broker); }
  void Note(const std::string& text) const {
    if (options_.is_verbose) {
      LOG(INFO) << "t=" << world_.elapsed().count() / 1000 << "ms " << text;
    }
  }

  const RunOptions options_;
  SimWorld world_;
  Random random_;
  Random check_random_;
  SimCluster cluster_;
  History history_;
  std::vector<std::unique_ptr<SimProducer>> producers_;
  std::unique_ptr<SimConsumer> consumer_;
  Swarm swarm_;
  std::set<size_t> restarting_;
  std::vector<Acknowledgement> unchecked_;
  std::map<uint32_t, RaftGroupId> groups_;
  std::map<RaftGroupId, Term> terms_;
  bool is_over_ = false;
  RunResult result_;
};

void Run::DrawSwarm() {
  swarm_.kills = random_.OneIn(2);
  swarm_.power_loss = random_.OneIn(2);
  swarm_.crash_at_operation = random_.OneIn(2);
  swarm_.partitions = random_.OneIn(2);
  swarm_.one_way = random_.OneIn(2);
  swarm_.breaks = random_.OneIn(3);
  swarm_.slow_links = random_.OneIn(3);
  swarm_.pace_ms = random_.Between(200, 2000);
  if (options_.brokers == 1) swarm_.partitions = false;
  if (!swarm_.kills && !swarm_.crash_at_operation && !swarm_.partitions) swarm_.kills = true;
}

bool Run::Begin() {
  cluster_.StartAll();
  SimProcess& admin = world_.AddProcess("admin");
  SimConnector connector(cluster_.edge(), admin);
  client::Client client({admin.executor(), admin.clock(), connector, admin.Fork()},
                        {.bootstrap = cluster_.addresses()});
  v1::CreateTopicRequest request;
  request.set_name("t");
  request.set_partition_count(kPartitions);
  request.set_replication_factor(static_cast<uint32_t>(options_.brokers));
  std::optional<Result<v1::CreateTopicResponse>> created;
  client.CreateTopic(request, seconds(20),
                     [&](Result<v1::CreateTopicResponse> response) { created = response; });
  if (!world_.RunUntil([&] { return created.has_value(); }, seconds(40)) || !created->ok()) {
    result_.anomalies.push_back(
        "no progress: the topic was not created: " +
        (created.has_value() ? created->status().ToString() : cluster_.fatal().ToString()));
    return false;
  }
  for (const auto& partition : cluster_.node(0).controller().image().FindTopic("t")->partitions) {
    groups_[partition.partition.value()] = partition.group;
  }
  for (size_t i = 0; i < kProducers; ++i) {
    producers_.push_back(std::make_unique<SimProducer>(
        world_, cluster_.edge(), cluster_.addresses(), static_cast<uint32_t>(i), history_,
        [this](const Acknowledgement& ack) {
          unchecked_.push_back(ack);
          // Reading three disks is dear: at this very instant for some, soon for the others.
          if (check_random_.OneIn(300)) CheckAcknowledged();
        }));
  }
  consumer_ = std::make_unique<SimConsumer>(world_, cluster_.edge(), cluster_.addresses(), "reader",
                                            kPartitions, history_);
  return true;
}

// Looks at the cluster now and then, as long as the run lasts.
void Run::Watch() {
  if (is_over_) return;
  Observe();
  CheckAcknowledged();
  world_.After(milliseconds(250), [this] { Watch(); });
}

void Run::Observe() {
  for (size_t i = 0; i < cluster_.size(); ++i) {
    if (!Serves(i)) continue;
    const auto see = [&](RaftGroupId group, const raft::Leadership& leadership) {
      if (!leadership.is_leader) return;
      history_.SawLeader(group, leadership.term, BrokerId(static_cast<uint32_t>(i + 1)));
      Term& known = terms_[group];
      if (leadership.term > known) ++result_.leader_changes;
      known = std::max(known, leadership.term);
    };
    see(kControllerGroup, cluster_.node(i).controller().leadership());
    for (const auto& [group, partition] : cluster_.node(i).partitions().all()) {
      see(group, partition->leadership());
    }
  }
  cluster_.CheckInvariants();
}

// Every acknowledgement against the durable images, before anything may take them away.
void Run::CheckAcknowledged() {
  if (unchecked_.empty()) return;
  std::vector<std::map<RaftGroupId, Offset>> ends;
  for (size_t i = 0; i < cluster_.size(); ++i) ends.push_back(cluster_.DurableEnds(i));
  for (const Acknowledgement& ack : unchecked_) {
    const RaftGroupId group = groups_[ack.partition];
    const auto durable = std::count_if(ends.begin(), ends.end(), [&](auto& broker) {
      auto end = broker.find(group);
      return end != broker.end() && end->second > ack.offset;
    });
    if (static_cast<size_t>(durable) <= cluster_.size() / 2) {
      history_.SawUndurable(ack.value.Text() + " at offset " + std::to_string(ack.offset.value()) +
                            " of partition " + std::to_string(ack.partition));
    }
  }
  unchecked_.clear();
}

void Run::KillSome(size_t broker) {
  // Fewer than half may be down for lack of power at once; a plain kill may take any.
  const bool power_loss = swarm_.power_loss && random_.OneIn(2);
  CheckAcknowledged();
  Note("kill " + cluster_.host(broker) + (power_loss ? " with power loss" : ""));
  ++result_.kills;
  result_.power_losses += power_loss ? 1 : 0;
  cluster_.Kill(broker, power_loss);
  RestartLater(broker);
}

void Run::RestartLater(size_t broker) {
  restarting_.insert(broker);
  world_.After(milliseconds(random_.Between(10, 3000)), [this, broker] {
    if (restarting_.erase(broker) == 0) return;
    Note("start " + cluster_.host(broker));
    cluster_.Start(broker);
  });
}

void Run::PartitionSome() {
  const size_t a = random_.Below(cluster_.size());
  const size_t b = (a + 1 + random_.Below(cluster_.size() - 1)) % cluster_.size();
  const bool one_way = swarm_.one_way && random_.OneIn(2);
  ++result_.partitions;
  Note("partition " + cluster_.host(a) + (one_way ? " -> " : " <-> ") + cluster_.host(b));
  world_.Partition(cluster_.host(a), cluster_.host(b), one_way);
  if (random_.OneIn(2)) {
    // Alone against all.
    for (size_t i = 0; i < cluster_.size(); ++i) {
      if (i != a) world_.Partition(cluster_.host(a), cluster_.host(i), one_way);
    }
  }
  world_.After(milliseconds(random_.Between(100, 4000)), [this] { world_.HealAll(); });
}

void Run::OneFault() {
  const size_t broker = random_.Below(cluster_.size());
  switch (random_.Below(4)) {
    case 0:
      if (swarm_.kills && cluster_.is_up(broker)) KillSome(broker);
      return;
    case 1:
      if (!swarm_.crash_at_operation || !Serves(broker)) return;
      cluster_.disk(broker).CrashAtOperation(random_.Between(1, 60), [this, broker] {
        // In the middle of an operation of that broker: its objects go once it has returned.
        cluster_.process(broker).Kill();
        world_.After(Duration(0), [this, broker] {
          if (cluster_.is_up(broker)) KillSome(broker);
        });
      });
      return;
    case 2:
      if (swarm_.partitions && cluster_.size() > 1) PartitionSome();
      return;
    default:
      if (!swarm_.breaks || cluster_.size() < 2) return;
      world_.BreakConnections(cluster_.host(broker), cluster_.host((broker + 1) % cluster_.size()));
  }
}

void Run::Chaos() {
  if (is_over_ || world_.elapsed() > options_.chaos) return;
  OneFault();
  world_.After(milliseconds(random_.Between(1, swarm_.pace_ms)), [this] { Chaos(); });
}

void Run::Heal() {
  Note("heal");
  world_.HealAll();
  for (size_t i = 0; i < cluster_.size(); ++i) {
    cluster_.disk(i).ForgetCrash();
    if (!cluster_.is_up(i)) {
      restarting_.erase(i);
      cluster_.Start(i);
    }
  }
}

bool Run::AreReplicasEqual() const {
  for (const auto& [partition, group] : groups_) {
    for (size_t i = 0; i < cluster_.size(); ++i) {
      if (!cluster_.is_serving(i)) return false;
      auto& node = const_cast<SimCluster&>(cluster_).node(i);
      const broker::Partition* replica = node.partitions().Find(group);
      const broker::Partition* first =
          const_cast<SimCluster&>(cluster_).node(0).partitions().Find(group);
      if (replica == nullptr || first == nullptr) return false;
      if (replica->high_watermark() != first->high_watermark()) return false;
      if (replica->Snapshot().view() != first->Snapshot().view()) return false;
    }
  }
  return true;
}

void Run::Finish() {
  size_t flushed = 0;
  for (auto& producer : producers_) producer->StopAndFlush([&flushed] { ++flushed; });
  if (!world_.RunUntil([&] { return flushed == producers_.size(); }, seconds(60))) {
    history_.SawUndurable("no progress: producers were not answered after everything healed; " +
                          cluster_.fatal().ToString());
  }
  CheckAcknowledged();
  if (!world_.RunUntil([this] { return AreReplicasEqual(); }, seconds(30))) {
    history_.SawUndurable("no progress: the replicas did not become equal");
  }
  std::vector<Offset> ends;
  for (uint32_t i = 0; i < kPartitions; ++i) {
    const broker::Partition* partition = cluster_.node(0).partitions().Find(groups_[i]);
    ends.push_back(partition == nullptr ? Offset(0) : partition->high_watermark());
  }
  SimConsumer last(world_, cluster_.edge(), cluster_.addresses(), "last", kPartitions, history_);
  if (!world_.RunUntil([&] { return last.HasReached(ends); }, seconds(60))) {
    history_.SawUndurable("no progress: the records could not be read back");
  }
  if (!consumer_->error().ok()) {
    history_.SawUndurable("the reader failed: " + consumer_->error().ToString());
  }
  history_.CheckComplete();
}

RunResult Run::Go() {
  DrawSwarm();
  if (Begin()) {
    Watch();
    Chaos();
    world_.RunFor(options_.chaos);
    Heal();
    Finish();
    is_over_ = true;
  }
  for (const std::string& anomaly : history_.anomalies()) result_.anomalies.push_back(anomaly);
  result_.trace_hash = world_.trace_hash();
  result_.acknowledged = history_.acknowledged();
  result_.reads = history_.reads();
  result_.simulated = world_.elapsed();
  // Clients go before the edge that they talk through.
  producers_.clear();
  consumer_.reset();
  return result_;
}

}  // namespace

std::string RunResult::Rerun(const std::string& mutant) const {
  std::string command = "simulate_broker --seed=" + std::to_string(seed);
  if (!mutant.empty()) command += " --mutant=" + mutant;
  return command;
}

RunResult RunSeed(const RunOptions& options) { return Run(options).Go(); }

}  // namespace millrace::sim
