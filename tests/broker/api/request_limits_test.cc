#include "broker/api/request_limits.h"

#include <string>

#include <gtest/gtest.h>

#include "millrace/v1/consumer_service.pb.h"

namespace millrace::broker {
namespace {

constexpr RepeatedField kAdd{.number = v1::FetchRequest::kAddFieldNumber, .name = "add"};

Bytes WithAdds(size_t count) {
  std::string bytes = "\x0a\x00";
  bytes.resize(2);
  for (size_t i = 0; i < count; ++i) bytes += std::string("\x12\x00", 2);
  return Bytes::Own(bytes);
}

TEST(RequestLimits, TakesAsManyAsATopicMayHavePartitions) {
  EXPECT_TRUE(CheckCount(WithAdds(0), kAdd).ok());
  EXPECT_TRUE(CheckCount(WithAdds(kNamedPerMessageMax), kAdd).ok());
}

TEST(RequestLimits, RefusesOneMore_NamingTheField) {
  const Status status = CheckCount(WithAdds(kNamedPerMessageMax + 1), kAdd);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(std::string(status.message()).find("`add`"), std::string::npos) << status;
}

TEST(RequestLimits, LeavesWhatIsNoMessageToTheParser) {
  EXPECT_TRUE(CheckCount(Bytes::Own(std::string(100, '\xff')), kAdd).ok());
  EXPECT_TRUE(CheckCount(Bytes::Own(std::string("\x12\xff\xff\xff\xff\x07x")), kAdd).ok());
}

}  // namespace
}  // namespace millrace::broker
