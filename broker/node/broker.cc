#include "broker/node/broker.h"

#include <string>
#include <utility>

#include <glog/logging.h>

#include "proto/frame/frame.h"
#include "raft/runtime/run_on.h"

namespace millrace::broker {

namespace {

// Whether this build knows the feature level of the cluster that the data directory belongs to: an
// older one would not understand what it finds.
Status CheckKnowsLevel(const storage::SuperblockFacts& facts) {
  if (facts.cluster_level <= KnownFeatureLevel()) return {};
  return FailedPrecondition("the cluster of this data directory is of feature level " +
                            std::to_string(facts.cluster_level) + ", and this build of broker " +
                            std::to_string(facts.broker.value()) + " knows " +
                            std::to_string(KnownFeatureLevel()) +
                            ": start the newer build that it was run with");
}

}  // namespace

Broker::Broker(const BrokerOptions& options, const Environment& environment)
    : options_(options), environment_(environment), random_(environment.random_seed) {}

Broker::~Broker() {
  lifetime_.End();
  // In the reverse order of the making.
  if (node_) node_->Stop();
  transport_.reset();
  node_.reset();
  log_store_.reset();
  identity_.reset();
}

void Broker::Fatal(const Status& status) {
  if (std::exchange(has_failed_, true)) return;
  LOG(ERROR) << "this broker cannot go on: " << status;
  environment_.on_fatal(status);
}

void Broker::Start(MoveFunction<void(Status)> done) {
  started_ = std::move(done);
  const storage::Superblock::Expectation expectation{.cluster_name = options_.cluster_name,
                                                     .broker = options_.broker};
  auto on_open =
      RunOn(environment_.shard,
            lifetime_.Guard([this](Result<std::unique_ptr<storage::Superblock>> opened) {
              if (!opened.ok()) return started_(opened.status());
              if (const Status known = CheckKnowsLevel((*opened)->facts()); !known.ok()) {
                return started_(known);
              }
              identity_ = std::make_unique<SuperblockIdentity>(
                  std::move(*opened), environment_.shard, environment_.segment_executor,
                  lifetime_.Guard([this](const Status& status) { Fatal(status); }));
              OpenLogStore();
            }));
  environment_.segment_executor.Post([files = &environment_.segment_files, expectation,
                                      random = random_.Fork(),
                                      on_open = std::move(on_open)]() mutable {
    storage::Superblock::Open(*files, expectation, random, std::move(on_open));
  });
}

void Broker::OpenLogStore() {
  storage::LogStoreOptions options = options_.log_store;
  options.journal.key = identity_->journal_key();
  options.journal.must_exist = identity_->stage() != Bootstrap::Stage::kFresh;
  // Not by RunOn: it may be called more than once.
  auto fatal = lifetime_.Guard([this](const Status& status) { Fatal(status); });
  storage::JournalLogStore::Open(
      options,
      {.shard = environment_.shard,
       .journal_executor = environment_.journal_executor,
       .journal_files = environment_.journal_files,
       .segment_executor = environment_.segment_executor,
       .segment_files = environment_.segment_files,
       .fail_stop =
           [shard = &environment_.shard, fatal](const Status& status) {
             shard->Post([fatal, status]() mutable { fatal(status); });
           }},
      lifetime_.Guard([this](Result<storage::JournalLogStore::Opened> opened) {
        if (!opened.ok()) return started_(opened.status());
        OpenNode(std::move(*opened));
      }));
}

void Broker::OpenNode(storage::JournalLogStore::Opened opened) {
  log_store_ = std::move(opened.store);
  raft::net::PeerTransportOptions peers;
  peers.self = {.who = identity_->self(),
                .boot_epoch = identity_->boot_epoch(),
                .cluster_uuid = identity_->cluster_uuid()};
  peers.cluster_uuid = [this] { return identity_->cluster_uuid(); };
  peers.cluster_level = [this] { return identity_->cluster_level(); };
  peers.cluster_name = options_.cluster_name;
  peers.listen = options_.internal_listen;
  peers.peers = options_.controllers;
  peers.condition = [this] {
    return raft::net::PeerCondition{.oldest_write_age = node_->host().oldest_write_age(),
                                    .is_disk_full = !log_store_->admission().ok()};
  };
  peers.levels.max = KnownFeatureLevel();
  peers.software_version = options_.software_version;
  const auto own = options_.controllers.find(options_.broker);
  if (own != options_.controllers.end()) peers.internal_address = own->second.ToString();
  transport_ = std::make_unique<raft::net::PeerTransport>(
      peers, raft::net::PeerTransport::Environment{environment_.shard, environment_.clock,
                                                   environment_.network, random_.Fork()});
  NodeOptions options{.cluster_name = options_.cluster_name,
                      .client_address = options_.client_address,
                      .internal_address = peers.internal_address,
                      .software_version = options_.software_version,
                      .members = {},
                      .client_memory_bytes_max = options_.client_memory_bytes_max,
                      .message_bytes_max = options_.message_bytes_max,
                      .streams_per_connection_max = options_.streams_per_connection_max,
                      .segment_bytes = options_.log_store.segment_size_bytes,
                      .producers = options_.producers,
                      .compaction = options_.compaction,
                      .verify_bytes_per_second = options_.verify_bytes_per_second,
                      .coordinator_shards = options_.coordinator_shards,
                      .coordinator = options_.coordinator,
                      .producer_id_key = DrawProducerIdKey(environment_.entropy),
                      .host = options_.host};
  for (const auto& [id, address] : options_.controllers) options.members.push_back(id);
  node_ = std::make_unique<Node>(
      options,
      Node::Environment{environment_.shard, environment_.clock, *transport_, *log_store_,
                        *identity_, environment_.batch_executor},
      std::move(opened.replicas), random_.Fork());
  if (Status status = transport_->Start(*node_); !status.ok()) return started_(status);
  node_->Start([this](const Status& status) { Fatal(status); });
  started_(Status::Ok());
}

void Broker::Stop(Task done) {
  if (node_) node_->Stop();
  transport_.reset();
  if (!log_store_) return done();
  log_store_->Stop(lifetime_.Guard(
      [this, done = std::move(done)]() mutable { identity_->StoreStopped(std::move(done)); }));
}

}  // namespace millrace::broker
