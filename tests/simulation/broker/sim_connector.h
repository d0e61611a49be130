// The client's Connector over simulated brokers: calls and streams that reach a broker's services
// without gRPC, each message after a delay drawn from the seed, in order per direction. A broker's
// death ends its streams with UNAVAILABLE at the client.
//
// One SimEdge a world; it knows which broker lives at which address. One SimConnector a client; a
// SimClient is both in a process of its own.
//
//   edge.Serve("broker1:7440", broker_process, node.registry());
//   SimClient own(world, edge, {"broker1:7440"}, "load");
//   own.client.CreateTopic(...);
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "broker/api/service_registry.h"
#include "client/core/client.h"
#include "client/core/connector.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::sim {

class SimEdge {
 public:
  explicit SimEdge(SimWorld& world) : world_(&world), random_(world.Fork()) {}

  // Serves `registry` at `address` until the process dies or Forget.
  void Serve(const std::string& address, SimProcess& process, broker::ServiceRegistry& registry);
  // The broker is gone: its streams end at their clients, its calls fail.
  void Forget(const std::string& address);

 private:
  friend class SimConnector;
  friend class SimClientStream;
  struct Server {
    SimProcess* process = nullptr;
    broker::ServiceRegistry* registry = nullptr;
    // False once forgotten; shared with everything under way to or from it.
    std::shared_ptr<bool> is_up;
    // Told when the server is forgotten.
    std::vector<std::function<void()>> on_gone;
  };
  Duration Delay();
  Server* Find(const std::string& address);

  SimWorld* world_;
  Random random_;
  std::map<std::string, Server> servers_;
};

class SimConnector final : public client::Connector {
 public:
  SimConnector(SimEdge& edge, SimProcess& process) : edge_(&edge), process_(&process) {}

  void Call(client::RpcRequest request, client::RpcDone done) override;
  std::unique_ptr<client::RpcStream> OpenStream(const std::string& address,
                                                const std::string& method,
                                                client::RpcStreamHandler* handler) override;

 private:
  SimEdge* edge_;
  SimProcess* process_;
};

struct SimClient {
  SimClient(SimWorld& world, SimEdge& edge, std::vector<std::string> addresses,
            const std::string& name);

  SimProcess& process;
  SimConnector connector;
  client::Client client;
};

}  // namespace millrace::sim
