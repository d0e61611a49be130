#include "broker/edge/grpc_edge.h"

#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>

#include "broker/edge/completion_loop.h"
#include "broker/edge/connection_acceptor.h"
#include "broker/edge/listen_sockets.h"
#include "broker/edge/raw_service.h"
#include "broker/edge/reflected_files.h"
#include "broker/edge/reflection.h"
#include "broker/edge/rpc_table.h"

namespace millrace::broker::edge {
namespace {

// Calls of one method that may arrive in one turn of the shard; more wait in gRPC.
constexpr int kVacantPerMethod = 8;
// A client that pings more often than this is taken for abuse and sent away. gRPC's own default of
// five minutes sends away every client with a customary keepalive.
constexpr int kPingIntervalMsMin = 10'000;

// The headers of one call. Bearer tokens take 1 to 4 KiB.
constexpr int kMetadataBytesMax = 8 << 10;

// gRPC's own complaints, e.g. about garbage from a port scan: worth a line, not worth a flood.
void LogFromGrpc(gpr_log_func_args* args) {
  if (args->severity == GPR_LOG_SEVERITY_ERROR) {
    LOG_EVERY_T(WARNING, 1) << "grpc: " << args->message;
  }
}

int ToInt(std::chrono::milliseconds time) { return static_cast<int>(time.count()); }

void Configure(const GrpcEdge::Options& options, grpc::ServerBuilder* builder) {
  grpc::ResourceQuota quota("millrace-edge");
  quota.Resize(options.memory_bytes_max);
  builder->SetResourceQuota(quota);
  builder->SetMaxReceiveMessageSize(static_cast<int>(options.message_bytes_max));
  // Batches are compressed, messages are not; inflating what a client sends is an attack surface.
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);

  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                              static_cast<int>(options.streams_per_connection_max));
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMetadataBytesMax);
  // A client that may store no header here cannot name a large one again and again by a byte.
  builder->AddChannelArgument(GRPC_ARG_HTTP2_HPACK_TABLE_SIZE_DECODER, 0);
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                              ToInt(options.handshake_time_max));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, ToInt(options.keepalive_interval));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, ToInt(options.keepalive_answer_max));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              kPingIntervalMsMin);
}

}  // namespace

// Everything that has gRPC in its type. The order of the members is the order of their making; the
// grpc::Server goes before the services that it knows.
class GrpcEdge::Server {
 public:
  Server(const Options& options, Executor& shard, const Clock& clock, const Services& services)
      : options_(options), shard_(shard), clock_(clock), behind_(services) {}

  Result<Endpoint> Start();
  void SetServing(bool is_serving);
  void Stop();
  size_t open_count() const { return table_ == nullptr ? 0 : table_->open_count(); }

 private:
  void AwaitClients();
  void CutStalledRegularly();

  Options options_;
  Executor& shard_;
  const Clock& clock_;
  Services behind_;
  std::vector<std::unique_ptr<RawService>> services_;
  std::unique_ptr<CompletionLoop> loop_;
  std::unique_ptr<RpcTable> table_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> connections_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<ConnectionAcceptor> acceptor_;
  TimerId stall_timer_;
};

