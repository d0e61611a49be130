// The handles that a simulated process holds on the fabric: one end of a stream, and a listening
// port. They hold ids alone, so that they may outlive what they name.
//
// Made by SimFabric; owned by the process's code, and destroyed before the world.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/sim_runtime/sim_fabric.h"

namespace millrace::sim {

class SimConnection final : public Connection {
 public:
  SimConnection(SimFabric& fabric, uint64_t stream_id, size_t side, std::string peer_address)
      : fabric_(&fabric),
        stream_id_(stream_id),
        side_(side),
        peer_address_(std::move(peer_address)) {}
  ~SimConnection() override { Close(); }
  SimConnection(const SimConnection&) = delete;
  SimConnection& operator=(const SimConnection&) = delete;

  void SetHandler(ConnectionHandler* handler) override {
    if (auto* stream = fabric_->Find(stream_id_)) stream->ends[side_].handler = handler;
  }
  void Send(std::vector<Bytes> pieces) override { fabric_->Send(stream_id_, side_, pieces); }
  size_t pending_bytes() const override { return fabric_->PendingBytes(stream_id_, side_); }
  void SetReading(bool on) override { fabric_->SetReading(stream_id_, side_, on); }
  void Close() override { fabric_->Close(stream_id_, side_); }
  std::string peer_address() const override { return peer_address_; }

 private:
  SimFabric* fabric_;
  uint64_t stream_id_;
  size_t side_;
  std::string peer_address_;
};

class SimListener final : public Listener {
 public:
  SimListener(SimFabric& fabric, uint64_t id, Endpoint endpoint, std::string host)
      : fabric_(&fabric), id_(id), endpoint_(std::move(endpoint)), host_(std::move(host)) {}
  ~SimListener() override {
    const auto found = fabric_->acceptors_.find({host_, endpoint_.port});
    if (found != fabric_->acceptors_.end() && found->second.id == id_) {
      fabric_->acceptors_.erase(found);
    }
  }
  SimListener(const SimListener&) = delete;
  SimListener& operator=(const SimListener&) = delete;

  Endpoint endpoint() const override { return endpoint_; }

 private:
  SimFabric* fabric_;
  uint64_t id_;
  Endpoint endpoint_;
  std::string host_;
};

}  // namespace millrace::sim
