#include "tests/simulation/broker/cluster.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/frame/frame.h"
#include "storage/journal/file_pool.h"
#include "storage/journal/replay.h"
#include "storage/superblock/superblock.h"

namespace millrace::sim {

SimCluster::SimCluster(SimWorld& world, const ClusterOptions& options)
    : world_(&world), options_(options), random_(world.Fork()), edge_(world) {
  for (size_t i = 0; i < options.brokers; ++i) {
    auto one = std::make_unique<OneBroker>();
    one->name = "broker" + std::to_string(i + 1);
    one->process = &world.AddProcess(one->name);
    brokers_.push_back(std::move(one));
  }
}

SimCluster::~SimCluster() {
  for (size_t i = 0; i < brokers_.size(); ++i) {
    if (is_up(i)) Kill(i, false);
  }
}

void SimCluster::StartAll() {
  for (size_t i = 0; i < brokers_.size(); ++i) Start(i);
}

void SimCluster::Start(size_t index) {
  OneBroker& one = *brokers_[index];
  CHECK(one.broker == nullptr) << one.name;
  if (!one.process->is_alive()) one.process->Restart();
  Executor& executor = one.process->executor();
  one.journal_files = std::make_unique<SimFileSystem>(one.disk, executor, one.process->Fork());
  one.all_segment_files = std::make_unique<SimFileSystem>(one.disk, executor, one.process->Fork());
  one.segment_files = std::make_unique<storage::BoundedFiles>(
      executor, *one.all_segment_files,
      storage::BoundedFiles::Options{.open_files_max = options_.segment_files_max});
  broker::BrokerOptions options;
  options.broker = BrokerId(static_cast<uint32_t>(index + 1));
  options.cluster_name = "sim";
  options.client_address = Address(index);
  options.internal_listen = {.host = one.name, .port = 7441};
  for (size_t i = 0; i < brokers_.size(); ++i) {
    options.controllers[BrokerId(static_cast<uint32_t>(i + 1))] = {.host = brokers_[i]->name,
                                                                   .port = 7441};
  }
  options.client_memory_bytes_max = options_.client_memory_bytes_max;
  options.coordinator_shards = options_.coordinator_shards;
  options.coordinator = options_.coordinator;
  options.host.tail_bytes_max = options_.tail_bytes_max;
  options.log_store.journal.file_bytes = options_.journal_file_bytes;
  options.log_store.large_write_bytes = options_.large_write_bytes;
  options.log_store.segment_size_bytes = options_.segment_bytes;
  options.log_store.controller_segment_size_bytes = options_.controller_segment_bytes;
  options.log_store.write_bytes = 64 << 10;
  options.log_store.checkpoint_bytes_min = 8 << 10;
  options.log_store.start_bytes = 64 << 10;
  options.log_store.quiet_checkpoint_bytes = 4 << 10;
  options.log_store.scrub_interval = std::chrono::seconds(5);
  options.log_store.free_bytes_min = options_.free_bytes_min;
  one.broker = std::make_unique<broker::Broker>(
      options, broker::Broker::Environment{
                   .shard = executor,
                   .clock = one.process->clock(),
                   .network = one.process->network(),
                   .journal_executor = executor,
                   .journal_files = *one.journal_files,
                   .segment_executor = executor,
                   .segment_files = *one.segment_files,
                   .batch_executor = executor,
                   .random_seed = random_.Next(),
                   .entropy = [] { return uint64_t{1}; },
                   .on_fatal = [this, index](const Status& status) { Die(index, status); }});
  one.broker->Start([this, index](Status started) {
    OneBroker& broker = *brokers_[index];
    if (!started.ok()) return Die(index, started);
    broker.is_serving = true;
    edge_.Serve(Address(index), *broker.process, broker.broker->node().registry());
  });
}

// As the process's exit does: nothing of it runs any more, and its objects go once it returned.
void SimCluster::Die(size_t index, const Status& why) {
  OneBroker& one = *brokers_[index];
  fatal_ = why.With(one.name);
  if (!one.process->is_alive()) return;
  one.process->Kill();
  world_->After(Duration(0), [this, index, why] {
    if (!is_up(index)) return;
    Kill(index, /*power_loss=*/false);
    if (on_death_) on_death_(index, why);
  });
}

void SimCluster::Stop(size_t index) {
  OneBroker& one = *brokers_[index];
  CHECK(one.is_serving) << one.name;
  edge_.Forget(Address(index));
  one.is_serving = false;
  one.process->executor().Post([&one] {
    one.broker->Stop([] { MILLRACE_SOMETIMES("a broker stopped as it was told to"); });
  });
}

void SimCluster::Kill(size_t index, bool power_loss) {
  OneBroker& one = *brokers_[index];
  CHECK(one.broker != nullptr) << one.name;
  MILLRACE_SOMETIMES_IF("a broker died while a journal file was made",
                        std::ranges::any_of(one.disk.Paths(), [](const std::string& path) {
                          return path.starts_with("journal/") && path.ends_with(".new");
                        }));
  edge_.Forget(Address(index));
  one.is_serving = false;
  if (one.process->is_alive()) one.process->Kill();
  // As its other tasks: they hold what is the broker's.
  one.disk.ForgetWaiting();
  one.broker.reset();
  one.journal_files.reset();
  one.segment_files.reset();
  one.all_segment_files.reset();
  if (power_loss) one.disk.PowerLoss(random_);
}

std::vector<std::string> SimCluster::addresses() const {
  std::vector<std::string> addresses;
  for (size_t i = 0; i < brokers_.size(); ++i) addresses.push_back(Address(i));
  return addresses;
}

namespace {

// Where the log ends in segments, by their durable bytes alone: behind what the journal calls
// committed there are frames that follow on, as a start would find them.
storage::journal::LogPoint WrittenEnd(const SimDisk& disk,
                                      const storage::journal::GroupLedger& group) {
  const storage::journal::LogRecord& log = group.log;
  const bool goes_on = storage::AboveOf(log, group.epoch) == storage::LogAbove::kGoesOn;
  const std::string folder = storage::SegmentDirectory({.group = group.record.group,
                                                        .number = group.record.number,
                                                        .generation = log.generation}) +
                             "/";
  storage::journal::LogPoint end = log.end;
  // The file that the log's end is in, and the one that begins there.
  std::vector<std::string> paths;
  for (const std::string& path : disk.DurablePaths(folder)) {  // sorted
    const auto first = storage::ParseSegmentName(path.substr(folder.size()));
    if (!first.has_value() || *first > end.index + 1) continue;
    if (*first <= end.index) paths.clear();
    paths.push_back(path);
  }
  for (const std::string& path : paths) {
    const std::string_view image = *disk.DurableBytes(path);
    for (uint64_t at = sizeof(storage::SegmentHeader); at < image.size();) {
      const Result<FrameHeader> frame = ParseFrame(image.substr(at));
      if (!frame.ok()) break;
      at += FrameSize(frame->payload_size);
      if (frame->index <= end.index) continue;
      const bool counts = goes_on || frame->index <= log.written;
      if (!counts || !storage::CheckFollows(end, group.record.group, *frame).ok()) break;
      end = storage::EndAfter(*frame);
    }
  }
  return end;
}

}  // namespace

std::map<RaftGroupId, Offset> SimCluster::DurableEnds(size_t index) const {
  const SimDisk& disk = brokers_[index]->disk;
  std::vector<storage::journal::FileImage> files;
  constexpr std::string_view kPrefix = "journal/";
  for (const std::string& path : disk.DurablePaths(kPrefix)) {
    // One that is being made is no part of the journal yet: a start removes it.
    const std::string file = path.substr(kPrefix.size());
    const auto name = storage::journal::JournalFileName::Parse(file);
    if (!name.has_value() || name->is_new) continue;
    files.push_back({.name = file,
                     .made_bytes = name->bytes,
                     .bytes = Bytes::CopyOf(*disk.DurableBytes(path))});
  }
  std::map<RaftGroupId, Offset> ends;
  const Result<storage::ParsedSuperblock> identity =
      storage::ParseSuperblock(disk.DurableImage("SUPERBLOCK").value_or(""));
  if (!identity.ok()) return ends;
  const Result<storage::journal::Replayed> state =
      storage::journal::Replay(identity->facts.journal_key, std::move(files));
  if (!state.ok()) return ends;
  for (const auto& [id, group] : state->groups) {
    storage::journal::LogPoint end = WrittenEnd(disk, group.ledger);
    for (const auto& [log_index, frame] : group.frames) {
      if (log_index <= end.index) continue;
      const Result<FrameHeader> header = ParseFrameHeader(frame.view());
      if (!header.ok() || !storage::CheckFollows(end, id, *header).ok()) break;
      end = storage::EndAfter(*header);
    }
    ends[id] = end.next_offset;
  }
  return ends;
}

void SimCluster::CheckInvariants() const {
  for (const auto& one : brokers_) {
    if (one->is_serving && one->process->is_alive()) one->broker->node().host().CheckInvariants();
  }
}

}  // namespace millrace::sim
