#include "broker/edge/rpc_table.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "broker/edge/stream_rpc.h"
#include "broker/edge/unary_rpc.h"

namespace millrace::broker::edge {
namespace {

constexpr int64_t kPatientWaiters = 32;

}  // namespace

void RpcTable::Serve(const MethodRef& method) {
  const uint64_t id = next_id_++;
  if (method.is_stream()) {
    auto rpc = std::make_unique<StreamRpc>(*this, method, id);
    StreamRpc& stream = *rpc;
    vacant_.emplace(id, std::move(rpc));
    stream.Request();
  } else {
    auto rpc = std::make_unique<UnaryRpc>(*this, method, id);
    UnaryRpc& unary = *rpc;
    vacant_.emplace(id, std::move(rpc));
    unary.Request();
  }
}

void RpcTable::Abort(const Status& status) {
  is_aborted_ = true;
  for (const auto& [id, rpc] : open_) rpc->Abort(status);
}

Status RpcTable::Admit() const {
  if (is_aborted_) return Unavailable("the broker is stopping");
  if (open_.size() <= environment_.streams_max) return Status::Ok();
  return ResourceExhausted("this broker has as many calls and streams open as it may",
                           Reason::kThrottled)
      .RetryAfterMs(1000);
}

void RpcTable::CutStalled(Duration stall_time_max) {
  MemoryBudget& memory = environment_.memory.outgoing;
  if (!memory.has_waiters()) return;
  // With 32 waiters half the patience, but never less than a slow network's.
  const Duration time_min =
      std::max(stall_time_max * kPatientWaiters /
                   (kPatientWaiters + static_cast<int64_t>(memory.waiter_count())),
               stall_time_max / 10);
  const MonotonicTime now = environment_.clock.Now();
  std::vector<std::pair<uint64_t, Rpc*>> stalled;
  for (const auto& [id, rpc] : open_) {
    const std::optional<Rpc::Stall> stall = rpc->stall();
    if (stall.has_value() && now - stall->since >= time_min) {
      stalled.emplace_back(stall->bytes, rpc.get());
    }
  }
  std::stable_sort(stalled.begin(), stalled.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  if (stalled.size() > memory.waiter_count()) stalled.resize(memory.waiter_count());
  for (const auto& [bytes, rpc] : stalled) {
    rpc->Cut(
        ResourceExhausted("others wait for the memory that this client holds and does not read",
                          Reason::kThrottled)
            .RetryAfterMs(1000));
  }
}

void RpcTable::OnArrived(uint64_t id, const MethodRef& method) {
  auto rpc = vacant_.extract(id);
  CHECK(!rpc.empty()) << method.path();
  open_.insert(std::move(rpc));
  if (!is_aborted_) Serve(method);
}

void RpcTable::Remove(uint64_t id) {
  const size_t removed = open_.erase(id) + vacant_.erase(id);
  CHECK_EQ(removed, 1u);
}

}  // namespace millrace::broker::edge
