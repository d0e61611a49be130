#include "client/core/stream_pool.h"

#include <utility>

namespace millrace::client {

class StreamPool::Slot final : public RpcStreamHandler {
 public:
  Slot(StreamPool& pool, BrokerId broker) : pool_(&pool), broker_(broker) {}

  void Open(const std::string& address) {
    stream_ = pool_->connector_->OpenStream(address, pool_->method_, this);
    stream_->Write({pool_->first_message_});
  }
  void Write(std::vector<Bytes> pieces) { stream_->Write(std::move(pieces)); }

  void OnMessage(Bytes message) override {
    if (!is_ended_) pool_->on_message_(broker_, std::move(message));
  }
  void OnClosed(const Status& status) override {
    if (!is_ended_) pool_->OnClosed(broker_, status);
  }
  // It may still be called, by the connector whose call we are in.
  void set_ended() { is_ended_ = true; }
  void Cancel() { stream_.reset(); }

 private:
  StreamPool* pool_;
  const BrokerId broker_;
  bool is_ended_ = false;
  std::unique_ptr<RpcStream> stream_;
};

StreamPool::StreamPool(Connector& connector, std::string method, Bytes first_message,
                       MessageHandler on_message, ClosedHandler on_closed)
    : connector_(&connector),
      method_(std::move(method)),
      first_message_(std::move(first_message)),
      on_message_(std::move(on_message)),
      on_closed_(std::move(on_closed)) {}

StreamPool::~StreamPool() = default;

void StreamPool::Send(BrokerId broker, const std::string& address, std::vector<Bytes> pieces) {
  ended_.clear();
  std::unique_ptr<Slot>& slot = slots_[broker];
  if (slot == nullptr) {
    slot = std::make_unique<Slot>(*this, broker);
    slot->Open(address);
  }
  slot->Write(std::move(pieces));
}

void StreamPool::Close(BrokerId broker) {
  auto found = slots_.find(broker);
  if (found == slots_.end()) return;
  found->second->Cancel();
  End(found);
}

void StreamPool::End(Slots::iterator slot) {
  slot->second->set_ended();
  ended_.push_back(std::move(slot->second));
  slots_.erase(slot);
}

void StreamPool::OnClosed(BrokerId broker, const Status& status) {
  End(slots_.find(broker));
  on_closed_(broker, status);
}

}  // namespace millrace::client
