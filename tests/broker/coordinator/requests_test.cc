// What a shard decides and answers: pure functions of its state.
#include "broker/coordinator/requests.h"

#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "broker/coordinator/sweep.h"
#include "tests/broker/controller/records.h"

namespace millrace::broker {
namespace {

using internal::v1::CoordinatorRecords;

constexpr TopicId kTopic{1};
constexpr TopicId kDeletedTopic{2};

v1::CommitOffsetsRequest CommitOf(const std::string& group, TopicId topic,
                                  const std::vector<std::pair<uint32_t, int64_t>>& offsets) {
  v1::CommitOffsetsRequest request;
  request.set_group(group);
  auto& named = *request.add_topics();
  named.set_topic("t");
  named.set_topic_id(topic.value());
  for (const auto& [partition, offset] : offsets) {
    auto& commit = *named.add_partitions();
    commit.set_partition(partition);
    commit.set_offset(offset);
  }
  return request;
}

class RequestsTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(image_.Apply(Created(1, "t", 2, 4)).ok());
    ASSERT_TRUE(image_.Apply(Created(2, "gone", 6, 1)).ok());
    ASSERT_TRUE(image_.Apply(Deleted(2, 0)).ok());
  }
  CoordinatorCircumstances now(bool is_full = false) const {
    return {.image = image_, .is_memory_full = is_full};
  }
  void Apply(const CoordinatorDecision& decision) {
    ASSERT_TRUE(decision.ok()) << decision.status();
    last_ = last_ + 1;
    for (const auto& record : decision->records()) {
      ASSERT_TRUE(state_.Apply(record, {.index = last_, .time_ms = 5}).ok());
    }
  }
  // What is refused, as partitions with codes.
  std::vector<std::pair<uint32_t, Code>> Commit(const v1::CommitOffsetsRequest& request,
                                                bool is_full = false) {
    v1::CommitOffsetsResponse response;
    Apply(DecideCommit(state_, now(is_full), request, &response));
    std::vector<std::pair<uint32_t, Code>> refused;
    for (const auto& one : response.refused()) {
      refused.emplace_back(one.partition(), static_cast<Code>(one.error().code()));
    }
    return refused;
  }
  // Of a topic, as partitions with offsets, -1 for none.
  std::vector<std::pair<uint32_t, int64_t>> Fetch(const std::string& group,
                                                  const std::vector<uint32_t>& partitions = {}) {
    v1::FetchOffsetsRequest request;
    request.set_group(group);
    auto& topic = *request.add_topics();
    topic.set_topic_id(kTopic.value());
    for (const uint32_t partition : partitions) topic.add_partitions(partition);
    v1::FetchOffsetsResponse response;
    EXPECT_TRUE(AnswerFetch(state_, request, &response).ok());
    std::vector<std::pair<uint32_t, int64_t>> offsets;
    for (const auto& out : response.topics()) {
      for (const auto& one : out.partitions()) {
        offsets.emplace_back(one.partition(), one.has_offset() ? one.offset() : -1);
      }
    }
    return offsets;
  }
  using Offsets = std::vector<std::pair<uint32_t, int64_t>>;
  using Refused = std::vector<std::pair<uint32_t, Code>>;

  Image image_;
  ShardState state_;
  LogIndex last_;
};

// Staged offsets: what is committed in a transaction counts with it.
class StagedTest : public RequestsTest {
 protected:
  static constexpr ProducerId kProducer{7};

  static v1::CommitOffsetsRequest Staged(uint64_t number, v1::CommitOffsetsRequest request) {
    request.mutable_transaction()->set_producer_id(kProducer.value());
    request.mutable_transaction()->set_producer_epoch(1);
    request.mutable_transaction()->set_number(number);
    return request;
  }
  void End(uint64_t number, bool is_committed) {
    CoordinatorRecords records;
    auto& ended = *records.add_records()->mutable_staged_offsets_ended();
    Fill(TransactionName{.producer = kProducer, .epoch = 1, .number = number},
         ended.mutable_transaction());
    ended.set_outcome(is_committed ? internal::v1::TRANSACTION_OUTCOME_COMMITTED
                                   : internal::v1::TRANSACTION_OUTCOME_ABORTED);
    Apply(records);
  }
  // Saved and loaded it is the same.
  void Reload() {
    internal::v1::CoordinatorState saved;
    state_.SaveTo(&saved);
    auto loaded = ShardState::LoadFrom(saved);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(loaded->bytes(), state_.bytes());
    state_ = *std::move(loaded);
  }
};

