// The one place that wires concrete things together: threads, clocks, sockets, disks and gRPC
// around a Broker; and the command line, of which `server` and `inspect` are this file's and the
// rest client/cli's.

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <future>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>
#include <glog/logging.h>
#include <google/protobuf/stubs/logging.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/config/server_settings.h"
#include "broker/edge/grpc_edge.h"
#include "broker/edge/listen_sockets.h"
#include "broker/inspect/inspect_command.h"
#include "broker/inspect/inspection.h"
#include "broker/node/broker.h"
#include "client/cli/cli.h"
#include "client/cli/standard_files.h"
#include "proto/base/mutants.h"
#include "raft/runtime/loop_thread.h"
#include "raft/runtime/random.h"
#include "raft/runtime/real_clock.h"
#include "raft/runtime/tcp_network.h"
#include "storage/file/bounded_files.h"
#include "storage/file/log_file.h"
#include "storage/file/real_file_system.h"

extern char** environ;

namespace millrace {
namespace {

using broker::config::ServerConfig;

// MILLRACE_* of the process's environment.
broker::config::Texts Environment() {
  broker::config::Texts texts;
  for (char** at = environ; *at != nullptr; ++at) {
    const std::string_view pair(*at);
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos || !pair.starts_with("MILLRACE_")) continue;
    texts.emplace(pair.substr(0, equals), pair.substr(equals + 1));
  }
  return texts;
}

// Raises the limit of open files as far as it goes; the limit.
uint64_t RaiseFileLimit() {
  rlimit limit{};
  CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  return limit.rlim_cur;
}

// A quarter of the descriptors, or 64 where that is more and half are left, is for the journal,
// peers and listeners. Of the others a third is for segments, and two thirds for clients, whose
// connections take two each. None can take another's.
uint64_t SharedFilesMax(uint64_t files_max) {
  const uint64_t own = std::max(files_max / 4, std::min<uint64_t>(64, files_max / 2));
  return files_max - own;
}

uint64_t SegmentFilesMax(uint64_t files_max) {
  return std::max<uint64_t>(SharedFilesMax(files_max) / 3, 1);
}

uint64_t ConnectionsMax(const ServerConfig& config, uint64_t files_max) {
  const uint64_t connections_max = std::min(config.connections_max, SharedFilesMax(files_max) / 3);
  if (connections_max < config.connections_max) {
    LOG(INFO) << "fewer client connections than set, as each takes open files connections_max="
              << connections_max << " files_max=" << files_max;
  }
  return connections_max;
}

uint64_t PerAddressMax(const ServerConfig& config, uint64_t connections_max) {
  if (config.connections_per_address_max > 0) return config.connections_per_address_max;
  return std::max<uint64_t>(1, connections_max / 4);
}

// Past this, and past half of what is in use, memory that malloc keeps is given back.
constexpr size_t kFreeBytesKept = size_t{64} << 20;
constexpr Duration kGiveBackInterval = std::chrono::seconds(3);

// malloc keeps what a burst of clients has freed; without this a broker stays as large as it ever
// was.
void GiveBackMemoryRegularly(Executor& executor) {
  executor.RunAfter(kGiveBackInterval, [&executor] {
    const struct mallinfo2 info = mallinfo2();
    if (info.fordblks > std::max(kFreeBytesKept, info.uordblks / 2)) malloc_trim(0);
    GiveBackMemoryRegularly(executor);
  });
}

broker::BrokerOptions BrokerOptionsOf(const ServerConfig& config) {
  broker::BrokerOptions options;
  options.broker = config.broker_id;
  options.cluster_name = config.cluster_name;
  options.client_address = config.advertise.ToString();
  options.internal_listen = config.internal_listen;
  options.software_version = MILLRACE_VERSION;
  for (const auto& controller : config.controllers) {
    options.controllers[controller.id] = controller.address;
  }
  options.host.election_timeout_ticks =
      static_cast<uint32_t>(config.election_timeout / options.host.tick);
  options.host.heartbeat_ticks =
      std::max(1u, static_cast<uint32_t>(config.heartbeat_interval / options.host.tick));
  options.host.tail_bytes_max = config.tail_bytes_max;
  options.host.uncommitted_bytes_max = config.uncommitted_bytes_max;
  options.log_store.journal.file_bytes = config.journal_file_bytes;
  options.log_store.journal.live_files_max =
      static_cast<uint32_t>(config.journal_bytes_max / config.journal_file_bytes);
  options.log_store.large_write_bytes = config.large_write_bytes;
  options.log_store.segment_size_bytes = config.segment_bytes;
  options.log_store.controller_segment_size_bytes = config.segment_bytes;
  options.log_store.free_bytes_min = config.free_bytes_min;
  options.log_store.scrub_interval = config.scrub_interval;
  options.log_store.scrub_bytes_per_second = config.scrub_bytes_per_second;
  options.compaction = {.memory_bytes = config.compaction_memory,
                        .bytes_per_second = config.compaction_bytes_per_second};
  options.verify_bytes_per_second = config.verify_bytes_per_second;
  options.coordinator = {
      .bytes_max = config.coordinator_memory_bytes_max,
      .offsets_retention_ms =
          std::chrono::duration_cast<std::chrono::milliseconds>(config.offsets_retention).count()};
  options.client_memory_bytes_max = config.client_memory_bytes_max;
  options.message_bytes_max = config.message_bytes_max;
  options.streams_per_connection_max = config.streams_per_connection_max;
  options.producers = {.per_partition = config.producers_per_partition_max,
                       .per_broker = config.producers_max};
  return options;
}

// Segments that are synced at a time. They wait for the disk, and for one commit of the file
// system's journal where several are there (docs/adr/0003).
constexpr size_t kSyncThreads = 8;
// What this process sends itself to end a wait for signals.
constexpr int kWakeSignal = SIGUSR1;
constexpr int kExitError = 1;
constexpr int kExitUsage = 2;

// Why this server ends, for the log and for whoever started it.
void SayLast(const std::optional<storage::LogFile>& log_file, const Status& status) {
  const std::string line = "millrace: " + std::string(status.message());
  std::cerr << line << "\n" << std::flush;
  if (log_file.has_value()) log_file->Tell(line);
}

// Everything that one running server owns, in the order of its making.
class Server {
 public:
  // The log file outlives the server.
  Server(const ServerConfig& config, std::optional<storage::LogFile>* log_file)
      : config_(config),
        log_file_(log_file),
        shard_("shard"),
        journal_("journal"),
        segments_("segments"),
        syncs_(kSyncThreads, "syncs"),
        batches_("batches"),
        network_(shard_.loop()),
        journal_files_(journal_.executor(), config.data_dir),
        all_segment_files_(segments_.executor(), config.data_dir, syncs_.executors(),
                           {"journal", "groups"}),
        segment_files_(segments_.executor(), all_segment_files_,
                       {.open_files_max = SegmentFilesMax(files_max_)}) {}

