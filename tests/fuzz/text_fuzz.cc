// Text that people and clients write: names of topics, values of settings. What is taken as a
// number is written back as the same number, and a name that is taken can be no path.
#include <map>
#include <string>

#include "broker/config/topic_settings.h"
#include "broker/config/value.h"
#include "broker/controller/decide.h"
#include "storage/segment/format.h"
#include "tests/fuzz/fuzz.h"

using namespace millrace;          // NOLINT: one file, one target
using namespace millrace::broker;  // NOLINT

FUZZ_TARGET(FuzzedDataProvider& input) {
  const auto kind = static_cast<config::Kind>(input.ConsumeIntegralInRange<int>(
      static_cast<int>(config::Kind::kCount), static_cast<int>(config::Kind::kMilliseconds)));
  const std::string key = input.ConsumeRandomLengthString(40);
  const std::string text = input.ConsumeRemainingBytesAsString();
  const Result<uint64_t> number = config::ParseNumber(kind, text, {});
  if (number.ok()) {
    const Result<uint64_t> again =
        config::ParseNumber(kind, config::FormatNumber(kind, *number), {});
    CHECK(again.ok()) << again.status();
    CHECK_EQ(*again, *number);
  }
  const std::map<std::string, std::string> settings{{key, text}};
  if (const auto canonical = config::CanonicalTopicSettings(settings); canonical.ok()) {
    CHECK(canonical->at(key).size() < 32);
    CHECK(config::CanonicalTopicSettings(*canonical).value() == *canonical);
    const config::TopicSettings taken(settings);
    const config::TopicSettings again(*canonical);
    CHECK(taken.segment_bytes == again.segment_bytes && taken.segment_time == again.segment_time);
  }
  if (ValidateTopicName(text).ok()) {
    CHECK(!text.empty() && text.size() <= kTopicNameBytesMax);
    CHECK(text.find('/') == std::string::npos);
    CHECK(text != "." && text != "..");
  }
  if (const auto first = storage::ParseSegmentName(text)) {
    CHECK(storage::SegmentName(*first) == text);
  }
  if (const auto folder = storage::ParseFolderName(RaftGroupId(1), text)) {
    CHECK(storage::SegmentDirectory(*folder) == "groups/1/" + text);
  }
}
