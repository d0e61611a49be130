#include "tests/support/sim_runtime/sim_fabric.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/checksum.h"
#include "tests/support/sim_runtime/sim_process.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::sim {
namespace {

std::pair<std::string, std::string> LinkKey(const std::string& a, const std::string& b) {
  return a < b ? std::pair(a, b) : std::pair(b, a);
}

}  // namespace

SimFabric::SimFabric(SimWorld& world, const LinkOptions& default_link, Random random)
    : world_(&world), default_link_(default_link), random_(random) {}

void SimFabric::Partition(const std::string& from, const std::string& to) {
  blocked_.emplace(from, to);
}

void SimFabric::Heal(const std::string& a, const std::string& b) {
  blocked_.erase({a, b});
  blocked_.erase({b, a});
  for (auto& [id, stream] : streams_) {
    if (!IsBetween(*stream, a, b)) continue;
    const bool was_stalled = stream->ends[0].arrivals_held > 0 || stream->ends[1].arrivals_held > 0;
    if (was_stalled && random_.OneIn(2)) {
      ResetTowards(*stream, 0, "connection reset after a silence");
      ResetTowards(*stream, 1, "connection reset after a silence");
    }
    ReleaseHeld(*stream, 0);
    ReleaseHeld(*stream, 1);
  }
}

void SimFabric::HealAll() {
  while (!blocked_.empty()) {
    const auto [from, to] = *blocked_.begin();
    Heal(from, to);
  }
}

size_t SimFabric::BreakConnections(const std::string& a, const std::string& b) {
  size_t broken = 0;
  for (auto& [id, stream] : streams_) {
    if (!IsBetween(*stream, a, b)) continue;
    ResetTowards(*stream, 0, "connection reset by the network");
    ResetTowards(*stream, 1, "connection reset by the network");
    ++broken;
  }
  return broken;
}

void SimFabric::SetLink(const std::string& a, const std::string& b, const LinkOptions& options) {
  CHECK(options.delay_min <= options.delay_max);
  CHECK_GT(options.bytes_per_second, 0u);
  links_[LinkKey(a, b)] = options;
  // What waits in a slow link's queue now leaves at the new pace. (The arrivals planned before find
  // less to deliver.)
  for (auto& [id, stream] : streams_) {
    if (!IsBetween(*stream, a, b)) continue;
    for (size_t to = 0; to < 2; ++to) {
      End& end = stream->ends[to];
      end.last_arrival = std::max(world_->elapsed(), end.known_at);
      for (size_t at = end.arrivals_held; at < end.inbound.size(); ++at) {
        PlanArrival(*stream, to, end.last_arrival + Duration(1));
      }
    }
  }
}

void SimFabric::OnKilled(SimProcess& process) {
  std::erase_if(acceptors_, [&](const auto& entry) { return entry.second.process == &process; });
  // Handed out of the map first: what a handler owns may reach for the fabric when it goes.
  std::vector<Network::ConnectHandler> orphans;
  for (auto& [id, connect] : connects_) {
    if (connect.process == &process) orphans.push_back(std::move(connect.done));
  }
  std::erase_if(connects_, [&](const auto& entry) { return entry.second.process == &process; });
  std::vector<uint64_t> touched;
  for (auto& [id, stream] : streams_) {
    for (size_t side = 0; side < 2; ++side) {
      End& end = stream->ends[side];
      if (end.process != &process || !end.has_owner) continue;
      const bool was_open = end.is_open;
      end.has_owner = end.is_open = false;
      end.handler = nullptr;
      end.inbound.clear();
      if (was_open) ResetTowards(*stream, 1 - side, "connection reset by peer");
      touched.push_back(id);
    }
  }
  for (const uint64_t id : touched) ForgetIfDone(id);
}

bool SimFabric::IsBlocked(const SimProcess& from, const SimProcess& to) const {
  return blocked_.contains({from.name(), to.name()});
}

const LinkOptions& SimFabric::LinkOf(const SimProcess& a, const SimProcess& b) const {
  const auto found = links_.find(LinkKey(a.name(), b.name()));
  return found == links_.end() ? default_link_ : found->second;
}

Duration SimFabric::DrawDelay(const SimProcess& from, const SimProcess& to) {
  const LinkOptions& link = LinkOf(from, to);
  return Duration(random_.Between(static_cast<uint64_t>(link.delay_min.count()),
                                  static_cast<uint64_t>(link.delay_max.count())));
}

SimFabric::Stream* SimFabric::Find(uint64_t stream_id) {
  const auto found = streams_.find(stream_id);
  return found == streams_.end() ? nullptr : found->second.get();
}

bool SimFabric::IsBetween(const Stream& stream, const std::string& a, const std::string& b) const {
  const std::string& one = stream.ends[0].process->name();
  const std::string& other = stream.ends[1].process->name();
  return (one == a && other == b) || (one == b && other == a);
}

void SimFabric::Send(uint64_t stream_id, size_t from, const std::vector<Bytes>& pieces) {
  Stream* stream = Find(stream_id);
  if (stream == nullptr || !stream->ends[from].is_open) return;
  std::string bytes;
  for (const Bytes& piece : pieces) bytes.append(piece.view());
  if (bytes.empty()) return;

  const size_t to = 1 - from;
  const uint64_t split_one_in =
      LinkOf(*stream->ends[from].process, *stream->ends[to].process).split_one_in;
  if (split_one_in != 0 && bytes.size() > 1 && random_.OneIn(split_one_in)) {
    const size_t cut = random_.Between(1, bytes.size() - 1);
    Enqueue(*stream, to, {.bytes = bytes.substr(0, cut), .why = {}});
    bytes.erase(0, cut);
  }
  Enqueue(*stream, to, {.bytes = std::move(bytes), .why = {}});
}

