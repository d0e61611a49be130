// What MetadataService and AdminService tell clients, asked of a simulated cluster.

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/broker/service/service_rig.h"

namespace millrace::broker {
namespace {

using ::testing::HasSubstr;

constexpr char kCreate[] = "/millrace.v1.AdminService/CreateTopic";

TEST(Metadata, ACreationThatRunsOutOfTime_SaysWhatItWaitedFor) {
  ServiceRig rig(3);
  rig.CreateTopic("first", 1);  // all are up, and know each other
  rig.cluster.Kill(2, /*power_loss=*/false);
  v1::CreateTopicRequest request;
  request.set_name("t");
  request.set_partition_count(3);
  request.set_replication_factor(1);
  Status told = Unavailable("not asked yet");
  // The controllers may be electing still.
  for (int attempt = 0; attempt < 500 && told.code() == Code::kUnavailable; ++attempt) {
    rig.world.RunFor(std::chrono::milliseconds(20));
    told = rig.Call<v1::CreateTopicResponse>(0, kCreate, request, std::chrono::seconds(5)).status();
  }
  EXPECT_EQ(told.code(), Code::kDeadlineExceeded);
  EXPECT_THAT(told.message(),
              HasSubstr("\"t\" is created, but not every partition has a leader yet"));
}

}  // namespace
}  // namespace millrace::broker
