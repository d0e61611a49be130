// What a client may say on its Consume stream, and as a member says it.
#include "broker/service/consume/consume_request.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

using testing::HasSubstr;

v1::ConsumeInit Init() {
  v1::ConsumeInit init;
  init.set_group("g");
  init.set_member_id("m");
  init.set_session(3);
  init.mutable_subscription()->add_topics("t");
  return init;
}

Bytes Said(const v1::ConsumeRequest& request) { return Bytes::Own(request.SerializeAsString()); }

TEST(ConsumeRequest, WhatAMemberSaysOfItself_IsSaidAsItIs_AndItOwnsNothing) {
  v1::ConsumeInit init = Init();
  init.set_instance_id("i");
  init.set_rack("r");
  init.set_assignor("range");
  init.set_session_timeout_ms(5'000);
  init.set_revoke_timeout_ms(6'000);
  init.set_client_id("c");
  const v1::JoinInit join = ToJoinInit(init, "drawn");
  EXPECT_EQ(join.group(), "g");
  EXPECT_EQ(join.member_id(), "m");
  EXPECT_EQ(join.session(), 3U);
  EXPECT_EQ(join.member_epoch(), 0);
  EXPECT_TRUE(join.owned().empty());
  EXPECT_EQ(join.instance_id(), "i");
  EXPECT_EQ(join.subscription().topics(0), "t");
  EXPECT_EQ(join.rack(), "r");
  EXPECT_EQ(join.assignor(), "range");
  EXPECT_EQ(join.session_timeout_ms(), 5'000U);
  EXPECT_EQ(join.revoke_timeout_ms(), 6'000U);
  EXPECT_EQ(join.client_id(), "c");
}

TEST(ConsumeRequest, WhoNamesNoMember_IsTheOneThatWasDrawn_InItsFirstSession) {
  v1::ConsumeInit init = Init();
  init.clear_member_id();
  EXPECT_THAT(std::string(CheckConsumeInit(init).message()), HasSubstr("init.session is 3"));
  init.set_session(0);
  EXPECT_TRUE(CheckConsumeInit(init).ok());
  EXPECT_EQ(ToJoinInit(init, "drawn").member_id(), "drawn");
  EXPECT_EQ(ToJoinInit(init, "drawn").session(), 1U);
}

TEST(ConsumeRequest, AWindow_IsAtMost16MiB_AndOneWhereNoneIsNamed) {
  v1::ConsumeInit init = Init();
  EXPECT_EQ(WindowBytesOf(init), 1U << 20);
  init.set_window_bytes(16 << 20);
  EXPECT_TRUE(CheckConsumeInit(init).ok());
  EXPECT_EQ(WindowBytesOf(init), 16U << 20);
  init.set_window_bytes((16 << 20) + 1);
  EXPECT_EQ(CheckConsumeInit(init).code(), Code::kInvalidArgument);
}

TEST(ConsumeRequest, AStartThatIsNotKnown_IsUnimplemented) {
  v1::ConsumeInit init = Init();
  init.set_start(static_cast<v1::ConsumeStart>(9));
  EXPECT_EQ(CheckConsumeInit(init).code(), Code::kUnimplemented);
  init.clear_start();
  init.set_when_gone(static_cast<v1::ConsumeStart>(9));
  EXPECT_EQ(CheckConsumeInit(init).code(), Code::kUnimplemented);
}

TEST(ConsumeRequest, WhatSaysNothing_OrIsNotKnown_IsRefused) {
  EXPECT_EQ(ParseConsumeRequest(Bytes::CopyOf("\xff")).status().code(), Code::kInvalidArgument);
  EXPECT_THAT(std::string(ParseConsumeRequest(Bytes()).status().message()),
              HasSubstr("says nothing"));
  v1::ConsumeRequest request;
  request.mutable_commit()->set_commit_id(4);
  EXPECT_THAT(std::string(ParseConsumeRequest(Said(request)).status().message()),
              HasSubstr("neither up_to nor offsets"));
  request.mutable_commit()->set_up_to(0);
  EXPECT_TRUE(ParseConsumeRequest(Said(request)).ok());
  // A ping with a field 15.
  EXPECT_EQ(ParseConsumeRequest(Bytes::CopyOf("\x22\x02\x78\x01")).status().code(),
            Code::kUnimplemented);
}

TEST(ConsumeRequest, APartition_BeginsAtItsOffset_OrWhereItIsSaid_ALaterOneAtItsStart) {
  v1::AssignedPartition assigned;
  EXPECT_TRUE(BeginningOf(assigned, v1::CONSUME_START_UNSPECIFIED).earliest());
  EXPECT_TRUE(BeginningOf(assigned, v1::CONSUME_START_EARLIEST).earliest());
  EXPECT_TRUE(BeginningOf(assigned, v1::CONSUME_START_LATEST).latest());
  assigned.set_is_later(true);
  EXPECT_TRUE(BeginningOf(assigned, v1::CONSUME_START_LATEST).earliest());
  assigned.set_offset(0);
  EXPECT_TRUE(BeginningOf(assigned, v1::CONSUME_START_LATEST).has_offset());
}

}  // namespace
}  // namespace millrace::broker
