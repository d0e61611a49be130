#include "broker/edge/reflection.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/unknown_field_set.h>
#include <gtest/gtest.h>

#include "millrace/internal/v1/peer.pb.h"

namespace millrace::broker::edge {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

// ServerReflectionRequest with one text of its oneof.
std::string Request(int field, const std::string& text) {
  google::protobuf::UnknownFieldSet fields;
  fields.AddLengthDelimited(field, text);
  std::string request;
  CHECK(fields.SerializeToString(&request));
  return request;
}

class ReflectionTest : public ::testing::Test {
 protected:
  // The texts or messages of `field` in the answer.
  std::vector<std::string> Answer(const std::string& request, int field) {
    const Result<Bytes> answer = reflection_.Answer(request);
    CHECK(answer.ok()) << answer.status();
    return All(std::string(answer->view()), field);
  }
  static std::vector<std::string> All(const std::string& message, int field) {
    google::protobuf::UnknownFieldSet fields;
    CHECK(fields.ParseFromString(message));
    std::vector<std::string> found;
    for (int i = 0; i < fields.field_count(); ++i) {
      if (fields.field(i).number() == field) found.push_back(fields.field(i).length_delimited());
    }
    return found;
  }
  // The names of the files that a request for a symbol brings; empty if there is none.
  std::vector<std::string> FilesOf(const std::string& symbol) {
    std::vector<std::string> names;
    for (const std::string& response : Answer(Request(4, symbol), 4)) {
      for (const std::string& bytes : All(response, 1)) {
        google::protobuf::FileDescriptorProto file;
        CHECK(file.ParseFromString(bytes));
        names.push_back(file.name());
      }
    }
    return names;
  }

  Reflection reflection_{std::make_shared<const ReflectedFiles>(true)};
};

TEST_F(ReflectionTest, EveryListedService_HasADescriptor_WithAllThatItImports) {
  size_t count = 0;
  for (const std::string& list : Answer(Request(7, ""), 6)) {
    for (const std::string& service : All(list, 1)) {
      const std::vector<std::string> name = All(service, 1);
      ASSERT_EQ(name.size(), 1u);
      // What came must be enough to build the service from.
      google::protobuf::DescriptorPool pool;
      std::vector<google::protobuf::FileDescriptorProto> files;
      for (const std::string& response : Answer(Request(4, name[0]), 4)) {
        for (const std::string& bytes : All(response, 1)) {
          CHECK(files.emplace_back().ParseFromString(bytes));
        }
      }
      for (size_t built = 0, round = 0; built < files.size() && round < files.size(); ++round) {
        for (const auto& file : files) {
          if (pool.FindFileByName(file.name()) != nullptr) continue;
          bool has_all = true;
          for (const auto& import : file.dependency()) {
            has_all = has_all && pool.FindFileByName(import) != nullptr;
          }
          if (has_all && pool.BuildFile(file) != nullptr) ++built;
        }
      }
      EXPECT_NE(pool.FindServiceByName(name[0]), nullptr) << name[0];
      ++count;
    }
  }
  EXPECT_EQ(count, 9u);
}

TEST_F(ReflectionTest, ErrorDetails_CanBeShown) {
  EXPECT_THAT(
      FilesOf("google.rpc.ErrorInfo"),
      UnorderedElementsAre("google/rpc/error_details.proto", "google/protobuf/duration.proto"));
  EXPECT_THAT(FilesOf("google.rpc.RetryInfo"), Contains("google/rpc/error_details.proto"));
  EXPECT_THAT(FilesOf("google.rpc.Status"),
              UnorderedElementsAre("google/rpc/status.proto", "google/protobuf/any.proto"));
}

TEST_F(ReflectionTest, SymbolsOfEveryKind_AreFound) {
  EXPECT_THAT(FilesOf("grpc.health.v1.Health.Check"), ElementsAre("grpc/health/v1/health.proto"));
  EXPECT_THAT(FilesOf("grpc.health.v1.HealthCheckResponse.ServingStatus"),
              ElementsAre("grpc/health/v1/health.proto"));
  EXPECT_THAT(FilesOf("millrace.v1.Compression"), Contains("millrace/v1/record.proto"));
  EXPECT_THAT(FilesOf("millrace.v1.ProducerService.Produce"),
              Contains("millrace/v1/producer_service.proto"));
}

TEST_F(ReflectionTest, Files_AreFoundByName) {
  EXPECT_EQ(Answer(Request(3, "millrace/v1/record.proto"), 4).size(), 1u);
  EXPECT_EQ(Answer(Request(3, "absent.proto"), 4).size(), 0u);
}

TEST_F(ReflectionTest, BrokersOwnMessages_AreNotTold) {
  ASSERT_NE(internal::v1::Hello::descriptor(), nullptr);  // they are in this program
  EXPECT_THAT(FilesOf("millrace.internal.v1.Hello"), ElementsAre());
  EXPECT_EQ(Answer(Request(3, "millrace/internal/v1/peer.proto"), 4).size(), 0u);
}

TEST_F(ReflectionTest, WhatIsNotThere_IsNotFound_AndTheRequestIsRepeated) {
  const std::string request = Request(4, "nobody.Knows");
  const std::vector<std::string> errors = Answer(request, 7);
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_THAT(errors[0], HasSubstr("nobody.Knows is not known here"));
  EXPECT_EQ(errors[0].substr(0, 2), "\x08\x05") << "error_code 5, NOT_FOUND";
  EXPECT_THAT(Answer(request, 2), ElementsAre(request));
}

TEST_F(ReflectionTest, NoMessageHasExtensions) {
  EXPECT_EQ(Answer(Request(6, "millrace.v1.Record"), 5).size(), 1u);
  EXPECT_EQ(Answer(Request(6, "nobody"), 7).size(), 1u);
  EXPECT_EQ(Answer(Request(5, Request(1, "millrace.v1.Record")), 7).size(), 1u);
}

TEST_F(ReflectionTest, WhatIsNoRequest_IsRefused) {
  for (const std::string& bad : {std::string(), std::string("\xff\xff"), Request(99, "unknown"),
                                 Request(4, "\xff\xfe"), Request(4, std::string(5'000, 'x'))}) {
    EXPECT_EQ(reflection_.Answer(bad).status().code(), Code::kInvalidArgument) << bad.substr(0, 20);
  }
}

TEST_F(ReflectionTest, WithoutReflection_ItsServicesAreNotListed) {
  const ReflectedFiles files(false);
  EXPECT_EQ(files.own_services().size(), 6u);
  for (const std::string& name : files.service_names()) {
    EXPECT_EQ(name.find("reflection"), std::string::npos) << name;
  }
}

}  // namespace
}  // namespace millrace::broker::edge
