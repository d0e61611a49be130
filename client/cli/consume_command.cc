#include "client/cli/consume_command.h"

#include <cstdio>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "client/cli/common_options.h"
#include "client/cli/connection.h"
#include "client/cli/number.h"
#include "client/cli/output.h"
#include "client/cli/time_spec.h"

namespace millrace::client::cli {
namespace {

// How soon an interrupt is noticed.
constexpr std::chrono::milliseconds kPollTimeout{100};

struct ConsumeOptions {
  CommonOptions common;
  std::string topic;
  std::optional<uint32_t> partition;
  Position from = Position::Earliest();
  std::optional<uint64_t> count;
  bool until_end = false;
  std::string key_separator = "\t";
  std::string null_text = "\\N";

  // Whether the command ends by itself.
  bool has_end() const { return until_end || count; }
};

// Collects lines and writes them to stdout together.
class LineWriter {
 public:
  explicit LineWriter(const ConsumeOptions& options) : options_(options) {}

  void Write(const ConsumedRecord& record) {
    if (options_.common.is_json()) {
      WriteJson(record);
    } else {
      if (options_.common.output == "key-value") {
        lines_ += record.key.value_or(options_.null_text);
        lines_ += options_.key_separator;
      }
      lines_ += record.value.value_or(options_.null_text);
    }
    lines_ += '\n';
    if (lines_.size() >= kFlushBytes) Flush();
  }

  void Flush() {
    Status written = WriteToStdout(lines_);
    lines_.clear();
    if (status_.ok()) status_ = std::move(written);
  }
  // UNAVAILABLE once stdout took no more.
  const Status& status() const { return status_; }

 private:
  static constexpr size_t kFlushBytes = 64 << 10;

  void WriteJson(const ConsumedRecord& record) {
    Json json{{"partition", record.partition},
              {"offset", record.offset},
              {"timestamp_ms", record.timestamp_ms}};
    SetBytes(&json, "key", record.key);
    SetBytes(&json, "value", record.value);
    if (!record.headers.empty()) {
      Json& headers = json["headers"] = Json::array();
      for (const Header& header : record.headers) {
        Json row{{"key", std::string(header.key)}};
        SetBytes(&row, "value", header.value);
        headers.push_back(std::move(row));
      }
    }
    lines_ += json.dump();
  }

  const ConsumeOptions& options_;
  std::string lines_;
  Status status_;
};

// Prints records until there are as many as wanted, or the end is reached; or until someone
// interrupts, which is an error unless it is the only end that there is.
Status Print(const ConsumeOptions& options, Consumer& consumer, LineWriter* writer) {
  uint64_t printed = 0;
  while (!consumer.at_end()) {
    if (IsInterrupted()) {
      if (!options.has_end()) return {};
      return Interrupted("only " + WithThousands(printed) + " records were printed");
    }
    // Who follows a topic for days wants to follow it through an outage, too.
    if (options.has_end() || options.common.has_timeout) RETURN_IF_ERROR(OutageOverTimeout());
    ASSIGN_OR_RETURN(const Records records, consumer.Poll(kPollTimeout));
    for (const ConsumedRecord& record : records) {
      writer->Write(record);
      if (++printed == options.count) return {};
    }
    writer->Flush();
    RETURN_IF_ERROR(writer->status());
  }
  return {};
}

// An offset is one of a partition's; in another it is another record, or none.
Status CheckStart(const ConsumeOptions& options, const Consumer& consumer) {
  const bool is_ambiguous = options.from.kind() == Position::Kind::kOffset && !options.partition &&
                            consumer.partition_count() > 1;
  if (!is_ambiguous) return {};
  return InvalidArgument("--from " + std::to_string(options.from.value()) +
                         " is an offset, and topic \"" + options.topic + "\" has " +
                         std::to_string(consumer.partition_count()) +
                         " partitions: name one with --partition");
}

int Consume(const ConsumeOptions& options) {
  bool is_refused = false;  // for what the command line asks
  const int exit_code =
      RunOnTopic(options.common, options.topic, [&](millrace::Client& client) -> Status {
        ConsumerOptions consumer_options{.start = options.from,
                                         .stop_at_end = options.until_end,
                                         .open_timeout = options.common.timeout};
        if (options.partition) consumer_options.partitions = {*options.partition};
        ASSIGN_OR_RETURN(const std::unique_ptr<Consumer> consumer,
                         client.OpenConsumer(options.topic, consumer_options));
        const Status start = CheckStart(options, *consumer);
        is_refused = !start.ok();
        RETURN_IF_ERROR(start);
        CatchSignals();
        LineWriter writer(options);
        const Status printed = Print(options, *consumer, &writer);
        writer.Flush();
        RETURN_IF_ERROR(printed);
        return writer.status();
      });
  return is_refused ? kExitUsage : exit_code;
}

}  // namespace

void AddConsumeCommand(CLI::App& app, const std::string& bootstrap, Command* chosen) {
  auto options = std::make_shared<ConsumeOptions>();
  options->common.bootstrap = bootstrap;
  CLI::App* consume = app.add_subcommand("consume", "Print records");
  consume->add_option("TOPIC", options->topic, "The topic")->required();
  AddNumber(consume, "--partition", &options->partition, {.max = kPartitionMax},
            "One partition; all if not given");
  AddParsed(
      consume, "--from",
      [from = &options->from](std::string_view text) -> Status {
        ASSIGN_OR_RETURN(*from, ParsePosition(text));
        return {};
      },
      "earliest, latest, an offset (with --partition), an RFC 3339 time, or @MILLISECONDS since "
      "1970")
      ->type_name("POSITION")
      ->default_str("earliest");
  AddNumber(consume, "--count", &options->count, {.min = 1}, "Stop after so many records");
  consume->add_flag("--until-end", options->until_end,
                    "Stop at what was the end when the command began");
  consume->add_option("--key-separator", options->key_separator,
                      "Between key and value with -o key-value; a tab if not given");
  consume->add_option("--null", options->null_text, "What stands for a key or a value that is null")
      ->type_name("TEXT")
      ->capture_default_str();
  AddCommonOptions(consume, {"value", "key-value", "json"}, &options->common);
  Choose(consume, options, chosen, &Consume);
}

}  // namespace millrace::client::cli