TEST_F(StagedTest, WhatIsStaged_CountsOnceItsTransactionIsCommitted_AndNeverIfItIsAborted) {
  EXPECT_EQ(Commit(CommitOf("g", kTopic, {{0, 5}, {1, 6}})), Refused{});
  EXPECT_EQ(Commit(Staged(1, CommitOf("g", kTopic, {{0, 50}, {2, 70}}))), Refused{});
  EXPECT_EQ(Commit(Staged(2, CommitOf("g", kTopic, {{1, 60}}))), Refused{});
  Reload();
  EXPECT_EQ(Fetch("g", {0, 1, 2}), (Offsets{{0, 5}, {1, 6}, {2, -1}}));
  End(2, /*is_committed=*/false);
  EXPECT_EQ(Fetch("g", {0, 1, 2}), (Offsets{{0, 5}, {1, 6}, {2, -1}}));
  End(1, /*is_committed=*/true);
  EXPECT_EQ(Fetch("g", {0, 1, 2}), (Offsets{{0, 50}, {1, 6}, {2, 70}}));
  EXPECT_TRUE(state_.Find("g")->staged.empty());
  End(1, /*is_committed=*/false);
  EXPECT_EQ(Fetch("g", {0}), (Offsets{{0, 50}})) << "it has ended, and nothing of it is left";
}

TEST_F(StagedTest, Rule33_WhatWasTakenLast_Counts_BeItStagedOrNot) {
  EXPECT_EQ(Commit(Staged(1, CommitOf("g", kTopic, {{0, 50}, {1, 51}}))), Refused{});
  EXPECT_EQ(Commit(CommitOf("g", kTopic, {{0, 5}})), Refused{});
  EXPECT_EQ(Commit(Staged(2, CommitOf("g", kTopic, {{1, 61}}))), Refused{});
  Reload();
  End(2, /*is_committed=*/true);
  End(1, /*is_committed=*/true);
  EXPECT_EQ(Fetch("g", {0, 1}), (Offsets{{0, 5}, {1, 61}}));
}

TEST_F(StagedTest, Rule32_WhatIsStaged_IsForgottenByNobody) {
  EXPECT_EQ(Commit(CommitOf("g", kTopic, {{0, 5}})), Refused{});
  EXPECT_EQ(Commit(Staged(1, CommitOf("g", kTopic, {{0, 50}}))), Refused{});
  const int64_t late = int64_t{1} << 50;
  ShardState::Cursor cursor;
  EXPECT_TRUE(Sweep(state_, last_, image_, {.wall_ms = late, .retention_ms = 1}, &cursor)
                  .records()
                  .empty());
  v1::DeleteGroupRequest group;
  group.set_group("g");
  EXPECT_EQ(DecideDeleteGroup(state_, group).status().code(), Code::kFailedPrecondition);
  v1::DeleteOffsetsRequest offsets;
  offsets.set_group("g");
  offsets.add_topics()->set_topic_id(kTopic.value());
  v1::DeleteOffsetsResponse deleted;
  EXPECT_EQ(DecideDeleteOffsets(state_, offsets, &deleted).status().code(),
            Code::kFailedPrecondition);
  End(1, /*is_committed=*/true);
  EXPECT_EQ(Fetch("g", {0}), (Offsets{{0, 50}}));
  EXPECT_TRUE(DecideDeleteGroup(state_, group).ok());
  cursor = {};
  EXPECT_FALSE(Sweep(state_, last_, image_, {.wall_ms = late, .retention_ms = 1}, &cursor)
                   .records()
                   .empty());
}

TEST_F(StagedTest, WhoeverAsksForAnOffset_IsToldThatATransactionHasAnotherOne) {
  EXPECT_EQ(Commit(Staged(1, CommitOf("g", kTopic, {{0, 50}}))), Refused{});
  v1::FetchOffsetsRequest request;
  request.set_group("g");
  auto& topic = *request.add_topics();
  topic.set_topic_id(kTopic.value());
  topic.add_partitions(0);
  topic.add_partitions(1);
  v1::FetchOffsetsResponse response;
  ASSERT_TRUE(AnswerFetch(state_, request, &response).ok());
  EXPECT_TRUE(response.topics(0).partitions(0).is_in_transaction());
  EXPECT_FALSE(response.topics(0).partitions(0).has_offset());
  EXPECT_FALSE(response.topics(0).partitions(1).is_in_transaction());
}

TEST_F(StagedTest, AStagedCommit_IsOfATransactionThatThereCanBe) {
  EXPECT_EQ(CheckCommit(Staged(0, CommitOf("g", kTopic, {{0, 1}}))).code(), Code::kInvalidArgument);
  EXPECT_TRUE(CheckCommit(Staged(1, CommitOf("g", kTopic, {{0, 1}}))).ok());
}