  // Blocks until SIGTERM, SIGINT or an error that the broker can't survive.
  Status Run(const sigset_t& signals);

 private:
  Status Start(const sigset_t& signals);
  void Stop();
  // Blocks until a signal to end, or kWakeSignal.
  int WaitForSignal(const sigset_t& signals);
  Status AwaitRecovery(const sigset_t& signals, std::future<Status> started);
  void ReopenLog();

  const ServerConfig config_;
  std::optional<storage::LogFile>* log_file_;
  const uint64_t files_max_ = RaiseFileLimit();
  const RealClock clock_;
  LoopThread shard_;
  LoopThread journal_;
  LoopThread segments_;
  LoopThreads syncs_;  // of segments
  LoopThread batches_;
  TcpNetwork network_;
  storage::RealFileSystem journal_files_;
  storage::RealFileSystem all_segment_files_;
  storage::BoundedFiles segment_files_;
  std::unique_ptr<broker::Broker> broker_;
  std::unique_ptr<broker::edge::GrpcEdge> edge_;
};

Status Server::Start(const sigset_t& signals) {
  // Before anything is recovered, and before the other brokers hear of this one.
  ASSIGN_OR_RETURN(broker::edge::ListenSockets clients,
                   broker::edge::ListenSockets::Claim(config_.listen));
  ASSIGN_OR_RETURN(broker::edge::ListenSockets brokers,
                   broker::edge::ListenSockets::Claim(config_.internal_listen));
  std::promise<Status> started;
  shard_.RunAndWait([this, &started] {
    broker_ = std::make_unique<broker::Broker>(
        BrokerOptionsOf(config_),
        broker::Broker::Environment{.shard = shard_.executor(),
                                    .clock = clock_,
                                    .network = network_,
                                    .journal_executor = journal_.executor(),
                                    .journal_files = journal_files_,
                                    .segment_executor = segments_.executor(),
                                    .segment_files = segment_files_,
                                    .batch_executor = batches_.executor(),
                                    .random_seed = EntropySeed(),
                                    .entropy = EntropySeed,
                                    .on_fatal = [this](const Status& status) {
                                      // Fail-stop: nothing more may be promised or written.
                                      SayLast(*log_file_, status);
                                      google::FlushLogFiles(google::INFO);
                                      std::_Exit(kExitError);
                                    }});
    broker_->Start([&started](Status status) {
      started.set_value(std::move(status));
      kill(getpid(), kWakeSignal);
    });
  });
  RETURN_IF_ERROR(AwaitRecovery(signals, started.get_future()));
  segments_.RunAndWait([this] { GiveBackMemoryRegularly(segments_.executor()); });
  Status status;
  const uint64_t connections_max = ConnectionsMax(config_, files_max_);
  shard_.RunAndWait([this, &status, connections_max] {
    edge_ = std::make_unique<broker::edge::GrpcEdge>(
        broker::edge::GrpcEdge::Options{
            .listen = config_.listen,
            .message_bytes_max = config_.message_bytes_max,
            .streams_per_connection_max = config_.streams_per_connection_max,
            .connections_max = connections_max,
            .connections_per_address_max = PerAddressMax(config_, connections_max),
            .streams_max = config_.streams_max,
            .has_reflection = config_.has_reflection,
            .memory_bytes_max = config_.edge_memory_bytes_max,
            .keepalive_interval = std::chrono::duration_cast<std::chrono::milliseconds>(
                config_.client_keepalive_interval)},
        shard_.executor(), clock_,
        broker::edge::GrpcEdge::Services{.registry = broker_->node().registry(),
                                         .memory = broker_->node().client_memory()});
    status = edge_->Start().status();
    if (!status.ok()) return;
    broker_->node().OnceReady([this] {
      edge_->SetServing(true);
      LOG(INFO) << "serving clients listen=" << config_.listen.ToString()
                << " advertise=" << config_.advertise.ToString();
    });
  });
  return status;
}

void Server::Stop() {
  std::promise<void> stopped;
  shard_.RunAndWait([this, &stopped] {
    if (edge_) edge_->Stop();
    if (broker_) {
      broker_->Stop([&stopped] { stopped.set_value(); });
    } else {
      stopped.set_value();
    }
  });
  stopped.get_future().wait();
  shard_.RunAndWait([this] {
    edge_.reset();
    broker_.reset();
  });
}

int Server::WaitForSignal(const sigset_t& signals) {
  int signal = 0;
  while (true) {
    CHECK_EQ(sigwait(&signals, &signal), 0);
    if (signal == SIGHUP) {
      ReopenLog();
      continue;
    }
    if (signal != kWakeSignal) LOG(INFO) << "stopping signal=" << strsignal(signal);
    return signal;
  }
}

// A start may wait for room on its disk for as long as it takes. Nothing has been promised yet, so
// that it is ended as by a crash.
Status Server::AwaitRecovery(const sigset_t& signals, std::future<Status> started) {
  while (started.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    if (WaitForSignal(signals) == kWakeSignal) continue;
    LOG(INFO) << "stopped while starting broker=" << config_.broker_id;
    google::FlushLogFiles(google::INFO);
    std::_Exit(0);
  }
  return started.get();
}

void Server::ReopenLog() {
  if (!log_file_->has_value()) {
    LOG(INFO) << "SIGHUP changes nothing: the log goes to standard error, not to a --log-file";
    return;
  }
  const Status status = (*log_file_)->Reopen();
  LOG_IF(ERROR, !status.ok()) << "the log goes on in the old file why=" << status;
  LOG_IF(INFO, status.ok()) << "the log goes on here after SIGHUP file=" << (*log_file_)->path();
}

Status Server::Run(const sigset_t& signals) {
  Status status = Start(signals);
  while (status.ok() && WaitForSignal(signals) == kWakeSignal) {
  }
  Stop();
  shard_.Stop();
  batches_.Stop();
  syncs_.Stop();
  segments_.Stop();
  journal_.Stop();
  if (status.ok()) LOG(INFO) << "stopped broker=" << config_.broker_id;
  return status;
}

// In a test build, the environment may break the server deliberately (proto/base/mutants.h).
Status TakeMutantFromEnvironment() {
#if defined(MILLRACE_MUTANTS)
  const char* name = std::getenv("MILLRACE_MUTANT");
  if (name == nullptr || *name == '\0') return Status::Ok();
  if (!SetMutant(name)) {
    return InvalidArgument("MILLRACE_MUTANT: there is no broken variant " + std::string(name));
  }
  LOG(WARNING) << "this server is broken deliberately mutant=" << name;
#endif
  return Status::Ok();
}

// What protobuf logs of others' messages, such as text that is no UTF-8. Whoever sends it is
// answered; the log must not grow by it.
void LogFromProtobuf(google::protobuf::LogLevel level, const char*, int,
                     const std::string& message) {
  if (level < google::protobuf::LOGLEVEL_ERROR) return;
  LOG_EVERY_T(WARNING, 60) << "protobuf: " << message;
}

// The signals that the server waits for. Blocked before the first thread is made, so that every
// thread inherits it.
sigset_t TakeSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, kWakeSignal}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  // A file over the process's limit of sizes is then an error of the write, which says what it is.
  std::signal(SIGXFSZ, SIG_IGN);
  return signals;
}

