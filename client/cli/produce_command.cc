#include "client/cli/produce_command.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/acknowledged.h"
#include "client/cli/common_options.h"
#include "client/cli/connection.h"
#include "client/cli/line_source.h"
#include "client/cli/number.h"
#include "client/cli/progress.h"
#include "client/cli/record_key.h"
#include "client/cli/time_spec.h"
#include "proto/record/wire.h"
#include "raft/runtime/real_clock.h"

namespace millrace::client::cli {
namespace {

// How soon an interrupt, a failure or progress is noticed while there is nothing else to do.
constexpr std::chrono::milliseconds kLookInterval{100};
// Lines sent before the same is looked at.
constexpr int kLinesPerLook = 1000;
// So that what is added for each line fits.
constexpr uint64_t kOffsetMax = uint64_t{1} << 62;

struct ProduceOptions {
  CommonOptions common;
  std::string topic;
  std::string file;
  LineRule line;
  std::optional<uint32_t> partition;
  std::optional<int64_t> expected_end;  // the first line's offset, or none is stored
  std::vector<std::pair<std::string, std::string>> headers;  // of every record
  std::optional<int64_t> timestamp_ms;                       // of every record; now, without
  std::string compression = "none";
};

// Reads lines, sends them, and reports what became of them.
class Loader {
 public:
  Loader(const ProduceOptions& options, LineSource lines)
      : options_(options),
        lines_(std::move(lines)),
        progress_(options.topic, lines_.total_bytes(),
                  {.done = "read", .records = "acknowledged"}) {
    for (const auto& [key, value] : options.headers)
      headers_.push_back({.key = key, .value = value});
  }

  // The first error, if there was one, once everything that was sent is answered.
  Status Run(Producer* producer) {
    const Status fed = Feed(producer);
    AwaitAnswers(producer);
    return fed;
  }

  // After the producer is gone: no report is under way.
  Status Finish(const Status& run) {
    progress_.Finish();
    if (options_.common.is_json()) {
      PrintJson(acknowledged_.ToJson(options_.topic));
    } else {
      std::printf("acknowledged %s records in %s\n", WithThousands(acknowledged_.records()).c_str(),
                  options_.topic.c_str());
      acknowledged_.ToTable().Print();
    }
    return run.ok() ? acknowledged_.first_error() : run;
  }

 private:
  // A file has an end that is to be reached; what comes through a pipe or from a terminal may have
  // none, and there an interrupt is the end.
  Status OnInterrupt() const {
    if (!lines_.is_file()) return {};
    return Interrupted("only the first " + WithThousands(line_number_) + " lines of " +
                       lines_.name() + " were sent");
  }

  Status Feed(Producer* producer) {
    for (int until_look = 0;; --until_look) {
      if (until_look <= 0) {
        if (IsInterrupted()) return OnInterrupt();
        if (acknowledged_.has_failed()) return {};
        Look();
        until_look = kLinesPerLook;
      }
      std::string_view line;
      switch (lines_.Next(&line)) {
        case LineSource::kLine: {
          ++line_number_;
          const Status sent = SendLine(line, producer);
          if (!sent.ok()) return sent.With("line " + std::to_string(line_number_));
          // The next line rests on this one.
          if (options_.expected_end) {
            AwaitAnswers(producer);
            until_look = 0;
          }
          break;
        }
        case LineSource::kNothingYet:
          lines_.Wait(kLookInterval);
          until_look = 0;
          break;
        case LineSource::kEnd:
          return {};
        case LineSource::kFailed:
          return lines_.error();
      }
    }
  }

  void AwaitAnswers(Producer* producer) {
    while (producer->unanswered_records() > 0 && !acknowledged_.has_failed()) {
      const Status flushed = producer->Flush(kLookInterval);
      Look();
      if (flushed.ok()) break;
    }
  }

  Status SendLine(std::string_view line, Producer* producer) {
    ASSIGN_OR_RETURN(const LineRecord parsed, ParseLine(line, options_.line));
    Record record{.value = parsed.value,
                  .headers = headers_,
                  .timestamp_ms = options_.timestamp_ms.value_or(clock_.WallMs()),
                  .partition = options_.partition};
    if (parsed.key) record.key = *parsed.key;
    if (options_.expected_end) {
      record.expected_end_offset = *options_.expected_end + static_cast<int64_t>(line_number_) - 1;
    }
    return producer->Send(record,
                          [this](const Delivery& delivery) { acknowledged_.Add(delivery); });
  }

  void Look() { progress_.Update(lines_.bytes_read(), acknowledged_.records(), clock_.Now()); }