TEST_F(RequestsTest, WhatIsCommitted_IsFetched_AndNoneWhereNothingIs) {
  EXPECT_EQ(Fetch("g", {0}), (Offsets{{0, -1}})) << "none is an answer, of no group, too";
  EXPECT_EQ(Commit(CommitOf("g", kTopic, {{0, 5}, {2, 7}})), Refused{});
  EXPECT_EQ(Fetch("g"), (Offsets{{0, 5}, {2, 7}}));
  EXPECT_EQ(Fetch("g", {2, 1}), (Offsets{{1, -1}, {2, 7}}));
  EXPECT_EQ(Fetch("h"), Offsets{});
}

// Rule 29: "Apply drops offsets of a topic that this shard has seen deleted; ids never come back."
// A leader that knows it takes none; one that does not leaves it to the sweep.
TEST_F(RequestsTest, Rule29_NothingIsCommittedForATopicThatIsDeleted) {
  EXPECT_EQ(Commit(CommitOf("g", kDeletedTopic, {{0, 5}})), (Refused{{0, Code::kNotFound}}));
  EXPECT_EQ(state_.Find("g"), nullptr);
}

TEST_F(RequestsTest, WhereTheMemoryIsFull_WhatIsThereGoesOn_AndNothingNewIsTaken) {
  Commit(CommitOf("g", kTopic, {{0, 5}}));
  EXPECT_EQ(Commit(CommitOf("g", kTopic, {{0, 6}, {1, 6}}), /*is_full=*/true),
            (Refused{{1, Code::kResourceExhausted}}));
  EXPECT_EQ(Commit(CommitOf("new", kTopic, {{0, 1}}), /*is_full=*/true),
            (Refused{{0, Code::kResourceExhausted}}));
  EXPECT_EQ(Fetch("g"), (Offsets{{0, 6}}));
  EXPECT_EQ(state_.Find("new"), nullptr);
}

TEST_F(RequestsTest, WhereTheMemoryIsFull_MetadataGetsNoLongerThanItIs) {
  v1::CommitOffsetsRequest request = CommitOf("g", kTopic, {{0, 5}, {1, 5}});
  auto& partitions = *request.mutable_topics(0)->mutable_partitions();
  partitions[0].set_metadata(std::string(200, 'm'));
  EXPECT_EQ(Commit(request), Refused{});
  for (v1::PartitionCommit& commit : partitions) commit.set_metadata(std::string(200, 'n'));
  EXPECT_EQ(Commit(request, /*is_full=*/true), (Refused{{1, Code::kResourceExhausted}}));
  partitions[0].set_metadata(std::string(201, 'n'));
  partitions[1].set_metadata(std::string(64, 'n'));
  EXPECT_EQ(Commit(request, /*is_full=*/true), (Refused{{0, Code::kResourceExhausted}}));
  EXPECT_EQ(Commit(request), Refused{});
}

// Whatever --message-bytes-max lets in: it is one entry of the log.
TEST_F(RequestsTest, ACommitThatIsLargerThanAnEntryMayBe_IsRefused) {
  v1::CommitOffsetsRequest request = CommitOf("g", kTopic, {});
  for (uint32_t partition = 0; partition < 1100; ++partition) {
    auto& commit = *request.mutable_topics(0)->add_partitions();
    commit.set_partition(partition);
    commit.set_metadata(std::string(kOffsetMetadataBytesMax, 'm'));
  }
  EXPECT_TRUE(CheckCommit(request).ok()) << "as large as gRPC's messages are";
  for (uint32_t partition = 1100; partition < 4200; ++partition) {
    auto& commit = *request.mutable_topics(0)->add_partitions();
    commit.set_partition(partition);
    commit.set_metadata(std::string(kOffsetMetadataBytesMax, 'm'));
  }
  EXPECT_EQ(CheckCommit(request).code(), Code::kInvalidArgument);
}

