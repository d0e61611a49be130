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
          .write_stall = "no room",
          .compaction = CompactionDescription{
              .pass_done = 3, .pass_decided = 12, .clean_to = 100, .failure = "no room either"}};
}

ReplicaDescription WithoutAnswer(uint32_t partition) {
  return {.partition = partition, .broker_id = 4, .status = Unavailable("refused")};
}

TEST(PartitionDescribe, IsATable_AndALineForWhatDoesNotFitIn) {
  EXPECT_EQ(
      ReplicasToText({Leader(), Restoring(), Silent(), WithoutAnswer(1)}),
      "PARTITION  BROKER  ROLE       TERM  START  HIGH WATERMARK  LOG END  APPLIED  BEHIND  "
      "SEALED  BYTES  PASS\n"
      "        0       1  leader        4     10              20       30       12       -  "
      "     2   2300     -\n"
      "        0       2  restoring     4     10              20       30       12       7  "
      "     2   2300     -\n"
      "        0       3  silent        0      0               0        -        0       -  "
      "     0      0  3/12\n"
      "        1       4  no answer     -      -               -        -        -       -  "
      "     -      -     -\n"
      "partition 0, broker 2: restoring from broker 1 for 1500 ms: 1,234 of 5,678 entries, "
      "1,000,000 bytes; the log begins at offset 10\n"
      "partition 0, broker 3: DATA_LOSS: rot\n"
      "partition 0, broker 3: its files cannot be written: no room\n"
      "partition 0, broker 3: its compaction ended early, and begins again: no room either\n");
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
            R"("active_segment_bytes":300,"fault":"","write_stall":"","restore":null,)"
            R"("compaction":null},)"
            R"({"broker_id":2,"role":"restoring","term":4,"leader_id":1,"log_start_offset":10,)"
            R"("high_watermark":20,"log_end_offset":30,"last_index":13,"applied_index":12,)"
            R"("entries_behind":7,"sealed_segment_count":2,"sealed_segment_bytes":2000,)"
            R"("active_segment_bytes":300,"fault":"","write_stall":"","restore":{"source_id":1,)"
            R"("begin_offset":10,"entry_count":1234,"entry_count_total":5678,"bytes":1000000,)"
            R"("elapsed_ms":1500},"compaction":null}]},{"partition":1,"replicas":[)"
            R"({"broker_id":4,"error":"UNAVAILABLE: refused"}]}]})");
}

TEST(PartitionDescribe, JsonHasHowFarAReplicaIsCompacted) {
  EXPECT_NE(ReplicasToJson("t", {Silent()})
                .dump()
                .find(R"("compaction":{"pass_done":3,"pass_decided":12,"clean_to_offset":100,)"
                      R"("is_under_way":false,"failure":"no room either"})"),
            std::string::npos);
}

TEST(PartitionDescribe, FailsWhereABrokerDidNotAnswer_AndNamesEachOnce) {
  EXPECT_TRUE(Unanswered({Leader(), Silent()}).ok());
  ReplicaDescription other = WithoutAnswer(0);
  other.broker_id = 2;
  EXPECT_EQ(Unanswered({Leader(), other, WithoutAnswer(0), WithoutAnswer(1)}).ToString(),
            "UNAVAILABLE: broker 2: UNAVAILABLE: refused; broker 4: UNAVAILABLE: refused");
}

PartitionVerification Same() {
  return {.partition = 0,
          .start = 10,
          .end = 20,
          .record_count = 9,
          .bytes = 2300,
          .replicas = {{.broker_id = 2, .compared_to = 20}, {.broker_id = 1, .compared_to = 20}}};
}

PartitionVerification Differing() {
  PartitionVerification partition = Same();
  partition.partition = 1;
  partition.first_difference = 20;
  partition.replicas[0].digest = "00ff";
  partition.replicas.push_back(
      {.broker_id = 3, .status = Unavailable("refused"), .compared_to = 15});
  return partition;
}

PartitionVerification Incomplete() {
  PartitionVerification partition = Same();
  partition.partition = 2;
  partition.replicas[1].status = DataLoss("rot");
  partition.replicas.push_back({.broker_id = 3, .status = Unavailable("refused")});
  return partition;
}

TEST(PartitionVerify, IsATable_AndALineForEachReplicaThatIsNotTheSame) {
  EXPECT_EQ(VerificationsToText({Same(), Differing(), Incomplete()}),
            "PARTITION  START  END  RECORDS  BYTES  BROKERS  RESULT\n"
            "        0     10   20        9   2300      2,1  same\n"
            "        1     10   20        9   2300      2,1  differ\n"
            "        2     10   20        9   2300        2  incomplete\n"
            "partition 1, broker 2: the record at offset 20 has digest 00ff\n"
            "partition 1, broker 1: no record at offset 20\n"
            "partition 1, broker 3: compared to offset 15 only: UNAVAILABLE: refused\n"
            "partition 2, broker 1: compared to offset 20 only: DATA_LOSS: rot\n"
            "partition 2, broker 3: not compared: UNAVAILABLE: refused\n");
}

TEST(PartitionVerify, AsJson_HasTheSame) {
  const Json json = VerificationsToJson("t", {Same(), Differing()});
  EXPECT_EQ(json["name"], "t");
  EXPECT_EQ(json["partitions"][0]["result"], "same");
  EXPECT_TRUE(json["partitions"][0]["first_difference"].is_null());
  EXPECT_EQ(json["partitions"][1]["first_difference"], 20);
  EXPECT_EQ(json["partitions"][1]["replicas"][0]["digest"], "00ff");
  EXPECT_EQ(json["partitions"][1]["replicas"][2]["error"], "UNAVAILABLE: refused");
  EXPECT_EQ(json["partitions"][1]["replicas"][2]["compared_to"], 15);
}

TEST(PartitionVerify, FailsWhereReplicasDiffer_AndWhereNotAllWereCompared) {
  EXPECT_TRUE(NotTheSame({Same()}).ok());
  EXPECT_EQ(NotTheSame({Incomplete(), Differing()}),
            DataLoss("replicas of partition 1 differ at offset 20"));
  EXPECT_EQ(NotTheSame({Same(), Incomplete()}),
            Unavailable("not all replicas of partition 2 were compared to the end"));
}

}  // namespace
}  // namespace millrace::client::cli