uint64_t SimFabric::PendingBytes(uint64_t stream_id, size_t from) {
  const Stream* stream = Find(stream_id);
  if (stream == nullptr || !stream->ends[from].is_open) return 0;
  return stream->ends[1 - from].inbound_bytes;
}

void SimFabric::SetReading(uint64_t stream_id, size_t side, bool on) {
  Stream* stream = Find(stream_id);
  if (stream == nullptr) return;
  stream->ends[side].is_reading = on;
  if (on) ReleaseHeld(*stream, side);
}

void SimFabric::Close(uint64_t stream_id, size_t side) {
  Stream* stream = Find(stream_id);
  if (stream == nullptr || !stream->ends[side].has_owner) return;
  End& end = stream->ends[side];
  const bool was_open = end.is_open;
  end.has_owner = end.is_open = false;
  end.handler = nullptr;
  end.inbound.clear();
  if (was_open) {
    Enqueue(*stream, 1 - side,
            {.bytes = {}, .is_end = true, .why = Unavailable("connection closed by peer")});
  }
  ForgetIfDone(stream_id);
}

void SimFabric::Enqueue(Stream& stream, size_t to, Chunk chunk) {
  End& end = stream.ends[to];
  if (!end.is_open) return;
  const SimProcess& from = *stream.ends[1 - to].process;
  const uint64_t rate = LinkOf(from, *end.process).bytes_per_second;
  const Duration transfer(chunk.bytes.size() * 1'000'000 / rate);
  end.inbound_bytes += chunk.bytes.size();
  end.inbound.push_back(std::move(chunk));
  PlanArrival(stream, to, end.last_arrival + transfer + Duration(1));
}

void SimFabric::PlanArrival(Stream& stream, size_t to, Duration earliest) {
  End& end = stream.ends[to];
  const Duration now = world_->elapsed();
  const Duration delay = DrawDelay(*stream.ends[1 - to].process, *end.process);
  end.last_arrival = std::max(now + delay, earliest);
  end.process->executor_.Plan(end.last_arrival - now,
                              [this, id = stream.id, to] { OnArrival(id, to); });
}

void SimFabric::ReleaseHeld(Stream& stream, size_t to) {
  End& end = stream.ends[to];
  for (uint64_t left = std::exchange(end.arrivals_held, 0); left > 0; --left) {
    PlanArrival(stream, to, end.last_arrival + Duration(1));
  }
}

void SimFabric::OnArrival(uint64_t stream_id, size_t to) {
  Stream* stream = Find(stream_id);
  if (stream == nullptr) return;
  End& end = stream->ends[to];
  if (!end.is_open || end.inbound.empty()) return;
  if (!end.is_known || !end.is_reading || IsBlocked(*stream->ends[1 - to].process, *end.process)) {
    ++end.arrivals_held;
    return;
  }
  const Chunk chunk = std::move(end.inbound.front());
  end.inbound.pop_front();
  end.inbound_bytes -= chunk.bytes.size();
  if (end.inbound_bytes == 0 && !chunk.is_end) PlanDrained(*stream, 1 - to);
  Deliver(stream_id, to, chunk);
}

void SimFabric::Deliver(uint64_t stream_id, size_t to, const Chunk& chunk) {
  End& end = Find(stream_id)->ends[to];
  CHECK(end.handler != nullptr) << end.process->name() << " left a connection without a handler";
  world_->Trace(stream_id);
  world_->Trace(Crc32c(chunk.bytes));
  if (!chunk.is_end) {
    end.handler->OnData(chunk.bytes);  // May close, and end the stream's existence.
    return;
  }
  end.is_open = false;
  end.inbound.clear();
  ConnectionHandler* handler = std::exchange(end.handler, nullptr);
  handler->OnClosed(chunk.why);
}

void SimFabric::PlanDrained(Stream& stream, size_t of) {
  End& end = stream.ends[of];
  if (!end.is_open || end.has_drain_planned) return;
  end.has_drain_planned = true;
  end.process->executor_.Plan(DrawDelay(*stream.ends[1 - of].process, *end.process),
                              [this, id = stream.id, of] {
                                Stream* found = Find(id);
                                if (found == nullptr) return;
                                End& sender = found->ends[of];
                                sender.has_drain_planned = false;
                                const bool is_drained = found->ends[1 - of].inbound_bytes == 0;
                                if (sender.is_open && sender.handler != nullptr && is_drained) {
                                  sender.handler->OnDrained();
                                }
                              });
}

void SimFabric::ResetTowards(Stream& stream, size_t to, const std::string& why) {
  End& end = stream.ends[to];
  if (!end.is_open) return;
  const size_t kept = random_.Below(end.inbound.size() + 1);
  if (kept < end.inbound.size()) {
    // The first chunk that is lost leaves a part of itself: a frame cut in the middle.
    std::string& cut = end.inbound[kept].bytes;
    cut.resize(cut.empty() ? 0 : random_.Below(cut.size()));
    const bool leaves_part = !cut.empty();
    end.inbound.resize(kept + (leaves_part ? 1 : 0));
  }
  end.inbound_bytes = 0;
  for (const Chunk& chunk : end.inbound) end.inbound_bytes += chunk.bytes.size();
  if (!end.inbound.empty() && end.inbound.back().is_end) return;
  Enqueue(stream, to, {.bytes = {}, .is_end = true, .why = Unavailable(why)});
}

void SimFabric::ForgetIfDone(uint64_t stream_id) {
  const Stream* stream = Find(stream_id);
  if (stream == nullptr) return;
  if (!stream->ends[0].has_owner && !stream->ends[1].has_owner) streams_.erase(stream_id);
}

}  // namespace millrace::sim