void SetLogLevel(broker::config::LogLevel level) {
  switch (level) {
    case broker::config::LogLevel::kInfo:
      FLAGS_minloglevel = google::INFO;
      return;
    case broker::config::LogLevel::kWarning:
      FLAGS_minloglevel = google::WARNING;
      return;
    case broker::config::LogLevel::kError:
      FLAGS_minloglevel = google::ERROR;
      return;
  }
}

Status RunServer(const ServerConfig& config, std::optional<storage::LogFile>* log_file) {
  const sigset_t signals = TakeSignals();
  SetLogLevel(config.log_level);
  google::protobuf::SetLogHandler(LogFromProtobuf);
  if (!config.log_file.empty()) {
    ASSIGN_OR_RETURN(storage::LogFile opened, storage::LogFile::Open(config.log_file));
    log_file->emplace(std::move(opened));
  }
  RETURN_IF_ERROR(TakeMutantFromEnvironment());
  ASSIGN_OR_RETURN(const storage::DirectoryLock lock,
                   storage::DirectoryLock::Acquire(config.data_dir));
  LOG(INFO) << "starting version=" << MILLRACE_VERSION << " broker=" << config.broker_id
            << " cluster=" << config.cluster_name << " data_dir=" << config.data_dir;
  return Server(config, log_file).Run(signals);
}

