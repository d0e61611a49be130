#include "client/cli/line_source.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "client/cli/record_key.h"

namespace millrace::client::cli {
namespace {

std::vector<std::string> LinesOf(const std::string& content) {
  const std::string path = ::testing::TempDir() + "line_source_test";
  std::ofstream(path, std::ios::binary) << content;
  Result<LineSource> source = LineSource::Open(path);
  EXPECT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(source->total_bytes(), content.size());
  std::vector<std::string> lines;
  std::string_view line;
  LineSource::Outcome outcome = LineSource::kLine;
  while ((outcome = source->Next(&line)) == LineSource::kLine) lines.emplace_back(line);
  EXPECT_EQ(outcome, LineSource::kEnd);
  std::remove(path.c_str());
  return lines;
}

TEST(LineSource, GivesEveryLine_AlsoEmptyOnesAndALastOneWithoutAnEnd) {
  EXPECT_EQ(LinesOf("a\n\nb\nc"), (std::vector<std::string>{"a", "", "b", "c"}));
  EXPECT_EQ(LinesOf("a\n"), (std::vector<std::string>{"a"}));
  EXPECT_TRUE(LinesOf("").empty());
}

TEST(LineSource, GivesLinesLongerThanARead) {
  const std::string huge(1 << 20, 'x');
  EXPECT_EQ(LinesOf("a\n" + huge + "\nb\n"), (std::vector<std::string>{"a", huge, "b"}));
}

TEST(LineSource, NamesTheFileThatIsNotThere) {
  const Result<LineSource> source = LineSource::Open("/no/such/file");
  EXPECT_EQ(source.status().code(), Code::kNotFound);
  EXPECT_NE(source.status().message().find("/no/such/file"), std::string::npos);
}

TEST(ParseLine, TakesTheKeyBeforeTheSeparator) {
  const Result<LineRecord> record = ParseLine("AA::{\"x\":1}", {.separator = "::"});
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->key, "AA");
  EXPECT_EQ(record->value, "{\"x\":1}");
  EXPECT_FALSE(ParseLine("AA", {.separator = "::"}).ok());
}

TEST(ParseLine, TakesTheKeyFromAJsonField) {
  const KeyRule rule{.field = "carrier"};
  EXPECT_EQ(ParseLine(R"({"carrier":"UA"})", rule)->key, "UA");
  EXPECT_EQ(ParseLine(R"({"carrier":17})", rule)->key, "17");
  EXPECT_EQ(ParseLine(R"({"carrier":null})", rule)->key, std::nullopt);
  EXPECT_EQ(ParseLine(R"({"carrier":"UA"})", rule)->value, R"({"carrier":"UA"})");
  EXPECT_FALSE(ParseLine(R"({"other":1})", rule).ok());
  EXPECT_FALSE(ParseLine(R"({"carrier":[1]})", rule).ok());
  EXPECT_FALSE(ParseLine("no json", rule).ok());
}

}  // namespace
}  // namespace millrace::client::cli
