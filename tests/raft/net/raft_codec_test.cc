#include "raft/net/raft_codec.h"

#include <cstring>
#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "proto/base/checksum.h"
#include "proto/frame/frame.h"
#include "tests/raft/net/entries.h"

namespace millrace::raft::net {
namespace {

constexpr RaftGroupId kGroup{9};
constexpr RaftRoute kRoute{.group = kGroup,
                           .from = ReplicaNumber(5),
                           .to = {BrokerId(2), Incarnation(200), ReplicaNumber(7)}};

core::AppendRequest MakeAppend(int count) {
  core::AppendRequest append{.term = Term(5),
                             .prev_index = LogIndex(40),
                             .prev_term = Term(4),
                             .commit_index = LogIndex(39),
                             .entries = {},
                             .log_start = Offset(17)};
  for (int i = 0; i < count; ++i) {
    const auto at = static_cast<uint64_t>(i);
    const uint32_t chain = append.entries.empty() ? 0 : append.entries.back().chain;
    append.entries.push_back(MakeEntry(kGroup, Term(5), LogIndex(41 + at),
                                       std::string(1 + at * 13, static_cast<char>('a' + i)),
                                       chain));
  }
  return append;
}

Bytes Join(const std::vector<Bytes>& pieces) {
  std::string joined;
  for (const Bytes& piece : pieces) joined += piece.view();
  return Bytes::CopyOf(joined);
}

TEST(RaftCodec, SmallMessages_ComeBackAsTheyWere) {
  const std::vector<core::Message> messages = {
      core::VoteRequest{Term(7), true, Term(6), LogIndex(99), true},
      core::VoteReply{Term(7), true, true},
      core::AppendReply{Term(7), false, LogIndex(12), LogIndex(10), Term(3)},
      core::Heartbeat{Term(7), LogIndex(11), 42},
      core::HeartbeatReply{Term(7), 42},
      core::Behind{Term(7), LogIndex(11)},
  };
  for (const core::Message& message : messages) {
    wire::GroupMessage encoded;
    EncodeGroupMessage(kRoute, message, &encoded);
    EXPECT_EQ(encoded.group_id(), kGroup.value());
    EXPECT_EQ(encoded.sender_number(), kRoute.from.value());
    EXPECT_EQ(encoded.receiver_number(), kRoute.to.number.value());
    const Result<core::Message> decoded = DecodeGroupMessage(encoded);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    wire::GroupMessage again;
    EncodeGroupMessage(kRoute, *decoded, &again);
    EXPECT_EQ(decoded->index(), message.index());
    EXPECT_EQ(again.SerializeAsString(), encoded.SerializeAsString());
  }
}

TEST(RaftCodec, MessageOfNoKind_IsRefused) {
  EXPECT_FALSE(DecodeGroupMessage(wire::GroupMessage()).ok());
}

TEST(RaftCodec, Append_KeepsFramesByteForByte_InTheReceivedBuffer) {
  const core::AppendRequest sent = MakeAppend(5);
  std::vector<Bytes> pieces;
  const wire::GroupAppend header = EncodeGroupAppend(kRoute, sent, &pieces);
  const Bytes body = Join(pieces);

  const Result<core::AppendRequest> append = DecodeGroupAppend(header, body);
  ASSERT_TRUE(append.ok()) << append.status();
  EXPECT_EQ(append->term, sent.term);
  EXPECT_EQ(append->prev_index, sent.prev_index);
  EXPECT_EQ(append->prev_term, sent.prev_term);
  EXPECT_EQ(append->commit_index, sent.commit_index);
  EXPECT_EQ(append->log_start, sent.log_start);
  ASSERT_EQ(append->entries.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(append->entries[i].index, sent.entries[i].index);
    EXPECT_EQ(append->entries[i].chain, sent.entries[i].chain);
    EXPECT_EQ(append->entries[i].frame.view(), sent.entries[i].frame.view());
    EXPECT_GE(append->entries[i].frame.bytes().data(), body.data());
    EXPECT_LT(append->entries[i].frame.bytes().data(), body.data() + body.size());
  }
}

TEST(RaftCodec, AppendWithAnyByteChanged_IsRefused_UnlessItIsPadding) {
  const core::AppendRequest sent = MakeAppend(2);
  std::vector<Bytes> pieces;
  const wire::GroupAppend header = EncodeGroupAppend(kRoute, sent, &pieces);
  const std::string good(Join(pieces).view());
  const size_t first_end = kFrameHeaderSize + 1;
  for (size_t at = 0; at < good.size(); ++at) {
    if (at >= first_end && at < FrameSize(1)) continue;
    if (at >= FrameSize(1) + kFrameHeaderSize + 14) continue;
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    const Result<core::AppendRequest> append = DecodeGroupAppend(header, Bytes::CopyOf(bad));
    ASSERT_FALSE(append.ok()) << "byte " << at;
    EXPECT_EQ(append.status().code(), Code::kDataLoss);
  }
}

TEST(RaftCodec, AppendWhoseEntriesAreNotThoseItNames_IsRefused) {
  const core::AppendRequest sent = MakeAppend(3);
  std::vector<Bytes> pieces;
  const wire::GroupAppend good = EncodeGroupAppend(kRoute, sent, &pieces);
  const Bytes body = Join(pieces);

  wire::GroupAppend bad = good;
  bad.set_group_id(10);
  EXPECT_FALSE(DecodeGroupAppend(bad, body).ok()) << "another group";
  bad = good;
  bad.mutable_append()->set_prev_index(41);
  EXPECT_FALSE(DecodeGroupAppend(bad, body).ok()) << "a gap";
  bad = good;
  bad.mutable_append()->set_term(4);
  EXPECT_FALSE(DecodeGroupAppend(bad, body).ok()) << "entries newer than their leader";
  bad = good;
  bad.mutable_append()->set_prev_term(6);
  EXPECT_FALSE(DecodeGroupAppend(bad, body).ok()) << "terms that go back";
  bad = good;
  bad.mutable_append()->set_entry_count(4);
  EXPECT_FALSE(DecodeGroupAppend(bad, body).ok()) << "an entry short";
  bad.mutable_append()->set_entry_count(2);
  EXPECT_FALSE(DecodeGroupAppend(bad, body).ok()) << "an entry too many";
  bad.mutable_append()->set_entry_count(4'000'000'000);
  EXPECT_FALSE(DecodeGroupAppend(bad, body).ok()) << "an absurd count";
  EXPECT_FALSE(DecodeGroupAppend(good, body.Slice(0, body.size() - 8)).ok()) << "cut off";
}

TEST(RaftCodec, AppendIsRefused_WhenAnEntryBreaksTheChain) {
  core::AppendRequest sent = MakeAppend(3);
  sent.entries[2] = MakeEntry(kGroup, Term(5), LogIndex(43), "another past", 12345);
  std::vector<Bytes> pieces;
  const wire::GroupAppend header = EncodeGroupAppend(kRoute, sent, &pieces);
  EXPECT_EQ(DecodeGroupAppend(header, Join(pieces)).status().code(), Code::kDataLoss);
}

}  // namespace
}  // namespace millrace::raft::net
