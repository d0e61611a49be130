// What is pulled to restore a replica: it comes back as it was, and what cannot be is refused.
#include "raft/codec/pull_messages.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "proto/frame/frame.h"
#include "tests/raft/net/entries.h"

namespace millrace::raft {
namespace {

constexpr RaftGroupId kGroup{9};
constexpr PullRoute kRoute{
    .group = kGroup, .source = ReplicaNumber(5), .puller = ReplicaNumber(7), .request_id = 42};
constexpr core::LogPoint kPoint{
    .index = LogIndex(40), .term = Term(4), .chain = 7, .next_offset = Offset(99)};

std::vector<core::Entry> Entries(size_t count) {
  std::vector<core::Entry> entries;
  for (size_t i = 0; i < count; ++i) {
    const uint32_t chain = entries.empty() ? 0 : entries.back().chain;
    entries.push_back(net::MakeEntry(kGroup, Term(5), LogIndex(41 + i),
                                     std::string(1 + i * 13, static_cast<char>('a' + i)), chain));
  }
  return entries;
}

void ExpectRoute(const PullRoute& route) {
  EXPECT_EQ(route.group, kGroup);
  EXPECT_EQ(route.source, kRoute.source);
  EXPECT_EQ(route.puller, kRoute.puller);
  EXPECT_EQ(route.request_id, 42u);
}

TEST(PullMessages, Ranges_ComeBackAsTheyWere) {
  const auto request = DecodeRangeRequest(
      Encode(RangeRequest{.route = kRoute, .first = LogIndex(41), .bytes_max = 1000}));
  ASSERT_TRUE(request.ok()) << request.status();
  ExpectRoute(request->route);
  EXPECT_EQ(request->first, LogIndex(41));
  EXPECT_EQ(request->bytes_max, 1000u);
  for (const size_t count : {0, 1, 4}) {
    const std::vector<core::Entry> entries = Entries(count);
    const auto reply = DecodeRangeReply(Encode(
        RangeReply{.route = kRoute, .begin = kPoint, .commit = LogIndex(77), .entries = entries}));
    ASSERT_TRUE(reply.ok()) << reply.status();
    ExpectRoute(reply->route);
    EXPECT_EQ(reply->begin, kPoint);
    EXPECT_EQ(reply->commit, LogIndex(77));
    ASSERT_EQ(reply->entries.size(), count);
    for (size_t i = 0; i < count; ++i) {
      EXPECT_EQ(reply->entries[i].frame.view(), entries[i].frame.view());
    }
  }
}

TEST(PullMessages, AState_ComesBackAsItWas) {
  ExpectRoute(DecodeStateRequest(Encode(StateRequest{.route = kRoute}))->route);
  StatePiece piece{.route = kRoute,
                   .at = kPoint,
                   .configuration_index = LogIndex(3),
                   .size = 10,
                   .position = 6,
                   .piece = Bytes::CopyOf("tail")};
  piece.configuration.voters = {{BrokerId(1), Incarnation(2), ReplicaNumber(3)}};
  const auto decoded = DecodeStatePiece(Encode(piece));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  ExpectRoute(decoded->route);
  EXPECT_EQ(decoded->at, kPoint);
  EXPECT_EQ(decoded->configuration, piece.configuration);
  EXPECT_EQ(decoded->configuration_index, LogIndex(3));
  EXPECT_EQ(decoded->size, 10u);
  EXPECT_EQ(decoded->position, 6u);
  EXPECT_EQ(decoded->piece.view(), "tail");
}

TEST(PullMessages, WhatCannotBeRead_IsRefused) {
  const Bytes nonsense = Bytes::CopyOf("\xFF\xFF");
  EXPECT_EQ(DecodeRangeRequest(nonsense).status().code(), Code::kDataLoss);
  EXPECT_EQ(DecodeRangeReply(nonsense).status().code(), Code::kDataLoss);
  EXPECT_EQ(DecodeStateRequest(nonsense).status().code(), Code::kDataLoss);
  EXPECT_EQ(DecodeStatePiece(nonsense).status().code(), Code::kDataLoss);
}

TEST(PullMessages, EntriesOfAnotherGroup_OrThatDoNotFollow_OrAreRotten_AreRefused) {
  const auto refused = [](std::vector<core::Entry> entries, RaftGroupId group = kGroup) {
    PullRoute route = kRoute;
    route.group = group;
    return DecodeRangeReply(Encode(RangeReply{.route = route, .entries = std::move(entries)}))
        .status()
        .code();
  };
  std::vector<core::Entry> entries = Entries(4);
  EXPECT_EQ(refused(entries), Code::kOk);
  EXPECT_EQ(refused(entries, RaftGroupId(8)), Code::kDataLoss);
  entries.erase(entries.begin() + 1);
  EXPECT_EQ(refused(entries), Code::kDataLoss);
  std::string encoded(Encode(RangeReply{.route = kRoute, .entries = Entries(2)}).view());
  encoded.back() = static_cast<char>(encoded.back() ^ 1);  // padding, or a record's last byte
  EXPECT_EQ(DecodeRangeReply(Bytes::Own(encoded)).status().code(), Code::kDataLoss);
}

}  // namespace
}  // namespace millrace::raft
