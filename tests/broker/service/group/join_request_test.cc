// What a member may say on its Join stream, and as the coordinator is asked it.
#include "broker/service/group/join_request.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

using testing::HasSubstr;

v1::JoinInit Init() {
  v1::JoinInit init;
  init.set_group("g");
  init.set_member_id("m-1");
  init.set_session(3);
  init.mutable_subscription()->add_topics("t");
  return init;
}

TEST(JoinRequest, WhatAMemberSaysOfItself_IsKept_WithTheTimesThatItDoesNotName) {
  v1::JoinInit init = Init();
  init.set_instance_id("i");
  init.set_rack("r");
  init.set_assignor("range");
  init.set_client_id("c");
  const auto request = ToMemberRequest(init, {.peer_address = "10.0.0.7:1234"});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->group(), "g");
  EXPECT_EQ(request->member_id(), "m-1");
  EXPECT_EQ(request->session(), 3U);
  EXPECT_EQ(request->member_epoch(), 0);
  EXPECT_FALSE(request->has_owned()) << "epoch 0: it owns nothing";
  const internal::v1::MemberInfo& info = request->info();
  EXPECT_EQ(info.member_id(), "m-1");
  EXPECT_EQ(info.session(), 3U);
  EXPECT_EQ(info.instance_id(), "i");
  EXPECT_EQ(info.subscription().topics(0), "t");
  EXPECT_EQ(info.rack(), "r");
  EXPECT_EQ(info.assignor(), "range");
  EXPECT_EQ(info.session_timeout_ms(), 30'000U);
  EXPECT_EQ(info.revoke_timeout_ms(), 60'000U);
  EXPECT_EQ(info.client_id(), "c");
  EXPECT_EQ(info.client_host(), "10.0.0.7");
  EXPECT_TRUE(info.has_native());
}

TEST(JoinRequest, WhereAMemberIs_IsToldWithoutItsPort) {
  for (const auto& [address, host] : std::vector<std::pair<std::string, std::string>>{
           {"10.0.0.7:1234", "10.0.0.7"}, {"[::1]:1234", "[::1]"}, {"", ""}}) {
    EXPECT_EQ(ToMemberRequest(Init(), {.peer_address = address})->info().client_host(), host);
  }
}

TEST(JoinRequest, AMemberThatGoesOn_SaysWhatItOwns) {
  v1::JoinInit init = Init();
  init.set_member_epoch(7);
  init.set_session_timeout_ms(1'000);
  init.set_revoke_timeout_ms(2'000);
  init.add_owned()->set_topic_id(5);
  init.mutable_owned(0)->add_partitions(2);
  auto request = ToMemberRequest(init, {});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->member_epoch(), 7);
  EXPECT_EQ(request->owned().topics(0).partitions(0), 2U);
  EXPECT_EQ(request->info().session_timeout_ms(), 1'000U);
  EXPECT_EQ(request->info().revoke_timeout_ms(), 2'000U);
  init.clear_owned();
  request = ToMemberRequest(init, {});
  ASSERT_TRUE(request.ok());
  EXPECT_TRUE(request->has_owned()) << "nothing is an answer, too";
}

TEST(JoinRequest, WhatNoMemberCanSay_IsNamed) {
  const std::string long_name(250, 'x');
  const std::vector<std::pair<std::function<void(v1::JoinInit*)>, std::string>> wrong = {
      {[](v1::JoinInit* init) { init->clear_group(); }, "group is empty"},
      {[&](v1::JoinInit* init) { init->set_group(long_name); }, "group of 250 bytes"},
      {[](v1::JoinInit* init) { init->set_member_id("a\tb"); }, "member_id has a control"},
      {[](v1::JoinInit* init) { init->clear_member_id(); }, "member_id is empty"},
      {[](v1::JoinInit* init) { init->set_session(0); }, "session is 0"},
      {[](v1::JoinInit* init) { init->set_member_epoch(-1); }, "member_epoch is -1"},
      {[](v1::JoinInit* init) { init->add_owned()->add_partitions(1); }, "init.owned"},
      {[&](v1::JoinInit* init) { init->set_instance_id(long_name); }, "instance_id of 250"},
      {[&](v1::JoinInit* init) { init->set_rack(long_name); }, "rack of 250"},
      {[&](v1::JoinInit* init) { init->set_client_id(long_name); }, "client_id of 250"},
      {[](v1::JoinInit* init) { init->set_assignor("sticky"); }, "sticky"},
      {[](v1::JoinInit* init) { init->set_session_timeout_ms(999); }, "session_timeout_ms is 999"},
      {[](v1::JoinInit* init) { init->set_revoke_timeout_ms(1'800'001); }, "1800001"},
      {[](v1::JoinInit* init) { init->clear_subscription(); }, "names no topic"},
      {[](v1::JoinInit* init) { init->mutable_subscription()->set_pattern("("); }, "("},
      {[](v1::JoinInit* init) { init->mutable_subscription()->add_topics(""); }, "no name"},
      {[&](v1::JoinInit* init) {
         init->mutable_subscription()->add_topic_sets()->add_topics(long_name);
       },
       "topic's name of 250"},
      {[&](v1::JoinInit* init) { init->mutable_subscription()->set_digest(long_name); },
       "digest of 250"},
      {[](v1::JoinInit* init) {
         for (int i = 0; i < 1'000; ++i) init->mutable_subscription()->add_topics("t");
       },
       "1001 topics"},
      {[](v1::JoinInit* init) {
         init->set_member_epoch(1);
         for (uint32_t i = 0; i <= 100'000; ++i) {
           if (i % 5'000 == 0) init->add_owned();
           init->mutable_owned(init->owned_size() - 1)->add_partitions(i);
         }
       },
       "100001 partitions"},
  };
  for (const auto& [spoil, why] : wrong) {
    v1::JoinInit init = Init();
    spoil(&init);
    const Status status = ToMemberRequest(init, {}).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << why;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  }
}

TEST(JoinRequest, BytesThatAreNone_OrSayNothing_OrMoreThanIsKnown_AreRefused) {
  const auto parse = [](const std::string& bytes) {
    return ParseJoinRequest(Bytes::Own(std::string(bytes))).status();
  };
  EXPECT_EQ(parse("\xff\xff").code(), Code::kInvalidArgument);
  EXPECT_THAT(std::string(parse("").message()), HasSubstr("says nothing"));
  v1::JoinRequest request;
  *request.mutable_init() = Init();
  EXPECT_TRUE(parse(request.SerializeAsString()).ok());
  // Field 99 of the message, a varint.
  EXPECT_EQ(parse(request.SerializeAsString() + "\x98\x06\x01").code(), Code::kUnimplemented);
}

}  // namespace
}  // namespace millrace::broker