  const ProduceOptions& options_;
  const RealClock clock_;
  LineSource lines_;
  std::vector<Header> headers_;  // views of the options'
  Progress progress_;
  Acknowledged acknowledged_;
  uint64_t line_number_ = 0;
};

ProducerOptions ToProducerOptions(const ProduceOptions& options, Compression compression) {
  ProducerOptions producer;
  producer.compression = compression;
  producer.open_timeout = options.common.timeout;
  // Who asks for less than the usual patience gets it; records are not given up sooner by default.
  if (options.common.has_timeout) {
    producer.delivery_timeout = options.common.timeout;
    producer.send_timeout = options.common.timeout;
  } else {
    producer.send_timeout = producer.delivery_timeout;
  }
  return producer;
}

Status AddHeader(const std::string& text,
                 std::vector<std::pair<std::string, std::string>>* headers) {
  ASSIGN_OR_RETURN(auto header, ParseKeyValue(text));
  if (!IsValidUtf8(header.first)) return InvalidArgument("the key of a header is UTF-8");
  headers->push_back(std::move(header));
  return {};
}

Status SetTimestamp(std::string_view text, std::optional<int64_t>* timestamp_ms) {
  ASSIGN_OR_RETURN(*timestamp_ms, ParseTime(text, RealClock().WallMs()));
  if (*timestamp_ms != 0) return {};
  return InvalidArgument(std::string(text) + " is the time of records that have none");
}

int Produce(const ProduceOptions& options) {
  Result<LineSource> lines = LineSource::Open(options.file);
  if (!lines.ok()) return Fail(lines.status());
  const Result<Compression> compression = ParseCompression(options.compression);
  if (!compression.ok()) return Fail(compression.status().With("--compression"));
  return RunOnTopic(options.common, options.topic, [&](millrace::Client& client) -> Status {
    ASSIGN_OR_RETURN(std::unique_ptr<Producer> producer,
                     client.OpenProducer(options.topic, ToProducerOptions(options, *compression)));
    CatchSignals();
    Loader loader(options, std::move(lines).value());
    const Status run = loader.Run(producer.get());
    producer.reset();
    return loader.Finish(run);
  });
}

}  // namespace

void AddProduceCommand(CLI::App& app, const std::string& bootstrap, Command* chosen) {
  auto options = std::make_shared<ProduceOptions>();
  options->common.bootstrap = bootstrap;
  CLI::App* produce = app.add_subcommand("produce", "Store records, one a line");
  AddTopic(produce, "TOPIC", &options->topic)->required();
  produce->add_option("FILE", options->file, "Where the lines are; stdin if there is none");
  CLI::Option* separator = produce->add_option("--key-separator", options->line.key_separator,
                                               "A line is KEY, this, VALUE");
  produce
      ->add_option("--key-field", options->line.key_field,
                   "A line is a JSON object, and this field of it the key")
      ->excludes(separator);
  produce
      ->add_option("--null", options->line.null_text,
                   "A key or a value that is this text is null: a value that deletes its key")
      ->type_name("TEXT");
  produce->add_flag("-Z,--tombstone", options->line.empty_is_null,
                    "A value that is empty is null, and deletes its key");
  AddRepeated(
      produce, "-H,--header",
      [headers = &options->headers](const std::string& text) { return AddHeader(text, headers); },
      "A header of all records; may be given several times")
      ->type_name("KEY=VALUE");
  AddParsed(
      produce, "--timestamp",
      [timestamp_ms = &options->timestamp_ms](std::string_view text) {
        return SetTimestamp(text, timestamp_ms);
      },
      "The time of all records, instead of now: an RFC 3339 time, a date, so long ago (-1h), or "
      "@MILLISECONDS since 1970")
      ->type_name("TIME");
  CLI::Option* partition =
      AddNumber(produce, "--partition", &options->partition, {.max = kPartitionMax},
                "Where all records go, whatever the key");
  AddNumber(
      produce, "--expect-end", &options->expected_end, {.max = kOffsetMax},
      "Store the first line at this offset of the partition and each that follows behind it, one "
      "after the other; exit with 4 at the first whose place the log does not end at")
      ->needs(partition);
  produce->add_option("--compression", options->compression, "none, gzip, snappy, lz4 or zstd")
      ->check(CLI::IsMember({"none", "gzip", "snappy", "lz4", "zstd"}))
      ->capture_default_str();
  AddCommonOptions(produce, {"table", "json"}, &options->common);
  Choose(produce, options, chosen, &Produce);
}

}  // namespace millrace::client::cli
