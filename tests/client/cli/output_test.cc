#include "client/cli/output.h"

#include <cmath>

#include <gtest/gtest.h>

#include "client/cli/acknowledged.h"
#include "client/cli/bench_command.h"
#include "client/cli/histogram.h"
#include "client/cli/progress.h"
#include "raft/runtime/random.h"

namespace millrace::client::cli {
namespace {

TEST(Table, AlignsNumbersRight_AndTextLeft) {
  Table table({"TOPIC", "N"});
  table.Add({"a", "1"});
  table.Add({"longer", "100"});
  EXPECT_EQ(table.ToString(), "TOPIC   N\na         1\nlonger  100\n");
}

TEST(Base64, EqualsRfc4648sVectors) {
  EXPECT_EQ(Base64(""), "");
  EXPECT_EQ(Base64("f"), "Zg==");
  EXPECT_EQ(Base64("fo"), "Zm8=");
  EXPECT_EQ(Base64("foobar"), "Zm9vYmFy");
}

TEST(SetBytes, WritesNullTextAndBase64) {
  Json json;
  SetBytes(&json, "key", std::nullopt);
  SetBytes(&json, "value", "\xff");
  EXPECT_EQ(json.dump(), R"({"key":null,"value":"/w==","value_encoding":"base64"})");
}

TEST(WithThousands, SetsCommas) {
  EXPECT_EQ(WithThousands(7), "7");
  EXPECT_EQ(WithThousands(1000), "1,000");
  EXPECT_EQ(WithThousands(27004123), "27,004,123");
}

TEST(Progress, DrawsTheShareThatIsDone) {
  const ProgressWords words{.done = "read", .records = "acknowledged"};
  const Progress progress("flights", 200, words);
  EXPECT_EQ(progress.Line(100, 1500),
            "flights [###############---------------]  50% read  1,500 records acknowledged");
  EXPECT_EQ(Progress("flights", 0, words).Line(5, 1), "flights  1 records acknowledged");
}

TEST(Histogram, QuantilesAreWithinOnePercent) {
  Histogram histogram;
  for (int64_t i = 1; i <= 100000; ++i) histogram.Record(Duration(i));
  for (const double fraction : {0.01, 0.5, 0.99, 0.999}) {
    const double exact = 100000 * fraction;
    EXPECT_NEAR(static_cast<double>(histogram.Quantile(fraction).count()), exact, exact / 100 + 1);
  }
  EXPECT_EQ(histogram.max(), Duration(100000));
  EXPECT_EQ(histogram.Quantile(1), Duration(100000));
}

TEST(Histogram, TakesEverySize_AndCountsBelowZeroAsZero) {
  Histogram histogram;
  EXPECT_EQ(histogram.Quantile(0.5), Duration(0));
  histogram.Record(Duration(-5));
  EXPECT_EQ(histogram.Quantile(0.5), Duration(0));
  histogram.Record(Duration(int64_t{1} << 60), 3);
  EXPECT_EQ(histogram.count(), 4u);
  EXPECT_EQ(histogram.max(), Duration(int64_t{1} << 60));
}

TEST(BenchToJson, HasTheFieldsThatProgramsRead) {
  BenchResult result;
  result.records = 1000;
  result.bytes = 1000000;
  result.elapsed = std::chrono::seconds(2);
  result.cpu_seconds = 0.5;
  result.latency.Record(std::chrono::milliseconds(3), 1000);
  const Json json = BenchToJson(result);
  EXPECT_EQ(json["records_per_second"].get<double>(), 500);
  EXPECT_EQ(json["megabytes_per_second"].get<double>(), 0.5);
  EXPECT_EQ(json["cpu_seconds"].get<double>(), 0.5);
  EXPECT_NEAR(json["latency_ms"]["p50"].get<double>(), 3, 0.03);
  EXPECT_TRUE(json["latency_ms"].contains("p99"));
  EXPECT_TRUE(json["latency_ms"].contains("p999"));
  EXPECT_TRUE(json["latency_ms"].contains("max"));
}

TEST(Acknowledged, TellsWhereEachPartitionsRecordsAre) {
  Acknowledged acknowledged;
  for (int64_t offset = 10; offset < 16; ++offset) {
    acknowledged.Add({.status = {}, .partition = 2, .offset = offset});
  }
  acknowledged.Add({.status = {}, .partition = 2, .offset = -1});
  EXPECT_FALSE(acknowledged.has_failed());
  EXPECT_EQ(acknowledged.ToJson("t").dump(),
            R"({"topic":"t","records":7,"partitions":[)"
            R"({"partition":2,"records":7,"first_offset":10,"last_offset":15}]})");
}

TEST(Acknowledged, KeepsTheFirstError) {
  Acknowledged acknowledged;
  acknowledged.Add({.status = InvalidArgument("first"), .partition = 0});
  acknowledged.Add({.status = InvalidArgument("second"), .partition = 0});
  EXPECT_EQ(acknowledged.records(), 0u);
  EXPECT_EQ(acknowledged.first_error().message(), "first");
}

}  // namespace
}  // namespace millrace::client::cli