// The exit code of `millrace server`.
int ServerMain(const broker::config::Texts& flags) {
  const Result<ServerConfig> config = broker::config::LoadServerConfig(flags, Environment());
  std::optional<storage::LogFile> log_file;
  if (!config.ok()) {
    SayLast(log_file, config.status());
    return kExitUsage;
  }
  const Status status = RunServer(*config, &log_file);
  if (status.ok()) return 0;
  SayLast(log_file, status);
  return kExitError;
}

// Reads the directory on a thread of its own; what the broker's code logs meanwhile is told as a
// result.
Result<broker::Report> Inspect(const broker::InspectOptions& options) {
  FLAGS_minloglevel = google::FATAL;
  ASSIGN_OR_RETURN(const storage::DirectoryLock lock,
                   storage::DirectoryLock::AcquireForReading(options.directory));
  const RealClock clock;
  LoopThread thread("inspect");
  storage::RealFileSystem files(thread.executor(), options.directory);
  std::promise<Result<broker::Report>> promise;
  thread.RunAndWait([&] {
    broker::Inspection::Run(
        {.verify = options.verify}, {.executor = thread.executor(), .files = files, .clock = clock},
        [&promise](Result<broker::Report> report) { promise.set_value(std::move(report)); });
  });
  Result<broker::Report> report = promise.get_future().get();
  thread.Stop();
  // Where no lock lay, a broker may have come and changed what was read.
  if (!lock.is_held()) {
    RETURN_IF_ERROR(storage::DirectoryLock::AcquireForReading(options.directory).status());
  }
  if (!report.ok()) return report.status().With(options.directory);
  return report;
}

int InspectMain(const broker::InspectOptions& options) {
  return broker::FinishInspect(options, Inspect(options));
}

int Main(int argc, char** argv) {
  FLAGS_logtostderr = true;
  google::InitGoogleLogging(argv[0]);
  broker::config::ServerFlags flags;
  broker::InspectOptions inspect;
  return client::cli::Run(argc, argv, [&](CLI::App& app, client::cli::Command* chosen) {
    app.set_version_flag("-v,--version", MILLRACE_VERSION);
    CLI::App* server = app.add_subcommand("server", "Run a broker");
    flags.AddTo(*server);
    server->callback(
        [&flags, chosen] { *chosen = [&flags] { return ServerMain(flags.given()); }; });
    CLI::App* command = app.add_subcommand("inspect", "Tell what is in a data directory");
    broker::AddInspectOptions(command, &inspect);
    command->callback(
        [&inspect, chosen] { *chosen = [&inspect] { return InspectMain(inspect); }; });
  });
}

}  // namespace
}  // namespace millrace

// Libraries open descriptors as they are loaded, gRPC an eventfd: what stands here runs before
// them.
__attribute__((section(".preinit_array"), used)) void (*const kOpenClosedStandardFiles)() =
    &millrace::client::cli::OpenClosedStandardFiles;

int main(int argc, char** argv) { return millrace::Main(argc, argv); }
