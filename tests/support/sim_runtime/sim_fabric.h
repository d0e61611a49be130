// The cables of a simulated world: byte streams between processes, each way with a delay, an order,
// and faults. Streams behave as TCP does: what arrives is a prefix of what was sent, cut anywhere;
// a pulled cable is silence, not an error; a dead process resets its connections.
//
// Owned by SimWorld and driven through it and through SimNetwork. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "raft/runtime/executor.h"
#include "raft/runtime/network.h"
#include "raft/runtime/random.h"

namespace millrace::sim {

class SimProcess;
class SimWorld;
class SimConnection;
class SimListener;

struct LinkOptions {
  // Each chunk takes a time drawn from these, but never overtakes the chunk before it.
  Duration delay_min{50};
  Duration delay_max{300};
  uint64_t bytes_per_second = 1'000'000'000;
  // One in so many chunks arrives in two parts; 0: never.
  uint64_t split_one_in = 8;
};

class SimFabric {
 public:
  SimFabric(SimWorld& world, const LinkOptions& default_link, Random random);

  // One way.
  void Partition(const std::string& from, const std::string& to);
  void Heal(const std::string& a, const std::string& b);
  void HealAll();
  size_t BreakConnections(const std::string& a, const std::string& b);
  void SetLink(const std::string& a, const std::string& b, const LinkOptions& options);
  // Stops its listeners, forgets its connects and resets its connections.
  void OnKilled(SimProcess& process);

  Result<std::unique_ptr<Listener>> Listen(SimProcess& process, const Endpoint& endpoint,
                                           Network::AcceptHandler on_accept);
  void Connect(SimProcess& process, const Endpoint& endpoint, Duration timeout,
               Network::ConnectHandler done);

 private:
  friend class SimConnection;
  friend class SimListener;

  // Bytes, or the stream's end, on the way to one end.
  struct Chunk {
    std::string bytes;
    bool is_end = false;
    Status why;  // of the end
  };
  // One end of a stream, with what is on the way to it. Each chunk has one arrival planned, or
  // held.
  struct End {
    SimProcess* process = nullptr;
    ConnectionHandler* handler = nullptr;
    bool has_owner = true;  // someone holds, or is about to be given, its Connection
    bool is_open = true;    // and has neither closed it nor been told of the end
    bool is_reading = true;
    bool has_drain_planned = false;
    std::deque<Chunk> inbound;
    uint64_t inbound_bytes = 0;  // what the other end reports as pending
    uint64_t arrivals_held = 0;  // by a partition, or because the owner does not read
    Duration last_arrival{0};
    Duration known_at{};   // when its owner gets the connection; nothing arrives before
    bool is_known = true;  // it has it: a clock that drifts may have come late
  };
  struct Stream {
    uint64_t id = 0;
    std::array<End, 2> ends;
  };
  static constexpr size_t kClient = 0;
  static constexpr size_t kServer = 1;
  struct PendingConnect {
    SimProcess* process = nullptr;
    Network::ConnectHandler done;
    TimerId timeout;
  };
  struct Acceptor {
    uint64_t id = 0;
    SimProcess* process = nullptr;
    // Shared by the acceptor and a call of it in progress, which may stop the listener.
    std::shared_ptr<Network::AcceptHandler> on_accept;
  };

  bool IsBlocked(const SimProcess& from, const SimProcess& to) const;
  const LinkOptions& LinkOf(const SimProcess& a, const SimProcess& b) const;
  Duration DrawDelay(const SimProcess& from, const SimProcess& to);
  Stream* Find(uint64_t stream_id);
  bool IsBetween(const Stream& stream, const std::string& a, const std::string& b) const;

  // What SimConnection does.
  void Send(uint64_t stream_id, size_t from, const std::vector<Bytes>& pieces);
  uint64_t PendingBytes(uint64_t stream_id, size_t from);
  void SetReading(uint64_t stream_id, size_t side, bool on);
  void Close(uint64_t stream_id, size_t side);

  void Enqueue(Stream& stream, size_t to, Chunk chunk);
  void PlanArrival(Stream& stream, size_t to, Duration earliest);
  void ReleaseHeld(Stream& stream, size_t to);
  void OnArrival(uint64_t stream_id, size_t to);
  void Deliver(uint64_t stream_id, size_t to, const Chunk& chunk);
  void PlanDrained(Stream& stream, size_t of);
  // Loses a part of what is on the way to `to`, then ends the stream there.
  void ResetTowards(Stream& stream, size_t to, const std::string& why);
  void ForgetIfDone(uint64_t stream_id);

  // What a connect goes through: the request arrives, both sides learn of the stream or the
  // refusal.
  void OnRequest(uint64_t connect_id, SimProcess& client, const Endpoint& endpoint);
  void Accept(uint64_t connect_id, SimProcess& client, const Endpoint& endpoint);
  void FinishConnect(uint64_t connect_id, Result<std::unique_ptr<Connection>> outcome);
  SimProcess* Resolve(SimProcess& from, const Endpoint& endpoint);

  SimWorld* world_;
  LinkOptions default_link_;
  Random random_;
  uint64_t next_id_ = 1;
  uint16_t next_port_ = 40000;
  std::map<uint64_t, std::unique_ptr<Stream>> streams_;
  std::map<uint64_t, PendingConnect> connects_;
  std::map<std::pair<std::string, uint16_t>, Acceptor> acceptors_;  // by host and port
  std::set<std::pair<std::string, std::string>> blocked_;           // from, to
  std::map<std::pair<std::string, std::string>, LinkOptions> links_;
};

}  // namespace millrace::sim
