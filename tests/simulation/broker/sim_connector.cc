#include "tests/simulation/broker/sim_connector.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

namespace millrace::sim {
namespace {

constexpr uint64_t kHighBytes = 1 << 20;
constexpr uint64_t kLowBytes = 512 << 10;

Bytes Join(const std::vector<Bytes>& pieces) {
  std::string joined;
  for (const Bytes& piece : pieces) joined.append(piece.view());
  return Bytes::Own(std::move(joined));
}

class SimCall final : public broker::Call {
 public:
  SimCall(Bytes request, MonotonicTime deadline, MoveFunction<void(Result<Bytes>)> answer)
      : request_(std::move(request)), deadline_(deadline), answer_(std::move(answer)) {}
  const broker::Principal& principal() const override { return principal_; }
  const Bytes& request() const override { return request_; }
  MonotonicTime deadline() const override { return deadline_; }
  void Reply(Bytes response) override { Answer(std::move(response)); }
  void Fail(const Status& status) override { Answer(status); }

 private:
  void Answer(Result<Bytes> result) {
    CHECK(answer_) << "a call was answered twice";
    std::exchange(answer_, {})(std::move(result));
  }
  const broker::Principal principal_;
  const Bytes request_;
  const MonotonicTime deadline_;
  MoveFunction<void(Result<Bytes>)> answer_;
};

// What both ends of a stream share. Lives as long as either end or a message under way.
struct StreamState {
  SimWorld* world = nullptr;
  SimProcess* server = nullptr;
  SimProcess* client = nullptr;
  std::shared_ptr<bool> is_server_up;
  uint64_t client_life = 0;
  client::RpcStreamHandler* client_handler = nullptr;  // null once the client's end is gone
  std::unique_ptr<broker::StreamHandler> server_handler;
  bool is_finished = false;
  bool is_reading = true;
  std::vector<Bytes> unread;  // arrived while the handler did not read
  uint64_t pending_bytes = 0;
  bool was_high = false;
  Duration to_server{};  // when the last message of each direction arrives
  Duration to_client{};
};

using StatePtr = std::shared_ptr<StreamState>;

void RunAtServer(const StatePtr& state, Duration delay, MoveFunction<void()> task) {
  state->to_server = std::max(state->to_server + Duration(1), state->world->elapsed() + delay);
  state->world->After(state->to_server - state->world->elapsed(),
                      [state, task = std::move(task)]() mutable {
                        if (!*state->is_server_up || !state->server->is_alive()) return;
                        state->server->executor().Post([state, task = std::move(task)]() mutable {
                          if (*state->is_server_up) task();
                        });
                      });
}

void RunAtClient(const StatePtr& state, Duration delay, MoveFunction<void()> task) {
  state->to_client = std::max(state->to_client + Duration(1), state->world->elapsed() + delay);
  state->world->After(
      state->to_client - state->world->elapsed(), [state, task = std::move(task)]() mutable {
        if (!state->client->is_alive() || state->client->life() != state->client_life) return;
        state->client->executor().Post([state, task = std::move(task)]() mutable {
          if (state->client_handler != nullptr) task();
        });
      });
}

void CloseAtClient(const StatePtr& state, Duration delay, const Status& status) {
  RunAtClient(state, delay, [state, status] {
    client::RpcStreamHandler* handler = std::exchange(state->client_handler, nullptr);
    handler->OnClosed(status);
  });
}

// The client took `bytes` of what the server wrote.
void Taken(StreamState& state, uint64_t bytes) {
  state.pending_bytes -= bytes;
  const bool is_low = state.pending_bytes < kLowBytes && std::exchange(state.was_high, false);
  const bool is_writable = is_low || state.pending_bytes == 0;
  if (is_writable && state.server_handler) state.server_handler->OnWritable();
}

// As gRPC's client does: a broker that does not answer for so long is given up.
constexpr Duration kKeepaliveTime = std::chrono::seconds(10);
constexpr Duration kKeepaliveTimeout = std::chrono::seconds(5);

void KeepAlive(const StatePtr& state) {
  state->world->After(kKeepaliveTime, [state] {
    if (state->client_handler == nullptr || !*state->is_server_up) return;
    auto is_answered = std::make_shared<bool>(false);
    RunAtServer(state, Duration(1), [state, is_answered] {
      RunAtClient(state, Duration(1), [is_answered] { *is_answered = true; });
    });
    state->world->After(kKeepaliveTimeout, [state, is_answered] {
      if (*is_answered) return KeepAlive(state);
      CloseAtClient(state, Duration(1), Unavailable("keepalive: no answer"));
    });
  });
}

class SimServerStream final : public broker::Stream {
 public:
  SimServerStream(StatePtr state, Random random) : state_(std::move(state)), random_(random) {}
  const broker::Principal& principal() const override { return principal_; }
  void Write(std::vector<Bytes> pieces) override {
    if (state_->is_finished) return;
    const Bytes message = Join(pieces);
    state_->pending_bytes += message.size();
    if (state_->pending_bytes > kHighBytes) state_->was_high = true;
    // What a client does not take stays pending: a slow receiver is felt.
    const Duration there = Delay();
    const Duration back = Delay();
    RunAtClient(state_, there, [state = state_, message, back] {
      RunAtServer(state, back, [state, size = message.size()] { Taken(*state, size); });
      state->client_handler->OnMessage(message);
    });
  }
  uint64_t pending_bytes() const override { return state_->pending_bytes; }
  void SetReading(bool on) override {
    state_->is_reading = on;
    if (!on || state_->unread.empty()) return;
    state_->server->executor().Post([state = state_] {
      while (*state->is_server_up && state->is_reading && !state->unread.empty() &&
             state->server_handler) {
        Bytes message = std::move(state->unread.front());
        state->unread.erase(state->unread.begin());
        state->server_handler->OnMessage(std::move(message));
      }
    });
  }
  void Finish(const Status& status) override {
    if (std::exchange(state_->is_finished, true)) return;
    CloseAtClient(state_, Delay(), status.ok() ? Unavailable("the stream has ended") : status);
    RunAtServer(state_, Duration(0), [state = state_] {
      if (!state->server_handler) return;
      state->server_handler->OnClosed();
      state->server_handler.reset();
    });
  }

