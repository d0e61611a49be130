// Where a group is, as people and programs see it, and as they say where it is to go.

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/group_description.h"
#include "client/cli/group_lag.h"
#include "client/cli/group_offsets.h"
#include "client/cli/group_reset.h"
#include "client/cli/partition_list.h"

namespace millrace::client::cli {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kNow = 1'700'000'000'000;

std::vector<GroupOffset> Offsets() {
  const CommittedOffset lost{.topic = "flights",
                             .topic_id = 7,
                             .partition = 0,
                             .offset = 4,
                             .leader_epoch = 3,
                             .metadata = "by hand",
                             .commit_time_ms = kNow};
  CommittedOffset none{.topic = "flights", .topic_id = 7, .partition = 1};
  CommittedOffset unknown = lost;
  unknown.partition = 2;
  unknown.metadata = "";
  return {{.committed = lost, .start = 10, .end = 25, .lag = 15, .lost = 6},
          {.committed = none, .start = 0, .end = 9},
          {.committed = unknown, .status = Unavailable("no leader")}};
}

// Of the same partitions; of the last one it is not known.
GroupLag Lag() {
  using std::chrono::milliseconds;
  const PartitionLag stuck{.topic = "flights",
                           .topic_id = 7,
                           .partition = 0,
                           .verdict = LagVerdict::kStuck,
                           .grounds = "it stands still",
                           .member_id = "m-1",
                           .lag = 15,
                           .lost = 6,
                           .lag_time_min = milliseconds(40'600),
                           .lag_time_max = milliseconds(41'400),
                           .measured = milliseconds(35'000),
                           .came_in = 9,
                           .read = 0,
                           .unmoved = milliseconds(41'000)};
  const PartitionLag unknown{.topic = "flights",
                             .topic_id = 7,
                             .partition = 1,
                             .grounds = "nothing is committed",
                             .member_id = "m-1"};
  return {.verdict = LagVerdict::kStuck,
          .grounds = "partition 0 of flights: it stands still",
          .lag = 12'345,
          .lost = 6,
          .lag_time_min = milliseconds(3'000),
          .lag_time_max = milliseconds(41'000),
          .partition_count = 3,
          .unknown_count = 1,
          .partitions = {stuck, unknown}};
}

TEST(GroupOffsets, AreATable_AndALineForWhatIsLost_OrNotKnown) {
  EXPECT_EQ(
      GroupOffsetsToText(Offsets(), Lag()),
      "TOPIC    PARTITION  COMMITTED  START  END  LAG  OLDEST  OWNER  AT                       "
      " METADATA\n"
      "flights          0          4     10   25   15  41 s    m-1    "
      "2023-11-14T22:13:20.000Z  by hand\n"
      "flights          1          -      0    9    -       -  m-1                           -\n"
      "flights          2          4      -    -    -       -      -  "
      "2023-11-14T22:13:20.000Z\n"
      "topic flights, partition 0: 6 offsets are lost to the group: it is at 4, and the log "
      "starts at 10\n"
      "topic flights, partition 2: UNAVAILABLE: no leader\n");
}

TEST(GroupOffsets, MetadataDoesNotDriveTheTerminal) {
  std::vector<GroupOffset> offsets = Offsets();
  offsets[0].committed.metadata =
      "a\nb\x1b[31mc\xc2\x9b"
      "d \xc3\xa9";
  EXPECT_THAT(GroupOffsetsToText(offsets, {}), HasSubstr("  a?b?[31mc?d \xc3\xa9\n"));
}

TEST(GroupOffsets, AsJson_CanBeReadBack) {
  const Json json = GroupOffsetsToJson("billing", Offsets(), Lag());
  EXPECT_EQ(json["partitions"][0].dump(),
            R"({"topic":"flights","topic_id":7,"partition":0,"committed_offset":4,)"
            R"("leader_epoch":3,"commit_time_ms":1700000000000,"metadata":"by hand",)"
            R"("member_id":"m-1","lag_ms_min":40600,"lag_ms_max":41400,)"
            R"("log_start_offset":10,"high_watermark":25,"lag":15,"lost":6})");
  EXPECT_TRUE(json["partitions"][1]["lag"].is_null());
  EXPECT_TRUE(json["partitions"][1]["lag_ms_max"].is_null()) << "nothing is committed";
  EXPECT_EQ(json["partitions"][2]["member_id"], "");
  EXPECT_EQ(json["partitions"][2]["error"], "UNAVAILABLE: no leader");
  const auto read = ParseCommittedOffsets(json.dump());
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->size(), 2u) << "where nothing was committed there is nothing to go to";
  EXPECT_EQ((*read)[1].topic, "flights");
  EXPECT_EQ((*read)[1].partition, 2u);
  EXPECT_EQ((*read)[1].offset, 4);
}

TEST(GroupOffsets, AFileThatIsNone_IsRefusedByWhatIsWrong) {
  const auto refusal = [](const std::string& text) {
    return std::string(ParseCommittedOffsets(text).status().message());
  };
  for (const char* const text : {"", "{", "[]", "{}", R"({"partitions":{}})"}) {
    EXPECT_THAT(refusal(text), HasSubstr("is not what `group offsets -o json` prints")) << text;
  }
  EXPECT_THAT(refusal(R"({"partitions":[]})"), HasSubstr("no committed offset"));
  EXPECT_THAT(refusal(R"({"partitions":[1]})"), HasSubstr("row 1: it has no topic"));
  EXPECT_THAT(refusal(R"({"partitions":[{"topic":"t"}]})"), HasSubstr("it has no partition"));
  EXPECT_THAT(refusal(R"({"partitions":[{"topic":"t","partition":10000,"committed_offset":1}]})"),
              HasSubstr("10000"));
  EXPECT_THAT(refusal(R"({"partitions":[{"topic":"t","partition":0,"committed_offset":-1}]})"),
              HasSubstr("committed_offset"));
  EXPECT_THAT(refusal(R"({"partitions":[{"topic":"t","partition":0}]})"),
              HasSubstr("it has no committed_offset"));
}

TEST(PartitionList, TakesNumbersAndRanges_OrNone) {
  TopicPartitions partitions;
  for (const char* const text : {"all", "one:3", "some:7,0,3-5"}) {
    ASSERT_TRUE(AddTopicPartitions(text, &partitions).ok()) << text;
  }
  EXPECT_EQ(partitions, (TopicPartitions{{"all", {}}, {"one", {3}}, {"some", {0, 3, 4, 5, 7}}}));
}

TEST(PartitionList, RefusesWhatIsNone_ByName) {
  TopicPartitions partitions{{"there", {}}};
  const auto refusal = [&](const std::string& text) {
    return std::string(AddTopicPartitions(text, &partitions).message());
  };
  EXPECT_THAT(refusal(""), HasSubstr("names no topic"));
  EXPECT_THAT(refusal(":0"), HasSubstr("names no topic"));
  EXPECT_THAT(refusal("t:"), HasSubstr("t: "));
  EXPECT_THAT(refusal("t:0,"), HasSubstr("is no number"));
  EXPECT_THAT(refusal("t:5-3"), HasSubstr("the last is before the first"));
  EXPECT_THAT(refusal("t:0-10000"), HasSubstr("10000"));
  EXPECT_THAT(refusal("t:1-3,2"), HasSubstr("partition 2 is named twice"));
  EXPECT_THAT(refusal("there"), HasSubstr("topic there is named twice"));
  EXPECT_THAT(refusal("t\xff"), HasSubstr("UTF-8"));
  EXPECT_EQ(partitions.size(), 1u) << "what is refused is not added";
}

GroupDescription Rebalancing() {
  GroupDescription group{.group = {.group = "billing",
                                   .state = GroupState::kRebalancing,
                                   .member_count = 2,
                                   .offset_count = 3},
                         .epoch = 7,
                         .changed_ms = kNow,
                         .coordinator_id = 2,
                         .shard = 11,
                         .assignor = "uniform"};
  group.members = {{.id = "a",
                    .instance_id = "one",
                    .client_id = "app",
                    .state = MemberState::kRevoking,
                    .epoch = 6,
                    .assigned = {{"flights", {0, 1, 2, 5}}, {"trains", {0}}},
                    .revoking = {{"flights", {3}}}},
                   {.id = "b", .state = MemberState::kWaiting, .epoch = 7}};
  group.unowned = {{"flights", {4}}};
  for (uint32_t epoch = 1; epoch <= 11; ++epoch) {
    group.events.push_back({.kind = GroupEventKind::kJoined,
                            .epoch = epoch,
                            .time_ms = kNow,
                            .member_id = "m" + std::to_string(epoch)});
  }
  group.events.push_back({.kind = GroupEventKind::kTopicsChanged, .epoch = 12, .time_ms = kNow});
  return group;
}

TEST(GroupDescription, TellsTheState_WhatNobodyHas_AndTheLastEvents) {
  const std::string text = GroupToText(Rebalancing());
  EXPECT_THAT(text, HasSubstr("group billing  rebalancing  members 2  offsets 3\n"
                              "epoch 7 since 2023-11-14T22:13:20.000Z, assigned by uniform\n"
                              "kept by broker 2, which leads partition 11 of __coordinator\n"
                              "nobody has flights:4\n"
                              "  2023-11-14T22:13:20.000Z  epoch 3  m3 joined\n"));
  EXPECT_THAT(text, HasSubstr("  epoch 12  topics changed\n"));
  const Json json = GroupToJson(Rebalancing());
  EXPECT_EQ(json["events"].size(), 12U) << "programs get all";
  EXPECT_EQ(json["events"][0].dump(),
            R"({"event":"joined","epoch":1,"time_ms":1700000000000,"member_id":"m1",)"
            R"("instance_id":""})");
  EXPECT_EQ(json["unowned"].dump(), R"([{"topic":"flights","partitions":[4]}])");
}

TEST(GroupLag, AsText_HasTheVerdict_AndTheWorstFirst) {
  EXPECT_EQ(LagToText(Lag()),
            "lag: stuck, 12,345 records, oldest <= 41 s, 6 lost\n"
            "  partition 0 of flights: it stands still\n"
            "  flights:0 stuck: it stands still\n"
            "  flights:1 unknown: nothing is committed\n");
  GroupLag one = Lag();
  one.partitions.pop_back();
  EXPECT_EQ(LagToText(one),
            "lag: stuck, 12,345 records, oldest <= 41 s, 6 lost\n"
            "  partition 0 of flights: it stands still\n")
      << "it is not told twice";
  EXPECT_EQ(LagToText(Unavailable("nobody leads")), "lag: not known: UNAVAILABLE: nobody leads\n");
}

TEST(GroupLag, AsText_HasTen_TheWorstOfAll) {
  GroupLag many;
  for (uint32_t i = 0; i < 12; ++i) {
    many.partitions.push_back(
        {.topic = "t", .partition = i, .verdict = LagVerdict::kSlow, .grounds = "x", .lag = i});
  }
  many.partitions.push_back({.topic = "t", .partition = 12, .verdict = LagVerdict::kDead});
  many.partitions.push_back({.topic = "t", .partition = 13, .verdict = LagVerdict::kKeepingUp});
  const std::string text = LagToText(many);
  EXPECT_THAT(text, HasSubstr("  t:12 dead: \n  t:11 slow: x\n  t:10 slow: x\n"));
  EXPECT_THAT(text, HasSubstr("  t:3 slow: x\n  and 3 more: -o json has all\n"));
  EXPECT_THAT(text, testing::Not(HasSubstr("t:13")));
}

TEST(GroupLag, AsJson_HasAll) {
  Json json;
  AddLag(Lag(), &json);
  EXPECT_EQ(json["partitions"][0].dump(),
            R"({"topic":"flights","topic_id":7,"partition":0,"verdict":"stuck",)"
            R"("grounds":"it stands still","member_id":"m-1","lag":15,"lost":6,)"
            R"("lag_ms_min":40600,"lag_ms_max":41400,"measured_ms":35000,"came_in":9,"read":0,)"
            R"("unmoved_ms":41000})");
  EXPECT_TRUE(json["partitions"][1]["lag"].is_null());
  json.erase("partitions");
  EXPECT_EQ(json.dump(),
            R"({"verdict":"stuck","grounds":"partition 0 of flights: it stands still",)"
            R"("lag":12345,"lost":6,"lag_ms_min":3000,"lag_ms_max":41000,"partition_count":3,)"
            R"("unknown_count":1})");
  Json failed;
  AddLag(Unavailable("nobody leads"), &failed);
  EXPECT_EQ(failed.dump(), R"({"error":"UNAVAILABLE: nobody leads"})");
}

TEST(GroupLag, ATime_IsABound_WhereItIsNotKnownCloser) {
  using std::chrono::milliseconds;
  EXPECT_EQ(LagTimeToText(milliseconds(0), milliseconds(0)), "0 s");
  EXPECT_EQ(LagTimeToText(milliseconds(40'600), milliseconds(41'400)), "41 s");
  EXPECT_EQ(LagTimeToText(milliseconds(0), milliseconds(119'000)), "<= 119 s");
  EXPECT_EQ(LagTimeToText(milliseconds(120'000), milliseconds(120'000)), "2 min");
  EXPECT_EQ(LagTimeToText(milliseconds(7'200'000), milliseconds(7'200'000)), "2 h");
  EXPECT_EQ(LagTimeToText(milliseconds(0), milliseconds(172'800'000)), "<= 2 days");
}

TEST(GroupDescription, ShowsWhatEachMemberHas_AndIsToGiveUp) {
  EXPECT_EQ(
      MembersToText(Rebalancing()),
      "MEMBER  INSTANCE  CLIENT  STATE     EPOCH  COUNT  PARTITIONS              GIVES UP\n"
      "a       one       app     revoking      6      5  flights:0-2,5 trains:0  flights:3\n"
      "b              -       -  waiting       7      0                       -          -\n");
  EXPECT_EQ(MembersToJson(Rebalancing())["members"][0].dump(),
            R"({"member_id":"a","instance_id":"one","client_id":"app","client_host":"",)"
            R"("state":"revoking","epoch":6,)"
            R"("assigned":[{"topic":"flights","partitions":[0,1,2,5]},)"
            R"({"topic":"trains","partitions":[0]}],)"
            R"("revoking":[{"topic":"flights","partitions":[3]}],"topic_count":0,"pattern":"",)"
            R"("rack":"","session_timeout_ms":0})");
}

TEST(ResetTarget, WithASignIsAShift_AndElseAPosition) {
  const auto target = [](const std::string& text) {
    GroupReset reset;
    EXPECT_TRUE(ParseTarget(text, kNow, &reset).ok()) << text;
    return reset;
  };
  EXPECT_EQ(target("+5").shift_by, 5);
  EXPECT_EQ(target("-5").shift_by, -5);
  EXPECT_FALSE(target("-5").to.has_value());
  EXPECT_EQ(target("5").to->value(), 5);
  EXPECT_EQ(target("-5s").to->value(), kNow - 5000) << "with a unit it is so long ago";
  EXPECT_EQ(target("earliest").to->kind(), Position::Kind::kEarliest);
  EXPECT_EQ(target("latest").to->kind(), Position::Kind::kLatest);
  EXPECT_EQ(target("2023-11-14T22:13:20Z").to->kind(), Position::Kind::kTime);
  for (const char* const text : {"", "+", "-", "+1h", "-9223372036854775808", "erliest"}) {
    GroupReset reset;
    EXPECT_FALSE(ParseTarget(text, kNow, &reset).ok()) << text;
  }
}

TEST(GroupReset, ShowsWhatWasAndWhatIs) {
  const std::vector<MovedOffset> moved{
      {.topic = "t", .topic_id = 7, .partition = 0, .before = 9, .after = 4},
      {.topic = "t", .topic_id = 7, .partition = 1, .after = 5},
      {.topic = "t", .topic_id = 7, .partition = 2, .status = OutOfRange("past the end")}};
  EXPECT_EQ(MovedToText(moved),
            "TOPIC  PARTITION  BEFORE  AFTER\n"
            "t              0       9      4\n"
            "t              1       -      5\n"
            "t              2       -      -\n");
  EXPECT_EQ(MovedToJson("g", moved, true).dump(),
            R"({"group":"g","is_dry_run":true,"partitions":[)"
            R"({"topic":"t","topic_id":7,"partition":0,"before_offset":9,"after_offset":4},)"
            R"({"topic":"t","topic_id":7,"partition":1,"before_offset":null,"after_offset":5},)"
            R"({"topic":"t","topic_id":7,"partition":2,"before_offset":null,)"
            R"("error":"OUT_OF_RANGE: past the end"}]})");
}

}  // namespace
}  // namespace millrace::client::cli
