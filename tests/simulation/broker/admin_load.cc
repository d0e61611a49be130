#include "tests/simulation/broker/admin_load.h"

#include <chrono>

#include "proto/base/coverage.h"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

}  // namespace

AdminLoad::AdminLoad(SimWorld& world, SimCluster& cluster, uint32_t partitions, Random random)
    : cluster_(cluster),
      random_(random),
      partitions_(partitions),
      partitions_max_(partitions + static_cast<uint32_t>(random_.Below(3))),
      own_(world, cluster.edge(), cluster.addresses(), "admin load") {}

void AdminLoad::Next(void (AdminLoad::*step)()) {
  own_.process.executor().RunAfter(milliseconds(random_.Between(5, 100)), [this, step] {
    if (!is_stopped_) (this->*step)();
  });
}

void AdminLoad::Create() {
  ++number_;
  v1::CreateTopicRequest request;
  request.set_name(topic());
  request.set_partition_count(1);
  request.set_replication_factor(1);
  own_.client.CreateTopic(request, seconds(2), [this](const Result<v1::CreateTopicResponse>&) {
    Next(&AdminLoad::Alter);
  });
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
  // Rather while a broker is away, which then learns of it late.
  const bool grows = partitions_ < partitions_max_ && random_.OneIn(IsAnyAway() ? 2 : 12);
  own_.client.AlterTopic(request, seconds(2), [this, grows](const Result<v1::AlterTopicResponse>&) {
    Next(grows ? &AdminLoad::Grow : &AdminLoad::Delete);
  });
}

bool AdminLoad::IsAnyAway() const {
  for (size_t i = 0; i < cluster_.size(); ++i) {
    if (!cluster_.is_serving(i)) return true;
  }
  return false;
}

void AdminLoad::Grow() {
  v1::AlterTopicRequest request;
  request.set_name("t");
  const uint32_t wanted = partitions_ + static_cast<uint32_t>(random_.Between(1, 2));
  request.set_partition_count(wanted);
  own_.client.AlterTopic(
      request, seconds(2), [this, wanted](const Result<v1::AlterTopicResponse>& response) {
        // As many are there, if not by this call then by one without an answer.
        const Code code = response.status().code();
        if (response.ok() || code == Code::kInvalidArgument) partitions_ = wanted;
        MILLRACE_SOMETIMES_IF("a broker was away when a topic got more partitions",
                              response.ok() && IsAnyAway());
        Next(&AdminLoad::Delete);
      });
}

void AdminLoad::Delete() {
  v1::DeleteTopicRequest request;
  request.set_name(topic());
  own_.client.DeleteTopic(request, seconds(2), [this](const Result<v1::DeleteTopicResponse>&) {
    Next(&AdminLoad::Create);
  });
}

}  // namespace millrace::sim