 private:
  Duration Delay() { return Duration(random_.Between(50, 1500)); }
  const broker::Principal principal_;
  StatePtr state_;
  Random random_;
};

}  // namespace

class SimClientStream final : public client::RpcStream {
 public:
  SimClientStream(StatePtr state, Random random) : state_(std::move(state)), random_(random) {}
  ~SimClientStream() override {
    state_->client_handler = nullptr;
    RunAtServer(state_, Duration(random_.Between(50, 1500)), [state = state_] {
      if (!state->server_handler) return;
      state->is_finished = true;
      state->server_handler->OnClosed();
      state->server_handler.reset();
    });
  }
  void Write(std::vector<Bytes> pieces) override {
    RunAtServer(state_, Duration(random_.Between(50, 1500)),
                [state = state_, message = Join(pieces)] {
                  if (!state->server_handler) return;
                  if (!state->is_reading) {
                    state->unread.push_back(message);
                  } else {
                    state->server_handler->OnMessage(message);
                  }
                });
  }

 private:
  StatePtr state_;
  Random random_;
};

Duration SimEdge::Delay() { return Duration(random_.Between(50, 1500)); }

void SimEdge::Serve(const std::string& address, SimProcess& process,
                    broker::ServiceRegistry& registry) {
  Forget(address);
  servers_[address] = {.process = &process,
                       .registry = &registry,
                       .is_up = std::make_shared<bool>(true),
                       .on_gone = {}};
}

void SimEdge::Forget(const std::string& address) {
  auto found = servers_.find(address);
  if (found == servers_.end()) return;
  Server server = std::move(found->second);
  servers_.erase(found);
  *server.is_up = false;
  for (auto& gone : server.on_gone) gone();
}

SimEdge::Server* SimEdge::Find(const std::string& address) {
  auto found = servers_.find(address);
  return found == servers_.end() ? nullptr : &found->second;
}

void SimConnector::Call(client::RpcRequest request, client::RpcDone done) {
  // One answer, whichever comes first: the broker's, its death, or the deadline.
  auto pending = std::make_shared<client::RpcDone>(std::move(done));
  auto answer = [process = process_, life = process_->life(), pending](Result<Bytes> result) {
    if (!process->is_alive() || process->life() != life) return;
    process->executor().Post([pending, result = std::move(result)]() mutable {
      if (*pending) std::exchange(*pending, {})(std::move(result));
    });
  };
  SimWorld& world = *edge_->world_;
  world.After(std::max(request.timeout, Duration(0)),
              [answer] { answer(DeadlineExceeded("no answer in time")); });
  SimEdge::Server* server = edge_->Find(request.address);
  if (server == nullptr) {
    world.After(edge_->Delay(), [answer] { answer(Unavailable("connection refused")); });
    return;
  }
  server->on_gone.push_back([&world, answer] {
    world.After(Duration(1), [answer] { answer(Unavailable("the connection broke")); });
  });
  broker::CallHandler* handler = server->registry->FindCall(request.method);
  CHECK(handler != nullptr) << request.method;
  const Duration back = edge_->Delay();
  auto run = [&world, handler, answer, back, up = server->is_up, body = request.body,
              deadline = server->process->clock().Now() + request.timeout]() mutable {
    if (!*up) return;
    (*handler)(std::make_shared<SimCall>(
        body, deadline, [&world, answer, back](Result<Bytes> result) mutable {
          world.After(
              back, [answer, result = std::move(result)]() mutable { answer(std::move(result)); });
        }));
  };
  world.After(edge_->Delay(),
              [process = server->process, up = server->is_up, run = std::move(run)]() mutable {
                if (*up && process->is_alive()) process->executor().Post(std::move(run));
              });
}

std::unique_ptr<client::RpcStream> SimConnector::OpenStream(const std::string& address,
                                                            const std::string& method,
                                                            client::RpcStreamHandler* handler) {
  auto state = std::make_shared<StreamState>();
  state->world = edge_->world_;
  state->client = process_;
  state->client_life = process_->life();
  state->client_handler = handler;
  SimEdge::Server* server = edge_->Find(address);
  if (server == nullptr) {
    state->server = process_;
    state->is_server_up = std::make_shared<bool>(false);
    CloseAtClient(state, edge_->Delay(), Unavailable("connection refused"));
    return std::make_unique<SimClientStream>(state, edge_->random_.Fork());
  }
  state->server = server->process;
  state->is_server_up = server->is_up;
  server->on_gone.push_back([weak = std::weak_ptr<StreamState>(state)] {
    const StatePtr stream = weak.lock();
    if (!stream) return;
    // The broker's objects are about to go; nothing of it may run any more.
    stream->server_handler.reset();
    CloseAtClient(stream, Duration(1), Unavailable("the connection broke"));
  });
  broker::StreamFactory* factory = server->registry->FindStream(method);
  CHECK(factory != nullptr) << method;
  RunAtServer(state, edge_->Delay(), [state, factory, random = edge_->random_.Fork()] {
    state->server_handler = (*factory)(std::make_shared<SimServerStream>(state, random));
  });
  KeepAlive(state);
  return std::make_unique<SimClientStream>(state, edge_->random_.Fork());
}

SimClient::SimClient(SimWorld& world, SimEdge& edge, std::vector<std::string> addresses,
                     const std::string& name)
    : process(world.AddProcess(name)),
      connector(edge, process),
      client({process.executor(), process.clock(), connector, process.Fork()},
             {.bootstrap = std::move(addresses)}) {}

}  // namespace millrace::sim