TEST_F(RequestsTest, ACommitOfAMemberThatTheGroupDoesNotHave_IsRefused) {
  v1::CommitOffsetsRequest request = CommitOf("g", kTopic, {{0, 5}});
  request.set_member_id("m");
  v1::CommitOffsetsResponse response;
  const CoordinatorDecision decision = DecideCommit(state_, now(), request, &response);
  EXPECT_EQ(decision.status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(decision.status().reason(), Reason::kMemberUnknown);
}

TEST_F(RequestsTest, WhatCannotBeCommitted_IsNamed) {
  EXPECT_TRUE(CheckCommit(CommitOf("g", kTopic, {{0, 0}})).ok());
  EXPECT_EQ(CheckCommit(CommitOf("", kTopic, {{0, 0}})).message(), "group is empty");
  EXPECT_EQ(CheckCommit(CommitOf(std::string(250, 'g'), kTopic, {{0, 0}})).code(),
            Code::kInvalidArgument);
  EXPECT_TRUE(CheckCommit(CommitOf(std::string(249, 'g'), kTopic, {{0, 0}})).ok());
  for (const char* id : {"a\nb", "a\x7F", "\xC2\x80", "\xC2\x9F"}) {
    EXPECT_EQ(CheckCommit(CommitOf(id, kTopic, {{0, 0}})).message(),
              "group has a control character");
  }
  EXPECT_TRUE(CheckCommit(CommitOf("Gr\xC3\xBC\xC3\x9F \xC2\xA0!", kTopic, {{0, 0}})).ok());
  EXPECT_EQ(CheckCommit(CommitOf("g", kTopic, {{3, -1}})).message(),
            "partition 3 of topic \"t\": offset -1 is negative");
  EXPECT_EQ(CheckCommit(CommitOf("g", kTopic, {{3, 1}, {1, 1}, {3, 2}})).message(),
            "partition 3 of topic \"t\" is named twice");
  v1::CommitOffsetsRequest twice = CommitOf("g", kTopic, {{0, 1}});
  *twice.add_topics() = twice.topics(0);
  EXPECT_EQ(CheckCommit(twice).code(), Code::kInvalidArgument);
  v1::CommitOffsetsRequest large = CommitOf("g", kTopic, {{0, 1}});
  large.mutable_topics(0)->mutable_partitions(0)->set_metadata(std::string(4096, 'm'));
  EXPECT_TRUE(CheckCommit(large).ok());
  large.mutable_topics(0)->mutable_partitions(0)->set_metadata(std::string(4097, 'm'));
  EXPECT_EQ(CheckCommit(large).code(), Code::kInvalidArgument);
}

TEST_F(RequestsTest, AMove_RaisesTheEpoch_AndMakesAGroup) {
  Apply(DecideMove(state_, now(), CommitOf("g", kTopic, {{0, 5}})));
  EXPECT_EQ(state_.Find("g")->epoch, 1U);
  Apply(DecideMove(state_, now(), CommitOf("g", kTopic, {{0, 2}})));
  EXPECT_EQ(state_.Find("g")->epoch, 2U);
  EXPECT_EQ(Fetch("g"), (Offsets{{0, 2}}));
  const CoordinatorDecision gone =
      DecideMove(state_, now(), CommitOf("g", kDeletedTopic, {{0, 1}}));
  EXPECT_EQ(gone.status().code(), Code::kNotFound);
}

TEST_F(RequestsTest, DeletedOffsetsAreGone_AndAreCounted) {
  Commit(CommitOf("g", kTopic, {{0, 5}, {1, 6}, {2, 7}}));
  v1::DeleteOffsetsRequest request;
  request.set_group("g");
  auto& topic = *request.add_topics();
  topic.set_topic_id(kTopic.value());
  topic.add_partitions(1);
  topic.add_partitions(3);  // nothing is committed there
  v1::DeleteOffsetsResponse response;
  Apply(DecideDeleteOffsets(state_, request, &response));
  EXPECT_EQ(response.deleted_count(), 1U);
  EXPECT_EQ(Fetch("g"), (Offsets{{0, 5}, {2, 7}}));
  topic.clear_partitions();
  Apply(DecideDeleteOffsets(state_, request, &response));
  EXPECT_EQ(response.deleted_count(), 2U);
  EXPECT_NE(state_.Find("g"), nullptr) << "the group stays";
  request.set_group("none");
  EXPECT_EQ(DecideDeleteOffsets(state_, request, &response).status().reason(),
            Reason::kUnknownGroup);
}

TEST_F(RequestsTest, ADeletedGroup_IsGone) {
  Commit(CommitOf("g", kTopic, {{0, 5}}));
  v1::DeleteGroupRequest request;
  request.set_group("g");
  Apply(DecideDeleteGroup(state_, request));
  EXPECT_EQ(state_.Find("g"), nullptr);
  EXPECT_EQ(DecideDeleteGroup(state_, request).status().reason(), Reason::kUnknownGroup);
}

// 3,000 partitions with a KiB each are more than an answer may have.
TEST_F(RequestsTest, ManyOffsets_AreFetchedAPageAtATime_EachOnce) {
  v1::CommitOffsetsRequest request = CommitOf("g", kTopic, {});
  for (uint32_t partition = 0; partition < 3000; ++partition) {
    auto& commit = *request.mutable_topics(0)->add_partitions();
    commit.set_partition(partition);
    commit.set_offset(partition);
    commit.set_metadata(std::string(1024, 'm'));
  }
  ASSERT_EQ(Commit(request), Refused{});
  for (const bool are_named : {false, true}) {
    v1::FetchOffsetsRequest fetch;
    fetch.set_group("g");
    for (uint32_t partition = 3000; are_named && partition > 0; --partition) {
      if (fetch.topics().empty()) fetch.add_topics()->set_topic_id(kTopic.value());
      fetch.mutable_topics(0)->add_partitions(partition - 1);
    }
    std::set<uint32_t> found;
    int pages = 0;
    do {
      v1::FetchOffsetsResponse response;
      ASSERT_TRUE(AnswerFetch(state_, fetch, &response).ok());
      EXPECT_LT(response.ByteSizeLong(), 3U << 20);
      for (const auto& one : response.topics(0).partitions()) {
        EXPECT_TRUE(found.insert(one.partition()).second) << one.partition() << " twice";
      }
      fetch.set_page_token(response.next_page_token());
      ++pages;
    } while (!fetch.page_token().empty());
    EXPECT_EQ(found.size(), 3000U);
    EXPECT_EQ(pages, 2);
  }
}

// What a client takes by default is 4 MiB.
TEST_F(RequestsTest, APageOfManyTopics_HasRoomForTheirNames) {
  internal::v1::CoordinatorRecord record;
  record.mutable_offsets_committed()->set_group("g");
  for (uint64_t topic = 1; topic <= 20'000; ++topic) {
    auto& committed = *record.mutable_offsets_committed()->add_topics();
    committed.set_topic_id(topic);
    committed.add_partitions(0);
    committed.add_offsets(1);
  }
  ASSERT_TRUE(state_.Apply(record, {.index = LogIndex(1), .time_ms = 5}).ok());
  v1::FetchOffsetsRequest fetch;
  fetch.set_group("g");
  int found = 0;
  do {
    v1::FetchOffsetsResponse response;
    ASSERT_TRUE(AnswerFetch(state_, fetch, &response).ok());
    found += response.topics_size();
    for (auto& topic : *response.mutable_topics()) topic.set_topic(std::string(249, 't'));
    EXPECT_LE(response.ByteSizeLong(), 2U << 20);
    fetch.set_page_token(response.next_page_token());
  } while (!fetch.page_token().empty());
  EXPECT_EQ(found, 20'000);
}

TEST_F(RequestsTest, APageToken_ThatIsNone_IsRefused) {
  for (const char* token : {"x", "1", "1/", "1/x/", "/1/", "1/99999999999/", "1/2/3"}) {
    v1::FetchOffsetsRequest fetch;
    fetch.set_group("g");
    fetch.set_page_token(token);
    v1::FetchOffsetsResponse response;
    EXPECT_EQ(AnswerFetch(state_, fetch, &response).code(), Code::kInvalidArgument) << token;
  }
  for (const char* token : {"x", "1", "1/", "1/1024/g", "99999999999/0/", "-1/0/"}) {
    EXPECT_EQ(ParseGroupsToken(token).status().code(), Code::kInvalidArgument) << token;
  }
  const GroupsToken token{.shard = 3, .after = {.slot = 1023, .name = "a/b/"}};
  const Result<GroupsToken> parsed = ParseGroupsToken(ToPageToken(token));
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->shard, 3U);
  EXPECT_EQ(parsed->after, token.after);
}

TEST_F(RequestsTest, Groups_AreListedByPrefix_APageAtATime) {
  for (int i = 0; i < 30; ++i) {
    Commit(CommitOf((i % 3 == 0 ? "a" : "b") + std::to_string(i), kTopic, {{0, 5}, {1, 6}}));
  }
  v1::ListGroupsRequest request;
  request.set_prefix("a");
  request.set_page_size(4);
  std::set<std::string> found;
  int pages = 0;
  do {
    v1::ListGroupsResponse response;
    ASSERT_TRUE(AnswerList(state_, request, &response).ok());
    EXPECT_LE(response.groups_size(), 4);
    for (const auto& group : response.groups()) {
      EXPECT_TRUE(found.insert(group.group()).second);
      EXPECT_EQ(group.offset_count(), 2U);
      EXPECT_EQ(group.state(), v1::GROUP_STATE_EMPTY);
    }
    request.set_page_token(response.next_page_token());
    ++pages;
  } while (!request.page_token().empty());
  EXPECT_EQ(found.size(), 10U);
  EXPECT_GE(pages, 3);
}

}  // namespace
}  // namespace millrace::broker