Result<Endpoint> GrpcEdge::Server::Start() {
  CHECK(services_.empty()) << "an edge is started twice";
  CHECK(shard_.IsOwnerThread());
  ASSIGN_OR_RETURN(ListenSockets sockets, ListenSockets::Open(options_.listen));
  // One reference for the process's life: whoever gives back gRPC's last one waits, here on the
  // shard, for its idle poller, for up to ten seconds.
  static const bool is_grpc_held = [] {
    grpc_init();
    return true;
  }();
  CHECK(is_grpc_held);
  gpr_set_log_function(LogFromGrpc);
  grpc::EnableDefaultHealthCheckService(true);

  grpc::ServerBuilder builder;
  Configure(options_, &builder);
  const auto files = std::make_shared<const ReflectedFiles>(options_.has_reflection);
  for (const auto* service : files->own_services()) {
    services_.push_back(std::make_unique<RawService>(*service));
    builder.RegisterService(services_.back().get());
  }
  if (options_.has_reflection) {
    ServeReflection(std::make_shared<const Reflection>(files), &behind_.registry);
  }
  using FromOutside = grpc::ServerBuilder::experimental_type::ExternalConnectionType;
  connections_ = builder.experimental().AddExternalConnectionAcceptor(
      FromOutside::FROM_FD, grpc::InsecureServerCredentials());
  loop_ = std::make_unique<CompletionLoop>(builder.AddCompletionQueue(), shard_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) {
    loop_->Stop();
    loop_.reset();
    return Unavailable("gRPC cannot serve " + options_.listen.ToString());
  }
  // gRPC begins with SERVING.
  SetServing(false);
  AwaitClients();
  const uint16_t port = sockets.port();
  acceptor_ = std::make_unique<ConnectionAcceptor>(
      std::move(sockets),
      ConnectionAcceptor::Limits{
          .connections_max = options_.connections_max,
          .per_address = {.connections_max = options_.connections_per_address_max}},
      clock_, [this](int listen_fd, int fd) {
        grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
        connection.listener_fd = listen_fd;
        connection.fd = fd;
        connections_->HandleNewConnection(&connection);
      });
  acceptor_->Start();
  return Endpoint{options_.listen.host, port};
}

void GrpcEdge::Server::AwaitClients() {
  table_ = std::make_unique<RpcTable>(
      RpcTable::Environment{.queue = loop_->queue(),
                            .clock = clock_,
                            .registry = behind_.registry,
                            .memory = behind_.memory,
                            .streams_max = options_.streams_max,
                            .write_high_bytes = options_.write_high_bytes,
                            .write_low_bytes = options_.write_low_bytes});
  for (const auto& service : services_) {
    for (int method = 0; method < service->method_count(); ++method) {
      for (int i = 0; i < kVacantPerMethod; ++i) table_->Serve({service.get(), method});
    }
  }
  loop_->Start();
  CutStalledRegularly();
}

void GrpcEdge::Server::CutStalledRegularly() {
  stall_timer_ = shard_.RunAfter(options_.stall_time_max / 10, [this] {
    table_->CutStalled(options_.stall_time_max);
    CutStalledRegularly();
  });
}

void GrpcEdge::Server::SetServing(bool is_serving) {
  if (server_ == nullptr) return;
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  CHECK(health != nullptr);
  health->SetServingStatus("", is_serving);
  for (const auto& service : services_) health->SetServingStatus(service->name(), is_serving);
}

void GrpcEdge::Server::Stop() {
  if (server_ == nullptr) return;
  CHECK(shard_.IsOwnerThread());
  SetServing(false);
  shard_.Cancel(stall_timer_);
  acceptor_->Stop();
  table_->Abort(Unavailable("the broker is stopping"));
  if (!loop_->PumpUntil([this] { return table_->is_idle(); }, options_.stop_time_max)) {
    LOG(WARNING) << "cutting off clients that did not take their last message count="
                 << table_->open_count();
  }
  // Cancels what is left; every operation then completes, those of vacant calls too.
  server_->Shutdown(gpr_now(GPR_CLOCK_REALTIME));
  constexpr auto kForEver = std::chrono::hours(1);
  CHECK(loop_->PumpUntil([this] { return table_->empty(); }, kForEver));
  loop_->Stop();
  acceptor_.reset();
  server_.reset();
  connections_.reset();
  table_.reset();
  loop_.reset();
}

GrpcEdge::GrpcEdge(const Options& options, Executor& shard, const Clock& clock,
                   const Services& services)
    : server_(std::make_unique<Server>(options, shard, clock, services)) {}

GrpcEdge::~GrpcEdge() { Stop(); }

Result<Endpoint> GrpcEdge::Start() { return server_->Start(); }
void GrpcEdge::SetServing(bool is_serving) { server_->SetServing(is_serving); }
void GrpcEdge::Stop() { server_->Stop(); }
size_t GrpcEdge::open_count() const { return server_->open_count(); }

}  // namespace millrace::broker::edge
