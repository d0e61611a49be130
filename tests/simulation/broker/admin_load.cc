#include "tests/simulation/broker/admin_load.h"

#include <chrono>

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

}  // namespace

AdminLoad::AdminLoad(SimWorld& world, SimCluster& cluster, Random random)
    : random_(random),
      process_(world.AddProcess("admin load")),
      connector_(cluster.edge(), process_),
      client_({process_.executor(), process_.clock(), connector_, process_.Fork()},
              {.bootstrap = cluster.addresses()}) {}

void AdminLoad::Next(void (AdminLoad::*step)()) {
  process_.executor().RunAfter(milliseconds(random_.Between(5, 100)), [this, step] {
    if (!is_stopped_) (this->*step)();
  });
}

void AdminLoad::Create() {
  ++number_;
  v1::CreateTopicRequest request;
  request.set_name(topic());
  request.set_partition_count(1);
  request.set_replication_factor(1);
  client_.CreateTopic(request, seconds(2),
                      [this](const Result<v1::CreateTopicResponse>&) { Next(&AdminLoad::Alter); });
}

void AdminLoad::Alter() {
  v1::AlterTopicRequest request;
  request.set_name("t");
  // One at most: the order of a message's map is not the seed's to say, and would be in the trace.
  const uint64_t drawn = random_.Below(3);
  if (drawn == 1) {
    (*request.mutable_set())["segment_bytes"] = "64KiB";
  } else {
    request.add_unset("segment_bytes");
  }
  if (drawn == 2) {
    (*request.mutable_set())["segment_time"] = "10s";
  } else {
    request.add_unset("segment_time");
  }
  client_.AlterTopic(request, seconds(2),
                     [this](const Result<v1::AlterTopicResponse>&) { Next(&AdminLoad::Delete); });
}

void AdminLoad::Delete() {
  v1::DeleteTopicRequest request;
  request.set_name(topic());
  client_.DeleteTopic(request, seconds(2),
                      [this](const Result<v1::DeleteTopicResponse>&) { Next(&AdminLoad::Create); });
}

}  // namespace millrace::sim
