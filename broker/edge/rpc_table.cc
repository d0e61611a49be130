#include "broker/edge/rpc_table.h"

#include <utility>

#include <glog/logging.h>

#include "broker/edge/stream_rpc.h"
#include "broker/edge/unary_rpc.h"

namespace millrace::broker::edge {

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
