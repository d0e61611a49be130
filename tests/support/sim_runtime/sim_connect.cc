// How simulated connections come to be: listening, connecting, accepting.
#include <utility>

#include <glog/logging.h>

#include "tests/support/sim_runtime/sim_connection.h"
#include "tests/support/sim_runtime/sim_fabric.h"
#include "tests/support/sim_runtime/sim_process.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::sim {

Result<std::unique_ptr<Listener>> SimFabric::Listen(SimProcess& process, const Endpoint& endpoint,
                                                    Network::AcceptHandler on_accept) {
  if (!process.is_alive()) return Unavailable("the process is dead");
  Endpoint bound = endpoint;
  if (bound.port == 0) bound.port = next_port_++;
  const uint64_t id = next_id_++;
  Acceptor acceptor{.id = id,
                    .process = &process,
                    .on_accept = std::make_shared<Network::AcceptHandler>(std::move(on_accept))};
  const bool is_free =
      acceptors_.emplace(std::pair(process.name(), bound.port), std::move(acceptor)).second;
  if (!is_free) return Unavailable("listen on " + bound.ToString() + ": address already in use");
  return std::unique_ptr<Listener>(
      std::make_unique<SimListener>(*this, id, std::move(bound), process.name()));
}

SimProcess* SimFabric::Resolve(SimProcess& from, const Endpoint& endpoint) {
  if (endpoint.IsLoopback()) return &from;
  const auto found = world_->processes_.find(endpoint.host);
  return found == world_->processes_.end() ? nullptr : found->second.get();
}

void SimFabric::Connect(SimProcess& client, const Endpoint& endpoint, Duration timeout,
                        Network::ConnectHandler done) {
  if (!client.is_alive()) return;
  const uint64_t connect_id = next_id_++;
  const TimerId timer = client.executor_.Plan(timeout, [this, connect_id, endpoint] {
    FinishConnect(connect_id,
                  DeadlineExceeded("connect to " + endpoint.ToString() + ": timed out"));
  });
  connects_.emplace(connect_id, PendingConnect{&client, std::move(done), timer});
  SimProcess* server = Resolve(client, endpoint);
  if (server == nullptr) {
    client.executor_.Plan(Duration(1), [this, connect_id, endpoint] {
      FinishConnect(connect_id, Unavailable("host " + endpoint.host + " is not known"));
    });
    return;
  }
  if (IsBlocked(client, *server)) return;
  world_->After(DrawDelay(client, *server),
                [this, connect_id, &client, endpoint] { OnRequest(connect_id, client, endpoint); });
}

void SimFabric::OnRequest(uint64_t connect_id, SimProcess& client, const Endpoint& endpoint) {
  if (!connects_.contains(connect_id)) return;  // The client died or gave up.
  SimProcess& server = *Resolve(client, endpoint);
  // An accepted connection has exchanged packets both ways.
  if (IsBlocked(client, server) || IsBlocked(server, client)) return;
  if (acceptors_.contains({server.name(), endpoint.port})) {
    server.executor_.Plan(Duration(0), [this, connect_id, &client, endpoint] {
      Accept(connect_id, client, endpoint);
    });
    return;
  }
  client.executor_.Plan(DrawDelay(server, client), [this, connect_id, endpoint] {
    FinishConnect(connect_id,
                  Unavailable("connect to " + endpoint.ToString() + ": connection refused"));
  });
}

void SimFabric::Accept(uint64_t connect_id, SimProcess& client, const Endpoint& endpoint) {
  SimProcess& server = *Resolve(client, endpoint);
  const auto acceptor = acceptors_.find({server.name(), endpoint.port});
  if (acceptor == acceptors_.end() || !connects_.contains(connect_id)) return;
  const std::shared_ptr<Network::AcceptHandler> on_accept = acceptor->second.on_accept;

  auto stream = std::make_unique<Stream>();
  const uint64_t id = stream->id = next_id_++;
  stream->ends[kClient].process = &client;
  stream->ends[kServer].process = &server;
  const Endpoint client_endpoint{client.name(), next_port_++};
  const Duration delay = DrawDelay(server, client);
  stream->ends[kClient].known_at = stream->ends[kClient].last_arrival = world_->elapsed() + delay;
  stream->ends[kClient].is_known = false;
  streams_.emplace(id, std::move(stream));

  client.executor_.Plan(delay, [this, connect_id, id, endpoint] {
    if (!connects_.contains(connect_id)) return Close(id, kClient);
    FinishConnect(connect_id, std::unique_ptr<Connection>(std::make_unique<SimConnection>(
                                  *this, id, kClient, endpoint.ToString())));
    Stream* made = Find(id);
    if (made == nullptr) return;
    made->ends[kClient].is_known = true;
    ReleaseHeld(*made, kClient);
  });
  (*on_accept)(std::make_unique<SimConnection>(*this, id, kServer, client_endpoint.ToString()));
}

void SimFabric::FinishConnect(uint64_t connect_id, Result<std::unique_ptr<Connection>> outcome) {
  auto found = connects_.extract(connect_id);
  if (found.empty()) return;  // Timed out before, or its process died.
  found.mapped().process->executor_.Cancel(found.mapped().timeout);
  found.mapped().done(std::move(outcome));
}

}  // namespace millrace::sim
