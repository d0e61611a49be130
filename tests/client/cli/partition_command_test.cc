// What an operator sees of replicas, in a table and as JSON.
#include "client/cli/partition_command.h"

#include <gtest/gtest.h>

namespace millrace::client::cli {
namespace {

using Replicas = std::vector<ReplicaDescription>;

ReplicaDescription Leader() {
  return {.partition = 0,
          .broker_id = 1,
          .role = ReplicaRole::kLeader,
          .term = 4,
          .leader_id = 1,
          .start = 10,
          .end = 20,
          .log_end = 30,
          .last_index = 13,
          .applied_index = 12,
          .sealed_segment_count = 2,
          .sealed_segment_bytes = 2000,
          .active_segment_bytes = 300};
}

ReplicaDescription Restoring() {
  ReplicaDescription replica = Leader();
  replica.broker_id = 2;
  replica.role = ReplicaRole::kRestoring;
  replica.entries_behind = 7;
  replica.restore = RestoreDescription{.source_id = 1,
                                       .begin_offset = 10,
                                       .entry_count = 1234,
                                       .entry_count_total = 5678,
                                       .bytes = 1'000'000,
                                       .elapsed = std::chrono::milliseconds(1500)};
  return replica;
}

ReplicaDescription Silent() {
  return {.partition = 0,
          .broker_id = 3,
          .role = ReplicaRole::kSilent,
          .fault = "DATA_LOSS: rot",
          .write_stall = "no room"};
}

ReplicaDescription WithoutAnswer(uint32_t partition) {
  return {.partition = partition, .broker_id = 4, .status = Unavailable("refused")};
}

TEST(PartitionDescribe, IsATable_AndALineForWhatDoesNotFitIn) {
  EXPECT_EQ(ReplicasToText({Leader(), Restoring(), Silent(), WithoutAnswer(1)}),
            "PARTITION  BROKER  ROLE       TERM  START  HIGH WATERMARK  LOG END  APPLIED  BEHIND  "
            "SEALED  BYTES\n"
            "        0       1  leader        4     10              20       30       12       -  "
            "     2   2300\n"
            "        0       2  restoring     4     10              20       30       12       7  "
            "     2   2300\n"
            "        0       3  silent        0      0               0        -        0       -  "
            "     0      0\n"
            "        1       4  no answer     -      -               -        -        -       -  "
            "     -      -\n"
            "partition 0, broker 2: restoring from broker 1 for 1500 ms: 1,234 of 5,678 entries, "
            "1,000,000 bytes; the log begins at offset 10\n"
            "partition 0, broker 3: DATA_LOSS: rot\n"
            "partition 0, broker 3: its files cannot be written: no room\n");
}

TEST(PartitionDescribe, AReplicaThatItsBrokerHasNot_IsMissing) {
  const Replicas replicas{{.partition = 0, .broker_id = 1, .role = ReplicaRole::kMissing}};
  EXPECT_NE(ReplicasToText(replicas).find("1  missing     -"), std::string::npos);
  EXPECT_EQ(ReplicasToJson("t", replicas).dump(),
            R"({"name":"t","partitions":[{"partition":0,"replicas":[)"
            R"({"broker_id":1,"role":"missing"}]}]})");
}

TEST(PartitionDescribe, JsonHasEveryField_ByPartition) {
  EXPECT_EQ(ReplicasToJson("t", {Leader(), Restoring(), WithoutAnswer(1)}).dump(),
            R"({"name":"t","partitions":[{"partition":0,"replicas":[)"
            R"({"broker_id":1,"role":"leader","term":4,"leader_id":1,"log_start_offset":10,)"
            R"("high_watermark":20,"log_end_offset":30,"last_index":13,"applied_index":12,)"
            R"("entries_behind":null,"sealed_segment_count":2,"sealed_segment_bytes":2000,)"
            R"("active_segment_bytes":300,"fault":"","write_stall":"","restore":null},)"
            R"({"broker_id":2,"role":"restoring","term":4,"leader_id":1,"log_start_offset":10,)"
            R"("high_watermark":20,"log_end_offset":30,"last_index":13,"applied_index":12,)"
            R"("entries_behind":7,"sealed_segment_count":2,"sealed_segment_bytes":2000,)"
            R"("active_segment_bytes":300,"fault":"","write_stall":"","restore":{"source_id":1,)"
            R"("begin_offset":10,"entry_count":1234,"entry_count_total":5678,"bytes":1000000,)"
            R"("elapsed_ms":1500}}]},{"partition":1,"replicas":[)"
            R"({"broker_id":4,"error":"UNAVAILABLE: refused"}]}]})");
}

TEST(PartitionDescribe, FailsWhereABrokerDidNotAnswer_AndNamesEachOnce) {
  EXPECT_TRUE(Unanswered({Leader(), Silent()}).ok());
  ReplicaDescription other = WithoutAnswer(0);
  other.broker_id = 2;
  EXPECT_EQ(Unanswered({Leader(), other, WithoutAnswer(0), WithoutAnswer(1)}).ToString(),
            "UNAVAILABLE: broker 2: UNAVAILABLE: refused; broker 4: UNAVAILABLE: refused");
}

}  // namespace
}  // namespace millrace::client::cli
