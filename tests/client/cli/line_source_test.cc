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

TEST(LineSource, TakesCrLfForALinesEnd_AndSkipsAByteOrderMark) {
  EXPECT_EQ(LinesOf("one\r\ntwo\r\n\r\nla\rst\r"),
            (std::vector<std::string>{"one", "two", "", "la\rst"}));
  EXPECT_EQ(LinesOf("\xEF\xBB\xBFk1:v\n\xEF\xBB\xBFk2:v\n"),
            (std::vector<std::string>{"k1:v", "\xEF\xBB\xBFk2:v"}));
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
  const Result<LineRecord> record = ParseLine("AA::{\"x\":1}", {.key_separator = "::"});
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->key, "AA");
  EXPECT_EQ(record->value, "{\"x\":1}");
  EXPECT_FALSE(ParseLine("AA", {.key_separator = "::"}).ok());
}

TEST(ParseLine, TakesTheKeyFromAJsonField) {
  const LineRule rule{.key_field = "carrier"};
  EXPECT_EQ(ParseLine(R"({"carrier":"UA"})", rule)->key, "UA");
  EXPECT_EQ(ParseLine(R"({"carrier":17})", rule)->key, "17");
  EXPECT_EQ(ParseLine(R"({"carrier":null})", rule)->key, std::nullopt);
  EXPECT_EQ(ParseLine(R"({"carrier":"UA"})", rule)->value, R"({"carrier":"UA"})");
  EXPECT_FALSE(ParseLine(R"({"other":1})", rule).ok());
  EXPECT_FALSE(ParseLine(R"({"carrier":[1]})", rule).ok());
  EXPECT_FALSE(ParseLine("no json", rule).ok());
}

TEST(ParseLine, TakesANumberAsTheLineHasIt) {
  for (const std::string number :
       {"0", "-17", "18446744073709551615", "18446744073709551616", "100000000000000000001",
        "100000000000000000002", "1.10", "1e3", "-0.5E+2", "true"}) {
    EXPECT_EQ(ParseLine("{\"id\": " + number + " }", {.key_field = "id"})->key, number);
  }
}

TEST(ParseLine, TakesTheFieldOfTheObjectItself_AndTheLastOfItsName) {
  const LineRule rule{.key_field = "id"};
  EXPECT_EQ(ParseLine(R"({"a":{"id":1},"b":[{"id":2}],"id":3,"c":"x"})", rule)->key, "3");
  EXPECT_EQ(ParseLine(R"({"id":1,"id":"two"})", rule)->key, "two");
  for (const char* line : {R"({"a":{"id":1}})", R"([{"id":1}])", "17", "\"id\"", "",
                           R"({"id":1} x)", R"({"id":1)", R"({"id":{"id":1}})"}) {
    EXPECT_FALSE(ParseLine(line, rule).ok()) << line;
  }
}

TEST(ParseLine, TakesATextForNull) {
  const LineRule rule{.key_separator = ":", .null_text = "NULL"};
  EXPECT_EQ(ParseLine("NULL:x", rule)->key, std::nullopt);
  EXPECT_EQ(ParseLine("k:NULL", rule)->value, std::nullopt);
  EXPECT_EQ(ParseLine("k:", rule)->value, "");
  EXPECT_EQ(ParseLine("k:NULLs", rule)->value, "NULLs");
}

TEST(ParseLine, TakesAnEmptyValueForNull_IfItShould) {
  const LineRule rule{.key_separator = ":", .empty_is_null = true};
  EXPECT_EQ(ParseLine("k:", rule)->value, std::nullopt);
  EXPECT_EQ(ParseLine(":v", rule)->key, "");
  EXPECT_EQ(ParseLine("", {.empty_is_null = true})->value, std::nullopt);
  EXPECT_EQ(ParseLine("k: ", rule)->value, " ");
  EXPECT_EQ(ParseLine("k:", {.key_separator = ":"})->value, "");
}

}  // namespace
}  // namespace millrace::client::cli
